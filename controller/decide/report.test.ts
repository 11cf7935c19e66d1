import t from 'tap'
import {
  aCall,
  aCluster,
  aState,
  aTask,
  aWorld,
  aTaskDefinition,
  aContainer,
  anInstance,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import {
  acknowledgePayload,
  agentConnected,
  agentDisconnected,
  applyHostReport,
  applyTaskStateChange,
  submitHandlers,
} from '../ecs/submit.ts'
import type { State } from '../state/state.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { type TaskReport, taskAfterHealth } from './report.ts'
import { retain, retentionDefaults } from './retention.ts'
import { taskDecider } from './task.ts'

const instance = anInstance({ instanceId: `1${'0'.repeat(31)}` })
const other = anInstance({ instanceId: `1${'f'.repeat(31)}` })

const runtime = (status: 'OK' | 'IMPAIRED', at: number, lastUpdated = at): InstanceRow['healthStatus'] => ({
  overallStatus: status,
  details: [{ type: 'CONTAINER_RUNTIME', status, lastUpdated, lastStatusChange: at }],
})

function stateWith(task: TaskRow): State {
  return aState({ instance: [instance, other], taskDefinition: [aTaskDefinition()], task: [task] })
}

function report(state: State, task: TaskRow, change: TaskReport, now = testNow + 1000): TaskRow {
  inTransaction(state, (tx) =>
    applyTaskStateChange(tx, { instanceId: task.instanceId, change: { task: task.taskArn, ...change } }, now),
  )
  return stored(state, task)
}

function stored(state: State, task: TaskRow): TaskRow {
  const row = state.get('task', task.taskId)
  if (row === undefined) throw new Error('the task is gone')
  return row
}

function decide(state: State, task: TaskRow, now = testNow): TaskRow {
  inTransaction(state, (tx) => taskDecider.decide(tx, 'task', task.taskId, undefined, now, aWorld()))
  return stored(state, task)
}

const running = { containerName: 'app', runtimeId: 'a'.repeat(64), status: 'RUNNING' }
const ended = { containerName: 'app', runtimeId: 'a'.repeat(64), status: 'STOPPED', exitCode: 3 }

await t.test('a task moves through RUNNING to STOPPED by its reports', async (test) => {
  const task = aTask({ reserved: { cpuUnits: 1, memoryMiB: 1, tcpPorts: [], udpPorts: [], dynamicPortsAwaited: 1 } })
  const state = stateWith(task)
  const bindings = [{ bindIP: '0.0.0.0', containerPort: 80, hostPort: 32768, protocol: 'tcp' as const }]

  const first = report(state, task, {
    status: 'RUNNING',
    containers: [{ ...running, networkBindings: bindings, startedAt: testNow + 400 }],
  })
  test.match(first, { lastStatus: 'RUNNING', startedAt: testNow + 400, version: 2 })
  test.equal(first.reserved.dynamicPortsAwaited, 0)
  test.strictSame(first.containers[0]?.networkBindings, bindings)

  test.equal(report(state, task, { status: 'RUNNING', containers: [running] }), first, 'a repeat changes nothing')

  const last = report(state, task, { status: 'STOPPED', containers: [ended] }, testNow + 5000)
  test.match(last, {
    lastStatus: 'STOPPED',
    desiredStatus: 'STOPPED',
    stopCode: 'EssentialContainerExited',
    stoppedReason: 'Essential container in task exited',
    stoppedAt: testNow + 5000,
    version: 3,
  })
  test.match(last.containers[0], { lastStatus: 'STOPPED', exitCode: 3 })
  test.equal(report(state, task, { status: 'RUNNING', containers: [running] }), last, 'a late report changes nothing')
})

await t.test('an exit code on a RUNNING entry is not an end', async (test) => {
  const task = aTask()
  const state = stateWith(task)
  const row = report(state, task, { status: 'RUNNING', containers: [{ ...running, exitCode: 0 }] })
  test.match(row.containers[0], { lastStatus: 'RUNNING', exitCode: undefined })
})

await t.test('several entries for one container are taken in their order', async (test) => {
  const init = aContainer({ name: 'init', essential: false })
  const task = aTask({ containers: [init, aContainer()] })
  const state = stateWith(task)
  const row = report(state, task, {
    status: 'RUNNING',
    containers: [
      { containerName: 'init', status: 'RUNNING', exitCode: 0 },
      { containerName: 'init', status: 'STOPPED', exitCode: 0 },
      running,
    ],
  })
  test.match(row.containers, [
    { name: 'init', lastStatus: 'STOPPED', exitCode: 0 },
    { name: 'app', lastStatus: 'RUNNING' },
  ])
})

await t.test('a task that never ran says why, and its report acknowledges its payload', async (test) => {
  const task = aTask({ seqNum: 7, acknowledgedSeqNum: 0 })
  const state = stateWith(task)
  const reason = 'CannotPullContainerError: manifest unknown'
  const row = report(state, task, {
    status: 'STOPPED',
    reason: '',
    containers: [{ ...ended, exitCode: undefined, reason }],
  })
  test.match(row, { stopCode: 'TaskFailedToStart', stoppedReason: reason, acknowledgedSeqNum: 7 })
  const long = { ...ended, reason: 'x'.repeat(5000) }
  const bounded = report(stateWith(task), task, { status: 'STOPPED', containers: [long] })
  test.equal(bounded.containers[0]?.reason?.length, 1024)
})

await t.test('a task that ended before it was heard to run has run all the same', async (test) => {
  const task = aTask()
  const short = report(stateWith(task), task, { status: 'STOPPED', containers: [{ ...ended, startedAt: testNow - 5 }] })
  test.match(short, { stopCode: 'EssentialContainerExited', startedAt: testNow - 5 })

  const side = aContainer({ name: 'side' })
  const two = aTask({ containers: [aContainer(), side] })
  const vain = report(stateWith(two), two, {
    status: 'STOPPED',
    containers: [
      { containerName: 'app', status: 'STOPPED', exitCode: 137, startedAt: testNow - 5 },
      { containerName: 'side', status: 'STOPPED', reason: 'CannotStartContainerError: no such file' },
    ],
  })
  test.match(vain, { stopCode: 'TaskFailedToStart', stoppedReason: /^CannotStart/, startedAt: undefined })
})

await t.test(
  'a task of which only what others wait for was tried has failed to start, for that reason',
  async (test) => {
    const dependency = aContainer({ name: 'migrate', essential: false })
    const task = aTask({ containers: [aContainer(), dependency] })
    const waited = 'CannotStartContainerError: dependency graph: container migrate never started'
    const row = report(stateWith(task), task, {
      status: 'STOPPED',
      containers: [
        { containerName: 'app', status: 'STOPPED', exitCode: 143, reason: waited },
        { containerName: 'migrate', status: 'STOPPED', reason: 'CannotStartContainerError: no such file' },
      ],
    })
    test.match(row, {
      stopCode: 'TaskFailedToStart',
      stoppedReason: 'CannotStartContainerError: no such file',
      startedAt: undefined,
    })
  },
)

await t.test('a container that was started again in place has a life of its own from then on', async (test) => {
  const task = aTask({ lastStatus: 'RUNNING', startedAt: testNow })
  const state = stateWith(task)
  report(state, task, { status: 'RUNNING', containers: [{ ...running, startedAt: testNow, healthStatus: 'HEALTHY' }] })
  const held = { ...ended, essential: false, reason: 'OutOfMemoryError: it was', finishedAt: testNow + 5 }
  const ports = [{ bindIP: '0.0.0.0', containerPort: 80, hostPort: 32769, protocol: 'tcp' as const }]
  const anew = {
    ...running,
    runtimeId: 'b'.repeat(64),
    restartCount: 2,
    startedAt: testNow + 9,
    networkBindings: ports,
  }
  // An end that nobody was told to be none: the controller may have heard of it before it was cut off.
  report(state, task, { status: 'RUNNING', containers: [held] })
  const row = report(state, task, { status: 'RUNNING', containers: [{ ...anew, healthStatus: 'UNKNOWN' }] })
  test.match(row, {
    lastStatus: 'RUNNING',
    startedAt: testNow,
    containers: [{ networkBindings: ports, startedAt: testNow + 9 }],
  })
  const [container] = row.containers
  test.match(container, { lastStatus: 'RUNNING', restartCount: 2, runtimeId: 'b'.repeat(64), healthStatus: 'UNKNOWN' })
  test.same([container?.exitCode, container?.reason, container?.finishedAt], [undefined, undefined, undefined])
  test.equal(row.version > task.version, true)

  const late = { ...ended, restartCount: 1 }
  test.equal(
    report(state, task, { status: 'RUNNING', containers: [late] }),
    row,
    'what is said of an earlier life is no news',
  )
  const official = report(state, task, { status: 'RUNNING', containers: [ended] })
  test.match(
    official.containers[0],
    { lastStatus: 'STOPPED', exitCode: 3, restartCount: 2 },
    'who counts nothing is heard',
  )
  report(state, task, { status: 'STOPPED', containers: [] })
  test.equal(
    report(state, task, { status: 'RUNNING', containers: [{ ...anew, restartCount: 9 }] }).lastStatus,
    'STOPPED',
  )
})

await t.test('what a task says of its own end goes before the sentence that stood for it meanwhile', async (test) => {
  const stoppedReason = 'Essential container in task exited'
  const task = aTask({ desiredStatus: 'STOPPED', stopCode: 'EssentialContainerExited', stoppedReason, startedAt: 1 })
  const reason = "ContainerNetworkingError: the container that holds the task's network ended."
  test.equal(report(stateWith(task), task, { status: 'STOPPED', containers: [ended] }).stoppedReason, stoppedReason)
  const row = report(stateWith(task), task, { status: 'STOPPED', reason, containers: [ended] })
  test.match(row, { stopCode: 'EssentialContainerExited', stoppedReason: reason })
})

await t.test("a person's reason for the stop stays", async (test) => {
  const task = aTask({ desiredStatus: 'STOPPED', stopCode: 'UserInitiated', stoppedReason: 'enough', startedAt: 1 })
  const row = report(stateWith(task), task, { status: 'STOPPED', containers: [ended] })
  test.match(row, { stopCode: 'UserInitiated', stoppedReason: 'enough' })
})

await t.test('last lines are bounded to twenty and to 4 KiB', async (test) => {
  const task = aTask()
  const lines = Array.from({ length: 40 }, (_, at) => `${at} ${'é'.repeat(150)}`)
  const row = report(stateWith(task), task, { status: 'STOPPED', containers: [{ ...ended, lastLogLines: lines }] })
  const kept = row.containers[0]?.lastLogLines ?? []
  test.equal(kept.at(-1), lines.at(-1))
  test.ok(kept.length <= 20 && Buffer.byteLength(kept.join('')) <= 4096, `${kept.length} lines`)
})

await t.test("an agent can't report on what isn't its own, nor on what is not there", async (test) => {
  const task = aTask()
  const state = stateWith(task)
  const from = (instanceId: string, arn: string) => () =>
    inTransaction(state, (tx) => applyTaskStateChange(tx, { instanceId, change: { task: arn, status: 'STOPPED' } }, 1))
  test.throws(from(other.instanceId, task.taskArn), {
    code: 'InvalidParameterException',
    message: /can't report on it/,
  })
  test.throws(from(instance.instanceId, `${task.taskArn}0`), {
    code: 'InvalidParameterException',
    message: /not found/,
  })
  const fromCluster = (clusterName: string) => () =>
    inTransaction(state, (tx) => {
      const input = { cluster: clusterName, task: task.taskArn, status: 'STOPPED' }
      return submitHandlers.SubmitTaskStateChange.handle(tx, input, aCall(), aWorld())
    })
  inTransaction(state, (tx) => tx.put('cluster', 'lab', aCluster({ clusterName: 'lab' })))
  test.throws(fromCluster('lab'), { code: 'InvalidParameterException', message: /not found/ })
  test.equal(stored(state, task).lastStatus, 'PENDING')
})

await t.test('health follows the essential containers that have a check', async (test) => {
  const [definition] = aTaskDefinition().containerDefinitions
  const checked = aTaskDefinition({
    containerDefinitions: [{ ...definition, healthCheck: { command: ['CMD', 'true'] } }],
  })
  const task = aTask({ lastStatus: 'RUNNING', startedAt: 1 })
  for (const status of ['HEALTHY', 'UNHEALTHY'] as const) {
    const row = taskAfterHealth(task, new Map([['app', status]]), checked)
    test.equal(row.healthStatus, status)
    test.equal(taskAfterHealth(row, new Map([['app', status]]), checked), row, 'the same again changes nothing')
  }
})

await t.test('the task decider numbers what an agent has to be told, once', async (test) => {
  const task = aTask()
  const state = stateWith(task)
  const told = decide(state, task)
  test.equal(told.seqNum, 2)
  test.equal(state.get('instance', instance.instanceId)?.seqNum, 2)
  test.equal(decide(state, task), told, 'deciding twice changes nothing')

  inTransaction(state, (tx) => tx.put('task', task.taskId, { ...told, desiredStatus: 'STOPPED' }))
  test.equal(decide(state, task).seqNum, 3, 'a stop is told under a new number')
})

await t.test('an essential end makes the controller want the whole task stopped', async (test) => {
  const containers = [
    aContainer({ lastStatus: 'STOPPED', exitCode: 1 }),
    aContainer({ name: 'side', essential: false }),
  ]
  const task = aTask({ lastStatus: 'RUNNING', startedAt: 1, containers })
  const row = decide(stateWith(task), task)
  test.match(row, { desiredStatus: 'STOPPED', stopCode: 'EssentialContainerExited', lastStatus: 'RUNNING' })
})

await t.test(
  'a connection is numbered, a loss is written once, and an acknowledgement never goes back',
  async (test) => {
    const task = aTask({ seqNum: 5 })
    const state = stateWith(task)
    const row = inTransaction(state, (tx) =>
      agentConnected(tx, instance.instanceId, { agentVersion: '1.2.3' }, testNow),
    )
    const seconds = testNow / 1000
    test.match(row, { agentConnected: true, seqNum: seconds, versionInfo: { agentVersion: '1.2.3' } })

    inTransaction(state, (tx) => agentConnected(tx, instance.instanceId, {}, testNow))
    test.equal(
      state.get('instance', instance.instanceId)?.seqNum,
      seconds + 1,
      'greater each time, also within a second',
    )

    const left = anInstance({ status: 'INACTIVE', inactiveSince: 1 })
    inTransaction(state, (tx) => tx.put('instance', left.instanceId, left))
    inTransaction(state, (tx) => agentConnected(tx, left.instanceId, {}, testNow))
    test.equal(state.get('instance', left.instanceId), left, 'a handshake that a deregistration overtook')

    inTransaction(state, (tx) => agentDisconnected(tx, instance.instanceId, testNow + 9))
    const gone = state.get('instance', instance.instanceId)
    test.match(gone, { agentConnected: false, connectivityAt: testNow + 9 })
    inTransaction(state, (tx) => agentDisconnected(tx, instance.instanceId, testNow + 99))
    test.equal(state.get('instance', instance.instanceId), gone)

    for (const seqNum of [5, 3]) {
      inTransaction(state, (tx) => acknowledgePayload(tx, instance.instanceId, new Map([[task.taskId, seqNum]])))
    }
    test.equal(stored(state, task).acknowledgedSeqNum, 5)
    inTransaction(state, (tx) =>
      applyHostReport(tx, instance.instanceId, { usedTcpPorts: [80, 80, 70000, 22], usedUdpPorts: [] }, testNow),
    )
    test.strictSame(state.get('instance', instance.instanceId)?.hostTcpPorts, [22, 80])

    const told = (engineSilentForMs: number, now: number): InstanceRow | undefined => {
      inTransaction(state, (tx) => applyHostReport(tx, instance.instanceId, { engineSilentForMs }, now))
      return state.get('instance', instance.instanceId)
    }
    test.match(told(0, testNow), { hostTcpPorts: [22, 80], healthStatus: runtime('OK', testNow) })
    const silent = told(5000, testNow + 9000)
    test.strictSame(silent?.healthStatus, runtime('IMPAIRED', testNow + 4000, testNow + 9000))
    test.equal(told(7000, testNow + 12_000), silent, 'a repeat is no change')
    test.strictSame(told(0, testNow + 20_000)?.healthStatus, runtime('OK', testNow + 20_000))
    const disk = { path: '/var/lib/docker', usedPercent: 91.5, freeMiB: 900, isPressed: true }
    inTransaction(state, (tx) => applyHostReport(tx, instance.instanceId, { disk }, testNow + 30_000))
    test.match(state.get('instance', instance.instanceId)?.healthStatus, {
      overallStatus: 'IMPAIRED',
      details: [
        { type: 'CONTAINER_RUNTIME', status: 'OK' },
        { type: 'STORAGE', status: 'IMPAIRED', statusReason: '/var/lib/docker is 91.5 % full, 900 MiB are free' },
      ],
    })
    inTransaction(state, (tx) =>
      applyHostReport(
        tx,
        instance.instanceId,
        { disk: { ...disk, usedPercent: 60, isPressed: false } },
        testNow + 40_000,
      ),
    )
    test.equal(state.get('instance', instance.instanceId)?.healthStatus?.overallStatus, 'OK')
    inTransaction(state, (tx) => applyHostReport(tx, left.instanceId, { engineSilentForMs: 6000 }, testNow))
    test.equal(state.get('instance', left.instanceId), left, 'one that is deregistered stays as it is')
  },
)

await t.test('retention archives old stopped tasks and drops what nobody can ask for', async (test) => {
  const old = aTask({ lastStatus: 'STOPPED', stoppedAt: testNow })
  const fresh = aTask({ lastStatus: 'STOPPED', stoppedAt: testNow + 3_000_000 })
  const gone = anInstance({ status: 'INACTIVE', inactiveSince: testNow - 86_400_000 })
  const holding = anInstance({ status: 'INACTIVE', inactiveSince: testNow - 86_400_000 })
  const held = aTask({ instanceId: holding.instanceId })
  const state = aState({ instance: [instance, gone, holding], task: [old, fresh, held] })
  const overlay = state.begin()
  const result = retain(overlay, retentionDefaults, testNow + 3_600_000)
  test.strictSame(result, { archivedTasks: 1, droppedRows: 1, hasMore: false })
  test.strictSame(overlay.archivedTaskIds(), [old.taskId])
  test.equal(overlay.get('instance', gone.instanceId), undefined)
  test.ok(overlay.get('instance', holding.instanceId), 'an instance that still holds a task stays')

  const few = { ...retentionDefaults, stoppedTasksMax: 1, tokensMax: 1, rowsMax: 2 }
  const crowded = aState({ instance: [instance], task: [fresh, old, aTask({ lastStatus: 'STOPPED', stoppedAt: 5 })] })
  inTransaction(crowded, (tx) => {
    for (const [key, createdAt] of [
      ['a', testNow],
      ['b', testNow - 1],
    ] as const) {
      tx.put('idempotency', key, { key, inputHash: '', taskIds: [], failures: [], createdAt })
    }
  })
  const first = inTransaction(crowded, (tx) => retain(tx, few, testNow + 1))
  test.strictSame(first, { archivedTasks: 2, droppedRows: 0, hasMore: true })
  test.strictSame(crowded.all('task'), [fresh], 'the one that ended last stays')
  const second = inTransaction(crowded, (tx) => retain(tx, few, testNow + 1))
  test.strictSame(second, { archivedTasks: 0, droppedRows: 1, hasMore: false })
  test.strictSame(
    crowded.all('idempotency').map((row) => row.key),
    ['a'],
  )
})

await t.test('of many stopped tasks those that ended first are archived first, in portions', async (test) => {
  const minutes = [9, 3, 7, 3, 1, 8, 3, 2, 6, 0]
  const stopped = minutes.map((minute) => aTask({ lastStatus: 'STOPPED', stoppedAt: testNow + minute * 60_000 }))
  const state = aState({ instance: [instance], task: stopped })
  const limits = { ...retentionDefaults, rowsMax: 3 }
  const left = (): readonly number[] => state.all('task').map(({ stoppedAt = 0 }) => (stoppedAt - testNow) / 60_000)
  const now = testNow + limits.stoppedTaskKeepMs + 6 * 60_000
  for (const expected of [
    [3, 3, 3, 6, 7, 8, 9],
    [6, 7, 8, 9],
    [7, 8, 9],
    [7, 8, 9],
  ]) {
    inTransaction(state, (tx) => retain(tx, limits, now))
    test.strictSame(
      [...left()].sort((before, after) => before - after),
      expected,
    )
  }
})
