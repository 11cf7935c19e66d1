/** Reads, which change nothing: each through the handler and the codec, so that every row can be shown at any time. */
import type { Actor, Operator } from './operator.ts'
import type { TaskActor } from './task-actor.ts'

export class LookActor implements Actor {
  readonly acts = { look: { weight: 3, act: () => this.#look() } }
  readonly #operator: Operator
  readonly #tasks: TaskActor

  constructor(operator: Operator, tasks: TaskActor) {
    this.#operator = operator
    this.#tasks = tasks
  }

  findings(): readonly never[] {
    return []
  }

  async #look(): Promise<void> {
    const arn = this.#operator.instanceArn()
    const task = this.#tasks.pick() ?? '0'.repeat(32)
    const [operation, input] = this.#operator.random.pick<readonly [string, object]>([
      ['DescribeContainerInstances', { containerInstances: [arn], include: ['TAGS', 'CONTAINER_INSTANCE_HEALTH'] }],
      ['ListContainerInstances', { filter: 'attribute:rack == r1' }],
      ['DescribeTasks', { tasks: [task], include: ['TAGS'] }],
      ['ListTasks', { desiredStatus: 'STOPPED' }],
      ['ListTaskDefinitions', { status: 'INACTIVE' }],
      ['DescribeClusters', { clusters: ['default'], include: ['STATISTICS', 'TAGS'] }],
      ['ListAttributes', { targetType: 'container-instance', attributeName: 'rack' }],
      ['ListTagsForResource', { resourceArn: arn }],
    ])
    await this.#operator.call(operation, input)
  }
}
