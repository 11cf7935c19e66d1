/** A client of ExecuteCommand for tests: the raw channel, with credit given by hand or as the bytes come. */
import { ExecuteCommandCommand } from '@aws-sdk/client-ecs'
import type { ECSClient } from '@aws-sdk/client-ecs'
import { streamFrames, streamKinds } from '../../proto/streams.ts'

export interface Ended {
  readonly exitCode?: number | undefined
  readonly reason?: string | undefined
}

export interface DataChannel {
  readonly started: Promise<void>
  /** Resolves with how the session ended, `{}` where its connection just closed. */
  readonly ended: Promise<Ended>
  output(): Buffer
  errors(): Buffer
  send(bytes: Uint8Array): void
  control(type: string, message?: object): void
  close(): void
}

export interface Asked {
  readonly task: string
  readonly container?: string | undefined
  readonly command: string
  readonly tty?: boolean | undefined
  readonly columns?: number | undefined
  readonly rows?: number | undefined
  /** False: no credit is given but by hand. */
  readonly takes?: boolean | undefined
}

export async function openDataChannel(client: ECSClient, asked: Asked): Promise<DataChannel> {
  const { task, container, command } = asked
  const { session } = await client.send(new ExecuteCommandCommand({ task, container, command, interactive: true }))
  return joinSession(session?.streamUrl ?? '', session?.tokenValue ?? '', asked)
}

export function joinSession(streamUrl: string, tokenValue: string, asked: Partial<Asked> = {}): DataChannel {
  const { tty, columns, rows, takes = true } = asked
  const socket = new WebSocket(streamUrl)
  socket.binaryType = 'arraybuffer'
  const started = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<Ended>()
  // A test may not wait for the start.
  started.promise.catch(() => undefined)
  const chunks: Record<number, Buffer[]> = { [streamKinds.stdout]: [], [streamKinds.stderr]: [] }
  const control = (type: string, message: object = {}): void => socket.send(JSON.stringify({ type, message }))
  const end = (how: Ended): void => {
    ended.resolve(how)
    started.reject(new Error(`The session ended before it began: ${JSON.stringify(how)}`))
  }
  socket.addEventListener('open', () => control('Open', { tokenValue, tty, columns, rows }))
  socket.addEventListener('close', () => end({}))
  socket.addEventListener('message', ({ data }) => {
    if (typeof data === 'string') {
      const { type, message } = JSON.parse(data) as { type: string; message: Ended }
      if (type === 'Started') started.resolve()
      if (type === 'End' || type === 'Failure') end(message)
      return
    }
    const bytes = Buffer.from(data as ArrayBuffer)
    chunks[bytes[0] ?? -1]?.push(bytes.subarray(1))
    if (takes) control('Credit', { bytes: bytes.length - 1 })
  })
  return {
    started: started.promise,
    ended: ended.promise,
    output: () => Buffer.concat(chunks[streamKinds.stdout] ?? []),
    errors: () => Buffer.concat(chunks[streamKinds.stderr] ?? []),
    send(bytes) {
      for (const frame of streamFrames(streamKinds.stdin, bytes)) socket.send(frame)
    },
    control,
    close: () => socket.close(),
  }
}
