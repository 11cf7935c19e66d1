/**
 * What must always hold of the controller's state, as a list of small functions: each answers with a sentence for every
 * row that breaks it. The simulation asks after each turn; production may ask whenever it likes, since they only read.
 */
import { isLaterContainerStatus, isLaterTaskStatus } from '../../proto/status.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Change, Reader } from '../state/transaction.ts'
import { heldGpuIds } from './gpus.ts'
import { addressInvariants } from './address-invariants.ts'
import { resourcesLeft } from './resources.ts'

/** Something that must never be: the invariant's name, and which row breaks it and how. */
export interface Finding {
  readonly invariant: string
  readonly what: string
}

/** One instance with its tasks that are not STOPPED. */
interface InstanceView {
  readonly instance: InstanceRow
  readonly tasks: readonly TaskRow[]
}

type InstanceInvariant = (view: InstanceView) => readonly string[]
type TaskInvariant = (task: TaskRow, reader: Reader) => readonly string[]
type TaskMove = (before: TaskRow, after: TaskRow) => readonly string[]
type InstanceMove = (before: InstanceRow, after: InstanceRow) => readonly string[]

/** Every finding about the instances and tasks as they stand. `instanceIds` narrows the look; by default it is all. */
export function findingsOfState(reader: Reader, instanceIds?: readonly string[]): readonly Finding[] {
  const instances =
    instanceIds === undefined
      ? reader.all('instance')
      : instanceIds.flatMap((instanceId) => reader.get('instance', instanceId) ?? [])
  return instances.flatMap((instance) => {
    const tasks = reader.find('task', 'liveByInstance', instance.instanceId)
    const addresses = reader.find('address', 'byInstance', instance.instanceId)
    return [
      ...named(instanceInvariants, (invariant) => invariant({ instance, tasks })),
      ...named(addressInvariants, (invariant) => invariant({ reader, instance, tasks, addresses })),
      ...tasks.flatMap((task) => named(taskInvariants, (invariant) => invariant(task, reader))),
    ]
  })
}

/** Every finding about what a committed turn did to rows that were there before, and to how tasks came to be. */
export function findingsOfChanges(changes: readonly Change[], reader: Reader): readonly Finding[] {
  return changes.flatMap(({ table, key, before, row }) => {
    if (table === 'task') return findingsOfTask(key, before as TaskRow | undefined, row as TaskRow | undefined, reader)
    if (table !== 'instance' || before === undefined || row === undefined) return []
    return named(instanceMoves, (invariant) => invariant(before as InstanceRow, row as InstanceRow))
  })
}

/** Commands of the API write what is desired, agents what is observed: what one of their inputs did to a task. */
export function findingsOfWriter(
  writer: 'operator' | 'agent',
  before: TaskRow | undefined,
  after: TaskRow,
): readonly Finding[] {
  const what = writer === 'operator' ? operatorWroteObserved(before, after) : agentWroteDesired(before, after)
  return what.map((text) => ({ invariant: 'desiredAndObservedHaveOneWriterEach', what: text }))
}

function findingsOfTask(
  taskId: string,
  before: TaskRow | undefined,
  after: TaskRow | undefined,
  reader: Reader,
): readonly Finding[] {
  if (before === undefined || after === undefined) {
    const lost = before !== undefined && (before.lastStatus !== 'STOPPED' || reader.history.task(taskId) === undefined)
    return lost ? [{ invariant: 'tasksAreNotLost', what: `task ${taskId} left memory, and no history has it` }] : []
  }
  return named(taskMoves, (invariant) => invariant(before, after))
}

