/**
 * Starting tasks of a service: placing them one after the other, and where one finds no place, saying so on the
 * deployment and, once for each cause, in the service's events.
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, PlacementWait, ServiceRow } from '../state/service-tables.ts'
import { sameRow } from '../state/equal.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { putNewTask } from './address-allocation.ts'
import type { PlacementRequest } from './placement-candidates.ts'
import { planPlacement } from './placement-plan.ts'
import { waitOf } from './placement-refusal.ts'
import { type PhaseCounts, type RollingInput, rollingBounds } from './rolling.ts'
import { roleFilter, waitForRole } from './role-wait.ts'
import { addServiceEvent, subjectOf } from './service-events.ts'
import { countPhases, definitionOf, groupOf, newServiceTask, type ServiceTaskSource } from './service-tasks.ts'

/** Placement is tried again after this long though nothing changed, so that no missed change waits for ever. */
export const placementRetryMs = 30_000

/** The event on a wait that lasts is repeated after this long, and where its cause changes to and fro, not sooner than: */
const waitRepeatMs = 6 * 60 * 60 * 1000
const waitChangeMs = 60_000

/** Whose tasks are started: a deployment or a task set. */
export type Owner = Pick<DeploymentRow, 'id' | 'taskDefinition' | 'launchType' | 'networkConfiguration'>

export interface Starts {
  readonly started: readonly TaskRow[]
  /** Why the next one found no place, if one did not. */
  readonly wait?: PlacementWait | undefined
}

/** Starts up to `count` tasks of a deployment or a task set, each seeing what the ones before it took. */
export function startTasks(
  tx: Transaction,
  service: ServiceRow,
  owner: Owner,
  count: number,
  now: number,
  world: World,
): Starts {
  if (count <= 0) return { started: [] }
  const source = sourceOf(tx, service, owner)
  if (source === undefined) return { started: [], wait: waitForDefinition(owner, now) }
  const roleless = waitForRole(tx, source.definition, world, now)
  if (roleless !== undefined) return { started: [], wait: roleless }
  const request = placementRequestOf(source)
  const plan = planPlacement(tx, service.clusterName, request, now, world)
  const started: TaskRow[] = []
  while (started.length < count) {
    const placed = plan.next()
    if (placed.kind === 'refused') return { started, wait: waitOf(placed, now, now) }
    started.push(putNewTask(tx, newServiceTask(source, placed, now, world), request.subnetIds, now, world))
  }
  return { started }
}

/** What tasks of a deployment or a task set are made of; undefined where its task definition or its cluster is gone. */
export function sourceOf(reader: Reader, service: ServiceRow, owner: Owner): ServiceTaskSource | undefined {
  const cluster = reader.get('cluster', service.clusterName)
  const definition = definitionOf(reader, owner.taskDefinition)
  if (cluster === undefined || definition === undefined) return undefined
  const { id: deploymentId, launchType, networkConfiguration } = owner
  return { cluster, service, definition, deploymentId, launchType, networkConfiguration }
}

export function placementRequestOf(source: ServiceTaskSource): PlacementRequest {
  const { service, definition, launchType, networkConfiguration } = source
  return {
    definition,
    group: groupOf(service),
    launchType,
    constraints: [...(definition.placementConstraints ?? []), ...service.placementConstraints],
    strategies: service.placementStrategy,
    default: 'service',
    enableExecuteCommand: service.enableExecuteCommand,
    subnetIds: networkConfiguration?.awsvpcConfiguration?.subnets,
  }
}

/** Writes on the deployment what its next task waits for, or that it waits for nothing. */
export function noteWait(
  tx: Transaction,
  service: ServiceRow,
  deploymentId: string,
  wait: PlacementWait | undefined,
  now: number,
  world: World,
): void {
  const deployment = tx.get('deployment', deploymentId)
  if (deployment === undefined) return
  const { waiting, isNews } = nextWait(deployment.waiting, wait, now)
  if (waiting === deployment.waiting) return
  tx.put('deployment', deploymentId, { ...deployment, waiting })
  if (!isNews) return
  const live = tx.find('deployment', 'liveByService', service.serviceKey).map(({ id }) => id)
  const ofOld = countPhases(
    tx,
    live.filter((id) => id !== deploymentId),
  )
  const advice = minimumInTheWay(service, countPhases(tx, [deploymentId]), ofOld, waiting)
  tellWait(tx, service, { id: deploymentId, subject: subjectOf(service), advice }, waiting, now, world)
}

/**
 * Why the tasks of older deployments do not make room, where it is the minimum that keeps them; undefined where they
 * do, or where their room would not help.
 */
export function minimumInTheWay(
  { schedulingStrategy, desiredCount, deploymentConfiguration }: ServiceRow,
  ofPrimary: PhaseCounts,
  ofOld: PhaseCounts,
  wait: PlacementWait | undefined,
): string | undefined {
  if (schedulingStrategy === 'DAEMON' || ofOld.healthy === 0 || !isForWantOfResources(wait)) return undefined
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = deploymentConfiguration
  const { lower } = rollingBounds(desiredCount, minimumHealthyPercent, maximumPercent)
  const serving = ofOld.healthy + ofOld.leaving + ofPrimary.healthy + ofPrimary.leaving + ofPrimary.starting
  if (serving > lower) return undefined
  return (
    `Tasks of the service's older deployments may hold what is wanting, and minimumHealthyPercent ` +
    `${minimumHealthyPercent} of ${desiredCount} desired keeps ${lower} healthy: with a lower one, they can end first.`
  )
}

interface NextWait {
  readonly waiting: PlacementWait | undefined
  /** The service's events are to tell of it. */
  readonly isNews: boolean
}

