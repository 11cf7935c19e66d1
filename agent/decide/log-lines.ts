/**
 * From Docker's messages to the events of a log stream: parts are joined to lines, lines to events of several lines where
 * the options ask for it; and the place in Docker's log where a stream goes on is found again.
 */
import { logEventBytesMax } from '../../proto/logs.ts'
import type { LogPosition } from '../../proto/logs.ts'

export interface LogMessage {
  /** RFC 3339 with nanoseconds, by Docker's clock. */
  readonly time: string
  readonly text: string
  /** False for a part of a line that goes on in the next message of its source. */
  readonly isWhole: boolean
  /** 1 is stdout, 2 stderr. */
  readonly source: number
}

export interface LogLine {
  /** Epoch milliseconds, of its first message. */
  readonly time: number
  readonly text: string
  /** The message up to which Docker's log is done with it. */
  readonly last: LogMessage
  /** True where the next line has to be stored with it: their messages are interleaved in Docker's log. */
  readonly isJoined?: boolean | undefined
}

/** An event is whole once the next one starts; one that nothing follows is taken as whole after this. Docker's own figure. */
export const eventAgeMaxMs = 5000
/** Three bytes of UTF-8 for each character at most, so that no counting is needed. */
const eventCharactersMax = Math.floor(logEventBytesMax / 3)
/** Lines that wait for the end of a line of the other source. */
const heldLinesMax = 1000

/**
 * Joins messages to events, in their order. What the other source says between two parts of a line comes after that line,
 * and is joined to it. (With events of several lines the line ends there instead.) So an event's last message is never
 * behind that of an event before it.
 */
export class EventAssembler {
  readonly #starts: ((line: string) => boolean) | undefined
  #texts: string[] = []
  #characters = 0
  #first: LogMessage | undefined
  #last: LogMessage | undefined
  #beganAt = 0
  /** The newest message that was taken. */
  #latest: LogMessage | undefined
  /** Of the other source, while a line is open. */
  #held: LogMessage[] = []
  #heldCharacters = 0

  constructor(starts: ((line: string) => boolean) | undefined) {
    this.#starts = starts
  }

  /** The events that are whole with this message. `now` is epoch milliseconds. */
  take(message: LogMessage, now: number): LogLine[] {
    if (this.#isBetweenParts(message)) return this.#hold(message)
    const lines: LogLine[] = []
    const isPart = this.#last !== undefined && !this.#last.isWhole
    const goesOn = isPart
      ? this.#last?.source === message.source
      : this.#last !== undefined && this.#starts !== undefined && !this.#starts(message.text)
    const isTooLong = this.#characters + message.text.length > eventCharactersMax
    if (!goesOn || isTooLong) lines.push(...this.flush())
    this.#latest = message
    if (this.#first === undefined) this.#beganAt = now
    this.#first ??= message
    this.#last = message
    this.#characters += message.text.length
    if (isPart && goesOn && !isTooLong) this.#texts.push(`${this.#texts.pop() ?? ''}${message.text}`)
    else this.#texts.push(message.text)
    if (this.#starts === undefined && message.isWhole) lines.push(...this.flush())
    return lines
  }

  /** What has waited too long for its next line. */
  overdue(now: number): LogLine[] {
    return this.#first !== undefined && now - this.#beganAt >= eventAgeMaxMs ? this.flush() : []
  }

  /** What is there of an event, its end being this. */
  flush(): LogLine[] {
    const [first, last] = [this.#first, this.#last]
    if (first === undefined || last === undefined) return []
    const text = this.#texts.join('\n')
    this.#texts = []
    this.#characters = 0
    this.#first = undefined
    this.#last = undefined
    const latest = this.#latest ?? last
    const lines = [{ time: timeOf(first), text }, ...linesOf(this.#held.splice(0))]
    this.#heldCharacters = 0
    return lines.map((line, index) => ({
      ...line,
      last: latest,
      ...(index < lines.length - 1 && { isJoined: true }),
    }))
  }

  #isBetweenParts({ source }: LogMessage): boolean {
    return this.#starts === undefined && this.#last?.isWhole === false && this.#last.source !== source
  }

  #hold(message: LogMessage): LogLine[] {
    this.#latest = message
    this.#held.push(message)
    this.#heldCharacters += message.text.length
    const isFull = this.#held.length >= heldLinesMax || this.#heldCharacters > eventCharactersMax
    return isFull ? this.flush() : []
  }
}

function linesOf(messages: readonly LogMessage[]): { readonly time: number; readonly text: string }[] {
  const lines: { time: number; text: string }[] = []
  let isOpen = false
  for (const message of messages) {
    const open = isOpen ? lines.at(-1) : undefined
    if (open === undefined) lines.push({ time: timeOf(message), text: message.text })
    else open.text += message.text
    isOpen = !message.isWhole
  }
  return lines
}

function timeOf({ time }: LogMessage): number {
  const epochMs = Date.parse(time)
  return Number.isNaN(epochMs) ? 0 : Math.max(0, epochMs)
}

/** How far apart the times of neighbours may be out of order: two sources are written by two threads. */
export const orderSlackMs = 1000
/** Messages that are kept while the position has not been found. */
const heldMax = 20_000

/**
 * Finds in a log the message at which a stream has come to. Times alone do not say: messages may share one, and those of
 * two sources are not strictly in order.
 */
export class PositionFinder {
  readonly #position: LogPosition
  readonly #positionMs: number
  #held: LogMessage[] = []
  #isFound = false

  constructor(position: LogPosition) {
    this.#position = position
    this.#positionMs = Date.parse(position.time)
  }

  get isFound(): boolean {
    return this.#isFound
  }

  /** `lost`: the message is not in this log any more, and what is known to come after it is `messages`. */
  take(message: LogMessage): { readonly messages: readonly LogMessage[]; readonly lost: boolean } {
    if (this.#isFound) return { messages: [message], lost: false }
    if (message.time === this.#position.time && hashOf(message.text) === this.#position.hash) {
      this.#isFound = true
      this.#held = []
      return { messages: [], lost: false }
    }
    if (message.time > this.#position.time) this.#held.push(message)
    const isBeyond = Date.parse(message.time) - this.#positionMs > orderSlackMs || this.#held.length > heldMax
    return isBeyond ? { messages: this.giveUp(), lost: true } : { messages: [], lost: false }
  }

  /** The log has ended, or is quiet, without it. */
  giveUp(): readonly LogMessage[] {
    this.#isFound = true
    return this.#held.splice(0)
  }
}

export function positionOf(message: LogMessage): LogPosition {
  return { time: message.time, hash: hashOf(message.text) }
}

/** FNV-1a over UTF-16, with the length: tells neighbours of the same nanosecond apart, and costs next to nothing. */
function hashOf(text: string): string {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return `${(hash >>> 0).toString(16)}-${text.length}`
}

/** Source: ECS developer guide, "awslogs-stream-prefix": prefix-name/container-name/ecs-task-id. */
export function logStreamName(
  prefix: string | undefined,
  { container, taskId, dockerId }: { readonly container: string; readonly taskId: string; readonly dockerId: string },
): string {
  return prefix === undefined || prefix === '' ? dockerId : `${prefix}/${container}/${taskId}`
}