const instanceInvariants = {
  cpuIsNotOvercommitted({ instance, tasks }) {
    const { remaining, registered } = resourcesLeft(instance, tasks)
    if (remaining.cpuUnits >= 0) return []
    return [`instance ${instance.instanceId} has ${registered.cpuUnits} CPU units, ${-remaining.cpuUnits} too few`]
  },

  memoryIsNotOvercommitted({ instance, tasks }) {
    const { remaining, registered } = resourcesLeft(instance, tasks)
    if (remaining.memoryMiB >= 0) return []
    return [`instance ${instance.instanceId} has ${registered.memoryMiB} MiB, ${-remaining.memoryMiB} too few`]
  },

  portsAreGivenOnce({ instance, tasks }) {
    const holders = new Map<string, string>()
    return tasks.flatMap((task) =>
      portsOf(task).flatMap((port) => {
        const holder = holders.get(port)
        holders.set(port, task.taskId)
        if (holder === undefined) return []
        return [`port ${port} of instance ${instance.instanceId} is held by tasks ${holder} and ${task.taskId}`]
      }),
    )
  },

  gpusAreGivenOnce({ instance, tasks }) {
    const holders = new Map<string, string>()
    return tasks.flatMap((task) =>
      heldGpuIds(task).flatMap((id) => {
        const holder = holders.get(id)
        holders.set(id, task.taskId)
        if (holder === undefined) return []
        return [`GPU ${id} of instance ${instance.instanceId} is held by tasks ${holder} and ${task.taskId}`]
      }),
    )
  },

  numbersAreGivenOnce({ instance, tasks }) {
    const numbers = new Map<number, string>()
    return tasks.flatMap(({ taskId, seqNum }) => {
      const other = numbers.get(seqNum)
      numbers.set(seqNum, taskId)
      return other === undefined ? [] : [`number ${seqNum} of ${instance.instanceId} is that of ${other} and ${taskId}`]
    })
  },

  inactiveInstancesHaveNoTasks({ instance, tasks }) {
    if (instance.status !== 'INACTIVE') return []
    return tasks.map(({ taskId }) => `task ${taskId} counts on instance ${instance.instanceId}, which is INACTIVE`)
  },
} as const satisfies Readonly<Record<string, InstanceInvariant>>

const taskInvariants = {
  tasksAreNumberedBelowTheirInstance({ taskId, seqNum, acknowledgedSeqNum, instanceId }, reader) {
    const newest = reader.get('instance', instanceId)?.seqNum ?? -1
    const inOrder = acknowledgedSeqNum <= seqNum && seqNum <= newest
    return inOrder ? [] : [`task ${taskId}: acknowledged ${acknowledgedSeqNum}, number ${seqNum}, newest ${newest}`]
  },

  wantedTasksAreNumbered({ taskId, numberedFor, desiredStatus }) {
    return numberedFor === desiredStatus ? [] : [`task ${taskId} is wanted ${desiredStatus}, and no number says so`]
  },

  tasksHaveWhatTheyAreMadeOf({ taskId, taskDefinitionArn, clusterName }, reader) {
    const name = taskDefinitionArn.slice(taskDefinitionArn.lastIndexOf('/') + 1)
    if (reader.get('taskDefinition', name) === undefined) return [`task ${taskId} is of ${name}, which is gone`]
    return reader.get('cluster', clusterName) === undefined ? [`task ${taskId} is of no cluster`] : []
  },

  stoppingTasksSayWhy({ taskId, desiredStatus, stoppedReason, stopCode, stoppingAt }) {
    const says = desiredStatus === 'RUNNING' || (stoppedReason !== undefined && stopCode !== undefined && stoppingAt)
    return says ? [] : [`task ${taskId} is to stop, and does not say why or since when`]
  },
} as const satisfies Readonly<Record<string, TaskInvariant>>

