/**
 * A cluster whose services are decided by the real turn with the real deciders, over a store in memory, with agents that
 * do exactly what a test says, one step at a time. Each command adds a line to the course: what was done, what the
 * scheduler answered, and how things stood then.
 *
 *   web:2 deployed | stops 2 of web:1 | web:1 2 healthy 2 stopping
 */
import type { Input } from '../../proto/model/types.ts'
import { addressDecider } from '../../controller/decide/address.ts'
import { instanceDecider } from '../../controller/decide/instance.ts'
import { instanceTasksDecider } from '../../controller/decide/instance-tasks.ts'
import { taskAfterReport } from '../../controller/decide/report.ts'
import { schedule } from '../../controller/decide/schedule.ts'
import { serviceDecider } from '../../controller/decide/service.ts'
import { serviceTaskDecider } from '../../controller/decide/service-task.ts'
import { taskDecider } from '../../controller/decide/task.ts'
import { taskDefinitionDecider } from '../../controller/decide/task-definition.ts'
import { createService } from '../../controller/ecs/create-service.ts'
import { deleteService } from '../../controller/ecs/delete-service.ts'
import { updateService } from '../../controller/ecs/update-service.ts'
import type { ServiceRow } from '../../controller/state/service-tables.ts'
import { phaseOf, servicePhases } from '../../controller/state/service-phase.ts'
import { tableNames } from '../../controller/state/tables.ts'
import type { InstanceRow, TaskDefinitionRow, TaskRow } from '../../controller/state/tables.ts'
import type { Change, Transaction } from '../../controller/state/transaction.ts'
import { startTurn, type Turn } from '../../controller/turn.ts'
import { aCall, anInstance, aState, aTaskDefinition, aWorld, type Rows, testNow } from './builders.ts'
import { aMemoryStore } from './memory-store.ts'

export interface CourseOptions {
  readonly hosts: readonly InstanceRow[]
  /** `web:1` to `web:3` unless given. */
  readonly definitions?: readonly TaskDefinitionRow[] | undefined
  readonly seed?: number | undefined
}

/** What a test lets the agents do with a task in one step; undefined: nothing yet. */
export type Behaviour = (task: TaskRow) => 'runs' | 'stops' | 'fails' | 'healthy' | 'unhealthy' | undefined

export interface Course {
  /** What was done, what the scheduler answered, how things stood. */
  readonly lines: string[]
  /** Called after each commit. */
  onCommit(listener: (changes: readonly Change[]) => void): void
  turn(): Turn
  now(): number
  create(input: Partial<Input<'CreateService'>>): Promise<void>
  update(input: Partial<Input<'UpdateService'>>, what?: string): Promise<void>
  remove(input?: Partial<Input<'DeleteService'>>): Promise<void>
  /**
   * Each agent that is there ends what is to end and runs what is to run, unless `behave` says otherwise; and what runs
   * does so for long enough to prove itself.
   */
  agents(behave?: Behaviour): Promise<void>
  /** Agents act until nothing changes any more; answers how many steps that took. */
  settle(behave?: Behaviour, stepsMax?: number): Promise<number>
  /** Lets time pass, with the tick at its end. */
  pass(durationMs: number): Promise<void>
  /** Changes rows as somebody else would. */
  change(what: string, run: (tx: Transaction, now: number) => void): Promise<void>
  lose(host: InstanceRow): Promise<void>
  bringBack(host: InstanceRow): Promise<void>
  drain(host: InstanceRow): Promise<void>
  /** The controller ends, and another one starts from what is on disk. */
  restart(): Promise<void>
  tasks(serviceName?: string): readonly TaskRow[]
  service(serviceName?: string): ServiceRow | undefined
  /** The messages of the service's events, oldest first. */
  events(serviceName?: string): readonly string[]
  close(): Promise<void>
}

const silentLog = { debug: ignore, info: ignore, warn: ignore, error: ignore }

