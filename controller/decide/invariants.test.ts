import { test } from 'tap'
import { aState, aTask, aTaskDefinition, anInstance, inTransaction } from '../../test/support/builders.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { findingsOfChanges, findingsOfState, findingsOfWriter } from './invariants.ts'

const instance = anInstance({ seqNum: 10 })
const definition = aTaskDefinition()
const reserved = { cpuUnits: 64, memoryMiB: 64, tcpPorts: [8080], udpPorts: [], dynamicPortsAwaited: 0 }
const base: Partial<TaskRow> = {
  instanceId: instance.instanceId,
  taskDefinitionArn: definition.taskDefinitionArn,
  lastStatus: 'RUNNING',
  desiredStatus: 'RUNNING',
  numberedFor: 'RUNNING',
  seqNum: 5,
  acknowledgedSeqNum: 5,
  reserved,
}
const task = aTask(base)

function stateWith(tasks: readonly TaskRow[], over: Partial<InstanceRow> = {}) {
  const rows = { instance: [{ ...instance, ...over }], task: tasks, taskDefinition: [definition] }
  return aState(rows)
}

const namesOf = (findings: readonly { readonly invariant: string }[]) => findings.map(({ invariant }) => invariant)

const moved = (before: Partial<InstanceRow>, row: Partial<InstanceRow>): readonly string[] => {
  const rows = { before: { ...instance, ...before }, row: { ...instance, ...row } }
  return namesOf(findingsOfChanges([{ table: 'instance', key: instance.instanceId, ...rows }], stateWith([])))
}

const withGpu = (row: TaskRow): TaskRow => ({
  ...row,
  containers: row.containers.map((container) => ({ ...container, gpuIds: ['GPU-1'] })),
})

await test('a state is judged by each invariant', (t) => {
  t.same(findingsOfState(stateWith([task])), [])
  const other = (over: Partial<TaskRow>): TaskRow =>
    aTask({ ...base, seqNum: 6, acknowledgedSeqNum: 6, reserved: { ...reserved, tcpPorts: [] }, ...over })
  t.same(findingsOfState(stateWith([task, other({})])), [])

  const broken: readonly (readonly [string, TaskRow])[] = [
    ['cpuIsNotOvercommitted', other({ reserved: { ...reserved, tcpPorts: [], cpuUnits: 100_000 } })],
    ['memoryIsNotOvercommitted', other({ reserved: { ...reserved, tcpPorts: [], memoryMiB: 100_000 } })],
    ['portsAreGivenOnce', other({ reserved })],
    ['numbersAreGivenOnce', other({ seqNum: 5, acknowledgedSeqNum: 5 })],
    ['tasksAreNumberedBelowTheirInstance', other({ seqNum: 11 })],
    ['wantedTasksAreNumbered', other({ numberedFor: undefined })],
    ['tasksHaveWhatTheyAreMadeOf', other({ taskDefinitionArn: `${definition.taskDefinitionArn}7` })],
    ['stoppingTasksSayWhy', other({ desiredStatus: 'STOPPED', numberedFor: 'STOPPED', stoppedReason: undefined })],
  ]
  for (const [name, row] of broken) t.same(namesOf(findingsOfState(stateWith([task, row]))), [name])
  t.same(namesOf(findingsOfState(stateWith([withGpu(task), withGpu(other({}))]))), ['gpusAreGivenOnce'])
  t.same(namesOf(findingsOfState(stateWith([task], { status: 'INACTIVE' }))), ['inactiveInstancesHaveNoTasks'])
  t.end()
})

await test('a change is judged by what was before', (t) => {
  const change = (before: TaskRow | undefined, row: TaskRow | undefined) => {
    const state = stateWith([task])
    return namesOf(findingsOfChanges([{ table: 'task', key: task.taskId, before, row }], state))
  }
  const container = task.containers[0]
  t.same(change(undefined, task), [])
  t.same(change(task, { ...task, desiredStatus: 'STOPPED' }), [])
  t.same(change({ ...task, desiredStatus: 'STOPPED' }, task), ['statusesMoveForward'])
  t.same(change(task, { ...task, lastStatus: 'PENDING' }), ['statusesMoveForward'])
  const ran = { ...task, containers: [{ ...container, name: 'app', essential: true, lastStatus: 'RUNNING' as const }] }
  const waits = { ...ran, containers: ran.containers.map((one) => ({ ...one, lastStatus: 'PENDING' as const })) }
  t.same(change(ran as TaskRow, waits as TaskRow), ['statusesMoveForward'])
  const anew = { ...waits, containers: waits.containers.map((one) => ({ ...one, restartCount: 1 })) }
  t.same(change(ran as TaskRow, anew as TaskRow), [], 'started again in place it passes through its statuses anew')
  t.same(change(anew as TaskRow, { ...anew, containers: waits.containers } as TaskRow), ['restartsAreCountedUp'])
  t.same(change(task, { ...task, instanceId: 'elsewhere' }), ['tasksStayWhatTheyAre'])
  t.same(change(task, { ...task, seqNum: 4 }), ['taskNumbersGrow'])
  t.same(change(task, { ...task, lastStatus: 'STOPPED' }), ['endsAreWhole'])
  t.same(change(task, undefined), ['tasksAreNotLost'])

  const ended: TaskRow = {
    ...task,
    lastStatus: 'STOPPED',
    desiredStatus: 'STOPPED',
    stoppedAt: 1,
    stopCode: 'UserInitiated',
    stoppedReason: 'done',
    containers: task.containers.map((one) => ({ ...one, lastStatus: 'STOPPED' })),
  }
  t.same(change(task, ended), [])
  t.same(change(ended, { ...ended, stoppedAt: 2 }), ['endsAreFinal'])

  t.same(moved({}, { seqNum: 11 }), [])
  t.same(moved({}, { seqNum: 9 }), ['instanceNumbersGrow'])
  t.same(moved({ status: 'INACTIVE' }, { status: 'ACTIVE' }), ['deregisteredStaysSo'])
  t.end()
})

await test('operators write what is desired, agents what is observed', (t) => {
  t.same(findingsOfWriter('operator', task, { ...task, desiredStatus: 'STOPPED' }), [])
  t.same(findingsOfWriter('agent', { ...task, lastStatus: 'PENDING' }, task), [])
  t.match(findingsOfWriter('operator', { ...task, lastStatus: 'PENDING' }, task), [{ what: /wrote lastStatus/ }])
  t.match(findingsOfWriter('operator', undefined, task), [{ what: /was born RUNNING/ }])
  t.match(findingsOfWriter('agent', task, { ...task, desiredStatus: 'STOPPED' }), [{ what: /wrote desiredStatus/ }])
  t.match(findingsOfWriter('agent', undefined, task), [{ what: /made task/ }])
  const state = stateWith([task])
  inTransaction(state, (tx) => tx.put('task', task.taskId, { ...task, version: 2 }))
  t.same(findingsOfState(state, [instance.instanceId]), [])
  t.end()
})