const taskMoves = {
  statusesMoveForward(before, after) {
    const findings: string[] = []
    if (isLaterTaskStatus(after.lastStatus, before.lastStatus)) {
      findings.push(`task ${after.taskId} went from ${before.lastStatus} back to ${after.lastStatus}`)
    }
    if (before.desiredStatus === 'STOPPED' && after.desiredStatus === 'RUNNING') {
      findings.push(`task ${after.taskId} was to stop, and is wanted RUNNING again`)
    }
    for (const container of after.containers) {
      const known = before.containers.find(({ name }) => name === container.name)
      if (known === undefined || !isLaterContainerStatus(container.lastStatus, known.lastStatus)) continue
      // Started again in place, it passes through its statuses anew; what has ended for good is not started again.
      const isAnew = (container.restartCount ?? 0) > (known.restartCount ?? 0) && before.lastStatus !== 'STOPPED'
      if (isAnew) continue
      findings.push(`container ${container.name} of ${after.taskId}: ${known.lastStatus} -> ${container.lastStatus}`)
    }
    return findings
  },

  restartsAreCountedUp(before, after) {
    return after.containers
      .filter((container) => {
        const known = before.containers.find(({ name }) => name === container.name)
        return (container.restartCount ?? 0) < (known?.restartCount ?? 0)
      })
      .map(({ name }) => `container ${name} of ${after.taskId} was restarted fewer times than before`)
  },

  endsAreFinal(before, after) {
    if (before.lastStatus !== 'STOPPED') return []
    const same = before.stoppedAt === after.stoppedAt && before.stopCode === after.stopCode
    return same ? [] : [`task ${after.taskId} had stopped, and its end was rewritten`]
  },

  endsAreWhole(_before, after) {
    if (after.lastStatus !== 'STOPPED') return []
    const { taskId, desiredStatus, stoppedAt, stoppedReason, containers } = after
    const whole =
      desiredStatus === 'STOPPED' &&
      stoppedAt !== undefined &&
      stoppedReason !== undefined &&
      containers.every(({ lastStatus }) => lastStatus === 'STOPPED')
    return whole ? [] : [`task ${taskId} is STOPPED, but its desired status, its reason or its containers are not so`]
  },

  tasksStayWhatTheyAre(before, after) {
    const members = ['taskArn', 'instanceId', 'taskDefinitionArn', 'createdAt', 'startedBy', 'clusterName'] as const
    const changed = members.filter((member) => before[member] !== after[member])
    const started = before.startedAt !== undefined && before.startedAt !== after.startedAt ? ['startedAt'] : []
    return [...changed, ...started].map((member) => `${member} of task ${after.taskId} has changed`)
  },

  taskNumbersGrow(before, after) {
    const grows = after.seqNum >= before.seqNum && after.version >= before.version
    return grows ? [] : [`task ${after.taskId}: number ${before.seqNum} -> ${after.seqNum}, or its version, went back`]
  },
} as const satisfies Readonly<Record<string, TaskMove>>

const instanceMoves = {
  instanceNumbersGrow(before, after) {
    const grows = after.seqNum >= before.seqNum && after.version >= before.version
    return grows ? [] : [`instance ${after.instanceId}: number ${before.seqNum} -> ${after.seqNum}, or its version`]
  },

  deregisteredStaysSo(before, after) {
    if (before.status !== 'INACTIVE') return []
    const same = after.status === 'INACTIVE' && !after.agentConnected
    return same ? [] : [`instance ${after.instanceId} was INACTIVE, and is ${after.status} or connected`]
  },
} as const satisfies Readonly<Record<string, InstanceMove>>

function operatorWroteObserved(before: TaskRow | undefined, after: TaskRow): readonly string[] {
  if (before === undefined) {
    const fresh = after.lastStatus === 'PROVISIONING' || after.lastStatus === 'PENDING'
    return fresh ? [] : [`task ${after.taskId} was born ${after.lastStatus}`]
  }
  const observed = ['lastStatus', 'containers', 'startedAt', 'stoppedAt', 'reportedAt'] as const
  return observed
    .filter((member) => JSON.stringify(before[member]) !== JSON.stringify(after[member]))
    .map((member) => `a call of the API wrote ${member} of task ${after.taskId}`)
}

/** A report of the end settles what is desired too; anything else that an agent says leaves it alone. */
function agentWroteDesired(before: TaskRow | undefined, after: TaskRow): readonly string[] {
  if (before === undefined) return [`an agent made task ${after.taskId}`]
  if (before.desiredStatus === after.desiredStatus || after.lastStatus === 'STOPPED') return []
  return [`an agent wrote desiredStatus ${after.desiredStatus} of task ${after.taskId}`]
}

/**
 * Ports that placement gave to a task. Those that agents choose are told by reports, and the report of a new holder may
 * well come before that of the old one's end.
 */
function portsOf({ reserved }: TaskRow): readonly string[] {
  return [...reserved.tcpPorts.map((port) => `${port}/tcp`), ...reserved.udpPorts.map((port) => `${port}/udp`)]
}

/** Asks each invariant of a list, and names it in what it finds. */
export function named<Invariant>(
  invariants: Readonly<Record<string, Invariant>>,
  ask: (invariant: Invariant) => readonly string[],
): readonly Finding[] {
  return Object.entries(invariants).flatMap(([name, invariant]) =>
    ask(invariant).map((what) => ({ invariant: name, what })),
  )
}
