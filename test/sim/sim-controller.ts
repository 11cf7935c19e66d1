/**
 * The controller: its real turn, deciders, handlers, sessions and housekeeping over the simulated disk, network and time.
 * It can be killed at any instant and is started again by whoever keeps it, as systemd would.
 */
import { channelOf, type Handshake, readHandshake } from '../../controller/decide/handshake.ts'
import { createAccess } from '../../controller/access/check.ts'
import { ControlChannels } from '../../controller/control-channels.ts'
import { TelemetryChannels } from '../../controller/telemetry-channels.ts'
import { addressDecider } from '../../controller/decide/address.ts'
import { instanceDecider } from '../../controller/decide/instance.ts'
import { suspectAfterMs } from '../../controller/decide/instance-loss.ts'
import { instanceTasksDecider } from '../../controller/decide/instance-tasks.ts'
import { findingsOfChanges, findingsOfState, findingsOfWriter } from '../../controller/decide/invariants.ts'
import { retain, retentionDefaults } from '../../controller/decide/retention.ts'
import { schedule } from '../../controller/decide/schedule.ts'
import { serviceDecider } from '../../controller/decide/service.ts'
import { findingsOfServiceChanges, findingsOfServices, servicesIn } from '../../controller/decide/service-invariants.ts'
import { serviceTaskDecider } from '../../controller/decide/service-task.ts'
import { taskDecider } from '../../controller/decide/task.ts'
import { taskCredentials } from '../../controller/decide/task-credentials.ts'
import { taskDefinitionDecider } from '../../controller/decide/task-definition.ts'
import { createDefaultCluster } from '../../controller/ecs/clusters.ts'
import type { Handlers, ReadHandler, SessionHandler, WriteHandler } from '../../controller/ecs/handler.ts'
import type { Log } from '../../controller/log.ts'
import type { TaskRow } from '../../controller/state/tables.ts'
import type { Change, Reader, Transaction } from '../../controller/state/transaction.ts'
import { logTransitions } from '../../controller/transitions.ts'
import { startTurn, type Turn, type TurnInput } from '../../controller/turn.ts'
import { readInput, writeOutput } from '../../proto/codec/json.ts'
import { ApiError } from '../../proto/errors.ts'
import type { OperationName } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { Chaos } from './chaos.ts'
import type { Random } from './random.ts'
import { executorPolicy, otherCalls } from './other-calls.ts'
import { restCalls } from './rest-calls.ts'
import { findingsOfWants, wantOf } from './secret-findings.ts'
import type { ControllerDisk, Life } from './sim-disk.ts'
import { aCall, aRole, aVault } from '../support/builders.ts'
import { openApi } from './sim-api.ts'
import type { SimLog } from './sim-log.ts'
import { type Route, type Server, serverDied } from './sim-network.ts'
import { keepsSecrets, keysLifeMs, type SimSecrets } from './sim-secrets.ts'
import { type SimTime, timersOfLife } from './sim-time.ts'

export const origin = 'http://controller:51700'

/** As in the controller's program. */
const closeTimeoutMs = 10_000

/** Short enough that stopped tasks leave memory within one history. */
const stoppedTaskKeepMs = 240_000
/** Few enough that what is old of services leaves memory within one history as well. */
const serviceKeeping = { inactiveServicesMax: 1, deploymentsMax: 2, serviceHistoryMax: 3 }

type AnyHandler = ReadHandler<OperationName> | WriteHandler<OperationName> | SessionHandler<OperationName>

export interface ControllerParts {
  readonly time: SimTime
  readonly disk: ControllerDisk
  readonly chaos: Chaos
  readonly log: SimLog
  readonly random: Random
  readonly routes: readonly Route[]
  readonly operations: Handlers
  readonly secrets: SimSecrets
}

export class SimController {
  /** What its wall clock shows beside the simulated time. */
  clockOffsetMs = 0
  /** Undefined where nobody listens. */
  server: Server | undefined
  /** That of the process that is there, which may have stopped listening. */
  #server: Server | undefined
  #callsUnderway = 0
  readonly #parts: ControllerParts
  readonly #world: World
  #turn: Turn | undefined
  #life = 0
  #starting = false
  #isOff = false

