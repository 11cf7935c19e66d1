/**
 * Changes the host's keys every so often. The new pair is on disk before it is used, and the controller keeps the old one
 * until then: whatever is killed at whatever instant, one of the two pairs is known to both sides.
 */
import type { HostKeysAnswer } from '../proto/joining.ts'
import { ApiCallError, unknownKeysCode } from './ecs-api.ts'
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
/** How often it is looked whether the keys are refused, or the host has joined anew by a command. */
const lookMs = 2_000

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
  const rotation = new Rotation(options)
  rotation.start()
  return () => rotation.close()
}

class Rotation {
  readonly #options: KeyRotationOptions
  #isClosed = false
  #isChanging = false
  #cancelTurn: (() => void) | undefined
  #cancelLook: (() => void) | undefined
  #retryMs = retryMinMs
  /** Refused keys are not asked with before: nobody answered the last time. Epoch milliseconds. */
  #askAgainAt = 0

  constructor(options: KeyRotationOptions) {
    this.#options = options
  }

  start(): void {
    const { keyring, intervalMs, now, random } = this.#options
    // A clock that was set back must not keep a pair for ever.
    const ageMs = Math.max(0, now() - keyring.joined().keys.createdAt)
    this.#sleep(Math.max(random() * Math.min(retryMinMs, intervalMs), spread(intervalMs, random()) - ageMs))
    this.#look()
  }

  close(): void {
    this.#isClosed = true
    this.#cancelTurn?.()
    this.#cancelLook?.()
  }

  #sleep(ms: number): void {
    if (this.#isClosed) return
    this.#cancelTurn?.()
    this.#cancelTurn = this.#options.timers.after(ms, () => void this.#turn())
  }

  async #turn(): Promise<void> {
    if (this.#isChanging) return
    this.#isChanging = true
    this.#sleep(await this.#change())
    this.#isChanging = false
  }

  /** One change; gives how long to wait for the next one. */
  async #change(): Promise<number> {
    const { keyring, intervalMs, now, random, log } = this.#options
    const { hostId } = keyring.joined()
    try {
      await changeKeys(this.#options)
      this.#retryMs = retryMinMs
      const { accessKeyId } = keyring.joined().keys
      log.info({ hostId, accessKeyId }, 'This host has new keys; the old ones are over.')
      return spread(intervalMs, random())
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      // The last thing that old keys are good for is to ask for new ones: refused that, nothing is left to try.
      const isRefusal = error instanceof ApiCallError && error.code === unknownKeysCode
      if (isRefusal && keyring.isRefused()) {
        keyring.revoked(message)
        return spread(revokedWaitMs, random())
      }
      const waitMs = spread(Math.min(this.#retryMs, intervalMs), random())
      this.#retryMs = Math.min(this.#retryMs * 2, retryMaxMs)
      this.#askAgainAt = now() + Math.min(waitMs, retryMinMs)
      log.warn({ hostId, retryInMs: waitMs }, `The keys of this host could not be changed: ${message}`)
      return waitMs
    }
  }

  #look(): void {
    const { keyring, timers, now, onJoinedAnew } = this.#options
    if (this.#isClosed) return
    this.#cancelLook = timers.after(lookMs, () => {
      if (joinedAnew(keyring)) return onJoinedAnew()
      // A pair whose time is over is refused everywhere else. It is not waited for the day on which keys change.
      if (keyring.isRefused() && !keyring.isRevoked() && now() >= this.#askAgainAt) void this.#turn()
      this.#look()
    })
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
