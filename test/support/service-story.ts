/**
 * A service's story: a cluster whose deciders are the real ones, and agents that do with each task what the test says,
 * second by second. What happened is told as the service's events, with ids as D1, D2 (deployments) and counts.
 */
import type { TaskReport } from '../../controller/decide/report.ts'
import { taskAfterReport } from '../../controller/decide/report.ts'
import { instanceDecider } from '../../controller/decide/instance.ts'
import { serviceDecider } from '../../controller/decide/service.ts'
import { serviceTaskDecider } from '../../controller/decide/service-task.ts'
import { startDeployment } from '../../controller/decide/deployment-start.ts'
import { taskDecider } from '../../controller/decide/task.ts'
import type { DeploymentRow, ServiceDeploymentRow, ServiceRow } from '../../controller/state/service-tables.ts'
import type { Overlay, State } from '../../controller/state/state.ts'
import type { InstanceRow, TaskDefinitionRow, TaskRow } from '../../controller/state/tables.ts'
import type { Change, Transaction } from '../../controller/state/transaction.ts'
import { decideUntilQuiet, markDirty, nothingUndecided, type Undecided } from '../../controller/turn-deciders.ts'
import type { World } from '../../proto/world.ts'
import { anInstance, aService, aState, aWorld, testNow } from './builders.ts'

/** What an agent reports of a task that has been there for `ageMs` milliseconds; undefined: nothing new. */
export type Fate = (task: TaskRow, ageMs: number) => TaskReport | undefined

/** RUNNING after a second, and for good. */
export const runs: Fate = (_task, ageMs) => (ageMs >= 1000 ? running : undefined)

/** RUNNING after a second, and its end, with exit code 1, a second later. */
export const crashes: Fate = (_task, ageMs) => {
  if (ageMs >= 2000)
    return { status: 'STOPPED', containers: [{ containerName: 'app', status: 'STOPPED', exitCode: 1 }] }
  return ageMs >= 1000 ? running : undefined
}

/** Never starts: the container stops with this reason after a second. */
export function failsWith(reason: string): Fate {
  return (_task, ageMs) =>
    ageMs >= 1000 ? { status: 'STOPPED', containers: [{ containerName: 'app', status: 'STOPPED', reason }] } : undefined
}

const running: TaskReport = { status: 'RUNNING', containers: [{ containerName: 'app', status: 'RUNNING' }] }

const log = {
  debug: (): void => {},
  info: (): void => {},
  warn: (): void => {},
  error: (facts: object): void => {
    throw new Error('a decider threw', { cause: facts })
  },
}

export class ServiceStory {
  readonly state: State
  readonly world: World = aWorld()
  now = testNow
  /** What becomes of tasks, by the revision of their task definition. */
  readonly fates = new Map<number, Fate>()
  readonly #told: string[] = []
  readonly #names = new Map<string, string>()
  readonly #since = new Map<string, number>()
  readonly #eventsSeen = new Set<string>()

  constructor(definitions: readonly TaskDefinitionRow[], over: Partial<ServiceRow> = {}, instances?: InstanceRow[]) {
    const hosts = instances ?? [anInstance(), anInstance(), anInstance()]
    this.state = aState({ instance: hosts, taskDefinition: definitions, service: [aService(over)] })
  }

  get service(): ServiceRow {
    const service = this.state.get('service', 'default/web')
    if (service === undefined) throw new Error('the service is gone')
    return service
  }

  get deployments(): readonly DeploymentRow[] {
    return this.state
      .find('deployment', 'byService', 'default/web')
      .toSorted((one, other) => one.createdAt - other.createdAt)
  }

  /** The deployment that was the `number`th to begin, from 1. */
  deployment(number: number): DeploymentRow {
    const row = this.deployments[number - 1]
    if (row === undefined) throw new Error(`there are ${this.deployments.length} deployments, and no number ${number}`)
    return row
  }

  serviceDeployment(number: number): ServiceDeploymentRow {
    const row = this.state
      .find('serviceDeployment', 'byService', 'default/web')
      .toSorted((one, other) => one.createdAt - other.createdAt)[number - 1]
    if (row === undefined) throw new Error(`there is no service deployment ${number}`)
    return row
  }

  get tasks(): readonly TaskRow[] {
    return this.state.all('task')
  }

  /** How many tasks of a revision of the definition run. */
  runningOf(revision: number): number {
    return this.tasks.filter((task) => task.lastStatus === 'RUNNING' && revisionOf(task) === revision).length
  }

