/**
 * How the official agent reports: by calls of the API, at least once, for each task strictly one after the other and in
 * order, until the call is answered or refused for good.
 */
import type { Timers } from '../../../agent/timers.ts'
import { isApiError } from '../../../proto/errors.ts'
import type { Chaos } from '../chaos.ts'
import { containerChanges, type ContainerChange, type OfficialTask, stateOf } from './official-task.ts'

const retryLeastMs = 1000
const retryMostMs = 30_000
const retryFactor = 1.3

export interface ReporterParts {
  readonly host: string
  readonly cluster: string
  readonly chaos: Chaos
  readonly timers: Timers
  readonly call: (operation: string, input: object) => Promise<unknown>
  readonly save: (task: OfficialTask) => void
}

export class OfficialReporter {
  readonly #parts: ReporterParts
  /** Tasks of which a report is under way. */
  readonly #underway = new Set<OfficialTask>()

  constructor(parts: ReporterParts) {
    this.#parts = parts
  }

  /** Reports RUNNING and STOPPED, until the controller has heard the newest. */
  async tell(task: OfficialTask): Promise<void> {
    if (this.#underway.has(task)) return
    this.#underway.add(task)
    while (task.known !== 'NONE' && task.known !== task.sent) {
      const status = task.known
      await this.#report(task, 'SubmitTaskStateChange', status, containerChanges(task))
      task.sent = status
      this.#parts.save(task)
    }
    this.#underway.delete(task)
  }

  /** Changes of containers alone, which the agent gathers for a while: in one call, or one by one as older agents do. */
  async flush(task: OfficialTask, oneByOne: boolean): Promise<void> {
    const changes = containerChanges(task)
    if (this.#underway.has(task) || task.known === 'STOPPED' || changes.length === 0) return
    this.#underway.add(task)
    const status = task.sent === 'NONE' ? 'PENDING' : task.sent
    if (!oneByOne) await this.#report(task, 'SubmitTaskStateChange', status, changes)
    else for (const change of changes) await this.#report(task, 'SubmitContainerStateChange', undefined, [change])
    this.#parts.save(task)
    this.#underway.delete(task)
    await this.tell(task)
  }

  async #report(
    task: OfficialTask,
    operation: 'SubmitTaskStateChange' | 'SubmitContainerStateChange',
    status: string | undefined,
    containers: readonly ContainerChange[],
  ): Promise<void> {
    const { cluster } = this.#parts
    const { arn } = task.payload
    const { executionStoppedAt } = task
    const input =
      operation === 'SubmitContainerStateChange'
        ? { cluster, task: arn, ...containers[0] }
        : {
            cluster,
            task: arn,
            status,
            reason: '',
            containers,
            ...(status === 'STOPPED' && executionStoppedAt !== undefined && { executionStoppedAt }),
          }
    await this.#untilTaken(operation, input)
    // What has happened since the call went out is still to be told.
    for (const { containerName, status: told } of containers) stateOf(task, containerName).sent = told
  }

  async #untilTaken(operation: string, input: object): Promise<void> {
    const { call, chaos, host, timers } = this.#parts
    for (let waitMs = retryLeastMs; ; waitMs = Math.min(waitMs * retryFactor, retryMostMs)) {
      try {
        await call(operation, input)
        if (chaos.strikes(host, 'callRepeated', operation)) continue
        return
      } catch (error) {
        // Refused for good: the agent drops it.
        if (isApiError(error) && error.code === 'InvalidParameterException') return
        await new Promise<void>((resolve) => void timers.after(waitMs, resolve))
      }
    }
  }
}
