/**
 * Joining, step by step. What can fail is tried before the token is sent, which is good once: the directory, the address,
 * the CA. The last step makes `joined.json`; a kill before it leaves the host as it was, and a token that is used up.
 */
import { mkdirSync } from 'node:fs'
import { fingerprintsOf } from '../controller-trust.ts'
import { readIdentity } from '../identity.ts'
import {
  type JoinedIdentity,
  JoinedIdentityError,
  joinedFile,
  readJoined,
  writeCaFile,
  writeJoined,
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
  const { wish, directory, now } = options
  const { controllerUrl, caFingerprint } = wish
  const before = formerIdentity(options)
  if (before !== undefined && !wish.replace) {
    if (isSameJoin(before, wish)) return { state: 'already', joined: before, warnings: [] }
    throw new JoinError(
      `This host has joined ${before.controllerUrl} as ${before.name} (${before.hostId}, cluster ${before.cluster}): ` +
        `${joinedFile(directory)}. Nothing was done. If it is to leave that controller for ${controllerUrl}, run this ` +
        'again with --replace; its containers go on, and the former controller should revoke it.',
    )
  }
  const token = await options.readToken()
  makeDirectory(directory)
  const caPem = caFingerprint === undefined ? undefined : await fetchCa(controllerUrl, caFingerprint)
  // This also shows that the disk takes what will be written below.
  if (caPem !== undefined) inDirectory(directory, () => writeCaFile(directory, caPem))
  const registered = readIdentity(directory)
  const name = wish.name ?? options.hostName
  const cluster = wish.cluster ?? (registered?.containerInstanceArn === undefined ? undefined : registered.cluster)
  const answer = await sendJoin(controllerUrl, caPem, { token, name, ...(cluster !== undefined && { cluster }) }, now)
  const { hostId, region, account, accessKeyId, secretAccessKey } = answer
  const keys = { accessKeyId, secretAccessKey, createdAt: now() }
  const joined = { controllerUrl, caPem, hostId, name, cluster: answer.cluster, region, account, keys }
  inDirectory(directory, () => keep(directory, joined, before !== undefined || wish.replace))
  return { state: 'joined', joined, warnings: warningsOf(Date.parse(answer.controllerTime), now(), options) }
}

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

function keep(directory: string, joined: JoinedIdentity, replaces: boolean): void {
  try {
    writeJoined(directory, joined, replaces ? 'replace' : 'keep')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new JoinError(
      `Another \`gantry join\` of this host was faster: ${joinedFile(directory)} is there. What this one was given is not ` +
        `kept; have the controller revoke the host ${joined.hostId}.`,
      { cause: error },
    )
  }
}

function makeDirectory(directory: string): void {
  inDirectory(directory, () => mkdirSync(directory, { recursive: true, mode: 0o700 }))
}

function inDirectory(directory: string, work: () => unknown): void {
  try {
    work()
  } catch (error) {
    throw explained(directory, error)
  }
}

function explained(directory: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  const whys: Readonly<Record<string, string>> = {
    EACCES: 'this user may not: run it as root, or name a directory of your own with --directory',
    EPERM: 'this user may not: run it as root, or name a directory of your own with --directory',
    EROFS: 'its file system is read-only: name another one with --directory',
    ENOSPC: 'the disk is full: make room',
    ENOTDIR: 'a part of its path is no directory: name another one with --directory',
  }
  const why = whys[code ?? '']
  if (why === undefined) return error
  return new JoinError(`The agent's directory ${directory} can't be used (${code}): ${why}.`, { cause: error })
}

function warningsOf(controllerTime: number, now: number, { directory }: JoinOptions): readonly string[] {
  const warnings: string[] = []
  const skewMs = now - controllerTime
  if (Math.abs(skewMs) > skewWarnMs) {
    const far = `${Math.round(Math.abs(skewMs) / 60_000)} minutes ${skewMs > 0 ? 'ahead of' : 'behind'} the controller's`
    warnings.push(
      `This host's clock is ${far}; calls are refused from 15 minutes on. Set it: timedatectl set-ntp true, or chrony.`,
    )
  }
  const known = readIdentity(directory)?.containerInstanceArn
  if (known !== undefined) {
    const id = known.slice(known.lastIndexOf('/') + 1)
    warnings.push(
      `This host was the container instance ${id} before, and stays it if its line was made for that: npx gantry ` +
        `join-token --instance ${id}. Else the agent is refused, and says what to do; containers go on.`,
    )
  }
  return warnings
}
