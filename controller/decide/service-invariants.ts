/**
 * What must always hold of services, their deployments and their tasks, as small functions like those of `invariants.ts`:
 * each answers with a sentence for every row that breaks it.
 */
import { isHealthy, phaseOf, servicePhases } from '../state/service-phase.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Change, Reader } from '../state/transaction.ts'
import { type Finding, named } from './invariants.ts'
import { rollingBounds } from './rolling.ts'
import { serviceEventsMax } from './service-events.ts'
import { isProtected } from './task-protection.ts'

/** One service with its deployments that are not INACTIVE and its tasks that are not STOPPED. */
interface ServiceView {
  readonly service: ServiceRow
  readonly deployments: readonly DeploymentRow[]
  readonly tasks: readonly TaskRow[]
  readonly reader: Reader
}

/** What one turn did to the tasks of a service. */
interface ServiceTurn extends ServiceView {
  readonly serviceBefore: ServiceRow | undefined
  readonly taskChanges: readonly TaskChange[]
}

interface TaskChange {
  readonly before: TaskRow | undefined
  readonly row: TaskRow
}

type ServiceInvariant = (view: ServiceView) => readonly string[]
type ServiceMove = (turn: ServiceTurn) => readonly string[]
type DeploymentMove = (before: DeploymentRow, after: DeploymentRow) => readonly string[]

/** Every finding about services as they stand. `serviceKeys` narrows the look; by default it is all. */
export function findingsOfServices(reader: Reader, serviceKeys?: Iterable<string>): readonly Finding[] {
  const services =
    serviceKeys === undefined
      ? reader.all('service')
      : [...serviceKeys].flatMap((serviceKey) => reader.get('service', serviceKey) ?? [])
  return services.flatMap((service) => {
    const view = viewOf(service, reader)
    return named(serviceInvariants, (invariant) => invariant(view))
  })
}

/** Every finding about what a committed turn did to services; `reader` is the state after it. */
export function findingsOfServiceChanges(changes: readonly Change[], reader: Reader): readonly Finding[] {
  const moves = changes.flatMap(({ table, before, row }) => {
    if (table !== 'deployment' || before === undefined || row === undefined) return []
    return named(deploymentMoves, (invariant) => invariant(before as DeploymentRow, row as DeploymentRow))
  })
  return [...moves, ...turnsOf(changes, reader).flatMap((turn) => named(serviceMoves, (move) => move(turn)))]
}

/** The keys of the services that a turn's changes concern. */
export function servicesIn(changes: readonly Change[]): ReadonlySet<string> {
  const keys = new Set<string>()
  for (const { row, before } of changes) {
    const { serviceKey } = (row ?? before ?? {}) as { readonly serviceKey?: string }
    if (serviceKey !== undefined) keys.add(serviceKey)
  }
  return keys
}

