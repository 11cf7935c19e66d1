/**
 * What placement looks at: what is asked for, and the instances of a cluster with what each has left. Candidates are
 * gathered once for a call; after each placement only the chosen one is read again, through the transaction.
 */
import type { PlacementConstraint, PlacementStrategy, TaskOverride } from '../../proto/model/types.ts'
import type { InstanceRow, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { type InstanceResources, resourcesLeft } from './resources.ts'

export interface PlacementRequest {
  readonly definition: TaskDefinitionRow
  readonly overrides?: TaskOverride | undefined
  /** `family:F` or the caller's own: what spread and distinctInstance count over. */
  readonly group: string
  /** Undefined: any instance whose launch type is among the definition's compatibilities. */
  readonly launchType?: 'EC2' | 'EXTERNAL' | undefined
  /** The caller's and the definition's together. Only `distinctInstance` is judged here. */
  readonly constraints: readonly PlacementConstraint[]
  /** In sequence. Empty: the default of RunTask, see placement-strategies.ts. */
  readonly strategies: readonly PlacementStrategy[]
}

export interface Candidate {
  readonly instance: InstanceRow
  readonly resources: InstanceResources
  /** The instance's tasks that are not STOPPED. */
  readonly tasks: readonly TaskRow[]
}

/** The cluster's instances that are ACTIVE or DRAINING, in the order in which they registered. */
export function placementCandidates(reader: Reader, clusterName: string): readonly Candidate[] {
  return reader
    .find('instance', 'byCluster', clusterName)
    .filter((instance) => instance.status !== 'INACTIVE')
    .map((instance) => candidateOf(reader, instance))
    .sort(byRegistration)
}

export function candidateOf(reader: Reader, instance: InstanceRow): Candidate {
  const tasks = reader.find('task', 'liveByInstance', instance.instanceId)
  return { instance, tasks, resources: resourcesLeft(instance, tasks) }
}

/** The same candidates with one of them as the transaction now sees it. */
export function withReread(reader: Reader, candidates: readonly Candidate[], instanceId: string): readonly Candidate[] {
  return candidates.map((candidate) =>
    candidate.instance.instanceId === instanceId ? candidateOf(reader, candidate.instance) : candidate,
  )
}

/** The group's tasks on an instance that are meant to run; one that is being stopped makes room for its successor. */
export function tasksOfGroup(candidate: Candidate, group: string): number {
  return candidate.tasks.filter((task) => task.group === group && task.desiredStatus !== 'STOPPED').length
}

function byRegistration(left: Candidate, right: Candidate): number {
  const byAge = left.instance.registeredAt - right.instance.registeredAt
  if (byAge !== 0) return byAge
  return left.instance.instanceId < right.instance.instanceId ? -1 : 1
}
