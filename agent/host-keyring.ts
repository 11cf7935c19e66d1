/**
 * The keys of a host that has joined: which of its pairs to sign with, how a new pair takes the place of the old one, and
 * whether the controller still takes any of them.
 */
import type { HostKeysAnswer } from '../proto/joining.ts'
import type { Credentials } from '../proto/sigv4.ts'
import { type JoinedIdentity, lockJoined, mendCaFile, readJoined, writeJoined } from './joined-identity.ts'
import type { Log } from './log.ts'

export interface HostKeyring {
  joined(): JoinedIdentity
  current(): Credentials
  /**
   * The controller does not take the pair that a call was signed with. `again`: there is another one to sign with.
   * `refused`: there is none.
   */
  refused(accessKeyId: string): 'again' | 'refused'
  /** The controller took a call that was signed with this pair. */
  accepted(accessKeyId: string): void
  /** No pair is taken, for now: a pair whose time is over may still ask for another one. */
  isRefused(): boolean
  /** Not even that was granted; `why` is what the controller said. */
  revoked(why: string): void
  /** The host is out: whoever would ask again waits for long. */
  isRevoked(): boolean
  /** Durable when it returns, so that a pair is never used that a kill could lose. */
  replace(answer: HostKeysAnswer, now: number): void
  /** False once the host has joined anew under this process: its keys and its controller may be others. */
  isCurrent(): boolean
}

/** How long a host whose keys are refused waits before it asks again, and how far hosts spread. */
export const revokedWaitMs = 10 * 60_000

export interface HostKeyringOptions {
  readonly directory: string
  readonly joined: JoinedIdentity
  readonly log: Pick<Log, 'info' | 'warn' | 'error'>
  /** Where the identity is written; a test has other places. */
  readonly write?: ((directory: string, joined: JoinedIdentity) => void) | undefined
}

export function openHostKeyring(options: HostKeyringOptions): HostKeyring {
  return new Keyring(options)
}

class Keyring implements HostKeyring {
  readonly #options: HostKeyringOptions
  #joined: JoinedIdentity
  #isRefused = false
  #isRevoked = false
  /** The pair before is in use: the controller, restored from a backup, knows no newer one. */
  #usesFormer = false

  constructor(options: HostKeyringOptions) {
    this.#options = options
    this.#joined = options.joined
  }

  joined(): JoinedIdentity {
    return this.#joined
  }

  current(): Credentials {
    const { keys, formerKeys } = this.#joined
    const { accessKeyId, secretAccessKey } = this.#usesFormer ? (formerKeys ?? keys) : keys
    return { accessKeyId, secretAccessKey }
  }

  refused(accessKeyId: string): 'again' | 'refused' {
    // It was signed before the pair changed, and arrived after the newer one was used.
    if (accessKeyId !== this.current().accessKeyId) return 'again'
    this.#usesFormer = !this.#usesFormer && this.#joined.formerKeys !== undefined
    if (this.#usesFormer) return 'again'
    this.#isRefused = true
    return 'refused'
  }

  accepted(accessKeyId: string): void {
    if (accessKeyId !== this.current().accessKeyId) return
    this.#isRefused = false
    if (!this.#isRevoked) return
    this.#isRevoked = false
    this.#options.log.info({ hostId: this.#joined.hostId }, 'The controller takes the keys of this host again.')
  }

  isRefused(): boolean {
    return this.#isRefused
  }

  revoked(why: string): void {
    if (!this.#isRevoked) {
      this.#options.log.error(
        { hostId: this.#joined.hostId, why },
        'The controller does not take the keys of this host: it was revoked there, or the controller lost what it knew. ' +
          'Containers go on as they are. The host asks again in ten minutes, and after that. To bring it back: a new line ' +
          'from the controller (`npx gantry join-token --instance ID`, with the id that `npx gantry hosts` shows there), ' +
          'here with --replace.',
      )
    }
    this.#isRevoked = true
  }

  isRevoked(): boolean {
    return this.#isRevoked
  }

  replace(answer: HostKeysAnswer, now: number): void {
    const { directory, write = writeJoined } = this.#options
    const before = this.#joined
    if (answer.hostId !== before.hostId) {
      throw new Error(
        `The controller answered with keys of the host ${answer.hostId}, and this one is ${before.hostId}.`,
      )
    }
    const { accessKeyId, secretAccessKey } = answer
    const joined: JoinedIdentity = {
      ...before,
      keys: { accessKeyId, secretAccessKey, createdAt: now },
      formerKeys: this.#usesFormer ? before.formerKeys : before.keys,
      caPem: withChangedCa(before.caPem, answer.caPem),
    }
    const lock = lockJoined(directory)
    try {
      if (!this.isCurrent()) throw new Error('This host has joined anew meanwhile; its new keys are left as they are.')
      write(directory, joined)
    } finally {
      lock.release()
    }
    this.#joined = joined
    this.#usesFormer = false
    this.#isRefused = false
    if (joined.caPem !== before.caPem) this.#mendCaFile()
  }

  /** Other programs read that file; the keys are whole without it. */
  #mendCaFile(): void {
    const { directory, log } = this.#options
    try {
      mendCaFile(directory, this.#joined)
    } catch (error) {
      log.warn({ err: error }, `The controller's CA has changed, and ca.pem in ${directory} could not be written.`)
    }
  }

  isCurrent(): boolean {
    const { directory } = this.#options
    const now = readJoined(directory)
    return now?.hostId === this.#joined.hostId && now.keys.accessKeyId === this.#joined.keys.accessKeyId
  }
}

/** By word of the controller that the host trusts. The CA of before is kept beside it, until the change after this. */
function withChangedCa(before: string | undefined, told: string | undefined): string | undefined {
  if (before === undefined || told === undefined || before.includes(told.trim())) return before
  const [newest = ''] = before.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/) ?? []
  return `${told.trim()}\n${newest}`
}
