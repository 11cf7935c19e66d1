/**
 * Reads one container's log from a position on, for as long as the container runs: each event once, in order.
 *
 * Two ways of reading are combined, for Docker's own `follow` skips or repeats lines when its files rotate faster than
 * they are read (measured on 20.10: of 500,000 lines written in a burst, 348,261 came). Live, the log is followed, and
 * left at once when much comes or the receiver has no room. It is then read without `follow`, which holds every file that
 * was there when it began and may take its time, until little is left; then it is followed again. Each reading starts
 * before the position and skips to it, so that none of these changes can lose or repeat a line; and where the position is
 * gone from Docker's files, that is told.
 */
import type { LogPosition } from '../proto/logs.ts'
import { EventAssembler, orderSlackMs, PositionFinder, positionOf } from './decide/log-lines.ts'
import type { LogLine, LogMessage } from './decide/log-lines.ts'
import { EngineError } from './engine.ts'
import type { EngineStreams } from './engine-streams.ts'
import { readLogMessages } from './log-messages.ts'
import type { Timers } from './timers.ts'

export interface LogReaderOptions {
  readonly engine: Pick<EngineStreams, 'openLogs'>
  readonly dockerId: string
  readonly starts: ((line: string) => boolean) | undefined
  readonly position: LogPosition | undefined
  readonly now: () => number
  readonly timers: Timers
  /** Takes an event. False: no more for now; `resume` says when. */
  readonly onLine: (line: LogLine) => boolean
  /** Docker has dropped lines between these times, before they were read. */
  readonly onLost: (from: string, to: string) => void
  /** All was read and the container does not run; `wake` starts again. */
  readonly onSettled: () => void
  /** Its log can't be read any more: the container is gone. */
  readonly onGone: (error: EngineError) => void
  /** It can't be read just now, and is tried again. */
  readonly onTrouble: (error: EngineError) => void
}

export interface LogReader {
  resume(): void
  /** The container may run again. */
  wake(): void
  close(): void
}

/** Through a followed stream in one second; beyond it the files may rotate faster than Docker follows them. */
const liveBytesPerSecondMax = 1024 * 1024
/** Lines before the end of the log among which a live reading looks for its position. */
const liveTailLines = 1000
/** A live reading that has not come to its position by then is not going to. */
const liveFindMs = 2000
/** A reading that brought more than this is followed by another one, not by a live one. */
const caughtUpBytes = 512 * 1024
const retryMinMs = 500
/** A reading that ended within this time and brought nothing is not repeated at once. */
const briefMs = 250
const retryMaxMs = 30_000

/** How a reading ended. */
type Ending = 'end' | 'flood' | 'lost' | 'closed'

export function startLogReader(options: LogReaderOptions): LogReader {
  const reader = new Reader(options)
  void reader.run()
  return reader
}

class Reader implements LogReader {
  readonly #options: LogReaderOptions
  #position: LogPosition | undefined
  #closed = false
  #lines = 0
  #hasRoom = true
  #abort: ((ending: Ending) => void) | undefined
  #onRoom: (() => void) | undefined
  #onWake: (() => void) | undefined
  #woken = false

  constructor(options: LogReaderOptions) {
    this.#options = options
    this.#position = options.position
  }

  resume(): void {
    this.#hasRoom = true
    this.#onRoom?.()
  }

  wake(): void {
    this.#woken = true
    this.#onWake?.()
  }

  close(): void {
    this.#closed = true
    this.#abort?.('closed')
    this.#onRoom?.()
    this.#onWake?.()
  }