const serviceInvariants = {
  activeServicesHaveOnePrimary({ service, deployments }) {
    if (service.status !== 'ACTIVE' || service.deploymentController.type !== 'ECS') return []
    const primaries = deployments.filter(({ status }) => status === 'PRIMARY')
    return primaries.length === 1 ? [] : [`service ${service.serviceKey} has ${primaries.length} PRIMARY deployments`]
  },

  onlyExternalServicesHaveTaskSets({ service, reader }) {
    const taskSets = reader.find('taskSet', 'byService', service.serviceKey)
    const isAllowed = service.deploymentController.type !== 'ECS' && service.status !== 'INACTIVE'
    const primaries = taskSets.filter(({ status }) => status === 'PRIMARY').length
    return [
      ...(taskSets.length > 0 && !isAllowed ? [`service ${service.serviceKey} has ${taskSets.length} task sets`] : []),
      ...(primaries > 1 ? [`service ${service.serviceKey} has ${primaries} PRIMARY task sets`] : []),
    ]
  },

  serviceTasksAreOfADeployment({ service, tasks, reader }) {
    const wanted = tasks.filter(({ desiredStatus }) => desiredStatus === 'RUNNING')
    return wanted.flatMap(({ taskId, deploymentId = '', startedBy, group }) => {
      const owner = reader.get('deployment', deploymentId) ?? reader.get('taskSet', deploymentId)
      const isOwn = owner?.serviceKey === service.serviceKey && startedBy === deploymentId
      if (isOwn && group === `service:${service.serviceName}`) return []
      return [`task ${taskId} of ${service.serviceKey} says deployment ${deploymentId}, by ${startedBy}, ${group}`]
    })
  },

  phasesCountEachTaskOnce({ service, deployments, tasks, reader }) {
    return deployments.flatMap(({ id }) => {
      const counted = servicePhases.reduce(
        (sum, phase) => sum + reader.count('task', 'byDeploymentPhase', `${id}/${phase}`),
        0,
      )
      const live = tasks.filter(({ deploymentId }) => deploymentId === id).length
      return counted === live ? [] : [`${id} of ${service.serviceKey} has ${live} tasks, and its phases ${counted}`]
    })
  },

  daemonsRunOncePerInstance({ service, tasks }) {
    if (service.schedulingStrategy !== 'DAEMON') return []
    const holders = new Map<string, string>()
    return tasks.flatMap(({ taskId, deploymentId, instanceId, desiredStatus }) => {
      if (desiredStatus === 'STOPPED') return []
      const place = `${deploymentId} on ${instanceId}`
      const holder = holders.get(place)
      holders.set(place, taskId)
      return holder === undefined ? [] : [`tasks ${holder} and ${taskId} of daemon ${place}`]
    })
  },

  eventsAreBounded({ service, reader }) {
    const events = reader.count('serviceEvent', 'byService', service.serviceKey)
    return events <= serviceEventsMax ? [] : [`service ${service.serviceKey} has ${events} events`]
  },

  inactiveServicesWantNothing({ service, deployments, tasks }) {
    if (service.status !== 'INACTIVE') return []
    const wanted = tasks
      .filter(({ desiredStatus }) => desiredStatus === 'RUNNING')
      .map(({ taskId }) => `task ${taskId}`)
    const left = [...wanted, ...deployments.map(({ id }) => `deployment ${id}`)]
    return left.map((what) => `service ${service.serviceKey} is INACTIVE, and ${what} is not`)
  },

  lossAndDrainFollowTheInstance({ tasks, reader }) {
    return tasks.flatMap((task) => {
      const instance = reader.get('instance', task.instanceId)
      const agrees =
        task.lostSince === instance?.lostSince &&
        (task.evacuatingSince !== undefined) === (instance?.status === 'DRAINING')
      return agrees ? [] : [`task ${task.taskId} is not lost or leaving as its instance ${task.instanceId} is`]
    })
  },
} as const satisfies Readonly<Record<string, ServiceInvariant>>

const serviceMoves = {
  onlyActiveServicesStartTasks({ service, taskChanges }) {
    if (service.status === 'ACTIVE') return []
    return taskChanges
      .filter(({ before }) => before === undefined)
      .map(({ row }) => `task ${row.taskId} was started by service ${service.serviceKey}, which is ${service.status}`)
  },

  startsStayWithinTheMaximum(turn) {
    const { service, tasks, taskChanges } = turn
    if (!isRolling(service) || !taskChanges.some(({ before }) => before === undefined)) return []
    // Tasks that came back with their host in this very turn were not started by it.
    const returned = taskChanges.filter(({ before, row }) => before?.lostSince !== undefined && !row.lostSince).length
    const total = tasks.filter(({ lostSince }) => lostSince === undefined).length - returned
    const { upper } = boundsOf(service)
    return total <= upper ? [] : [`service ${service.serviceKey} started tasks up to ${total}, of ${upper} at most`]
  },

  stopsLeaveTheMinimum({ service, tasks, taskChanges }) {
    if (!isRolling(service)) return []
    const stopped = taskChanges.filter(
      ({ before, row }) =>
        before !== undefined &&
        isServing(before) &&
        // One that was lost in this very turn serves nobody, whatever is wanted of it.
        row.lostSince === undefined &&
        row.desiredStatus === 'STOPPED' &&
        row.stopCode === 'ServiceSchedulerInitiated',
    )
    const serving = tasks.filter((task) => isServing(task) && task.desiredStatus === 'RUNNING').length
    const { lower } = boundsOf(service)
    if (stopped.length === 0 || serving >= lower) return []
    return [
      `service ${service.serviceKey} stopped ${stopped.length} healthy tasks, and ${serving} of ${lower} are left`,
    ]
  },

  protectedTasksAreNotStopped({ service, taskChanges }) {
    return taskChanges
      .filter(({ before, row }) => before?.desiredStatus === 'RUNNING' && row.desiredStatus === 'STOPPED')
      .filter(({ row }) => row.stopCode === 'ServiceSchedulerInitiated' && isProtected(row, row.stoppingAt ?? 0))
      .filter(() => service.status === 'ACTIVE')
      .map(({ row }) => `task ${row.taskId} is protected, and its scheduler stopped it`)
  },

  servicesEndOnceTheirTasksHave({ service, serviceBefore, tasks }) {
    if (service.status !== 'INACTIVE' || serviceBefore === undefined || serviceBefore.status === 'INACTIVE') return []
    return tasks
      .filter(({ lostSince }) => lostSince === undefined)
      .map(({ taskId }) => `service ${service.serviceKey} became INACTIVE before its task ${taskId} had stopped`)
  },

  eventNumbersGrow({ service, serviceBefore }) {
    const isOther = serviceBefore === undefined || serviceBefore.createdAt !== service.createdAt
    return isOther || service.eventSeq >= serviceBefore.eventSeq ? [] : [`events of ${service.serviceKey} went back`]
  },
} as const satisfies Readonly<Record<string, ServiceMove>>