/** A course that starts with these hosts and definitions and no service. */
export async function aCourse({ hosts, definitions = revisions(3), seed = 1 }: CourseOptions): Promise<Course> {
  const rows: Rows = { instance: hosts, taskDefinition: definitions }
  const store = aMemoryStore(writesOf(rows))
  const world = aWorld(seed)
  const faults: object[] = []
  const listeners: ((changes: readonly Change[]) => void)[] = []
  let now = testNow
  let turn = await start()

  async function start(): Promise<Turn> {
    const started = await startTurn({
      store,
      clock: { now: () => now },
      world,
      log: { ...silentLog, error: (facts) => faults.push(facts) },
      deciders: [serviceTaskDecider, taskDecider, instanceDecider, addressDecider, taskDefinitionDecider],
      keyedDeciders: [instanceTasksDecider, serviceDecider],
    })
    started.onCommit((changes) => {
      for (const listener of listeners) listener(changes)
    })
    return started
  }

  /** Runs `input` and every turn that follows from it, then writes the line. */
  async function act(what: string, ...runs: readonly ((tx: Transaction) => unknown)[]): Promise<void> {
    const before = new Map(turn.reader.all('task').map((task) => [task.taskId, task]))
    await Promise.all(runs.map((run) => turn.submit({ name: what, run })))
    await quiet(turn)
    if (what === 'agents') await proveItself()
    const after = turn.reader.all('task')
    course.lines.push([what, answerOf(before, after), standing(after)].filter((part) => part !== '').join(' | '))
    if (faults.length > 0) throw new Error(`the controller logged an error: ${JSON.stringify(faults[0])}`)
  }

  /** What has just begun to run stays up for as long as it takes to prove itself. Answers whether that took any time. */
  async function proveItself(): Promise<boolean> {
    const proofs = turn.reader
      .all('deployment')
      .filter(({ status, rolloutState }) => status === 'PRIMARY' && rolloutState === 'IN_PROGRESS')
      .flatMap(({ provenAt }) => (provenAt === undefined || provenAt <= now ? [] : [provenAt]))
    if (proofs.length === 0) return false
    now = Math.max(...proofs)
    await turn.submit({
      name: 'tick',
      run: (tx) => schedule(tx, { readyAt: testNow, silences: new Map() }, now, world),
    })
    await quiet(turn)
    return true
  }

  /** Many agents are many inputs: no turn takes more than it can bear. Each answers how many tasks were changed. */
  function agentsActs(behave: Behaviour): readonly ((tx: Transaction) => number)[] {
    const live = turn.reader.all('task').filter(({ lastStatus }) => lastStatus !== 'STOPPED')
    const portions = Array.from({ length: Math.max(1, Math.ceil(live.length / 500)) }, (_, index) =>
      live.slice(index * 500, index * 500 + 500),
    )
    return portions.map((portion) => (tx) => {
      const next = portion
        .filter(({ instanceId }) => tx.get('instance', instanceId)?.agentConnected === true)
        .map((task) => afterAct(tx, task, behave(task), now))
        .filter((task) => task !== tx.get('task', task.taskId))
      for (const task of next) tx.put('task', task.taskId, task)
      return next.length
    })
  }

  const course: Course = {
    lines: [],
    onCommit: (listener) => listeners.push(listener),
    turn: () => turn,
    now: () => now,
    create: (input) =>
      act(`${input.serviceName ?? 'web'} created`, (tx) => {
        createService(tx, { serviceName: 'web', taskDefinition: 'web:1', ...input }, aCall({ now }), world)
      }),
    update: (input, what) =>
      act(what ?? updateInWords(input), (tx) => {
        updateService(tx, { service: 'web', ...input }, aCall({ now }), world)
      }),
    remove: (input) =>
      act('deleted', (tx) => {
        deleteService(tx, { service: 'web', force: true, ...input })
      }),
    agents: (behave = obey) => act('agents', ...agentsActs(behave)),
    async settle(behave = obey, stepsMax = 50) {
      for (let steps = 0; steps < stepsMax; steps += 1) {
        const acted = await Promise.all(agentsActs(behave).map((run) => turn.submit({ name: 'agents', run })))
        await quiet(turn)
        if (faults.length > 0) throw new Error(`the controller logged an error: ${JSON.stringify(faults[0])}`)
        if (acted.every((count) => count === 0) && !(await proveItself())) return steps
      }
      throw new Error(`the agents still act after ${stepsMax} steps:\n${standing(turn.reader.all('task'))}`)
    },
    pass: (durationMs) => {
      now += durationMs
      return act(`${durationMs / 1000} s`, (tx) => {
        schedule(tx, { readyAt: testNow, silences: new Map() }, now, world)
      })
    },
    change: (what, run) => act(what, (tx) => run(tx, now)),
    lose: (host) =>
      act(
        `${nameOf(hosts, host)} lost`,
        withHost(host, (row) => ({ ...row, agentConnected: false, lostSince: now })),
      ),
    bringBack: (host) =>
      act(
        `${nameOf(hosts, host)} back`,
        withHost(host, (row) => ({ ...row, agentConnected: true, connectivityAt: now, lostSince: undefined })),
      ),
    drain: (host) =>
      act(
        `${nameOf(hosts, host)} drains`,
        withHost(host, (row) => ({ ...row, status: 'DRAINING' as const })),
      ),
    async restart() {
      await turn.close()
      turn = await start()
      await act('controller restarted', ignore)
    },
    tasks: (serviceName = 'web') =>
      turn.reader.all('task').filter(({ serviceKey }) => serviceKey === `default/${serviceName}`),
    service: (serviceName = 'web') => turn.reader.get('service', `default/${serviceName}`),
    events: (serviceName = 'web') =>
      turn.reader.find('serviceEvent', 'byService', `default/${serviceName}`).map(({ message }) => message),
    close: () => turn.close(),
  }
  return course
}

