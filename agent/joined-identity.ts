/**
 * What a host was given when it joined, `joined.json` in the agent's directory: where its controller is, the one CA that
 * it trusts, and its keys. One file, so that there is no instant at which its parts belong to different joins.
 */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type DirectoryLock, takeLock } from './directory-lock.ts'
import { draftFile, writeDurably } from './durable-file.ts'

export interface HostKeyPair {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Epoch milliseconds, by this host's clock. */
  readonly createdAt: number
}

export interface JoinedIdentity {
  readonly controllerUrl: string
  /** One CA or, while the controller changes it, two; absent where the host joined by plain HTTP on loopback. */
  readonly caPem?: string | undefined
  readonly hostId: string
  readonly name: string
  readonly cluster: string
  readonly region: string
  readonly account: string
  readonly keys: HostKeyPair
  /**
   * The pair before. The controller has forgotten it once the newer one was used, but one that was restored from a backup
   * of the day before knows this pair alone.
   */
  readonly formerKeys?: HostKeyPair | undefined
}

/** The file can't be used as it is; the message says what to do. No second try can mend it. */
export class JoinedIdentityError extends Error {}

/** For other programs of the host, such as the aws CLI's AWS_CA_BUNDLE; the agent goes by `joined.json` alone. */
export const caFileName = 'ca.pem'
const fileName = 'joined.json'

export function joinedFile(directory: string): string {
  return join(directory, fileName)
}

/** undefined where the host has not joined. Throws JoinedIdentityError. */
export function readJoined(directory: string): JoinedIdentity | undefined {
  const path = joinedFile(directory)
  let text: string
  try {
    requirePrivate(path)
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const joined = parsed(text)
  if (joined !== undefined) return joined
  throw new JoinedIdentityError(
    `${path} is damaged, so this agent has no keys to its controller. Restore it from a backup, or join again with a new ` +
      'line from the controller (`npx gantry join-token` there) and --replace. Containers go on meanwhile.',
  )
}

/** Keys that others could have read are nobody's any more. */
function requirePrivate(path: string): void {
  const { mode, uid } = statSync(path)
  const self = process.geteuid?.()
  if ((mode & 0o777) !== 0o600) {
    throw new JoinedIdentityError(
      `${path} has the mode ${(mode & 0o777).toString(8).padStart(3, '0')}, and holds this host's keys: it has to be 600. ` +
        `Run: chmod 600 ${path}. If others could read it, join again with --replace and revoke the host it was.`,
    )
  }
  if (self !== undefined && uid !== self) {
    throw new JoinedIdentityError(
      `${path} belongs to another user (uid ${uid}), who could change whom this host trusts. Run the agent as that ` +
        `user, or: chown ${self} ${path}`,
    )
  }
}

/** Durable when it returns. `keep` throws an error with code EEXIST where the host has joined already. */
export function writeJoined(directory: string, joined: JoinedIdentity, existing: 'replace' | 'keep' = 'replace'): void {
  writeDurably(joinedFile(directory), textOf(joined), { existing })
}

/**
 * Writes `ca.pem` anew where it is not what the host was given: a kill between the two files leaves the former one. Throws
 * what the file system says.
 */
export function mendCaFile(directory: string, { caPem }: JoinedIdentity): void {
  const path = join(directory, caFileName)
  if (caPem !== undefined && readOr(path) !== caPem) writeDurably(path, caPem)
}

/** What a join is about to be given, with its place on the disk. */
export interface JoinedDraft {
  /** As `writeJoined`. Answers false where only `ca.pem` could not be written. */
  put(joined: JoinedIdentity, existing: 'replace' | 'keep'): boolean
  /** Of one that was not put: the directory is as it was. */
  discard(): void
}

/** What an identity takes beside its CA. */
const identityBytesMax = 8192

/** Finds out whether the disk takes it, and keeps room for it. Nothing that is there is touched. */
export function draftJoined(directory: string, caPem: string | undefined): JoinedDraft {
  // JSON writes an end of line as two characters.
  const identity = draftFile(joinedFile(directory), identityBytesMax + 2 * (caPem?.length ?? 0))
  const discard = (): void => identity.discard()
  return {
    put(joined, existing) {
      identity.put(textOf(joined), { existing })
      try {
        mendCaFile(directory, joined)
        return true
      } catch {
        return false
      }
    },
    discard,
  }
}

/**
 * Held while `joined.json` is changed, by a join and by the agent that changes keys: neither undoes what the other was
 * given. Throws an Error that names the holder.
 */
export function lockJoined(directory: string): DirectoryLock {
  return takeLock(
    directory,
    `${fileName}.lock`,
    (holder) => `Process ${holder} is changing ${joinedFile(directory)}: another \`gantry join\`, or the agent.`,
  )
}

function textOf(joined: JoinedIdentity): string {
  return `${JSON.stringify(joined, undefined, 2)}\n`
}

function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function parsed(text: string): JoinedIdentity | undefined {
  try {
    const value = JSON.parse(text) as Record<string, unknown>
    const { controllerUrl, caPem, hostId, name, cluster, region, account } = value
    const keys = keyPair(value['keys'])
    const formerKeys = keyPair(value['formerKeys'])
    if (keys === undefined) return undefined
    if (typeof controllerUrl !== 'string' || typeof hostId !== 'string' || typeof name !== 'string') return undefined
    if (typeof cluster !== 'string' || typeof region !== 'string' || typeof account !== 'string') return undefined
    if (caPem !== undefined && typeof caPem !== 'string') return undefined
    // A host that forgot its CA must not go on with whatever certificates the system trusts.
    if (caPem === undefined && controllerUrl.startsWith('https:')) return undefined
    return { controllerUrl, caPem, hostId, name, cluster, region, account, keys, formerKeys }
  } catch {
    return undefined
  }
}

function keyPair(value: unknown): HostKeyPair | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { accessKeyId, secretAccessKey, createdAt } = value as Record<string, unknown>
  if (typeof accessKeyId !== 'string' || typeof secretAccessKey !== 'string') return undefined
  return typeof createdAt === 'number' ? { accessKeyId, secretAccessKey, createdAt } : undefined
}
