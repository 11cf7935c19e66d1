/**
 * What a call would do, without doing it: the very handlers and scheduler run in a transaction that nobody commits, so
 * what is planned is what the call then does, as long as nothing else changes and no draw is in it.
 */
import { idOf } from '../../proto/arn.ts'
import type { Failure, Input } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { type PlannedRollout, planRollout } from '../decide/plan-rollout.ts'
import type { PlacementNote } from '../state/service-tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { createService } from './create-service.ts'
import type { Call } from './handler.ts'
import { runTask } from './run-task.ts'
import { updateService } from './update-service.ts'

export interface PlannedRun {
  /** One for each task that would be started. */
  readonly tasks: readonly { readonly instanceId: string; readonly placement?: PlacementNote | undefined }[]
  /** As RunTask would answer them. */
  readonly failures: readonly Failure[]
}

/** Throws what RunTask would. `draft` is to be dropped. */
export function planRunTask(draft: Transaction, input: Input<'RunTask'>, call: Call, world: World): PlannedRun {
  // A token would answer a call of the past; what a plan is asked for is the next one.
  const { tasks = [], failures = [] } = runTask(draft, { ...input, clientToken: undefined }, call, world)
  const planned = tasks.map(({ taskArn, containerInstanceArn }) => ({
    instanceId: idOf(containerInstanceArn ?? ''),
    placement: draft.get('task', idOf(taskArn ?? ''))?.placement,
  }))
  return { tasks: planned, failures }
}

/** Throws what CreateService would. `draft` is to be dropped. */
export function planCreateService(
  draft: Transaction,
  input: Input<'CreateService'>,
  call: Call,
  world: World,
): PlannedRollout {
  const { serviceKey } = createService(draft, input, call, world)
  return planRollout(draft, serviceKey, call.now, world)
}

/** Throws what UpdateService would. `draft` is to be dropped. */
export function planUpdateService(
  draft: Transaction,
  input: Input<'UpdateService'>,
  call: Call,
  world: World,
): PlannedRollout {
  const { serviceKey } = updateService(draft, input, call, world)
  return planRollout(draft, serviceKey, call.now, world)
}
