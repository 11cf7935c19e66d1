/**
 * The log channel: an agent ships the output of `awslogs` containers to its controller. One WebSocket for each agent,
 * signed like the control channel. A stream is one container's output in one log stream; its events are numbered from 0
 * without a gap, and a batch is acknowledged once it is on the controller's disk.
 *
 * Control messages are text frames (`parseFrame`). A batch is a binary frame: a header in JSON, a line break, then the
 * events, one JSON array `[epoch milliseconds, text]` per line. So the controller stores a batch without reading it.
 */

export const logChannelPath = '/gantry/logs/ws'

/** A batch goes out at this size, bytes of events, or when nothing more has come for a moment. */
export const logBatchBytes = 64 * 1024
/** One event, bytes of text; longer lines become several events. CloudWatch Logs takes 256 KiB with its overhead. */
export const logEventBytesMax = 256 * 1024 - 26
/** What the controller refuses. A batch may exceed `logBatchBytes` by one event, and JSON escapes may swell it. */
export const logFrameBytesMax = 4 * 1024 * 1024
/** Batches of one stream that may be on their way; more wait in Docker's own log file. */
export const logBatchesInFlightMax = 4

/** Where in Docker's log a stream has come to: the last message of the last event. Opaque to the controller. */
export interface LogPosition {
  /** Docker's time of that message, RFC 3339 with nanoseconds. */
  readonly time: string
  /** Of its text. */
  readonly hash: string
}

// ---- agent -> controller -------------------------------------------------------------------------------------------

export interface GantryLogStreamOpen {
  /** The agent's own number for this stream, on this connection. */
  readonly stream: number
  readonly taskArn: string
  readonly container: string
  readonly dockerId: string
  /** `awslogs-group`. */
  readonly logGroup: string
  /** ECS's rule: `<awslogs-stream-prefix>/<container>/<task id>`, or the container's id without a prefix. */
  readonly logStream: string
}

export interface LogBatchHeader {
  readonly stream: number
  /** Of the first event; the following ones count on. */
  readonly sequence: number
  readonly count: number
  /** Epoch milliseconds. */
  readonly firstTime: number
  readonly lastTime: number
  /** After the last event. */
  readonly position: LogPosition
}

// ---- controller -> agent -------------------------------------------------------------------------------------------

/** Answer to an open: the stream goes on with this number, after this position; none for a stream that is new here. */
export interface GantryLogStreamReady {
  readonly stream: number
  readonly sequence: number
  readonly position?: LogPosition | undefined
}

/** The stream is not taken, for good. */
export interface GantryLogStreamRefusal {
  readonly stream: number
  readonly reason: string
}

/** All events below this number are on disk. */
export interface GantryLogAck {
  readonly stream: number
  readonly sequence: number
}

/** Writes a batch; each event is a line as `writeLogEvent` gives it. */
export function writeLogBatch(header: LogBatchHeader, events: readonly string[]): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(header)}\n${events.join('\n')}`)
}

export function writeLogEvent(timeMs: number, text: string): string {
  return JSON.stringify([timeMs, text])
}

/** Undefined where the bytes are no batch. The events are left as they are. */
export function readLogBatch(bytes: Uint8Array): { header: LogBatchHeader; body: Uint8Array } | undefined {
  const at = bytes.indexOf(0x0a)
  if (at < 0) return undefined
  try {
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, at))) as LogBatchHeader
    return isHeader(header) ? { header, body: bytes.subarray(at + 1) } : undefined
  } catch {
    return undefined
  }
}

export interface LogEvent {
  /** Epoch milliseconds. */
  readonly time: number
  readonly text: string
}

/** The latest that a Date can hold. */
const timeMax = 8.64e15

/** The events of a batch's body; lines that are none, or have no time that is one, are left out. */
export function readLogEvents(body: string): LogEvent[] {
  return body.split('\n').flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line)
      if (!Array.isArray(value)) return []
      const [time, text] = value as readonly unknown[]
      const isEvent = typeof time === 'number' && Math.abs(time) <= timeMax && typeof text === 'string'
      return isEvent ? [{ time, text }] : []
    } catch {
      return []
    }
  })
}

/** Checked, since it steers what is stored; a position is the agent's own affair but for its size. */
function isHeader(value: unknown): value is LogBatchHeader {
  if (typeof value !== 'object' || value === null) return false
  const { stream, sequence, count, firstTime, lastTime, position } = value as Partial<LogBatchHeader>
  const numbers = [stream, sequence, count, firstTime, lastTime]
  if (!numbers.every((number) => Number.isSafeInteger(number) && (number ?? -1) >= 0)) return false
  return (
    typeof position?.time === 'string' &&
    position.time.length <= 64 &&
    typeof position.hash === 'string' &&
    position.hash.length <= 64
  )
}
