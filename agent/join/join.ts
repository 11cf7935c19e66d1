/**
 * Joining, step by step. What can fail is tried before the token is sent, which is good once: the directory, the room on
 * its disk, the address, the CA. The last step puts `joined.json` in its place; whatever ends the join before it leaves the
 * host as it was, with the identity that it had.
 */
import { mkdirSync } from 'node:fs'
import { fingerprintsOf } from '../controller-trust.ts'
import { type Identity, readIdentity } from '../identity.ts'
import type { DirectoryLock } from '../directory-lock.ts'
import {
  draftJoined,
  type JoinedDraft,
  type JoinedIdentity,
  JoinedIdentityError,
  joinedFile,
  lockJoined,
  readJoined,
} from '../joined-identity.ts'
import type { JoinWish } from './arguments.ts'
import { JoinError, fetchCa, sendJoin } from './controller-call.ts'

export interface JoinOptions {
  readonly wish: JoinWish
  readonly directory: string
  readonly hostName: string
  /** Reads the token; asked for only where it is needed. */
  readonly readToken: () => Promise<string>
  readonly now: () => number
}

export interface JoinOutcome {
  /** `already`: it had joined this very controller, and nothing was done. */
  readonly state: 'joined' | 'already'
  readonly joined: JoinedIdentity
  /** What the operator should know beside it. */
  readonly warnings: readonly string[]
}

/** Signatures that are older are refused; the clock of a host that is on its way there is worth a word. */
const skewWarnMs = 60_000

/** Throws JoinError, and JoinedIdentityError where what is there can't be used. */
export async function joinController(options: JoinOptions): Promise<JoinOutcome> {
  const { directory } = options
  const joined = joinedAlready(options)
  if (joined !== undefined) return joined
  const token = await options.readToken()
  inDirectory(directory, () => mkdirSync(directory, { recursive: true, mode: 0o700 }))
  const lock = lockOf(directory)
  try {
    // Another join may have been at it until now.
    return joinedAlready(options) ?? (await joinWith(token, options))
  } finally {
    lock.release()
  }
}

/** Throws JoinError for a host that has joined otherwise than it is wished. */
function joinedAlready(options: JoinOptions): JoinOutcome | undefined {
  const { wish, directory } = options
  const before = formerIdentity(options)
  if (before === undefined || wish.replace) return undefined
  if (isSameJoin(before, wish)) return { state: 'already', joined: before, warnings: [] }
  throw new JoinError(
    `This host has joined ${before.controllerUrl} as ${before.name} (${before.hostId}, cluster ${before.cluster}): ` +
      `${joinedFile(directory)}. Nothing was done. If it is to leave that controller for ${wish.controllerUrl}, run this ` +
      'again with --replace; its containers go on, and the former controller should revoke it.',
  )
}

async function joinWith(token: string, options: JoinOptions): Promise<JoinOutcome> {
  const { wish, directory, now } = options
  const { controllerUrl, caFingerprint } = wish
  const caPem = caFingerprint === undefined ? undefined : await fetchCa(controllerUrl, caFingerprint)
  const registered = registeredBefore(directory)
  const name = wish.name ?? options.hostName
  const cluster = wish.cluster ?? (registered?.containerInstanceArn === undefined ? undefined : registered.cluster)
  const draft = inDirectory(directory, () => draftJoined(directory, caPem))
  try {
    const answer = await sendJoin(controllerUrl, caPem, { token, name, ...(cluster !== undefined && { cluster }) }, now)
    const { hostId, region, account, accessKeyId, secretAccessKey } = answer
    const keys = { accessKeyId, secretAccessKey, createdAt: now() }
    const joined = { controllerUrl, caPem, hostId, name, cluster: answer.cluster, region, account, keys }
    const isWhole = keep(draft, joined, options)
    const warnings = warningsOf(Date.parse(answer.controllerTime), now(), registered?.containerInstanceArn)
    return { state: 'joined', joined, warnings: isWhole ? warnings : [...warnings, noCaFile] }
  } finally {
    draft.discard()
  }
}

