/** RunTask: places up to ten tasks of one definition, each seeing what the ones before it took. */
import { invalidParameter } from '../../proto/errors.ts'
import { stableHash } from '../../proto/hash.ts'
import type { Failure, Input, Output } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { failuresOf } from '../decide/placement.ts'
import { putNewTask } from '../decide/address-allocation.ts'
import type { PlacementRequest } from '../decide/placement-candidates.ts'
import { planPlacement } from '../decide/placement-plan.ts'
import { type Refused, sentenceWithNearest } from '../decide/placement-refusal.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { describeTask } from './describe-task.ts'
import type { Call } from './handler.ts'
import { checkCompatibility, checkLaunchType } from './launch-rules.ts'
import { subnetsOf } from './network-configuration.ts'
import { newTask } from './new-task.ts'
import { checkConstraints, checkStrategies } from './placement-rules.ts'
import { checkClientToken, recallAnswer, rememberAnswer } from './run-task-idempotency.ts'
import { readTaskRequest, type TaskRequest } from './task-request.ts'

const countMax = 10

export function runTask(tx: Transaction, input: Input<'RunTask'>, call: Call, world: World): Output<'RunTask'> {
  const { now } = call
  const cluster = requireCluster(tx, input.cluster)
  checkClientToken(input.clientToken)
  // The cluster's name stands for however the caller wrote it; the token itself is the key.
  const inputHash = stableHash({ ...input, cluster: cluster.clusterName, clientToken: undefined })
  const known = recallAnswer(tx, cluster.clusterName, input.clientToken, inputHash, now)
  if (known !== undefined) return known

  const count = input.count ?? 1
  if (!Number.isInteger(count) || count < 1 || count > countMax) {
    throw invalidParameter(`count must be a whole number from 1 to ${countMax}, and is ${count}.`)
  }
  const launchType = checkLaunchType(cluster, input)
  const request = readTaskRequest(tx, cluster, input, call, world)
  const placement = placementOf(request, launchType, input)
  const { rows, refused } = placeAll(tx, request, placement, count, now, world)
  const failures = refused === undefined ? [] : failuresOf(refused, detailOf(refused, rows.length, count))
  rememberAnswer(tx, cluster.clusterName, input.clientToken, inputHash, rows, failures, now)
  return answer(tx, rows, failures)
}

function placeAll(
  tx: Transaction,
  request: TaskRequest,
  placement: PlacementRequest,
  count: number,
  now: number,
  world: World,
): { readonly rows: readonly TaskRow[]; readonly refused: Refused | undefined } {
  const plan = planPlacement(tx, request.cluster.clusterName, placement, now, world)
  if (plan.considered === 0) throw invalidParameter('No Container Instances were found in your cluster.')
  const rows: TaskRow[] = []
  while (rows.length < count) {
    const placed = plan.next()
    // What doesn't fit now doesn't fit later in this call either: the tasks are alike and nothing is given back.
    if (placed.kind === 'refused') return { rows, refused: placed }
    const { instance, note } = placed
    const launchType = placement.launchType ?? instance.launchType
    const row = { ...newTask(request, launchType, instance, placed, now, world), placement: note }
    rows.push(putNewTask(tx, row, placement.subnetIds, now, world))
  }
  return { rows, refused: undefined }
}

function detailOf(refused: Refused, placed: number, count: number): string {
  const why = sentenceWithNearest(refused)
  return placed === 0 ? why : `${placed} of ${count} tasks placed, for the next one ${why}`
}

function answer(tx: Transaction, rows: readonly TaskRow[], failures: readonly Failure[]): Output<'RunTask'> {
  return { tasks: rows.map((row) => describeTask(tx, row, ['TAGS'])), failures }
}

function placementOf(
  request: TaskRequest,
  launchType: 'EC2' | 'EXTERNAL' | undefined,
  input: Input<'RunTask'>,
): PlacementRequest {
  const { definition, overrides, group, networkConfiguration, enableExecuteCommand } = request
  const constraints = checkConstraints(definition.placementConstraints, input.placementConstraints)
  checkCompatibility(definition, launchType)
  const strategies = checkStrategies(input.placementStrategy)
  const subnetIds = subnetsOf(networkConfiguration)
  return { definition, overrides, group, launchType, constraints, strategies, subnetIds, enableExecuteCommand }
}
