/**
 * One container's output on its way to the controller: events are numbered and cut into batches, a few of which may be
 * unacknowledged. There is no other buffer: what has no room waits in Docker's own log file, and after a lost connection
 * or a restart the controller says where to go on.
 */
import { writeLogBatch, writeLogEvent, logBatchBytes, logBatchesInFlightMax } from '../proto/logs.ts'
import type { GantryLogStreamReady, LogBatchHeader } from '../proto/logs.ts'
import { positionOf } from './decide/log-lines.ts'
import type { LogLine, LogMessage } from './decide/log-lines.ts'
import type { EngineError } from './engine.ts'
import type { EngineStreams } from './engine-streams.ts'
import type { Log } from './log.ts'
import { startLogReader } from './log-reader.ts'
import type { LogReader } from './log-reader.ts'
import type { Timers } from './timers.ts'

export interface LogStreamOptions {
  readonly stream: number
  readonly dockerId: string
  readonly starts: ((line: string) => boolean) | undefined
  readonly engine: Pick<EngineStreams, 'openLogs'>
  readonly now: () => number
  readonly timers: Timers
  readonly log: Log
  readonly inFlight: InFlight
  readonly send: (bytes: Uint8Array) => void
  /** Everything was read and acknowledged, and the container does not run, or is gone. */
  readonly onDone: () => void
}

/** What all streams of the agent have on their way. */
export interface InFlight {
  bytes: number
  /** Streams that wait until it is less. */
  readonly waiting: Set<LogStream>
}

/** Of all streams together; each may have one batch on its way beyond it. */
const inFlightBytesMax = 4 * 1024 * 1024
/** What is not a whole batch goes out after this. */
const lingerMs = 100

export class LogStream {
  readonly #options: LogStreamOptions
  #reader: LogReader | undefined
  #sequence = 0
  #events: string[] = []
  #bytes = 0
  #firstTime = 0
  #lastTime = 0
  #last: LogMessage | undefined
  readonly #sent: { readonly through: number; readonly bytes: number }[] = []
  #blocked = false
  #settled = false
  #said: string | undefined
  #cancelLinger: (() => void) | undefined

  constructor(options: LogStreamOptions) {
    this.#options = options
  }

  /** The controller has said where the stream goes on. */
  ready({ sequence, position }: GantryLogStreamReady): void {
    if (this.#reader !== undefined) return
    const { engine, dockerId, starts, now, timers, log } = this.#options
    this.#sequence = sequence
    this.#reader = startLogReader({
      engine,
      dockerId,
      starts,
      position,
      now,
      timers,
      onLine: (line) => this.#take(line),
      onLost: (from, to) => this.#tellLost(from, to),
      onSettled: () => this.#settle(),
      onGone: (error) => {
        log.debug({ container: dockerId, err: error }, "a container's log can't be read any more")
        this.#settle()
      },
      onTrouble: (error) => this.#say(error),
    })
  }

  /** The container may run again. */
  wake(): void {
    this.#settled = false
    this.#reader?.wake()
  }

  acknowledged(sequence: number): void {
    for (let first = this.#sent[0]; first !== undefined && first.through <= sequence; first = this.#sent[0]) {
      this.#sent.shift()
      this.#options.inFlight.bytes -= first.bytes
    }
    this.#flush()
    if (this.#settled) this.#settle()
    const { inFlight } = this.#options
    if (inFlight.bytes >= inFlightBytesMax) return
    for (const waiting of [...inFlight.waiting].slice(0, 4)) {
      inFlight.waiting.delete(waiting)
      waiting.#flush()
    }
  }

  close(): void {
    this.#reader?.close()
    this.#cancelLinger?.()
    this.#options.inFlight.waiting.delete(this)
    for (const { bytes } of this.#sent.splice(0)) this.#options.inFlight.bytes -= bytes
  }

  #take(line: LogLine): boolean {
    this.#add(line.time, line.text, line.last, line.isJoined)
    return !this.#blocked
  }

  /** A batch is stored whole, so what is joined goes into one. */
  #add(time: number, text: string, last: LogMessage, isJoined = false): void {
    const event = writeLogEvent(time, text)
    if (this.#events.length === 0) this.#firstTime = time
    this.#lastTime = time
    this.#last = last
    this.#events.push(event)
    this.#bytes += event.length
    if (isJoined) return
    if (this.#bytes >= logBatchBytes) this.#flush()
    else this.#cancelLinger ??= this.#options.timers.after(lingerMs, () => this.#flush())
    if (this.#bytes >= logBatchBytes) this.#blocked = true
  }

  #tellLost(from: string, to: string): void {
    const { log, dockerId, now } = this.#options
    log.warn({ container: dockerId, from, to }, 'output of a container was lost: Docker dropped it before it was read')
    const text =
      `[gantry] Output between ${from} and ${to} is lost: the container wrote more than Docker keeps for it ` +
      'before it could be shipped.'
    const time = Date.parse(to)
    // It stands where the loss is; its place in Docker's log is that of the line before, which is where it is found.
    const last = this.#last ?? { time: from, text: '', isWhole: true, source: 1 }
    this.#add(Number.isNaN(time) ? now() : time, text, last)
  }

  #flush(): void {
    this.#cancelLinger?.()
    this.#cancelLinger = undefined
    const last = this.#last
    if (this.#events.length === 0 || last === undefined) return
    const { stream, inFlight, send } = this.#options
    if (this.#sent.length >= logBatchesInFlightMax) return
    if (this.#sent.length > 0 && inFlight.bytes >= inFlightBytesMax) {
      inFlight.waiting.add(this)
      return
    }
    const header: LogBatchHeader = {
      stream,
      sequence: this.#sequence,
      count: this.#events.length,
      firstTime: this.#firstTime,
      lastTime: this.#lastTime,
      position: positionOf(last),
    }
    const bytes = writeLogBatch(header, this.#events)
    this.#sequence += this.#events.length
    this.#sent.push({ through: this.#sequence, bytes: bytes.length })
    inFlight.bytes += bytes.length
    this.#events = []
    this.#bytes = 0
    send(bytes)
    if (this.#blocked) {
      this.#blocked = false
      this.#reader?.resume()
    }
  }

  /** Once for each trouble: it may last, and an engine that is away is told of elsewhere. */
  #say(error: EngineError): void {
    const { log, dockerId } = this.#options
    if (!error.retryable && error.message !== this.#said)
      log.warn({ container: dockerId, err: error }, "a container's log can't be read; it is tried again now and then")
    this.#said = error.message
  }

  #settle(): void {
    this.#settled = true
    this.#flush()
    if (this.#sent.length === 0 && this.#events.length === 0) this.#options.onDone()
  }
}
