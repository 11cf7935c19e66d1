/**
 * The heart: inputs in, pure handlers and deciders write rows into a transaction, the store commits it, and only then
 * callers are answered and agents are told. docs/turn.md has the picture.
 */
import { ApiError, isApiError } from '../proto/errors.ts'
import type { Clock, World } from '../proto/world.ts'
import type { Decider, KeyedDecider } from './decide/decider.ts'
import {
  countOf,
  decideUntilQuiet,
  markDirty,
  nothingUndecided,
  putBack,
  type TurnLog,
  type Undecided,
} from './turn-deciders.ts'
import { loggedCharacters } from './state/store-patches.ts'
import { createState, type Overlay, type State } from './state/state.ts'
import { type Store, StoreWriteError, writesOf } from './state/store.ts'
import type { Change, Reader, Transaction } from './state/transaction.ts'

export type { Decider } from './decide/decider.ts'
export type { TurnLog } from './turn-deciders.ts'

/** One thing that happened: an API call, an agent's message, a due timer. `run` is pure. */
export interface TurnInput<T> {
  /** For the log and for metrics: `RunTask`, `agentConnected`, `retention`. */
  readonly name: string
  run(tx: Transaction, now: number, world: World): T
}

export interface Turn {
  /**
   * Resolves with what `run` returned, after its writes are committed and synced to disk. Rejects with the ApiError that
   * `run` threw, or with a ServerException where the commit failed or the controller is read-only.
   */
  submit<T>(input: TurnInput<T>): Promise<T>
  /** Committed state, for reads. */
  readonly reader: Reader
  /**
   * A transaction over the committed state that nothing commits, to see what would happen: to be used at once, without
   * waiting for anything, and dropped.
   */
  draft(): Transaction
  /** Called after each commit, with what it changed, before the next turn starts. */
  onCommit(listener: (changes: readonly Change[], revision: number) => void): void
  /** `readOnly` says why, while commits fail. `queued` inputs wait for their turn. */
  status(): {
    readonly revision: number
    readonly readOnly: string | undefined
    readonly turns: number
    readonly queued: number
  }
  /** Takes no more inputs, finishes what it has, then closes the store. */
  close(): Promise<void>
}

export interface TurnLimits {
  /** Inputs that may wait. Beyond: ThrottlingException. */
  readonly inboxMax: number
  /** A turn takes no further input once it has written this many rows... */
  readonly rowsMax: number
  /** ...or this many bytes of them. One input is always taken whole. */
  readonly bytesMax: number
  /** Decisions in one turn. What is left over is decided in the next. */
  readonly decisionsMax: number
  /** Once deciders have written this many rows in a turn, what is left of services goes on in the next. */
  readonly decidedRowsMax: number
  /** How long to wait before trying again whether the store takes commits, milliseconds. */
  readonly probeMs: number
}

export interface TurnOptions {
  readonly store: Store
  readonly clock: Clock
  readonly world: World
  readonly log: TurnLog
  readonly deciders: readonly Decider[]
  readonly keyedDeciders?: readonly KeyedDecider[] | undefined
  readonly limits?: Partial<TurnLimits> | undefined
  /** Runs the next turn soon. The default lets all requests that have arrived share one turn, and so one sync. */
  readonly schedule?: ((run: () => void) => void) | undefined
  /** Calls back once, after that many milliseconds; the answer cancels it. By default a timer that holds up no exit. */
  readonly after?: ((delayMs: number, callback: () => void) => () => void) | undefined
  /**
   * Called where it can't be told whether a turn is on disk: the process must end, and start from what the disk has. By
   * default the error is thrown outside of every promise, which ends the process.
   */
  readonly onFatal?: ((error: Error) => void) | undefined
}

const defaultLimits: TurnLimits = {
  inboxMax: 10_000,
  rowsMax: 4000,
  bytesMax: 4 * 1024 * 1024,
  decisionsMax: 200_000,
  decidedRowsMax: 12_000,
  probeMs: 5000,
}

/** Recovers the committed state from `store` and starts to take inputs. Throws what `store.load` throws. */
export async function startTurn(options: TurnOptions): Promise<Turn> {
  const state = createState(options.store.history)
  const { revision, writes } = await options.store.load()
  state.apply(writes.map(({ table, key, row }) => ({ table, key, row, before: undefined })))
  options.log.info({ revision, writes: writes.length }, 'recovered the committed state')
  const turn = new TurnLoop(options, state, revision)
  turn.decideAll()
  return turn
}

