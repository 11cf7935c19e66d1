/**
 * Docker's log stream, with times, as messages. Without a terminal each message is one frame: an eight-byte header (stream,
 * three zeros, length), then `<time> <text>`. With one there are only lines. A line of more than 16 KiB comes in several
 * messages, and only the last has the line break.
 *
 * Source: Docker Engine API, "Attach to a container"; moby, daemon/logger/copier.go and daemon/logs.go.
 */
import type { LogMessage } from './decide/log-lines.ts'

/** What Docker cuts a line into, bytes. */
const partBytes = 16 * 1024
/** `2026-11-21T19:00:00.123456789Z ` */
const timeLength = 30
const lineBreak = 0x0a

export interface LogMessageReader {
  /** The messages that are whole with this chunk. */
  read(chunk: Buffer): LogMessage[]
}

export function readLogMessages(tty: boolean): LogMessageReader {
  return tty ? terminalMessages() : framedMessages()
}

/** Splits a multiplexed stream; the payload is a view that holds until the next call. */
export function splitFrames(onFrame: (stream: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    while (at + 8 <= bytes.length) {
      const end = at + 8 + bytes.readUInt32BE(at + 4)
      if (end > bytes.length) break
      onFrame(bytes.readUInt8(at), bytes.subarray(at + 8, end))
      at = end
    }
    rest = Buffer.from(bytes.subarray(at))
  }
}

function framedMessages(): LogMessageReader {
  let messages: LogMessage[] = []
  const split = splitFrames((source, payload) => {
    const message = messageOf(payload, source)
    if (message !== undefined) messages.push(message)
  })
  return {
    read(chunk) {
      messages = []
      split(chunk)
      return messages
    },
  }
}

function terminalMessages(): LogMessageReader {
  let rest: Buffer = Buffer.alloc(0)
  return {
    read(chunk) {
      const messages: LogMessage[] = []
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      for (;;) {
        const end = endOfMessage(rest)
        if (end === undefined) break
        const message = messageOf(rest.subarray(0, end), 1)
        if (message !== undefined) messages.push(message)
        rest = rest.subarray(end)
      }
      rest = Buffer.from(rest)
      return messages
    },
  }
}

/** A part has no line break: the next message's time follows it directly. */
function endOfMessage(bytes: Buffer): number | undefined {
  const breakAt = bytes.indexOf(lineBreak)
  const partEnd = timeLength + 1 + partBytes
  if (breakAt >= 0 && breakAt <= partEnd) return breakAt + 1
  return bytes.length > partEnd ? partEnd : undefined
}

function messageOf(payload: Buffer, source: number): LogMessage | undefined {
  const space = payload.indexOf(0x20)
  if (space < 20 || space > timeLength + 6) return undefined
  const isWhole = payload[payload.length - 1] === lineBreak
  const end = isWhole ? payload.length - (payload[payload.length - 2] === 0x0d ? 2 : 1) : payload.length
  const time = payload.toString('latin1', 0, space)
  return { time, text: payload.toString('utf8', space + 1, Math.max(space + 1, end)), isWhole, source }
}