/** Ends what is to end, and runs what is to run. */
export function obey(task: TaskRow): ReturnType<Behaviour> {
  if (task.desiredStatus === 'STOPPED') return 'stops'
  if (task.lastStatus === 'PENDING') return 'runs'
  return task.hasHealthCheck === true && task.healthStatus === 'UNKNOWN' ? 'healthy' : undefined
}

/** `web:1` and so on: each takes 256 CPU units and 512 MiB unless `over` says otherwise. */
export function revisions(count: number, over: Partial<TaskDefinitionRow> = {}): readonly TaskDefinitionRow[] {
  return Array.from({ length: count }, (_, index) => aTaskDefinition({ revision: index + 1, ...over }))
}

/** Hosts `one`, `two` and so on, in zones a, b and c in turn, each with room for eight tasks. */
export function hostsOf(count: number): readonly InstanceRow[] {
  return Array.from({ length: count }, (_, index) =>
    anInstance({
      instanceId: `1${String(index + 1).padStart(31, '0')}`,
      registeredAt: testNow + index,
      attributes: [
        { name: 'ecs.availability-zone', value: `us-east-1${'abc'[index % 3]}` },
        { name: 'ecs.os-type', value: 'linux' },
      ],
    }),
  )
}

function afterAct(tx: Transaction, task: TaskRow, act: ReturnType<Behaviour>, now: number): TaskRow {
  const [family, revision] = task.taskDefinitionArn.split('/')[1]?.split(':') ?? []
  const definition = tx.get('taskDefinition', `${family}:${revision}`)
  const report = (status: string, containerStatus: string, exitCode?: number): TaskRow => {
    const containers = task.containers.map(({ name }) => ({
      containerName: name,
      status: containerStatus,
      ...(exitCode === undefined ? {} : { exitCode }),
    }))
    return taskAfterReport(task, { status, containers }, definition, now)
  }
  switch (act) {
    case 'runs':
      return report('RUNNING', 'RUNNING')
    case 'stops':
      return report('STOPPED', 'STOPPED', 0)
    case 'fails':
      return report('STOPPED', 'STOPPED', 1)
    case 'healthy':
    case 'unhealthy': {
      const healthStatus = act === 'healthy' ? 'HEALTHY' : 'UNHEALTHY'
      if (task.lastStatus !== 'RUNNING' || task.healthStatus === healthStatus) return task
      const containers = task.containers.map((container) => ({ ...container, healthStatus }) as const)
      return { ...task, containers, healthStatus, version: task.version + 1 }
    }
    default:
      return task
  }
}