interface Waiting {
  readonly input: TurnInput<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

class TurnLoop implements Turn {
  readonly reader: Reader
  readonly #options: TurnOptions
  readonly #limits: TurnLimits
  readonly #state: State
  readonly #inbox: Waiting[] = []
  readonly #listeners: ((changes: readonly Change[], revision: number) => void)[] = []
  readonly #undecided: Undecided = nothingUndecided()
  /** While the rows of a start are being decided: they may take several turns, and that is no fault. */
  #isCatchingUp = false
  #revision: number
  #turns = 0
  #readOnly: string | undefined
  #cancelProbe: () => void = () => undefined
  #probing: Promise<void> | undefined
  #running = false
  #closing = false
  #idle: (() => void)[] = []

  constructor(options: TurnOptions, state: State, revision: number) {
    this.#options = options
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#state = state
    this.#revision = revision
    this.reader = state
  }

  /** Shows every row to the deciders: a decision that was due when the last process died is taken now. */
  decideAll(): void {
    const { deciders, keyedDeciders = [] } = this.#options
    for (const table of new Set([...deciders, ...keyedDeciders].flatMap((decider) => decider.tables))) {
      markDirty(this.#undecided, this.#state.rowsAsChanges(table))
    }
    this.#isCatchingUp = countOf(this.#undecided) > 0
    if (this.#isCatchingUp) this.#wake()
  }

  submit<T>(input: TurnInput<T>): Promise<T> {
    if (this.#closing) return refuse('ServerException', 'The controller is shutting down. Try again once it is back.')
    if (this.#readOnly !== undefined) return refuse('ServerException', this.#readOnly)
    if (this.#inbox.length >= this.#limits.inboxMax) {
      return refuse('ThrottlingException', `Rate exceeded: ${this.#inbox.length} calls are waiting. Try again later.`)
    }
    return new Promise<T>((resolve, reject) => {
      this.#inbox.push({ input, resolve: resolve as (value: unknown) => void, reject })
      this.#wake()
    })
  }

  draft(): Transaction {
    return this.#state.begin()
  }

  onCommit(listener: (changes: readonly Change[], revision: number) => void): void {
    this.#listeners.push(listener)
  }

  status(): ReturnType<Turn['status']> {
    return { revision: this.#revision, readOnly: this.#readOnly, turns: this.#turns, queued: this.#inbox.length }
  }

  async close(): Promise<void> {
    this.#closing = true
    if (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve))
    this.#cancelProbe()
    await this.#probing
    await this.#options.store.close()
  }

  #wake(): void {
    if (this.#running) return
    this.#running = true
    const schedule = this.#options.schedule ?? setImmediate
    schedule(() => {
      void this.#runAndGoOn()
    })
  }

  async #runAndGoOn(): Promise<void> {
    await this.#runTurn()
    this.#running = false
    if (this.#readOnly === undefined && (this.#inbox.length > 0 || countOf(this.#undecided) > 0)) this.#wake()
    else for (const resolve of this.#idle.splice(0)) resolve()
  }

  async #runTurn(): Promise<void> {
    const now = this.#options.clock.now()
    const overlay = this.#state.begin()
    const taken = nothingUndecided()
    const settled = this.#drain(overlay, now)
    const leftOver = this.#decide(overlay, taken, now)
    const changes = overlay.changes()
    const archived = overlay.archivedTasks()
    const audited = overlay.audited()
    this.#turns += 1
    try {
      if (changes.length + archived.length + audited.length > 0) {
        const writes = writesOf(changes)
        this.#revision = await this.#options.store.append({ at: now, writes, archived, audited })
        this.#state.apply(changes)
      }
    } catch (error) {
      putBack(this.#undecided, taken)
      this.#commitFailed(error, settled)
      return
    }
    for (const { answer } of settled) answer()
    if (changes.length === 0) return
    this.#options.log.debug(
      { revision: this.#revision, inputs: settled.length, rows: changes.length, dirty: leftOver },
      'turn committed',
    )
    this.#publish(changes)
  }

  /** Answers what is left undecided. Services that go on in the next turn are no news; rows that don't come to rest are. */
  #decide(overlay: Overlay, taken: Undecided, now: number): number {
    const { world, deciders, keyedDeciders = [], log } = this.#options
    const deciding = { overlay, undecided: this.#undecided, taken, deciders, keyedDeciders, now, world, log }
    const leftOver = decideUntilQuiet(deciding, this.#limits)
    if (this.#undecided.rows.size === 0) this.#isCatchingUp = false
    else if (this.#isCatchingUp) log.info({ leftOver }, 'deciding what was due when the controller ended; going on')
    else log.error({ leftOver }, 'deciders did not come to rest in one turn; going on in the next')
    return leftOver
  }

  /** Runs inputs in the order in which they came, up to the turn's bounds; each either stands whole or leaves nothing. */
  #drain(overlay: Overlay, now: number): readonly Settled[] {
    const settled: Settled[] = []
    let rows = 0
    let bytes = 0
    while (rows < this.#limits.rowsMax && bytes < this.#limits.bytesMax) {
      const waiting = this.#inbox.shift()
      if (waiting === undefined) break
      const inner = overlay.begin()
      const { answer, accepted } = this.#runInput(waiting, inner, now)
      settled.push({ answer, reject: waiting.reject })
      if (!accepted) continue
      const changes = inner.changes()
      overlay.merge(inner)
      markDirty(this.#undecided, changes)
      rows += changes.length
      for (const change of changes) bytes += loggedCharacters(change)
    }
    return settled
  }

  #runInput(waiting: Waiting, inner: Overlay, now: number): { answer: () => void; accepted: boolean } {
    const { input, resolve, reject } = waiting
    try {
      const value = input.run(inner, now, this.#options.world)
      return { answer: () => resolve(value), accepted: true }
    } catch (error) {
      if (isApiError(error)) return { answer: () => reject(error), accepted: false }
      this.#options.log.error({ input: input.name, err: error }, 'an input threw unexpectedly; it alone is refused')
      const refusal = new ApiError('ServerException', `${input.name} failed inside the controller; its log says how.`)
      return { answer: () => reject(refusal), accepted: false }
    }
  }

  #publish(changes: readonly Change[]): void {
    for (const listener of this.#listeners) {
      try {
        listener(changes, this.#revision)
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener to commits threw; the commit stands')
      }
    }
  }

  #commitFailed(error: unknown, settled: readonly Settled[]): void {
    const cause = error instanceof Error ? error : new Error(String(error))
    this.#readOnly = `The controller is read-only: ${cause.message}`
    const refusal = new ApiError('ServerException', this.#readOnly)
    for (const { reject } of settled) reject(refusal)
    // Whoever waits behind the failed turn would only wait for the same answer.
    for (const { reject } of this.#inbox.splice(0)) reject(refusal)
    if (cause instanceof StoreWriteError) {
      this.#options.log.error(
        { err: cause },
        'the commit failed; nothing of it was written, the controller is read-only',
      )
      this.#probeLater()
      return
    }
    this.#options.log.error({ err: cause }, 'it is not known whether a commit is on disk; the controller must restart')
    const onFatal = this.#options.onFatal ?? throwOutside
    onFatal(cause)
  }

  #probeLater(): void {
    if (this.#closing) return
    const after = this.#options.after ?? realAfter
    this.#cancelProbe = after(this.#limits.probeMs, () => {
      this.#probing = this.#tryCommit()
    })
  }

  /** Commits a turn without changes, to learn whether the store takes commits again. */
  async #tryCommit(): Promise<void> {
    try {
      this.#revision = await this.#options.store.append({ at: this.#options.clock.now(), writes: [], archived: [] })
      this.#readOnly = undefined
      this.#options.log.warn({ revision: this.#revision }, 'commits succeed again; the controller takes calls')
      if (countOf(this.#undecided) > 0) this.#wake()
    } catch (error) {
      this.#commitFailed(error, [])
    }
  }
}

interface Settled {
  /** Gives the caller what its input came to: its value, or its refusal. */
  readonly answer: () => void
  readonly reject: (error: Error) => void
}

function refuse<T>(code: 'ServerException' | 'ThrottlingException', message: string): Promise<T> {
  return Promise.reject(new ApiError(code, message))
}

function realAfter(delayMs: number, callback: () => void): () => void {
  const timer = setTimeout(callback, delayMs).unref()
  return () => clearTimeout(timer)
}

function throwOutside(error: Error): void {
  setImmediate(() => {
    throw error
  })
}