  constructor(parts: ControllerParts) {
    this.#parts = parts
    this.#world = parts.random.world()
  }

  /** Committed state of the process that runs; undefined while there is none. */
  get reader(): Reader | undefined {
    return this.server === undefined ? undefined : this.#turn?.reader
  }

  async start(): Promise<void> {
    if (this.#turn !== undefined || this.#starting) return
    this.#starting = true
    this.#life += 1
    const mine = this.#life
    const life: Life = { isAlive: () => mine === this.#life, kill: () => this.kill() }
    const { time, disk, log } = this.#parts
    const timers = timersOfLife(time, life.isAlive)
    const clock = { now: () => time.now() + this.clockOffsetMs }
    const logger = log.logger('controller')
    const turn = await startTurn({
      store: disk.open(life),
      clock,
      world: this.#world,
      log: logger,
      deciders: [serviceTaskDecider, taskDecider, instanceDecider, addressDecider, taskDefinitionDecider],
      keyedDeciders: [instanceTasksDecider, serviceDecider],
      schedule: (run) => void timers.after(this.#parts.random.between(0, 1), run),
      after: (delayMs, callback) => timers.after(delayMs, callback),
      onFatal: (error) => {
        log.event('controller', `ends: ${error.message}`)
        this.kill()
      },
    })
    this.#starting = false
    this.#turn = turn
    turn.onCommit((changes, revision) => {
      if (!life.isAlive()) return
      logTransitions(logger as unknown as Log, changes, revision)
      this.#check(changes, turn.reader)
    })
    // As the program does it: without its first commit it doesn't start, and is started again.
    if (turn.status().revision === 0 && !(await this.#createCluster(turn)))
      return life.isAlive() ? this.kill() : undefined
    if (!life.isAlive()) return
    const services = {
      turn: watched(turn, this.#parts.log, 'agent'),
      clock,
      world: this.#world,
      log: logger as unknown as Log,
      mintCredentials: taskCredentials(aVault(), this.#world),
      keysLifeMs,
      access: createAccess(this.#world),
      hosts: {
        refusedOnChannel: (instanceId: string, channel: string, foreign: string) =>
          log.violated('an agent speaks for its own tasks', `${instanceId} spoke of ${foreign} on ${channel}`),
      },
    }
    const channels = { acs: new ControlChannels(services), tcs: new TelemetryChannels(services) }
    this.#server = this.#serve(turn, channels, life, clock.now)
    this.server = this.#server
    log.event('controller', `ready, revision ${turn.status().revision}`)
    const found = [...findingsOfState(turn.reader), ...findingsOfServices(turn.reader)]
    for (const { invariant, what } of found) log.violated(invariant, what)
    const every = (periodMs: number, work: () => void): void => {
      timers.after(periodMs, () => {
        work()
        every(periodMs, work)
      })
    }
    every(1000, () => {
      channels.acs.tick()
      channels.tcs.tick()
    })
    every(1000, () => void this.#tick(turn, channels.acs).catch(() => undefined))
    every(60_000, () => void this.#keepHouse(turn).catch(() => undefined))
  }

  /** As `kill -9`: what was not synced is gone, and every connection ends. */
  kill(): void {
    if (this.#turn === undefined && !this.#starting) return
    this.#parts.log.event('controller', 'is killed')
    this.#endLife(this.#server)
  }

  #endLife(server: Server | undefined): void {
    this.#life += 1
    this.#starting = false
    this.#callsUnderway = 0
    this.server = undefined
    this.#server = undefined
    this.#turn = undefined
    const { time, routes, chaos } = this.#parts
    if (server !== undefined) serverDied(server, routes)
    if (this.#isOff) return
    time.after(chaos.isOver ? 1000 : this.#parts.random.between(500, 20_000), () => void this.start())
  }

  /** Its machine is without power, until `powerOn`. */
  powerOff(): void {
    this.#isOff = true
    this.kill()
  }

  powerOn(): void {
    this.#isOff = false
    void this.start()
  }

  /** As on SIGTERM: no new calls and connections, what is under way is finished within ten seconds, then it ends. */
  end(): boolean {
    const { server } = this
    const turn = this.#turn
    if (server === undefined || turn === undefined) return false
    const { log, time, routes } = this.#parts
    const mine = this.#life
    this.server = undefined
    log.event('controller', 'is told to end')
    for (const route of routes) for (const connection of route.connections) connection.controllerGoesAway(server)
    const ended = (how: string): void => {
      if (mine !== this.#life) return
      log.event('controller', how)
      this.#endLife(server)
    }
    time.after(closeTimeoutMs, () => ended('has ended, though not everything was finished'))
    void this.#finish(turn).then(() => ended('has ended'))
    return true
  }

  /** The calls that were taken are answered; only then the turn takes no more. */
  async #finish(turn: Turn): Promise<void> {
    while (this.#callsUnderway > 0) await this.#parts.time.sleep(10)
    await turn.close()
  }

  /** Whether it is there. */
  async #createCluster(turn: Turn): Promise<boolean> {
    const input = {
      name: 'createDefaultCluster',
      run: (tx: Transaction, now: number, world: World) => {
        createDefaultCluster(tx, now, world)
        tx.put('role', 'app', aRole())
        tx.put('role', 'executor', aRole({ RoleName: 'executor', inlinePolicies: [executorPolicy] }))
      },
    }
    return turn.submit(input).then(
      () => true,
      () => false,
    )
  }

  async #tick(turn: Turn, channels: ControlChannels): Promise<void> {
    let hasMore = true
    while (hasMore) {
      const silence = { readyAt: channels.readyAt, silences: channels.silences(suspectAfterMs) }
      const run = (tx: Transaction, now: number, world: World) => schedule(tx, silence, now, world, 50)
      hasMore = (await turn.submit({ name: 'schedule', run })).hasMore
    }
  }

  async #keepHouse(turn: Turn): Promise<void> {
    const limits = { ...retentionDefaults, stoppedTaskKeepMs, ...serviceKeeping, rowsMax: 50 }
    while ((await turn.submit({ name: 'retention', run: (tx, now) => retain(tx, limits, now) })).hasMore) continue
  }

  #serve(turn: Turn, channels: AllChannels, life: Life, now: () => number): Server {
    const { log, secrets } = this.#parts
    const request = openApi({ turn, clock: { now }, world: this.#world, log, secrets })
    return {
      life,
      request,
      call: (operation, input) => this.#countedCall(turn, life, operation as OperationName, input, now()),
      accept: (url) => readHandshake(channelOf(url.pathname) ?? 'acs', url.searchParams, turn.reader),
      opened: (handshake, peer) => simulated(channels, handshake).open(handshake, peer),
      frame: (handshake, peer, text) => simulated(channels, handshake).frame(handshake.instanceId, peer, text),
      closed: (handshake, peer, code) => simulated(channels, handshake).closed(handshake.instanceId, peer, code),
    }
  }

  async #countedCall(...[turn, life, operation, input, now]: CountedCall): ReturnType<Server['call']> {
    this.#callsUnderway += 1
    try {
      return await this.#call(turn, operation, input, now)
    } finally {
      if (life.isAlive()) this.#callsUnderway -= 1
    }
  }

  /** As the API does it: through the codec both ways, reads at once, writes through the turn. */
  async #call(
    turn: Turn,
    operation: OperationName,
    body: object,
    now: number,
  ): Promise<Readonly<Record<string, unknown>>> {
    const { operations } = this.#parts
    const other = otherCalls.get(operation)
    if (other !== undefined) {
      const run = (tx: Transaction, at: number, world: World) => other(tx, body, aCall({ now: at }), world)
      const answer = await watched(turn, this.#parts.log, 'operator').submit({ name: operation, run })
      return { ...answer }
    }
    const restCall = restCalls.get(operation)
    if (restCall !== undefined) {
      const run = (tx: Transaction, at: number, world: World) => ({ ...restCall(tx, body, at, world) })
      return watched(turn, this.#parts.log, 'operator').submit({ name: operation, run })
    }
    const handler: AnyHandler | undefined = operations[operation]
    if (handler === undefined || handler.kind === 'session') {
      throw new ApiError('UnsupportedFeatureException', `${operation} is not built`)
    }
    const input = readInput(operation, JSON.parse(JSON.stringify(body)))
    const call = aCall({ now, requestId: 'simulated', origin })
    const output =
      handler.kind === 'read'
        ? handler.handle(turn.reader, input, call, this.#world)
        : await watched(turn, this.#parts.log, operation.startsWith('Submit') ? 'agent' : 'operator').submit({
            name: operation,
            run: (tx, at, world) => handler.handle(tx, input, { ...call, now: at }, world),
          })
    const text = writeOutput(operation, output)
    keepsSecrets(this.#parts.log, `the answer to ${operation}`, text)
    return JSON.parse(text) as Readonly<Record<string, unknown>>
  }

  #check(changes: readonly Change[], reader: Reader): void {
    const touched = new Set<string>()
    for (const { table, key, row, before } of changes) {
      if (table === 'instance') touched.add(key)
      if (table !== 'task') continue
      touched.add(((row ?? before) as TaskRow).instanceId)
      const isNew = wantOf(before as TaskRow | undefined) === undefined
      if (isNew && wantOf(row as TaskRow | undefined) !== undefined) {
        this.#parts.log.worked('a task ends for want of a secret')
      }
    }
    const findings = [
      ...findingsOfChanges(changes, reader),
      ...findingsOfState(reader, [...touched]),
      ...findingsOfServiceChanges(changes, reader),
      ...findingsOfServices(reader, servicesIn(changes)),
      ...findingsOfWants(changes, reader),
    ]
    for (const { invariant, what } of findings) this.#parts.log.violated(invariant, what)
  }
}

type CountedCall = readonly [turn: Turn, life: Life, operation: OperationName, input: object, now: number]

/** Output of containers is not simulated: it never touches the state. */
function simulated(channels: AllChannels, { channel }: Handshake): AllChannels['acs'] | AllChannels['tcs'] {
  return channel === 'tcs' ? channels.tcs : channels.acs
}

interface AllChannels {
  readonly acs: ControlChannels
  readonly tcs: TelemetryChannels
}

/** The turn as one kind of writer uses it: what each of its inputs writes is held against what it may write. */
function watched(turn: Turn, log: SimLog, writer: 'operator' | 'agent'): Turn {
  const watchedInput = <T>(input: TurnInput<T>): TurnInput<T> => ({
    name: input.name,
    run: (tx, now, world) => input.run(watchedTransaction(tx, log, writer, input.name), now, world),
  })
  return {
    reader: turn.reader,
    draft: () => turn.draft(),
    submit: (input) => turn.submit(watchedInput(input)),
    onCommit: (listener) => turn.onCommit(listener),
    status: () => turn.status(),
    close: () => turn.close(),
  }
}

function watchedTransaction(tx: Transaction, log: SimLog, writer: 'operator' | 'agent', name: string): Transaction {
  // A disconnect or a connect is what the controller itself makes out about an agent.
  return {
    get: (table, key) => tx.get(table, key),
    find: (table, index, value) => tx.find(table, index, value),
    count: (table, index, value) => tx.count(table, index, value),
    all: (table) => tx.all(table),
    changeLogs: (table, index) => tx.changeLogs(table, index),
    history: tx.history,
    delete: (table, key) => tx.delete(table, key),
    archiveTask: (taskId) => tx.archiveTask(taskId),
    audit: (record) => tx.audit(record),
    put(table, key, row) {
      if (table === 'task') {
        for (const { invariant, what } of findingsOfWriter(writer, tx.get('task', key), row as TaskRow)) {
          log.violated(invariant, `${name}: ${what}`)
        }
      }
      tx.put(table, key, row)
    },
  }
}
