/** `gantry exec`: runs a command in a container, with the terminal that it is started from, and ends with its exit code. */
import { commandLine, streamFrames, streamKinds, streamWindowBytes } from '../proto/streams.ts'
import type { StreamControl } from '../proto/streams.ts'
import type { Command } from './arguments.ts'
import { CommandError } from './controller.ts'
import type { Controller } from './controller.ts'

export interface Terminal {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

interface Session {
  readonly sessionId: string
  readonly streamUrl: string
  readonly tokenValue: string
}

/** Answers the command's exit code. Throws CommandError where it could not be run, or the connection was lost. */
export async function runCommand(command: Command, controller: Controller, terminal: Terminal): Promise<number> {
  const { cluster, arn } = (await controller.get(`/v1/tasks/${encodeURIComponent(command.task)}`)) as {
    readonly cluster: string
    readonly arn: string
  }
  const { session } = (await controller.call('ExecuteCommand', {
    cluster,
    task: arn,
    ...(command.container !== undefined && { container: command.container }),
    command: commandLine(command.words),
    interactive: true,
  })) as { readonly session: Session }
  const tty = command.tty ?? (terminal.stdin.isTTY && terminal.stdout.isTTY)
  const attached = new Attached(session, terminal, tty)
  try {
    return await attached.ended
  } finally {
    attached.detach()
  }
}

class Attached {
  readonly #socket: WebSocket
  readonly #terminal: Terminal
  readonly #tty: boolean
  readonly #end = Promise.withResolvers<number>()
  #unacknowledged = 0
  /** Output that the terminal has not taken. */
  #writing: Promise<void> = Promise.resolve()
  readonly #resized = (): void => this.#sendSize()

  constructor(session: Session, terminal: Terminal, tty: boolean) {
    this.#terminal = terminal
    this.#tty = tty
    const { columns, rows } = terminal.stdout
    const socket = new WebSocket(session.streamUrl)
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('open', () => {
      const size = tty ? { columns, rows } : {}
      socket.send(JSON.stringify({ type: 'Open', message: { tokenValue: session.tokenValue, tty, ...size } }))
    })
    socket.addEventListener('message', ({ data }) => {
      if (typeof data === 'string') this.#hear(JSON.parse(data) as StreamControl)
      else this.#take(new Uint8Array(data as ArrayBuffer))
    })
    socket.addEventListener('close', () =>
      this.#end.reject(new CommandError('The connection to the controller was lost; the command is ended.')),
    )
  }

  get ended(): Promise<number> {
    return this.#end.promise
  }

  detach(): void {
    const { stdin, stdout } = this.#terminal
    if (this.#tty && stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
    stdout.off('resize', this.#resized)
    this.#socket.close()
  }

  #hear({ type, message }: StreamControl): void {
    if (type === 'Started') this.#attach()
    else if (type === 'Credit') {
      this.#unacknowledged -= message.bytes
      if (this.#unacknowledged < streamWindowBytes) this.#terminal.stdin.resume()
    } else if (type === 'End') {
      const { exitCode = 0 } = message
      void this.#writing.then(() => this.#end.resolve(exitCode))
    } else if (type === 'Failure') {
      void this.#writing.then(() => this.#end.reject(new CommandError(message.reason)))
    }
  }

  /** Credit is given once the terminal, or whatever reads the output, has taken it. */
  #take(frame: Uint8Array): void {
    const out = frame[0] === streamKinds.stderr ? this.#terminal.stderr : this.#terminal.stdout
    const bytes = frame.subarray(1)
    const before = this.#writing
    this.#writing = (async () => {
      await before
      await new Promise<void>((resolve) => out.write(bytes, () => resolve()))
      this.#control({ type: 'Credit', message: { bytes: bytes.length } })
    })()
  }

  #attach(): void {
    const { stdin, stdout } = this.#terminal
    if (this.#tty && stdin.isTTY) stdin.setRawMode(true)
    this.#sendSize()
    stdout.on('resize', this.#resized)
    stdin.on('data', (given: Buffer | string) => {
      const bytes = typeof given === 'string' ? Buffer.from(given) : given
      for (const frame of streamFrames(streamKinds.stdin, bytes)) this.#socket.send(frame)
      this.#unacknowledged += bytes.length
      if (this.#unacknowledged >= streamWindowBytes) stdin.pause()
    })
    stdin.on('end', () => this.#control({ type: 'StdinEnd', message: {} }))
  }

  #sendSize(): void {
    const { columns, rows } = this.#terminal.stdout
    if (this.#tty && columns > 0 && rows > 0) this.#control({ type: 'Resize', message: { columns, rows } })
  }

  #control(control: StreamControl): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(control))
  }
}
