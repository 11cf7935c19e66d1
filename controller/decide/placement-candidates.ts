/**
 * What placement looks at: what is asked for, and the instances of a cluster with what each has left. Candidates are
 * gathered once for a call; after each placement only the chosen one is read again, through the transaction.
 */
import type { PlacementConstraint, PlacementStrategy, TaskOverride } from '../../proto/model/types.ts'
import type { InstanceRow, ReservedResources, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { attributesOf } from './operator-changes.ts'
import { type NetworkOffer, networkOffer } from './network-offer.ts'
import { type InstanceResources, resourcesAfter, resourcesLeft } from './resources.ts'

export interface PlacementRequest {
  readonly definition: TaskDefinitionRow
  readonly overrides?: TaskOverride | undefined
  /** `family:F` or the caller's own: what spread and distinctInstance count over. */
  readonly group: string
  /** Undefined: any instance whose launch type is among the definition's compatibilities. */
  readonly launchType?: 'EC2' | 'EXTERNAL' | undefined
  /** The caller's and the definition's together. */
  readonly constraints: readonly PlacementConstraint[]
  /** In sequence. Empty: the default, see placement-criteria.ts. */
  readonly strategies: readonly PlacementStrategy[]
  /** Whose default holds where no strategy is given; absent: RunTask's. */
  readonly default?: 'task' | 'service' | undefined
  /** True: only agents that run commands in containers. */
  readonly enableExecuteCommand?: boolean | undefined
  /** Where the task is to have an address of its own (network mode awsvpc): from one of these. */
  readonly subnetIds?: readonly string[] | undefined
  /** What these have to offer as of now: `withOffer`. */
  readonly network?: NetworkOffer | undefined
}

/** The request with what its subnets have to offer, as `reader` shows it. */
export function withOffer(reader: Reader, request: PlacementRequest): PlacementRequest {
  return request.subnetIds === undefined ? request : { ...request, network: networkOffer(reader, request.subnetIds) }
}

/** What placement reads of a task that an instance holds; also of one that a plan has put there and nobody wrote yet. */
export type HeldTask = Pick<TaskRow, 'group' | 'lastStatus' | 'desiredStatus' | 'lostSince' | 'evacuatingSince'>

export interface Candidate {
  readonly instance: InstanceRow
  readonly resources: InstanceResources
  /** The instance's tasks that are not STOPPED. */
  readonly tasks: readonly HeldTask[]
}

/** A candidate as the state has it: nothing is on it that nobody wrote. */
export interface WrittenCandidate extends Candidate {
  readonly tasks: readonly TaskRow[]
}

/** The cluster's instances that are ACTIVE or DRAINING, in the order in which they registered. */
export function placementCandidates(reader: Reader, clusterName: string): readonly WrittenCandidate[] {
  return reader
    .find('instance', 'byCluster', clusterName)
    .filter((instance) => instance.status !== 'INACTIVE')
    .map((instance) => candidateOf(reader, instance))
    .sort(byRegistration)
}

export function candidateOf(reader: Reader, instance: InstanceRow): WrittenCandidate {
  const tasks = reader.find('task', 'liveByInstance', instance.instanceId)
  return { instance, tasks, resources: resourcesLeft(instance, tasks) }
}

/** The candidate as it is once it has been given a task of `group` that takes `reserved`. */
export function withTask(
  { instance, resources, tasks }: Candidate,
  group: string,
  reserved: ReservedResources,
): Candidate {
  const task: HeldTask = { group, lastStatus: 'PENDING', desiredStatus: 'RUNNING' }
  return { instance, tasks: [...tasks, task], resources: resourcesAfter(resources, reserved) }
}

/**
 * The group's tasks on an instance that are meant to run there. One that is being stopped makes room for its successor,
 * and so does one that is lost or leaves a draining instance: its successor belongs in the same place.
 */
export function tasksOfGroup({ tasks }: Candidate, group: string): number {
  if (tasks.length >= countedFrom) return countsByGroup(tasks).get(group) ?? 0
  let number = 0
  for (const task of tasks) if (task.group === group && isMeantToStay(task)) number += 1
  return number
}

/** From so many tasks on it pays to count all groups at once: every service of a cluster asks for its own. */
const countedFrom = 16

/** Lists of tasks are never changed in place. */
const countedGroups = new WeakMap<readonly HeldTask[], ReadonlyMap<string, number>>()

function countsByGroup(tasks: readonly HeldTask[]): ReadonlyMap<string, number> {
  const known = countedGroups.get(tasks)
  if (known !== undefined) return known
  const counts = new Map<string, number>()
  for (const task of tasks) if (isMeantToStay(task)) counts.set(task.group, (counts.get(task.group) ?? 0) + 1)
  countedGroups.set(tasks, counts)
  return counts
}

/** Neither being stopped, nor lost, nor leaving a draining instance. */
export function isMeantToStay({ desiredStatus, lostSince, evacuatingSince }: HeldTask): boolean {
  return desiredStatus !== 'STOPPED' && lostSince === undefined && evacuatingSince === undefined
}

/** Where an instance stands by an attribute. Instances without it count as one place of their own. */
export function placeOf(instance: InstanceRow, attribute: string): string {
  return attributesOf(instance).find(({ name }) => name === attribute)?.value ?? ''
}

function byRegistration(left: Candidate, right: Candidate): number {
  const byAge = left.instance.registeredAt - right.instance.registeredAt
  if (byAge !== 0) return byAge
  return left.instance.instanceId < right.instance.instanceId ? -1 : 1
}
