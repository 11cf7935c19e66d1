/**
 * Ships the output of containers whose definition names the log driver `awslogs`. Docker itself writes it to its own
 * rotated files (decide/container.ts); here every such container of a task has a stream to the controller for as long as
 * it is there, whatever state it is in: what was already shipped is known to the controller, not to this process.
 */
import type { Frame } from '../proto/acs.ts'
import type { PayloadContainer } from '../proto/acs.ts'
import { idOf } from '../proto/arn.ts'
import { awslogsProblem, eventStart } from '../proto/log-options.ts'
import type { GantryLogAck, GantryLogStreamOpen, GantryLogStreamReady, GantryLogStreamRefusal } from '../proto/logs.ts'
import { mergedConfigs } from './decide/container.ts'
import { logStreamName } from './decide/log-lines.ts'
import type { EngineStreams } from './engine-streams.ts'
import type { Log } from './log.ts'
import { startLogLink } from './log-link.ts'
import type { LogLink, LogLinkOptions } from './log-link.ts'
import { LogStream } from './log-stream.ts'
import type { InFlight } from './log-stream.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

export interface LogsOptions extends Omit<LogLinkOptions, 'onOpen' | 'onFrame' | 'onClosed'> {
  readonly engine: Pick<EngineStreams, 'openLogs'>
  readonly tasks: () => readonly TurnTask[]
  readonly timers: Timers
  readonly log: Log
  /** Kept up to date: Docker ids of containers whose output the controller does not have whole yet. */
  readonly unshipped: Set<string>
}

export interface Logs {
  close(): void
}

/** How often the tasks are looked at for containers that are new, gone, or started again. */
const lookEveryMs = 1000

/** A container whose output is to be shipped. */
interface Source {
  readonly taskArn: string
  readonly container: string
  readonly dockerId: string
  readonly options: Readonly<Record<string, string>>
  /** Another one means that it was started again. */
  readonly life: string
}

interface Shipped {
  readonly number: number
  readonly stream: LogStream
  life: string
}

export function startLogs(options: LogsOptions): Logs {
  const logs = new Shipping(options)
  logs.look()
  return logs
}

class Shipping implements Logs {
  readonly #options: LogsOptions
  readonly #inFlight: InFlight = { bytes: 0, waiting: new Set() }
  /** By the container's id in Docker; those of this connection. */
  readonly #shipped = new Map<string, Shipped>()
  readonly #byNumber = new Map<number, LogStream>()
  /** Of those that have ended and whose output the controller has: the run that it was the output of. */
  readonly #done = new Map<string, string>()
  #link: LogLink | undefined
  #numbers = 0
  #cancelLook: () => void = () => undefined

  constructor(options: LogsOptions) {
    this.#options = options
  }

  look(): void {
    const sources = this.#options.tasks().flatMap(sourcesOf)
    this.#noteUnshipped(sources)
    if (sources.length > 0) this.#link ??= this.#startLink()
    if (this.#link?.isOpen === true) this.#reconcile(sources)
    this.#cancelLook = this.#options.timers.after(lookEveryMs, () => this.look())
  }

  #noteUnshipped(sources: readonly Source[]): void {
    const { unshipped } = this.#options
    const lives = new Map(sources.map(({ dockerId, life }) => [dockerId, life]))
    for (const [dockerId, life] of this.#done) if (lives.get(dockerId) !== life) this.#done.delete(dockerId)
    unshipped.clear()
    for (const dockerId of lives.keys()) if (!this.#done.has(dockerId)) unshipped.add(dockerId)
  }

  close(): void {
    this.#cancelLook()
    this.#forgetAll()
    this.#link?.close()
  }

  #startLink(): LogLink {
    return startLogLink({
      ...this.#options,
      onOpen: () => this.#reconcile(this.#options.tasks().flatMap(sourcesOf)),
      onFrame: (frame) => this.#hear(frame),
      onClosed: () => this.#forgetAll(),
    })
  }

  #reconcile(sources: readonly Source[]): void {
    const wanted = new Set(sources.map(({ dockerId }) => dockerId))
    for (const [dockerId, { number, stream }] of this.#shipped) {
      if (wanted.has(dockerId)) continue
      stream.close()
      this.#shipped.delete(dockerId)
      this.#byNumber.delete(number)
    }
    for (const source of sources) {
      const known = this.#shipped.get(source.dockerId)
      if (known === undefined) this.#open(source)
      else if (known.life !== source.life) {
        known.life = source.life
        known.stream.wake()
      }
    }
  }