/**
 * The wait as it is to be written after `before`, which it is where nothing is to be written. What only repeats itself is
 * written again when a retry is due, not with each look: deciding twice changes nothing.
 */
export function nextWait(before: PlacementWait | undefined, wait: PlacementWait | undefined, now: number): NextWait {
  if (wait === undefined) return { waiting: undefined, isNews: false }
  const isNews = isNewsOf(before, wait, now)
  const isDue = before === undefined || now - before.at >= placementRetryMs
  const after: PlacementWait = {
    ...wait,
    since: before?.since ?? now,
    at: isDue || isNews ? now : before.at,
    toldAt: isNews ? now : before?.toldAt,
    toldOf: isNews ? causeOf(wait) : before?.toldOf,
  }
  return { waiting: before !== undefined && sameRow(before, after) ? before : after, isNews }
}

/** The event that the next task has no place. `subject` is who waits, as events name it; `advice` is said at its end. */
export function tellWait(
  tx: Transaction,
  service: ServiceRow,
  { id, subject, advice }: { readonly id: string; readonly subject: string; readonly advice?: string | undefined },
  wait: PlacementWait | undefined,
  now: number,
  world: World,
): void {
  if (wait === undefined) return
  const [{ reason, filter } = {}] = wait.counts
  const message = [sentenceOf(subject, wait), advice].filter((part) => part !== undefined).join(' ')
  addServiceEvent(tx, service.serviceKey, message, now, world, {
    eventType: 'ERROR',
    eventName: filter === roleFilter ? 'SERVICE_TASK_CONFIGURATION_FAILURE' : 'SERVICE_TASK_PLACEMENT_FAILURE',
    ...(reason === undefined ? {} : { reason }),
    deploymentId: id,
  })
}

/** The same for rolling.ts. */
export function refusalOf(wait: PlacementWait | undefined): RollingInput['refused'] {
  if (wait === undefined) return undefined
  return isForWantOfResources(wait) ? 'forWantOfResources' : 'otherwise'
}

/** True where running tasks hold what is wanting, and give it back when they end: only then does it help to stop some. */
export function isForWantOfResources(wait: PlacementWait | undefined): boolean {
  return (
    wait?.counts.some(
      ({ filter, reason, explanation }) =>
        // A host that has too few GPUs at all has no more of them when tasks end.
        (reason.startsWith('RESOURCE') && filter !== 'gpu') ||
        filter === 'distinctInstance' ||
        (filter === 'memberOf' && countsTasks.test(explanation)),
    ) ?? false
  )
}

/** The subjects of the cluster query language that change with the tasks of an instance. */
const countsTasks = /runningTasksCount|task:group/

function isNewsOf(before: PlacementWait | undefined, wait: PlacementWait, now: number): boolean {
  if (before?.toldAt === undefined) return true
  const age = now - before.toldAt
  return age >= waitRepeatMs || (age >= waitChangeMs && before.toldOf !== causeOf(wait))
}

function causeOf({ counts }: PlacementWait): string {
  return counts
    .map(({ filter }) => filter)
    .sort()
    .join(' ')
}

/** The task definition was deleted: nothing of it can be started. */
export function waitForDefinition({ taskDefinition }: Owner, now: number): PlacementWait {
  const explanation =
    `task definition ${taskDefinition} is gone: update the service to a revision that is ACTIVE, ` +
    'or register it anew and update the service to that'
  const counts = [{ filter: 'taskDefinition', reason: 'TASK_DEFINITION', count: 0, explanation }]
  return { since: now, at: now, sentence: explanation, counts, nearest: [] }
}

/** ECS's words, then ours: what each instance lacks, in figures. */
function sentenceOf(subject: string, wait: PlacementWait): string {
  if (wait.counts[0]?.filter === roleFilter) return `${subject} failed to launch a task with (error ${wait.sentence}.).`
  const start = `${subject} was unable to place a task`
  if (wait.counts[0]?.filter === 'taskDefinition') return `${start}. Reason: ${wait.sentence}.`
  const failed = `${start} because no container instance met all of its requirements.`
  const [closest] = wait.nearest
  if (closest === undefined) return `${failed} Reason: No Container Instances were found in your cluster.`
  const ecs = `The closest matching (container-instance ${closest.instanceId}) ${missInWords(closest.filter)}.`
  return `${failed} ${ecs} ${pointer} In all, ${wait.sentence}.`
}

const pointer = 'For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.'

/** Source: AWS documentation, "Amazon ECS service event messages", and events that people have quoted. */
function missInWords(filter: string): string {
  switch (filter) {
    case 'cpu':
      return 'has insufficient CPU units available'
    case 'memory':
      return 'has insufficient memory available'
    case 'tcpPorts':
    case 'udpPorts':
    case 'awaitedPorts':
    case 'dynamicPorts':
      return 'is already using a port required by your task'
    case 'agentConnected':
      return "doesn't have the agent connected"
    case 'engineAnswers':
      return 'has a Docker Engine that does not answer'
    case 'status':
      return 'is not ACTIVE'
    case 'tasksMax':
      return 'holds as many tasks as its agent allows'
    case 'taskEniMax':
    case 'addresses':
      return 'encountered error "RESOURCE:ENI"'
    case 'gpu':
    case 'gpuFree':
      return 'encountered error "RESOURCE:GPU"'
    case 'distinctInstance':
      return 'already runs a task of this service, and its constraints allow one for each instance'
    case 'memberOf':
      return 'does not match the placement constraints of the service or its task definition'
    default:
      return 'is missing an attribute required by your task'
  }
}