  async run(): Promise<void> {
    let live = true
    let retryMs = retryMinMs
    while (!this.#closed) {
      try {
        this.#woken = false
        const begun = { at: this.#options.now(), lines: this.#lines }
        const pass = await this.#read(live)
        retryMs = retryMinMs
        if (pass.ending === 'closed') return
        await this.#room()
        if (live) {
          // Of a container that had ended before, a tail that holds the position is all there is.
          if (pass.ending === 'end' && !pass.wasRunning) {
            await this.#settle()
            continue
          }
          live = false
        } else if (pass.bytes <= caughtUpBytes) live = true
        // A container that is just ending may have no more to follow, and still count as running for a moment.
        const wasBrief = this.#options.now() - begun.at < briefMs && this.#lines === begun.lines
        if (wasBrief) await this.#pause(retryMinMs)
      } catch (error) {
        const failure = asEngineError(error)
        if (this.#closed) return
        if (failure.kind === 'notFound') {
          this.#options.onGone(failure)
          return
        }
        this.#options.onTrouble(failure)
        // A log that the engine does not give is not asked for as often as an engine that is away.
        await this.#pause(failure.retryable ? retryMs : retryMaxMs)
        retryMs = Math.min(retryMs * 2, retryMaxMs)
      }
    }
  }

  /** One reading, from the position to its end. */
  async #read(live: boolean): Promise<Pass> {
    const { engine, dockerId, now } = this.#options
    const position = this.#position
    const since = live || position === undefined ? undefined : Date.parse(position.time) - 2 * orderSlackMs
    const opened = await engine.openLogs(dockerId, {
      follow: live,
      ...(live && position !== undefined && { tail: liveTailLines }),
      // After a clock was set back, what comes next is older than the position.
      ...(since !== undefined && since < now() && { since }),
    })
    const pass = new Pass(opened.running, new EventAssembler(this.#options.starts), position)
    if (this.#closed) {
      opened.stream.destroy()
      return pass
    }
    const messages = readLogMessages(opened.tty)
    const cancelTick = this.#tick(pass, live)
    try {
      pass.ending = await new Promise<Ending>((resolve) => {
        this.#abort = resolve
        this.#onRoom = () => opened.stream.resume()
        opened.stream.on('data', (chunk: Buffer) => {
          if (pass.isOver) return
          pass.bytes += chunk.length
          for (const message of messages.read(chunk)) this.#take(message, pass, live)
          if (live && (!this.#hasRoom || pass.isTooFast(chunk.length, now()))) this.#stop(pass, 'flood')
          else if (!this.#hasRoom) opened.stream.pause()
        })
        opened.stream.on('end', () => resolve('end'))
        // Docker has gone away in the middle; whatever was read stands, and the next reading goes on from there.
        for (const event of ['error', 'close', 'aborted'] as const) opened.stream.on(event, () => resolve('flood'))
      })
    } finally {
      pass.isOver = true
      this.#abort = undefined
      this.#onRoom = undefined
      cancelTick()
      opened.stream.on('error', () => undefined)
      opened.stream.destroy()
    }
    if (pass.ending === 'end') this.#finish(pass, live)
    return pass
  }

  #take(message: LogMessage, pass: Pass, live: boolean): void {
    if (pass.isOver) return
    const found = pass.finder?.take(message) ?? { messages: [message], lost: false }
    if (found.lost && live) {
      this.#stop(pass, 'lost')
      return
    }
    if (found.lost) this.#tellLost(found.messages)
    for (const one of found.messages) this.#emit(pass.assembler.take(one, this.#options.now()))
  }

  /** The end of a log that was read whole. */
  #finish(pass: Pass, live: boolean): void {
    if (pass.finder?.isFound === false) {
      if (live) {
        pass.ending = 'lost'
        return
      }
      const rest = pass.finder.giveUp()
      if (rest.length > 0) this.#tellLost(rest)
      for (const one of rest) this.#emit(pass.assembler.take(one, this.#options.now()))
    }
    // A running container may go on with the very event: it is read again, from the position before it.
    if (!pass.wasRunning) this.#emit(pass.assembler.flush())
  }

  #emit(lines: readonly LogLine[]): void {
    for (const line of lines) {
      this.#position = positionOf(line.last)
      this.#lines += 1
      this.#hasRoom = this.#options.onLine(line)
    }
  }

  #tellLost(after: readonly LogMessage[]): void {
    this.#options.onLost(this.#position?.time ?? '', after[0]?.time ?? '')
  }

  #stop(pass: Pass, ending: Ending): void {
    pass.isOver = true
    this.#abort?.(ending)
  }

  /** Looks once a second for what is overdue. */
  #tick(pass: Pass, live: boolean): () => void {
    const { timers, now } = this.#options
    const startedAt = now()
    let cancel: (() => void) | undefined
    const arm = (): void => {
      cancel = timers.after(1000, () => {
        if (pass.isOver) return
        if (live) this.#emit(pass.assembler.overdue(now()))
        if (live && pass.finder?.isFound === false && now() - startedAt >= liveFindMs) this.#stop(pass, 'lost')
        else arm()
      })
    }
    arm()
    return () => cancel?.()
  }

  async #room(): Promise<void> {
    if (this.#hasRoom || this.#closed) return
    await new Promise<void>((resolve) => (this.#onRoom = resolve))
    this.#onRoom = undefined
  }

  async #settle(): Promise<void> {
    if (this.#closed || this.#woken) return
    this.#options.onSettled()
    await new Promise<void>((resolve) => (this.#onWake = resolve))
    this.#onWake = undefined
  }

  async #pause(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#options.timers.after(delayMs, resolve)
      this.#onWake = () => {
        cancel()
        resolve()
      }
    })
    this.#onWake = undefined
  }
}

class Pass {
  readonly wasRunning: boolean
  readonly assembler: EventAssembler
  readonly finder: PositionFinder | undefined
  ending: Ending = 'closed'
  isOver = false
  bytes = 0
  #secondFrom = 0
  #secondBytes = 0

  constructor(wasRunning: boolean, assembler: EventAssembler, position: LogPosition | undefined) {
    this.wasRunning = wasRunning
    this.assembler = assembler
    this.finder = position === undefined ? undefined : new PositionFinder(position)
  }

  isTooFast(bytes: number, now: number): boolean {
    if (now - this.#secondFrom >= 1000) {
      this.#secondFrom = now
      this.#secondBytes = 0
    }
    this.#secondBytes += bytes
    return this.#secondBytes > liveBytesPerSecondMax
  }
}

function asEngineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error
  return new EngineError('refused', error instanceof Error ? error.message : String(error), { cause: error })
}
