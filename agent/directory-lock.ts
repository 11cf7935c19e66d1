/** One process at a time, with a directory or with a file in it. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface DirectoryLock {
  release(): void
}

/**
 * Takes the directory, which is made if missing, for this agent: two would take each other's tasks for their own. Throws an
 * Error that names the holder's pid where another one has it.
 */
export function lockDirectory(directory: string): DirectoryLock {
  return takeLock(
    directory,
    'lock',
    (holder) =>
      `The directory ${directory} is in use by another agent, process ${holder}. ` +
      'Stop that one first, or give this one a directory of its own with ECS_DATADIR.',
  )
}

/**
 * Takes what the file `name` in the directory stands for. Throws an Error, in the words of `inUse`, where another live
 * process has it. A holder that died leaves its file behind; a pid that was given to another program
 * since then does not count, as its start time differs.
 */
export function takeLock(directory: string, name: string, inUse: (holder: number) => string): DirectoryLock {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, name)
  const mine = `${process.pid} ${startTimeOf(process.pid) ?? ''}\n`
  const fresh = `${path}.${process.pid}.new`
  try {
    writeFileSync(fresh, mine, { mode: 0o600 })
    for (let tries = 0; tries < 10; tries++) {
      if (linked(fresh, path)) return { release: () => releaseIfMine(path, mine) }
      const theirs = readOr(path)
      if (theirs === undefined) continue
      const holder = liveHolder(theirs)
      if (holder !== undefined) throw new Error(inUse(holder))
      takeAway(path, theirs)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    throw new Error(`The disk under ${directory} is full: make room. Containers go on meanwhile.`, { cause: error })
  } finally {
    rmSync(fresh, { force: true })
  }
  throw new Error(`The lock ${path} changes hands all the time. Stop the processes that fight for it.`)
}

/** True where the link could be made, which only one process can do. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Removes a dead holder's file, unless another starter was faster: then what was moved away goes back. */
function takeAway(path: string, stale: string): void {
  const aside = `${path}.stale.${process.pid}.new`
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (readOr(aside) !== stale) linked(aside, path)
  rmSync(aside, { force: true })
}

function releaseIfMine(path: string, mine: string): void {
  if (readOr(path) === mine) rmSync(path, { force: true })
}

function liveHolder(text: string): number | undefined {
  const [pid, startTime] = text.trim().split(' ')
  const holder = Number(pid)
  if (!Number.isInteger(holder) || holder <= 0) return undefined
  const now = startTimeOf(holder)
  return now !== undefined && now === startTime ? holder : undefined
}

/**
 * Field 22 of /proc/<pid>/stat, in clock ticks since boot; undefined where there is no such process, or only a dead one
 * that its parent has not asked about yet.
 */
function startTimeOf(pid: number): string | undefined {
  const stat = readOr(`/proc/${pid}/stat`)
  // The second field is the program's name in brackets, and may hold spaces.
  const [state = '', ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  return ['Z', 'X'].includes(state) ? undefined : fields[18]
}

function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
