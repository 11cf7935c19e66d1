/**
 * What people ask of the cluster while it is being shaken: a stream of calls over an unreliable network, and a ledger of
 * what was answered, since what was accepted must still be there at the end.
 */
import type { Reader } from '../../controller/state/transaction.ts'
import { idOf } from '../../proto/arn.ts'
import { isApiError } from '../../proto/errors.ts'
import type { Random } from './random.ts'
import type { SimHost } from './sim-host.ts'
import type { SimLog } from './sim-log.ts'
import { NoAnswer, type Route } from './sim-network.ts'
import type { SimTime } from './sim-time.ts'
import { taskDefinitions } from './task-definitions.ts'

interface Answer {
  readonly tasks?: readonly { readonly taskArn: string }[]
  readonly failures?: readonly { readonly reason?: string }[]
  readonly taskDefinition?: { readonly taskDefinitionArn: string }
  readonly containerInstances?: readonly { readonly containerInstanceArn: string }[]
}

export interface WorkloadParts {
  readonly time: SimTime
  readonly random: Random
  readonly log: SimLog
  readonly route: Route
  readonly hosts: readonly SimHost[]
}

const callsUnderwayMax = 20

export class Workload {
  /** Task ids of calls that were answered, by the `startedBy` of the call. */
  readonly started = new Map<string, readonly string[]>()
  readonly stopped = new Set<string>()
  readonly registered = new Set<string>()
  readonly deregistered = new Set<string>()
  readonly #parts: WorkloadParts
  readonly #families: string[] = []
  #calls = 0
  #underway = 0
  #isOver = false

  constructor(parts: WorkloadParts) {
    this.#parts = parts
  }

  begin(): void {
    for (const family of Object.keys(taskDefinitions)) void this.#registerDefinition(family)
    this.#next()
  }

  end(): void {
    this.#isOver = true
  }

  get underway(): number {
    return this.#underway
  }

  /** Asks until it is answered: at the end of a history, when nothing fails any more. */
  stopEverything(): Promise<void> {
    return this.#counted(() => this.#stopListed())
  }

