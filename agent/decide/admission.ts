/** How a task comes to the agent: by a payload, or by its containers where the journal has no trace of it. */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { stableHash } from '../../proto/hash.ts'
import { labels } from '../engine.ts'
import type { ObservedContainer } from '../engine.ts'
import { dockerNameOf } from './container.ts'
import { internalKindOf, internalNames } from './internal-containers.ts'
import { foldObservation } from './observation.ts'
import { refusalOf } from './payload.ts'
import { networkFromLabel, taskNetworkLabel } from './task-network.ts'
import { isCgroupOf } from './task-cgroup.ts'
import { freshContainer } from './view.ts'
import type { ContainerFacts, TaskFacts } from './view.ts'
import { freshVolumes } from './volume-mounts.ts'

const hexDigits = 20

/** Statuses of the controller that mean that the task's containers were running once. */
const ranAlready = new Set(['RUNNING', 'DEACTIVATING', 'STOPPING', 'DEPROVISIONING', 'STOPPED'])

/**
 * Facts of a task that this agent has not heard of before. One that the controller knows to have run is not run a second
 * time: its containers are expected to be here, and those that Docker doesn't show have vanished. `malformed` is what is wrong with its very structure.
 */
export function admitTask(payload: PayloadTask, malformed: string | undefined, now: number): TaskFacts {
  const lost = ranAlready.has(payload.gantry?.knownStatus ?? '')
  // What ran here was not refused, so it is not now: it is found, and runs on, or has vanished.
  const refusal = lost ? undefined : refusalOf(payload)
  const reason = malformed === undefined ? refusal : `UnrecogniedTaskError: Error loading task - ${malformed}`
  const container: ContainerFacts = lost ? { ...freshContainer, expected: true } : freshContainer
  return {
    taskArn: payload.arn,
    desiredStatus: payload.desiredStatus,
    knownStatus: 'PENDING',
    reason,
    adopted: false,
    acceptedAt: now,
    containers: Object.fromEntries(payload.containers.map(({ name }) => [name, container])),
    volumes: freshVolumes(payload, (name) => chooseDockerName(payload, name, 0)),
  }
}

/** A payload for a task that is known: its desire moves forward, and an adopted task becomes whole. */
export function readmitTask(facts: TaskFacts, payload: PayloadTask, now: number): TaskFacts {
  // An adopted task that was reported STOPPED by what was left of it has ended, whatever its payload adds to it.
  const hasEnded = facts.adopted && facts.reported?.status === 'STOPPED'
  const desiredStatus = facts.desiredStatus === 'STOPPED' || hasEnded ? 'STOPPED' : payload.desiredStatus
  if (!facts.adopted) {
    // The controller asks again about a task that has ended and was acknowledged: it is told once more.
    const askedAgain = facts.knownStatus === 'STOPPED' && facts.stoppedAcknowledgedAt !== undefined
    const unchanged = desiredStatus === facts.desiredStatus && !askedAgain
    return unchanged ? facts : { ...facts, desiredStatus, reported: askedAgain ? undefined : facts.reported }
  }
  const fresh = admitTask(payload, undefined, now)
  const containers = payload.containers.map(({ name }) => [
    name,
    facts.containers[name] ?? fresh.containers[name] ?? freshContainer,
  ])
  // What an agent before this one took, and still runs, is not refused now; and it goes with the cgroup that it is in.
  const runs = Object.values(facts.containers).some(({ knownStatus }) => knownStatus === 'RUNNING')
  const { acceptedAt, cgroup } = facts
  const kept = { desiredStatus, acceptedAt, ...(runs ? { reason: undefined } : {}), ...(cgroup && { cgroup }) }
  return { ...fresh, ...kept, containers: Object.fromEntries(containers) }
}

export interface AdoptedTask {
  readonly payload: PayloadTask
  readonly facts: TaskFacts
}

/**
 * A task made from the labels of its containers: it is watched, reported and can be stopped; nothing is started for it
 * until its payload comes again. All containers must be of one task and have its labels.
 */
export function adoptTask(containers: readonly ObservedContainer[], now: number): AdoptedTask {
  const first = containers[0]?.labels ?? {}
  const taskArn = first[labels.taskArn] ?? ''
  const payload: PayloadTask = {
    arn: taskArn,
    taskClusterArn: first[labels.cluster] ?? '',
    family: first[labels.family] ?? '',
    version: first[labels.version] ?? '',
    desiredStatus: 'RUNNING',
    networkMode: networkModeOf(containers),
    launchType: '',
    ...networkFromLabel(containers.flatMap((shown) => shown.labels[taskNetworkLabel] ?? [])[0]),
    containers: containers.map(adoptedContainer),
    volumes: [],
  }
  const facts = containers.map((shown) => [nameOf(shown), foldObservation(freshContainer, shown)])
  return {
    payload,
    facts: {
      taskArn,
      desiredStatus: 'RUNNING',
      knownStatus: 'PENDING',
      adopted: true,
      acceptedAt: now,
      containers: Object.fromEntries(facts),
      volumes: {},
      ...adoptedCgroup(taskArn, containers),
    },
  }
}

/** The cgroup around them, where it is the task's own: it goes with them. */
function adoptedCgroup(taskArn: string, containers: readonly ObservedContainer[]): Pick<TaskFacts, 'cgroup'> {
  const parent = containers[0]?.details?.cgroupParent
  return parent !== undefined && isCgroupOf(taskArn, parent) ? { cgroup: { parent } } : {}
}

/**
 * The Docker name of a container or volume. Its digits come from the task's ARN, the object and how often it was made
 * anew, so that even an agent without a journal meets what exists instead of making it twice.
 */
export function chooseDockerName(payload: PayloadTask, objectName: string, remakes: number): string {
  return dockerNameOf(payload, objectName, stableHash([payload.arn, objectName, remakes]).slice(0, hexDigits))
}

function nameOf(shown: ObservedContainer): string {
  return shown.labels[labels.containerName] ?? shown.name
}

function networkModeOf(containers: readonly ObservedContainer[]): PayloadTask['networkMode'] {
  if (containers.some((shown) => nameOf(shown) === internalNames.CNI_PAUSE)) return 'awsvpc'
  const mode = containers[0]?.networkMode
  return mode === 'host' || mode === 'none' ? mode : 'bridge'
}

function adoptedContainer(shown: ObservedContainer): PayloadContainer {
  const internal = internalKindOf(nameOf(shown))
  return {
    name: nameOf(shown),
    ...(internal === undefined ? {} : { internal }),
    containerArn: '',
    image: shown.image,
    essential: true,
    cpu: 0,
    memory: 0,
    environment: {},
    links: [],
    mountPoints: [],
    portMappings: shown.ports.map(({ containerPort, hostPort, protocol }) => ({ containerPort, hostPort, protocol })),
    volumesFrom: [],
    dockerConfig: { version: '', config: '{}', hostConfig: '{}' },
    overrides: '{}',
  }
}
