/** Runs, starts and stops tasks; with a clientToken it repeats a call until it is answered, as the SDKs do. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import type { DefinitionActor } from './definition-actor.ts'
import type { Actor, Answer, Operator } from './operator.ts'

const strategies = [[{ type: 'spread', field: 'instanceId' }], [{ type: 'binpack', field: 'memory' }], []]

export class TaskActor implements Actor {
  readonly acts = {
    run: { weight: 10, act: () => this.#run() },
    start: { weight: 2, act: () => this.#start() },
    stop: { weight: 6, act: () => this.#stop() },
  }
  readonly #operator: Operator
  readonly #definitions: DefinitionActor
  /** Task ids of calls that were answered, by the `startedBy` of the call. */
  readonly #started = new Map<string, readonly string[]>()
  readonly #stopped = new Set<string>()

  constructor(operator: Operator, definitions: DefinitionActor) {
    this.#operator = operator
    this.#definitions = definitions
  }

  /** One of the newer tasks that nobody asked to stop. */
  pick(): string | undefined {
    const all = [...this.#started.values()].flat().filter((taskId) => !this.#stopped.has(taskId))
    return all.length === 0 ? undefined : this.#operator.random.pick(all.slice(-40))
  }

  /** Asks until it is answered: at the end of a history, when nothing fails any more. */
  async stopEverything(): Promise<void> {
    const { taskArns = [] } = (await this.#operator.call('ListTasks', {})) ?? {}
    for (const task of taskArns) {
      const answer = await this.#operator.call('StopTask', { task, reason: 'the end' })
      if (answer !== undefined) this.#stopped.add(idOf(task))
    }
  }

  findings(reader: Reader): readonly Finding[] {
    const find = (taskId: string) => reader.get('task', taskId) ?? reader.history.task(taskId)
    const lost = [...this.#started.values()]
      .flat()
      .filter((taskId) => find(taskId) === undefined)
      .map((taskId) => `accepted task ${taskId} is gone`)
    const running = [...this.#stopped]
      .filter((taskId) => find(taskId)?.desiredStatus === 'RUNNING')
      .map((taskId) => `task ${taskId} was stopped, and is wanted RUNNING`)
    return [
      ...[...lost, ...running].map((what) => ({ invariant: 'whatWasAcceptedIsThere', what })),
      ...this.#doubled(reader).map((what) => ({ invariant: 'callsAreTakenOnce', what })),
    ]
  }

  /** Calls that were answered, and whose tasks are others than the answer named: a repeat that was taken twice. */
  #doubled(reader: Reader): readonly string[] {
    const made = new Map<string, Set<string>>()
    for (const { startedBy = '', taskId } of [
      ...reader.all('task'),
      ...reader.history.tasksOfCluster('default', 1e6),
    ]) {
      made.set(startedBy, (made.get(startedBy) ?? new Set()).add(taskId))
    }
    return [...this.#started].flatMap(([startedBy, taskIds]) => {
      const found = made.get(startedBy) ?? new Set()
      const isMore = [...found].some((taskId) => !taskIds.includes(taskId))
      return isMore ? [`${startedBy} was answered with ${taskIds.length} tasks and made ${found.size}`] : []
    })
  }

  async #run(): Promise<void> {
    const { random, time } = this.#operator
    const taskDefinition = this.#definitions.pick()
    if (taskDefinition === undefined) return
    const startedBy = this.#operator.newName('call')
    const isRepeatable = random.chance(0.7)
    const input = {
      taskDefinition,
      count: random.between(1, 4),
      startedBy,
      placementStrategy: random.pick(strategies),
      placementConstraints: this.#constraints(),
      ...(random.chance(0.2) ? { tags: [{ key: 'call', value: startedBy }], propagateTags: 'TASK_DEFINITION' } : {}),
      ...(isRepeatable ? { clientToken: `token-${startedBy}` } : {}),
    }
    for (let attempts = isRepeatable ? 4 : 1; attempts > 0; attempts -= 1) {
      const answer = await this.#operator.call('RunTask', input)
      if (answer !== undefined) return this.#remember(startedBy, answer)
      await time.sleep(random.between(100, 5000))
    }
  }

  #constraints(): readonly object[] {
    const { random } = this.#operator
    if (random.chance(0.05)) return [{ type: 'distinctInstance' }]
    return random.chance(0.05) ? [{ type: 'memberOf', expression: 'attribute:rack == r1' }] : []
  }

  async #start(): Promise<void> {
    const taskDefinition = this.#definitions.pick()
    if (taskDefinition === undefined) return
    const startedBy = this.#operator.newName('call')
    const containerInstances = [this.#operator.instanceArn()]
    const answer = await this.#operator.call('StartTask', { containerInstances, taskDefinition, startedBy })
    if (answer !== undefined) this.#remember(startedBy, answer)
  }

  #remember(startedBy: string, { tasks = [] }: Answer): void {
    this.#started.set(
      startedBy,
      tasks.map(({ taskArn }) => idOf(taskArn)),
    )
  }

  async #stop(): Promise<void> {
    const task = this.pick()
    if (task === undefined) return
    const answer = await this.#operator.call('StopTask', { task })
    if (answer !== undefined) this.#stopped.add(task)
  }
}