  #open({ taskArn, container, dockerId, options, life }: Source): void {
    const { engine, now, timers, log } = this.#options
    const number = ++this.#numbers
    const stream = new LogStream({
      stream: number,
      dockerId,
      starts: startsOf(options, log),
      engine,
      now,
      timers,
      log,
      inFlight: this.#inFlight,
      send: (bytes) => this.#link?.sendBytes(bytes),
      onDone: () => this.#shippedWhole(dockerId),
    })
    this.#shipped.set(dockerId, { number, stream, life })
    this.#byNumber.set(number, stream)
    const open: GantryLogStreamOpen = {
      stream: number,
      taskArn,
      container,
      dockerId,
      logGroup: options['awslogs-group'] ?? '',
      logStream: logStreamName(options['awslogs-stream-prefix'], { container, taskId: idOf(taskArn), dockerId }),
    }
    this.#link?.send('GantryLogStreamOpen', open)
  }

  #shippedWhole(dockerId: string): void {
    const life = this.#shipped.get(dockerId)?.life
    if (life !== undefined) this.#done.set(dockerId, life)
    this.#options.unshipped.delete(dockerId)
  }

  #hear({ type, message }: Frame): void {
    const given: unknown = message
    const { stream: number } = given as GantryLogAck
    const stream = this.#byNumber.get(number)
    if (stream === undefined) return
    if (type === 'GantryLogStreamReady') stream.ready(given as GantryLogStreamReady)
    else if (type === 'GantryLogAck') stream.acknowledged((given as GantryLogAck).sequence)
    else if (type === 'GantryLogStreamRefusal') {
      const { reason } = given as GantryLogStreamRefusal
      this.#options.log.warn({ stream: number, reason }, "The controller does not take a container's output.")
      stream.close()
      // It will not be taken later either, so nothing waits for it.
      for (const [dockerId, shipped] of this.#shipped) if (shipped.stream === stream) this.#shippedWhole(dockerId)
    }
  }

  #forgetAll(): void {
    for (const { stream } of this.#shipped.values()) stream.close()
    this.#shipped.clear()
    this.#byNumber.clear()
  }
}

/** A definition that an older controller took may have options that nobody judged: its lines come singly then. */
export function startsOf(options: AwslogsOptions, log: Pick<Log, 'warn'>): ((line: string) => boolean) | undefined {
  const problem = awslogsProblem(options)
  if (problem === undefined) return eventStart(options)
  log.warn({ problem }, "The options of a container's log can't be followed: each of its lines is an event.")
  return undefined
}

function sourcesOf({ payload, facts }: TurnTask): readonly Source[] {
  return payload.containers.flatMap((container) => {
    const options = awslogsOptionsOf(container)
    const { dockerId, removed, started, startedAt } = facts.containers[container.name] ?? {}
    if (options === undefined || dockerId === undefined || started !== true || removed === true) return []
    return [{ taskArn: payload.arn, container: container.name, dockerId, options, life: String(startedAt) }]
  })
}

type AwslogsOptions = Readonly<Record<string, string>>
/** By the payload's container, which never changes in place. */
const known = new WeakMap<PayloadContainer, { readonly options: AwslogsOptions | undefined }>()

function awslogsOptionsOf(container: PayloadContainer): AwslogsOptions | undefined {
  const kept = known.get(container)
  if (kept !== undefined) return kept.options
  const given = mergedConfigs(container).hostConfig?.['LogConfig'] as
    | { readonly Type?: unknown; readonly Config?: AwslogsOptions | null }
    | undefined
  const options = given?.Type === 'awslogs' ? (given.Config ?? {}) : undefined
  known.set(container, { options })
  return options
}
