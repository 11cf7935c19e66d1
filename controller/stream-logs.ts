/** A container's log from its host, asked for on demand: events as they come, within the window of credit. */
import { parseFrame } from '../proto/acs.ts'
import { readLogEvents } from '../proto/logs.ts'
import type { LogEvent } from '../proto/logs.ts'
import { streamKinds } from '../proto/streams.ts'
import type { LogsRequest } from '../proto/streams.ts'
import { Bell } from './bell.ts'
import type { StreamSocket } from './stream-socket.ts'
import type { Streams } from './streams.ts'

export interface HostLogs {
  readonly instanceId: string
  readonly taskArn: string
  readonly container: string
  readonly request: LogsRequest
}

/**
 * Rejects with a sentence where the host has no such log. Each item is what came together; it ends when the log does, or
 * with the signal, and throws where the host is cut off.
 */
export async function openHostLogs(
  streams: Streams,
  { instanceId, taskArn, container, request }: HostLogs,
  signal: AbortSignal,
): Promise<AsyncGenerator<readonly LogEvent[], void, undefined>> {
  const log = new HostLog()
  const socket = await streams.request(
    instanceId,
    { taskArn, container, logs: request },
    {
      onText: (text) => log.hear(text),
      onData: (bytes) => log.take(bytes),
      onClosed: () => log.end("The connection to the container's host was lost. Ask again."),
    },
  )
  signal.addEventListener('abort', () => log.end(), { once: true })
  if (signal.aborted) log.end()
  try {
    await log.opened()
  } catch (error) {
    socket.close()
    throw error
  }
  return takeLines(log, socket)
}

/** What has come of a log. */
class HostLog {
  readonly #chunks: Buffer[] = []
  readonly #bell = new Bell()
  #isOpen = false
  #over: { readonly problem: string | undefined } | undefined

  hear(text: string): void {
    const frame = parseFrame(text)
    if (frame?.type === 'Started') this.#isOpen = true
    if (frame?.type === 'End') this.end()
    if (frame?.type === 'Failure') this.end(String(frame.message['reason']))
    this.#bell.ring()
  }

  take(bytes: Buffer): void {
    if (bytes[0] !== streamKinds.log) return
    this.#chunks.push(bytes.subarray(1))
    this.#bell.ring()
  }

  end(problem?: string): void {
    this.#over ??= { problem }
    this.#bell.ring()
  }

  async opened(): Promise<void> {
    while (!this.#isOpen && !this.#isOver()) await this.#bell.wait()
  }

  /** The next chunk; undefined at the end. Throws where the end is a failure. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined || this.#isOver()) return chunk
      await this.#bell.wait()
    }
  }

  #isOver(): boolean {
    if (this.#over?.problem !== undefined) throw new Error(this.#over.problem)
    return this.#over !== undefined
  }
}

/** Credit is given once a chunk's lines are taken. */
async function* takeLines(log: HostLog, socket: StreamSocket): AsyncGenerator<readonly LogEvent[], void, undefined> {
  let rest: Buffer = Buffer.alloc(0)
  try {
    for (;;) {
      const chunk = await log.next()
      if (chunk === undefined) return
      const bytes = Buffer.concat([rest, chunk])
      const end = bytes.lastIndexOf(0x0a) + 1
      rest = bytes.subarray(end)
      const events = readLogEvents(bytes.toString('utf8', 0, end))
      if (events.length > 0) yield events
      socket.control({ type: 'Credit', message: { bytes: chunk.length } })
    }
  } finally {
    socket.close()
  }
}