  async #stopListed(): Promise<void> {
    const listed = await this.#call('ListTasks', {})
    const { taskArns = [] } = (listed ?? {}) as { taskArns?: readonly string[] }
    for (const task of taskArns) {
      if ((await this.#call('StopTask', { task, reason: 'the end' })) !== undefined) this.stopped.add(idOf(task))
    }
  }

  /** What was answered and is not so in this state: one sentence each. */
  broken(reader: Reader): readonly string[] {
    const findings: string[] = []
    const find = (taskId: string) => reader.get('task', taskId) ?? reader.history.task(taskId)
    for (const taskIds of this.started.values()) {
      for (const taskId of taskIds) if (find(taskId) === undefined) findings.push(`accepted task ${taskId} is gone`)
    }
    for (const taskId of this.stopped) {
      if (find(taskId)?.desiredStatus === 'RUNNING') findings.push(`task ${taskId} was stopped, and is wanted RUNNING`)
    }
    for (const name of this.registered) {
      if (reader.get('taskDefinition', name) === undefined) findings.push(`accepted task definition ${name} is gone`)
    }
    for (const instanceId of this.deregistered) {
      const status = reader.get('instance', instanceId)?.status
      if (status !== undefined && status !== 'INACTIVE')
        findings.push(`${instanceId} was deregistered, and is ${status}`)
    }
    return findings
  }

  /** Calls that were answered, and whose tasks are others than the answer named: a repeat that was taken twice. */
  doubled(reader: Reader): readonly string[] {
    const tasks = [...reader.all('task'), ...reader.history.tasksOfCluster('default', 100_000)]
    return [...this.started].flatMap(([startedBy, taskIds]) => {
      const found = new Set(tasks.filter((task) => task.startedBy === startedBy).map(({ taskId }) => taskId))
      const extra = [...found].filter((taskId) => !taskIds.includes(taskId))
      return extra.length === 0 ? [] : [`${startedBy} was answered with ${taskIds.length} tasks and made ${found.size}`]
    })
  }

  #next(): void {
    const { time, random } = this.#parts
    time.after(random.between(50, 4000), () => {
      if (this.#isOver) return
      if (this.#underway < callsUnderwayMax) void this.#counted(() => this.#act())
      this.#next()
    })
  }

  async #counted(work: () => Promise<void>): Promise<void> {
    this.#underway += 1
    await work()
    this.#underway -= 1
  }

  async #act(): Promise<void> {
    const { random } = this.#parts
    const act = random.weighted({
      run: 10,
      start: 2,
      stop: 6,
      drain: 1,
      activate: 2,
      deregister: 0.3,
      define: 0.7,
      look: 2,
    })
    if (act === 'run') return this.#run()
    if (act === 'start') return this.#start()
    if (act === 'stop') return this.#stop()
    if (act === 'define') return this.#registerDefinition(random.pick(Object.keys(taskDefinitions)))
    if (act === 'deregister') return this.#deregister()
    if (act === 'look') return void (await this.#call('DescribeContainerInstances', this.#instances()))
    const status = act === 'drain' ? 'DRAINING' : 'ACTIVE'
    await this.#call('UpdateContainerInstancesState', { ...this.#instances(), status })
  }

  async #registerDefinition(family: string): Promise<void> {
    const input = taskDefinitions[family]
    if (input === undefined) throw new Error(`There is no definition of ${family}.`)
    const answer = await this.#call('RegisterTaskDefinition', input)
    if (answer?.taskDefinition === undefined) return
    this.registered.add(idOf(answer.taskDefinition.taskDefinitionArn))
    if (!this.#families.includes(family)) this.#families.push(family)
  }

  async #run(): Promise<void> {
    const { random, time } = this.#parts
    if (this.#families.length === 0) return
    this.#calls += 1
    const startedBy = `call-${this.#calls}`
    const clientToken = random.chance(0.7) ? `token-${this.#calls}` : undefined
    const strategy = random.pick([
      [{ type: 'spread', field: 'instanceId' }],
      [{ type: 'binpack', field: 'memory' }],
      [],
    ])
    const input = {
      taskDefinition: random.pick(this.#families),
      count: random.between(1, 4),
      startedBy,
      placementStrategy: strategy,
      ...(clientToken === undefined ? {} : { clientToken }),
    }
    // With a token a call can be repeated until it is answered, as the SDKs do.
    for (let attempts = clientToken === undefined ? 1 : 4; attempts > 0; attempts -= 1) {
      const answer = await this.#call('RunTask', input)
      if (answer !== undefined) return this.#remember(startedBy, answer)
      await time.sleep(random.between(100, 5000))
    }
  }

  async #start(): Promise<void> {
    if (this.#families.length === 0) return
    this.#calls += 1
    const startedBy = `call-${this.#calls}`
    const input = { ...this.#instances(), taskDefinition: this.#parts.random.pick(this.#families), startedBy }
    const answer = await this.#call('StartTask', input)
    if (answer !== undefined) this.#remember(startedBy, answer)
  }

  #remember(startedBy: string, { tasks = [] }: Answer): void {
    this.started.set(
      startedBy,
      tasks.map(({ taskArn }) => idOf(taskArn)),
    )
  }

  async #stop(): Promise<void> {
    const all = [...this.started.values()].flat().filter((taskId) => !this.stopped.has(taskId))
    if (all.length === 0) return
    const task = this.#parts.random.pick(all.slice(-40))
    const answer = await this.#call('StopTask', { task })
    if (answer !== undefined) this.stopped.add(task)
  }

  /** Takes a host out, and has its agent started anew, so that it comes back as another instance. */
  async #deregister(): Promise<void> {
    const { random, hosts, time } = this.#parts
    const host = random.pick(hosts)
    const containerInstance = host.containerInstanceArn
    if (containerInstance === undefined) return
    const answer = await this.#call('DeregisterContainerInstance', { containerInstance, force: random.chance(0.7) })
    if (answer === undefined) return
    this.deregistered.add(idOf(containerInstance))
    time.after(random.between(1000, 30_000), () => {
      if (host.powered && host.containerInstanceArn === containerInstance) host.kill()
    })
  }

  #instances(): { readonly containerInstances: readonly string[] } {
    const { random, hosts } = this.#parts
    const known = hosts.flatMap(({ containerInstanceArn }) => containerInstanceArn ?? [])
    return { containerInstances: known.length === 0 ? ['0'.repeat(32)] : [random.pick(known)] }
  }

  /** Undefined where it was refused or not answered. */
  async #call(operation: string, input: object): Promise<Answer | undefined> {
    const { log, route } = this.#parts
    try {
      const answer: Answer = await route.call(operation, input)
      log.worked(operation)
      log.event('operator', `${operation} is answered ${summaryOf(answer)}`)
      return answer
    } catch (error) {
      if (!(error instanceof NoAnswer) && !isApiError(error)) throw error
      log.worked(`${operation} ${isApiError(error) ? 'refused' : 'unanswered'}`)
      log.event('operator', `${operation}: ${error.message.slice(0, 160)}`)
      return undefined
    }
  }
}

function summaryOf({ tasks = [], failures = [], taskDefinition }: Answer): string {
  const ids = tasks.map(({ taskArn }) => idOf(taskArn).slice(0, 8))
  const refused = failures.map(({ reason }) => reason)
  const definition = taskDefinition === undefined ? [] : [idOf(taskDefinition.taskDefinitionArn)]
  return [...ids, ...refused, ...definition].join(' ')
}