const noCaFile =
  'ca.pem, for other programs, could not be written; the agent does without it, and tries again when it starts.'

/** A damaged or open file is no obstacle for who means to replace it. */
function formerIdentity({ directory, wish }: JoinOptions): JoinedIdentity | undefined {
  try {
    return readJoined(directory)
  } catch (error) {
    if (wish.replace && error instanceof JoinedIdentityError) return undefined
    throw explained(directory, error)
  }
}

function isSameJoin(before: JoinedIdentity, wish: JoinWish): boolean {
  const { controllerUrl, caFingerprint, cluster } = wish
  if (before.controllerUrl !== controllerUrl || (cluster !== undefined && cluster !== before.cluster)) return false
  if (caFingerprint === undefined) return before.caPem === undefined
  return before.caPem !== undefined && fingerprintsOf(before.caPem).includes(caFingerprint)
}

/** Throws JoinError for a file that the agent could not read either, while the token is not used yet. */
function registeredBefore(directory: string): Identity | undefined {
  try {
    return readIdentity(directory)
  } catch (error) {
    throw new JoinError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

/** False where it is kept, and only `ca.pem` is not. */
function keep(draft: JoinedDraft, joined: JoinedIdentity, { directory, wish }: JoinOptions): boolean {
  try {
    return draft.put(joined, wish.replace ? 'replace' : 'keep')
  } catch (error) {
    const why = explained(directory, error)
    const path = joinedFile(directory)
    const isThere = (error as NodeJS.ErrnoException).code === 'EEXIST'
    throw new JoinError(
      `${isThere ? `Something else has written ${path} meanwhile.` : why instanceof Error ? why.message : String(why)} ` +
        'What the controller gave this host could not be kept, and the token is used up. Revoke what it was given ' +
        `(npx gantry hosts revoke ${joined.hostId}, on the controller), then join with a new line.`,
      { cause: error },
    )
  }
}

function lockOf(directory: string): DirectoryLock {
  try {
    return inDirectory(directory, () => lockJoined(directory))
  } catch (error) {
    if (error instanceof JoinError || !(error instanceof Error)) throw error
    throw new JoinError(`${error.message} Nothing was done: run this again after that.`, { cause: error })
  }
}

function inDirectory<T>(directory: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw explained(directory, error)
  }
}

function explained(directory: string, error: unknown): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException
  const whys: Readonly<Record<string, string>> = {
    EACCES: 'this user may not: run it as root, or name a directory of your own with --directory',
    EPERM: 'this user may not: run it as root, or name a directory of your own with --directory',
    EROFS: 'its file system is read-only: name another one with --directory',
    ENOSPC: 'the disk is full: make room',
    EDQUOT: 'the quota of its disk is used up: make room',
    ENOTDIR: 'a part of its path is no directory: name another one with --directory',
  }
  // Any other word of the file system is no bug of this program either.
  const why = whys[code ?? ''] ?? (syscall === undefined ? undefined : message)
  if (why === undefined) return error
  return new JoinError(`The agent's directory ${directory} can't be used (${code}): ${why}.`, { cause: error })
}

function warningsOf(controllerTime: number, now: number, known: string | undefined): readonly string[] {
  const warnings: string[] = []
  const skewMs = now - controllerTime
  if (Math.abs(skewMs) > skewWarnMs) {
    const far = `${Math.round(Math.abs(skewMs) / 60_000)} minutes ${skewMs > 0 ? 'ahead of' : 'behind'} the controller's`
    warnings.push(
      `This host's clock is ${far}; calls are refused from 15 minutes on. Set it: timedatectl set-ntp true, or chrony.`,
    )
  }
  if (known !== undefined) {
    const id = known.slice(known.lastIndexOf('/') + 1)
    warnings.push(
      `This host was the container instance ${id} before, and stays it if its line was made for that: npx gantry ` +
        `join-token --instance ${id}. Else the agent is refused, and says what to do; containers go on.`,
    )
  }
  return warnings
}
