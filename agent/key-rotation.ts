/**
 * Changes the host's keys every so often. The new pair is on disk before it is used, and the controller keeps the old one
 * until then: whatever is killed at whatever instant, one of the two pairs is known to both sides.
 */
import type { HostKeysAnswer } from '../proto/joining.ts'
import { type HostKeyring, revokedWaitMs } from './host-keyring.ts'
import type { Log } from './log.ts'
import type { Timers } from './timers.ts'

export interface KeyRotationOptions {
  readonly keyring: HostKeyring
  /** How old a pair gets, milliseconds; up to a tenth more or less, so that hosts don't come together. */
  readonly intervalMs: number
  /** `POST /v1/hosts/self/keys`, signed with the pair of now. */
  readonly askForKeys: () => Promise<HostKeysAnswer>
  /** A call that changes nothing, signed with the pair of now: with it the controller forgets the pair before. */
  readonly useKeys: () => Promise<unknown>
  readonly timers: Timers
  readonly now: () => number
  readonly random: () => number
  readonly log: Pick<Log, 'info' | 'warn'>
  /** The host has joined anew under this process. */
  readonly onJoinedAnew: () => void
}

const retryMinMs = 30_000
const retryMaxMs = 3_600_000
/** A host that joins anew by a command is to use its new keys soon. */
const lookMs = 5_000

/** Throws an Error where the answer is none of a controller. */
export function hostKeysAnswer(value: Readonly<Record<string, unknown>>): HostKeysAnswer {
  const { hostId, accessKeyId, secretAccessKey, previousEndsAt, caPem } = value
  const isWhole = [hostId, accessKeyId, secretAccessKey].every((one) => typeof one === 'string' && one !== '')
  if (!isWhole) throw new Error('the answer holds no keys. Is it a Gantry controller?')
  return {
    hostId: String(hostId),
    accessKeyId: String(accessKeyId),
    secretAccessKey: String(secretAccessKey),
    previousEndsAt: String(previousEndsAt),
    caPem: typeof caPem === 'string' ? caPem : undefined,
  }
}

/** One change of keys, step by step. Throws what any of them threw; the next try begins anew, whatever was done. */
export async function changeKeys(
  options: Pick<KeyRotationOptions, 'keyring' | 'askForKeys' | 'useKeys' | 'now'>,
): Promise<void> {
  const answer = await options.askForKeys()
  options.keyring.replace(answer, options.now())
  await options.useKeys()
}

export function startKeyRotation(options: KeyRotationOptions): () => void {
  const { keyring, intervalMs, timers, now, random, log } = options
  let isClosed = false
  let cancel: (() => void) | undefined
  let cancelLook: (() => void) | undefined
  let retryMs = retryMinMs
  const sleep = (ms: number): void => {
    if (!isClosed) cancel = timers.after(ms, () => void turn())
  }
  const turn = async (): Promise<void> => {
    if (keyring.isRevoked()) return sleep(revokedWaitMs)
    const { hostId } = keyring.joined()
    try {
      await changeKeys(options)
      retryMs = retryMinMs
      log.info(
        { hostId, accessKeyId: keyring.joined().keys.accessKeyId },
        'This host has new keys; the old ones are over.',
      )
      sleep(spread(intervalMs, random()))
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      log.warn({ hostId, retryInMs: retryMs }, `The keys of this host could not be changed: ${message}`)
      sleep(spread(Math.min(retryMs, intervalMs), random()))
      retryMs = Math.min(retryMs * 2, retryMaxMs)
    }
  }
  const look = (): void => {
    cancelLook = timers.after(lookMs, () => {
      if (joinedAnew(keyring)) options.onJoinedAnew()
      else look()
    })
  }
  look()
  // A clock that was set back must not keep a pair for ever.
  const ageMs = Math.max(0, now() - keyring.joined().keys.createdAt)
  sleep(Math.max(random() * Math.min(retryMinMs, intervalMs), spread(intervalMs, random()) - ageMs))
  return () => {
    isClosed = true
    cancel?.()
    cancelLook?.()
  }
}

function joinedAnew(keyring: HostKeyring): boolean {
  try {
    return !keyring.isCurrent()
  } catch {
    // What is wrong with the file is told when the agent starts; this process goes on with what it knows.
    return false
  }
}

function spread(ms: number, random: number): number {
  return ms * (0.9 + 0.2 * random)
}
