/** StartTask: tasks on instances that the caller names. Nothing is chosen, so constraints and strategies don't apply. */
import { invalidParameter } from '../../proto/errors.ts'
import type { Failure, Input, Output, Task } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { putNewTask } from '../decide/address-allocation.ts'
import { failuresOf, placeOn } from '../decide/placement.ts'
import type { Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { checkClusterOf, describeTask } from './describe-task.ts'
import type { Call } from './handler.ts'
import { findInstance, missingInstance } from './instance-lookup.ts'
import { subnetsOf } from './network-configuration.ts'
import { newTask } from './new-task.ts'
import { readTaskRequest } from './task-request.ts'

const instancesMax = 10

export function startTask(tx: Transaction, input: Input<'StartTask'>, call: Call, world: World): Output<'StartTask'> {
  const { now } = call
  const cluster = requireCluster(tx, input.cluster)
  const named = input.containerInstances ?? []
  if (named.length === 0) throw invalidParameter('Container instances cannot be empty.')
  if (named.length > instancesMax) {
    throw invalidParameter(`At most ${instancesMax} container instances can be named, and there are ${named.length}.`)
  }
  for (const idOrArn of named) checkClusterOf(idOrArn, cluster)
  const request = readTaskRequest(tx, cluster, input, call, world)
  const { definition, overrides, group, enableExecuteCommand } = request
  const subnetIds = subnetsOf(request.networkConfiguration)
  const tasks: Task[] = []
  const failures: Failure[] = []
  for (const idOrArn of named) {
    const instance = findInstance(tx, cluster, idOrArn)
    if (instance === undefined) {
      failures.push(missingInstance(world, cluster, idOrArn))
      continue
    }
    const wanted = { definition, overrides, group, constraints: [], strategies: [], subnetIds, enableExecuteCommand }
    const placed = placeOn(tx, instance, wanted, now)
    if (placed.kind === 'refused') {
      failures.push(...failuresOf(placed, placed.sentence))
      continue
    }
    const task = newTask(request, instance.launchType, instance, placed, now, world)
    const row = putNewTask(tx, task, subnetIds, now, world)
    tasks.push(describeTask(tx, row, ['TAGS']))
  }
  return { tasks, failures }
}