function withHost(host: InstanceRow, change: (row: InstanceRow) => InstanceRow): (tx: Transaction) => void {
  return (tx) => {
    const row = tx.get('instance', host.instanceId)
    if (row !== undefined) tx.put('instance', host.instanceId, change(row))
  }
}

/** What the scheduler did: tasks that are new, and tasks that it wants stopped now and didn't before. */
function answerOf(before: ReadonlyMap<string, TaskRow>, after: readonly TaskRow[]): string {
  const started = after.filter(({ taskId }) => !before.has(taskId))
  const stopped = after.filter((task) => {
    const known = before.get(task.taskId)
    return known?.desiredStatus === 'RUNNING' && task.stopCode === 'ServiceSchedulerInitiated'
  })
  return [...perDefinition('starts', started), ...perDefinition('stops', stopped)].join(', ')
}

function perDefinition(verb: string, tasks: readonly TaskRow[]): readonly string[] {
  return definitionsOf(tasks).map(
    (name) => `${verb} ${tasks.filter((task) => definitionName(task) === name).length} of ${name}`,
  )
}

function standing(tasks: readonly TaskRow[]): string {
  const live = tasks.filter(({ lastStatus }) => lastStatus !== 'STOPPED')
  if (live.length === 0) return 'none'
  return definitionsOf(live)
    .map((name) => {
      const phases = live.filter((task) => definitionName(task) === name).map(phaseOf)
      const counts = servicePhases.map((phase) => ({ phase, count: phases.filter((each) => each === phase).length }))
      const words = counts.filter(({ count }) => count > 0).map(({ phase, count }) => `${count} ${phase}`)
      return `${name} ${words.join(' ')}`
    })
    .join(', ')
}

function definitionsOf(tasks: readonly TaskRow[]): readonly string[] {
  return [...new Set(tasks.map(definitionName))].sort()
}

function definitionName({ taskDefinitionArn }: TaskRow): string {
  return taskDefinitionArn.split('/')[1] ?? ''
}

const ordinals = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']

function nameOf(hosts: readonly InstanceRow[], host: InstanceRow): string {
  return `host ${ordinals[hosts.findIndex(({ instanceId }) => instanceId === host.instanceId)] ?? host.instanceId}`
}

function updateInWords({ taskDefinition, desiredCount }: Partial<Input<'UpdateService'>>): string {
  const words: string[] = []
  if (taskDefinition !== undefined) words.push(`${taskDefinition} deployed`)
  if (desiredCount !== undefined) words.push(`scaled to ${desiredCount}`)
  return words.length === 0 ? 'updated' : words.join(', ')
}

/** What is on disk before the first turn. */
function writesOf(rows: Rows): Parameters<typeof aMemoryStore>[0] {
  const state = aState(rows)
  return tableNames.flatMap((table) =>
    state.rowsAsChanges(table).flatMap(({ key, row }) => (row === undefined ? [] : [{ table, key, row }])),
  )
}

/** Until no turn follows from the last one. */
async function quiet(turn: Turn): Promise<void> {
  for (let turns = -1; turns !== turn.status().turns; ) {
    turns = turn.status().turns
    for (let wait = 0; wait < 4; wait += 1) await new Promise((resolve) => setImmediate(resolve))
  }
}

function ignore(): void {}
