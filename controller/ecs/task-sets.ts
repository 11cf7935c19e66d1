/**
 * The ECS operations on task sets, of services with the deployment controller EXTERNAL: CreateTaskSet, DescribeTaskSets,
 * UpdateTaskSet, UpdateServicePrimaryTaskSet, DeleteTaskSet. Source: the ECS API reference of each, and AWS documentation,
 * "Deploy Amazon ECS services using a third-party controller".
 */
import { isArn, taskSetArn } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Failure, Input, Output, TaskSet } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { computedDesiredCount } from '../decide/task-set-scale.ts'
import { drainedTaskSet } from '../decide/task-sets.ts'
import type { ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { checkScale, createTaskSet } from './create-task-set.ts'
import { describeTaskSet } from './describe-service.ts'
import { type Handlers, read, write } from './handler.ts'
import { findTaskSet, requireActiveExternalService, requireExternalService, requireTaskSet } from './task-set-lookup.ts'

const describedMost = 100

export const taskSetHandlers = {
  CreateTaskSet: write<'CreateTaskSet'>((tx, input, call, world) => {
    const { service, taskSet } = createTaskSet(tx, input, call, world)
    return answer(tx, service, taskSet)
  }),
  DescribeTaskSets: read<'DescribeTaskSets'>((reader, input, _call, world) => describeTaskSets(reader, input, world)),
  UpdateTaskSet: write<'UpdateTaskSet'>((tx, input, { now }) => {
    const service = requireActiveExternalService(tx, input)
    const before = requireKept(requireTaskSet(tx, service, input.taskSet))
    const scale = checkScale(input.scale, undefined)
    if (before.scale.value === scale.value) return answer(tx, service, before)
    const next = scaled(service, before, scale, now)
    tx.put('taskSet', next.id, next)
    return answer(tx, service, next)
  }),
  UpdateServicePrimaryTaskSet: write<'UpdateServicePrimaryTaskSet'>((tx, input, { now }) => {
    const service = requireActiveExternalService(tx, input)
    const next = requireKept(requireTaskSet(tx, service, input.primaryTaskSet))
    return answer(tx, service, makePrimary(tx, service, next, now))
  }),
  DeleteTaskSet: write<'DeleteTaskSet'>((tx, input, { now }) => {
    const service = requireActiveExternalService(tx, input)
    const taskSet = requireTaskSet(tx, service, input.taskSet)
    return answer(tx, service, deleteTaskSet(tx, service, taskSet, input.force === true, now))
  }),
} satisfies Handlers

function answer(reader: Reader, service: ServiceRow, taskSet: TaskSetRow): { readonly taskSet: TaskSet } {
  return { taskSet: describeTaskSet(reader, taskSet, service, ['TAGS']) }
}

/** What isn't known, and what was deleted and has gone, is in `failures` as MISSING. */
function describeTaskSets(reader: Reader, input: Input<'DescribeTaskSets'>, world: World): Output<'DescribeTaskSets'> {
  const service = requireExternalService(reader, input)
  const wanted = [...new Set(input.taskSets)]
  if (wanted.length === 0) throw invalidParameter('TaskSets cannot be empty.')
  if (wanted.length > describedMost) {
    throw invalidParameter(
      `At most ${describedMost} task sets can be described at once, and ${wanted.length} are named.`,
    )
  }
  const taskSets: TaskSet[] = []
  const failures: Failure[] = []
  for (const idOrArn of wanted) {
    const row = findTaskSet(reader, service, idOrArn)
    if (row === undefined) {
      const arn = isArn(idOrArn) ? idOrArn : taskSetArn(world, service.clusterName, service.serviceName, idOrArn)
      failures.push({ arn, reason: 'MISSING' })
    } else taskSets.push(describeTaskSet(reader, row, service, input.include ?? []))
  }
  return { taskSets, failures }
}

/** Where it is to have another number of tasks, only the scheduler can say when it has. */
function scaled(service: ServiceRow, before: TaskSetRow, scale: TaskSetRow['scale'], now: number): TaskSetRow {
  const next: TaskSetRow = { ...before, scale, updatedAt: now }
  if (computedDesiredCount(service, next) === computedDesiredCount(service, before)) return next
  return { ...next, stabilityStatus: 'STABILIZING', stabilityStatusAt: now }
}

/** A task set that was deleted only waits for its tasks to end. */
function requireKept(taskSet: TaskSetRow): TaskSetRow {
  if (taskSet.status !== 'DRAINING') return taskSet
  throw invalidParameter(`Task set ${taskSet.id} is DRAINING: it was deleted. Create another one with CreateTaskSet.`)
}

/** What was PRIMARY is ACTIVE from then on; the service shows what the new one runs, and how. */
function makePrimary(tx: Transaction, service: ServiceRow, taskSet: TaskSetRow, now: number): TaskSetRow {
  if (taskSet.status === 'PRIMARY') return taskSet
  for (const row of tx.find('taskSet', 'byService', service.serviceKey)) {
    if (row.status === 'PRIMARY') tx.put('taskSet', row.id, { ...row, status: 'ACTIVE', updatedAt: now })
  }
  const primary: TaskSetRow = { ...taskSet, status: 'PRIMARY', updatedAt: now }
  tx.put('taskSet', primary.id, primary)
  tx.put('service', service.serviceKey, { ...service, ...shownOf(service, primary) })
  return primary
}

type Shown = Pick<
  ServiceRow,
  'taskDefinition' | 'launchType' | 'platformVersion' | 'networkConfiguration' | 'loadBalancers' | 'serviceRegistries'
>

/** "When you call DescribeServices, it returns all fields specified for a primary task set"; none without a primary one. */
function shownOf({ launchType }: ServiceRow, primary: TaskSetRow | undefined): Shown {
  return {
    taskDefinition: primary?.taskDefinition,
    launchType: primary?.launchType ?? launchType,
    platformVersion: primary?.platformVersion,
    networkConfiguration: primary?.networkConfiguration,
    loadBalancers: primary?.loadBalancers ?? [],
    serviceRegistries: primary?.serviceRegistries ?? [],
  }
}

/** A repeat changes nothing. Its tasks are the scheduler's to stop; once the last one has, the task set is gone. */
function deleteTaskSet(
  tx: Transaction,
  service: ServiceRow,
  taskSet: TaskSetRow,
  force: boolean,
  now: number,
): TaskSetRow {
  if (taskSet.status === 'DRAINING') return taskSet
  if (!force) checkDeletable(service, taskSet)
  const draining = drainedTaskSet(taskSet, now)
  tx.put('taskSet', draining.id, draining)
  if (taskSet.status === 'PRIMARY')
    tx.put('service', service.serviceKey, { ...service, ...shownOf(service, undefined) })
  return draining
}

function checkDeletable(service: ServiceRow, taskSet: TaskSetRow): void {
  if (taskSet.status === 'PRIMARY') {
    throw invalidParameter(
      'Primary TaskSet cannot be deleted. Make another one primary with UpdateServicePrimaryTaskSet first, or delete it ' +
        'with force.',
    )
  }
  const count = computedDesiredCount(service, taskSet)
  if (count === 0) return
  throw invalidParameter(
    `The task set cannot be deleted while it is scaled above 0: it is to have ${count} tasks. Update its scale to 0 first, ` +
      'or delete it with force.',
  )
}
