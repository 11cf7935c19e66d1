/**
 * A stream that runs a command in a container. It lives as long as somebody is attached: when the channel closes, the
 * command is hung up and then killed, as with ECS.
 */
import type { Frame } from '../proto/acs.ts'
import { streamKinds } from '../proto/streams.ts'
import type { ExecRequest } from '../proto/streams.ts'
import type { RunningExec } from './engine-streams.ts'
import { splitFrames } from './log-messages.ts'
import type { SessionStart, StreamSession } from './streams.ts'

/** Docker may take a moment after the end of the output until it knows the exit code. */
const exitTriesMax = 50
const exitTryMs = 100
const sizeMax = 10_000

export function execSession(start: SessionStart, request: ExecRequest): StreamSession {
  return new ExecSession(start, request)
}

class ExecSession implements StreamSession {
  readonly #start: SessionStart
  readonly #request: ExecRequest
  #execId: string | undefined
  #exec: RunningExec | undefined
  /** Input that came before the command ran. */
  #early: (() => void)[] = []
  #over = false

  constructor(start: SessionStart, request: ExecRequest) {
    this.#start = start
    this.#request = request
  }

  onOpen(): void {
    this.#run().catch((error: unknown) => {
      // What was made and whose start had no answer may run all the same, with nobody attached.
      if (this.#execId !== undefined) void this.#start.ends.end(this.#execId)
      this.#fail(error instanceof Error ? error.message : String(error))
    })
  }

  onControl({ type, message }: Frame): void {
    if (type === 'Resize') this.#resize(message['columns'], message['rows'])
    else if (type === 'StdinEnd') this.#withExec(({ stream }) => stream.end())
  }

  onStdin(bytes: Buffer, taken: () => void): void {
    this.#withExec(({ stream }) => {
      if (stream.writable) stream.write(bytes, () => taken())
      else taken()
    })
  }

  onRoom(): void {
    this.#exec?.stream.resume()
  }

  async close(): Promise<void> {
    const wasOver = this.#over
    this.#over = true
    const execId = this.#execId
    if (execId !== undefined && !wasOver) await this.#start.ends.end(execId)
    this.#exec?.stream.destroy()
  }

  async #run(): Promise<void> {
    const { engine, dockerId, ends, socket } = this.#start
    const { tty, columns, rows } = this.#request
    const exec = await engine.startExec(dockerId, this.#request, (execId) => {
      this.#execId = execId
      ends.begun(execId)
    })
    this.#exec = exec
    if (this.#over) {
      await ends.end(exec.id)
      exec.stream.destroy()
      return
    }
    const { stream } = exec
    const split = splitFrames((source, payload) =>
      socket().data(source === 2 ? streamKinds.stderr : streamKinds.stdout, payload),
    )
    stream.on('data', (chunk: Buffer) => {
      if (tty) socket().data(streamKinds.stdout, chunk)
      else split(chunk)
      if (!socket().hasRoom) stream.pause()
    })
    stream.on('error', () => undefined)
    stream.once('close', () => void this.#ended())
    stream.once('end', () => void this.#ended())
    socket().control({ type: 'Started', message: {} })
    this.#resize(columns, rows)
    for (const one of this.#early.splice(0)) one()
  }

  async #ended(): Promise<void> {
    const { engine, ends, socket, timers } = this.#start
    if (this.#over || this.#execId === undefined) return
    this.#over = true
    try {
      for (let tries = 0; tries < exitTriesMax; tries += 1) {
        const state = await engine.inspectExec(this.#execId)
        if (state === undefined) break
        if (!state.running) {
          ends.ended(this.#execId)
          socket().end({ type: 'End', message: { exitCode: state.exitCode ?? 0 } })
          return
        }
        await new Promise<void>((resolve) => timers.after(exitTryMs, resolve))
      }
      await ends.end(this.#execId)
    } catch {
      // An engine that went away; what it left of the command is ended when an agent starts.
    }
    this.#over = false
    this.#fail('The connection to the command was lost: its container is gone, or Docker Engine went away.')
  }

  #fail(reason: string): void {
    if (this.#over) return
    this.#over = true
    this.#start.socket().end({ type: 'Failure', message: { reason } })
  }

  #resize(columns: unknown, rows: unknown): void {
    if (!isSize(columns) || !isSize(rows) || !this.#request.tty) return
    this.#withExec(({ id }) => {
      // A command that has just ended has no terminal to resize.
      this.#start.engine.resizeExec(id, columns, rows).catch(() => undefined)
    })
  }

  #withExec(work: (exec: RunningExec) => void): void {
    if (this.#exec !== undefined) work(this.#exec)
    else this.#early.push(() => this.#exec !== undefined && work(this.#exec))
  }
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= sizeMax
}