const deploymentMoves = {
  /** Only a rollback makes a deployment PRIMARY again, and in progress. */
  deploymentsOnlyGiveWay(before, after) {
    if (isTakenBackTo(before, after)) return []
    // One that is done with is ACTIVE once more while tasks end that a lost host has brought back.
    const isBack = after.status === 'PRIMARY' && before.status !== 'PRIMARY'
    return isBack ? [`deployment ${after.id} went from ${before.status} back to ${after.status}`] : []
  },

  rolloutsEndOnce(before, after) {
    if (before.rolloutState === 'IN_PROGRESS' || before.rolloutState === after.rolloutState) return []
    if (isTakenBackTo(before, after)) return []
    return [`rollout of ${after.id} had ended as ${before.rolloutState}, and is ${after.rolloutState}`]
  },
} as const satisfies Readonly<Record<string, DeploymentMove>>

function isTakenBackTo(before: DeploymentRow, after: DeploymentRow): boolean {
  return after.rollbackOf !== undefined && after.rollbackOf !== before.rollbackOf
}

function viewOf(service: ServiceRow, reader: Reader): ServiceView {
  const { serviceKey } = service
  const deployments = reader.find('deployment', 'liveByService', serviceKey)
  return { service, deployments, tasks: reader.find('task', 'liveByService', serviceKey), reader }
}

function turnsOf(changes: readonly Change[], reader: Reader): readonly ServiceTurn[] {
  const befores = new Map<string, ServiceRow>()
  const tasks = new Map<string, TaskChange[]>()
  for (const { table, key, before, row } of changes) {
    if (table === 'service' && before !== undefined) befores.set(key, before as ServiceRow)
    if (table !== 'task' || row === undefined) continue
    const task = row as TaskRow
    if (task.serviceKey === undefined) continue
    const ofService = tasks.get(task.serviceKey) ?? []
    ofService.push({ before: before as TaskRow | undefined, row: task })
    tasks.set(task.serviceKey, ofService)
  }
  return [...new Set([...befores.keys(), ...tasks.keys()])].flatMap((serviceKey) => {
    const service = reader.get('service', serviceKey)
    if (service === undefined) return []
    const serviceBefore = befores.get(serviceKey)
    return [{ ...viewOf(service, reader), serviceBefore, taskChanges: tasks.get(serviceKey) ?? [] }]
  })
}

/** Percentages bound the tasks of replica services; a daemon's tasks are bounded by its instances. */
function isRolling({ schedulingStrategy, deploymentController }: ServiceRow): boolean {
  return schedulingStrategy === 'REPLICA' && deploymentController.type === 'ECS'
}

function boundsOf({ desiredCount, deploymentConfiguration }: ServiceRow): ReturnType<typeof rollingBounds> {
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = deploymentConfiguration
  return rollingBounds(desiredCount, minimumHealthyPercent, maximumPercent)
}

/** Healthy, and neither lost nor on the way out. */
function isServing(task: TaskRow): boolean {
  const phase = phaseOf(task)
  return isHealthy(task) && (phase === 'healthy' || phase === 'leaving')
}
