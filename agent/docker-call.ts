/** One call to Docker Engine: what makes it, and what its answers mean that are no answers. */
import type Docker from 'dockerode'
import { EngineError } from './engine.ts'
import type { ErrorOrigin } from './docker-errors.ts'

/** Makes one call within its deadline. `origin` says for whom the engine speaks when it refuses. */
export type Call = <T>(
  doing: string,
  timeoutMs: number,
  call: (docker: Docker, abortSignal: AbortSignal) => Promise<T>,
  origin?: ErrorOrigin,
) => Promise<T>

/** undefined where the engine says that the thing is not there. */
export async function absent<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof EngineError && error.kind === 'notFound') return undefined
    throw error
  }
}

/** Docker answers 304 where a container is already as asked. */
export async function already(call: Promise<unknown>): Promise<void> {
  try {
    await call
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    const { statusCode } = (error.cause ?? {}) as { statusCode?: number }
    if (statusCode !== 304) throw error
  }
}

/** Resolves when the stream is over, by whichever of the ways in which Node tells it. */
export async function drained(stream: NodeJS.ReadableStream, onChunk: (chunk: Buffer) => void): Promise<unknown> {
  return new Promise((resolve) => {
    stream.on('data', onChunk)
    for (const end of ['end', 'close', 'aborted'] as const) stream.on(end, () => resolve(undefined))
    stream.on('error', resolve)
  })
}

/** Calls that take an abort signal, which dockerode's types do not say. */
interface Abortable {
  version(options: object): Promise<{ readonly ApiVersion: string; readonly MinAPIVersion?: string }>
  info(options: object): Promise<unknown>
  ping(options: object): Promise<unknown>
  getEvents(options: object): Promise<NodeJS.ReadableStream>
}

export function abortable(docker: Docker): Abortable {
  return docker
}
