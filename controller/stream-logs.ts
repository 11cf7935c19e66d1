/** A container's log from its host, asked for on demand: events as they come, within the window of credit. */
import { parseFrame } from '../proto/acs.ts'
import { readLogEvents } from '../proto/logs.ts'
import type { LogEvent } from '../proto/logs.ts'
import { streamKinds, streamWindowBytes } from '../proto/streams.ts'
import type { LogsRequest } from '../proto/streams.ts'
import { Bell } from './bell.ts'
import type { StreamSocket } from './stream-socket.ts'
import type { Streams } from './streams.ts'

/** Docker hands out a log at once; an engine that hangs does not. */
const openTimeoutMs = 10_000
/** An agent that keeps to its credit sends less than this ahead of the reader. */
const heldBytesMax = 2 * streamWindowBytes

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
  let agent: StreamSocket | undefined
  const socket = await streams.request(
    instanceId,
    { taskArn, container, logs: request },
    {
      onText: (text) => log.hear(text),
      onData: (bytes) => {
        if (!log.take(bytes)) agent?.close()
      },
      onClosed: () => log.end("The connection to the container's host was lost. Ask again."),
    },
  )
  agent = socket
  signal.addEventListener('abort', () => log.end(), { once: true })
  if (signal.aborted) log.end()
  const timer = setTimeout(
    () => log.end(`The task's agent did not open the log within ${openTimeoutMs / 1000} s. Try again.`),
    openTimeoutMs,
  )
  try {
    await log.opened()
  } catch (error) {
    socket.close()
    throw error
  } finally {
    clearTimeout(timer)
  }
  return takeLines(log, socket)
}

/** What has come of a log. */
class HostLog {
  readonly #chunks: Buffer[] = []
  readonly #bell = new Bell()
  #heldBytes = 0
  #isOpen = false
  #over: { readonly problem: string | undefined } | undefined

  hear(text: string): void {
    const frame = parseFrame(text)
    if (frame?.type === 'Started') this.#isOpen = true
    if (frame?.type === 'End') this.end()
    if (frame?.type === 'Failure') this.end(String(frame.message['reason']))
    this.#bell.ring()
  }

  /** False once no more is wanted. */
  take(bytes: Buffer): boolean {
    if (this.#over !== undefined) return false
    if (bytes[0] !== streamKinds.log) return true
    this.#chunks.push(bytes.subarray(1))
    this.#heldBytes += bytes.length - 1
    if (this.#heldBytes > heldBytesMax) this.end("The task's agent sent more of the log than it was asked for.")
    this.#bell.ring()
    return this.#over === undefined
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
      this.#heldBytes -= chunk?.length ?? 0
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
