/** A stream that reads a container's log: events as lines of JSON, for as long as they are wanted. */
import { writeLogEvent } from '../proto/logs.ts'
import { streamKinds } from '../proto/streams.ts'
import type { LogsRequest } from '../proto/streams.ts'
import { EventAssembler } from './decide/log-lines.ts'
import type { LogLine } from './decide/log-lines.ts'
import { EngineError } from './engine.ts'
import type { OpenLogs } from './engine-streams.ts'
import { readLogMessages } from './log-messages.ts'
import type { SessionStart, StreamSession } from './streams.ts'

export function followSession({ engine, dockerId, socket, now }: SessionStart, request: LogsRequest): StreamSession {
  let opened: OpenLogs | undefined
  let closed = false
  const send = (lines: readonly LogLine[]): void => {
    if (lines.length === 0) return
    const text = lines.map((line) => `${writeLogEvent(line.time, line.text)}\n`).join('')
    socket().data(streamKinds.log, Buffer.from(text))
  }
  const read = async (): Promise<void> => {
    opened = await engine.openLogs(dockerId, request)
    const { stream, tty } = opened
    if (closed) {
      stream.destroy()
      return
    }
    socket().control({ type: 'Started', message: {} })
    const messages = readLogMessages(tty)
    const assembler = new EventAssembler(undefined)
    stream.on('data', (chunk: Buffer) => {
      send(messages.read(chunk).flatMap((message) => assembler.take(message, now())))
      if (!socket().hasRoom) stream.pause()
    })
    stream.on('end', () => {
      send(assembler.flush())
      socket().end({ type: 'End', message: {} })
    })
    for (const event of ['error', 'aborted'] as const) {
      stream.on(event, () => fail('Docker Engine went away while the log was read. Try again.'))
    }
  }
  const fail = (reason: string): void => {
    if (!closed) socket().end({ type: 'Failure', message: { reason } })
  }
  return {
    onOpen() {
      read().catch((error: unknown) => fail(reasonOf(error)))
    },
    onControl: () => undefined,
    onStdin: (_bytes, taken) => taken(),
    onRoom: () => void opened?.stream.resume(),
    async close() {
      closed = true
      opened?.stream.destroy()
    },
  }
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof EngineError && /does not support reading/.test(message)) {
    return "The container's log driver sends the output elsewhere and can not give it back: look where it sends it."
  }
  return message
}