  /** UpdateService's word: a new deployment of `web:revision`. */
  deploy(revision: number, over: Partial<ServiceRow> = {}): void {
    this.write((tx) => {
      const taskDefinition = (this.service.taskDefinition ?? '').replace(/:\d+$/, `:${revision}`)
      startDeployment(tx, { ...this.service, ...over, taskDefinition }, {}, this.now, this.world)
    })
  }

  write(change: (tx: Transaction) => void): void {
    const overlay = this.state.begin()
    const undecided = nothingUndecided()
    const inner = overlay.begin()
    change(inner)
    markDirty(undecided, inner.changes())
    overlay.merge(inner)
    const left = this.#decide(overlay, undecided)
    if (left > 0) throw new Error(`${left} decisions were left over`)
    const changes = overlay.changes()
    this.#apply(changes)
    if (changes.length > 0) this.#decideAgain(changes)
  }

  /** The law of all deciders: what they have decided they do not decide otherwise a moment later. */
  #decideAgain(changes: readonly Change[]): void {
    const overlay = this.state.begin()
    const undecided = nothingUndecided()
    markDirty(
      undecided,
      changes.map((change) => ({ ...change, before: change.row })),
    )
    this.#decide(overlay, undecided)
    const otherwise = overlay.changes().map(({ table, key }) => `${table} ${key}`)
    if (otherwise.length > 0) throw new Error(`decided otherwise a second time: ${otherwise.join(', ')}`)
  }

  #decide(overlay: Overlay, undecided: Undecided): number {
    const deciders = [serviceTaskDecider, taskDecider, instanceDecider]
    const deciding = { overlay, undecided, deciders, keyedDeciders: [serviceDecider] }
    const { now, world } = this
    return decideUntilQuiet({ ...deciding, now, world, log }, { decisionsMax: 20_000, decidedRowsMax: 20_000 })
  }

  /** Lets `seconds` pass, one by one: the tick first, then what the agents report. */
  pass(seconds: number): void {
    for (let second = 0; second < seconds; second += 1) {
      this.now += 1000
      this.write((tx) => {
        for (const row of tx.find('service', 'timed', 'timed')) {
          if ((row.wakeAt ?? 0) <= this.now) tx.put('service', row.serviceKey, { ...row, wakeAt: undefined })
        }
      })
      this.write((tx) => {
        for (const task of tx.find('task', 'liveByService', 'default/web')) this.#report(tx, task)
      })
    }
  }

  #report(tx: Transaction, task: TaskRow): void {
    const since = this.#since.get(task.taskId) ?? task.createdAt
    const report =
      task.desiredStatus === 'STOPPED'
        ? { status: 'STOPPED', containers: [{ containerName: 'app', status: 'STOPPED', exitCode: 137 }] }
        : this.fates.get(revisionOf(task))?.(task, this.now - since)
    if (report === undefined) return
    const definition = tx.get('taskDefinition', `web:${revisionOf(task)}`)
    const after = taskAfterReport(task, report, definition, this.now)
    if (after !== task) tx.put('task', task.taskId, after)
  }

  /** The events since the last call, oldest first: `12s started 2 tasks`. */
  told(): string[] {
    return this.#told.splice(0)
  }

  #apply(changes: readonly Change[]): void {
    this.state.apply(changes)
    for (const { id } of this.deployments) {
      if (!this.#names.has(id)) this.#names.set(id, `D${this.#names.size + 1}`)
    }
    for (const { id, message, createdAt } of this.state.find('serviceEvent', 'byService', 'default/web')) {
      // An event that more tasks were added to has a new id, and is told again.
      if (this.#eventsSeen.has(id)) continue
      this.#eventsSeen.add(id)
      this.#told.push(`${(createdAt - testNow) / 1000}s ${this.named(message)}`)
    }
  }

  /** The text with deployments by their names, and without the ids of tasks. */
  named(text: string): string {
    return text
      .replace(/ecs-svc\/\d{19}/g, (id) => this.#names.get(id) ?? id)
      .replace(/^\(service web\) /, '')
      .replace(/ They are(?: \(task [0-9a-f]{32}\))+\./g, '')
      .replace(/:(?: \(task [0-9a-f]{32}\))+/g, '')
      .replace(/task [0-9a-f]{32}/g, 'task T')
  }
}

function revisionOf({ taskDefinitionArn }: TaskRow): number {
  return Number(taskDefinitionArn.slice(taskDefinitionArn.lastIndexOf(':') + 1))
}
