/**
 * One controller for each data directory: a file `lock` names the process that holds it. A holder that is dead, whose
 * number another process has now, or that ran before the machine's last boot, is taken over from.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pid } from 'node:process'

export interface DirectoryLock {
  release(): void
}

/** Another process works on the directory. */
export class DirectoryLockedError extends Error {
  override readonly name = 'DirectoryLockedError'
  /** The process that holds it. */
  readonly pid: number

  constructor(message: string, holderPid: number) {
    super(message)
    this.pid = holderPid
  }
}

/** More rounds than processes can plausibly race for one directory. */
const attemptsMax = 20

/** Takes the lock of `directory` (made if missing), or throws DirectoryLockedError with the pid of its holder. */
export function lockDirectory(directory: string): DirectoryLock {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'lock')
  const own = `${pid} ${identityOf(pid) ?? 'unknown'}\n`
  const draft = `${path}.${pid}`
  writeFileSync(draft, own, { mode: 0o600 })
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      if (tryLink(draft, path)) return { release: () => releaseLock(path, own) }
      const held = tryRead(path)
      if (held === undefined) continue
      const holderPid = livingHolder(held)
      if (holderPid !== undefined) {
        throw new DirectoryLockedError(
          `${directory} is in use by process ${holderPid}. Stop that controller first, or give this one another ` +
            'directory by GANTRY_DATA_DIR.',
          holderPid,
        )
      }
      removeStale(path, held)
    }
  } finally {
    unlinkSync(draft)
  }
  throw new Error(`${path} could not be taken in ${attemptsMax} attempts: other processes take it at the same time`)
}

/** A link either makes the name or fails: two processes can't both succeed. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    // ESRCH: a process under /proc that ended while its file was being read.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

function livingHolder(held: string): number | undefined {
  const [holder, ...identity] = held.trim().split(' ')
  const holderPid = Number(holder)
  if (!Number.isSafeInteger(holderPid) || holderPid <= 0) return undefined
  const living = identityOf(holderPid)
  return living !== undefined && living === identity.join(' ') ? holderPid : undefined
}

/** Boot and start time of a process: a number that was given out again has another one. Undefined where none lives. */
function identityOf(processId: number): string | undefined {
  const stat = tryRead(`/proc/${processId}/stat`)
  if (stat === undefined) return undefined
  // The command's name is in brackets and may hold spaces; the start time is the 20th field after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie is dead; its parent has only not asked for it yet.
  if (fields[0] === 'Z') return undefined
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return `${boot} ${fields[19]}`
}

/** Takes a dead holder's file away, and puts it back where another process was quicker and the file is already its. */
function removeStale(path: string, held: string): void {
  const aside = `${path}.${pid}.stale`
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (tryRead(aside) !== held) tryLink(aside, path)
  unlinkSync(aside)
}

function releaseLock(path: string, own: string): void {
  if (tryRead(path) === own) unlinkSync(path)
}
