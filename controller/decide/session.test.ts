/** Sessions by a clock of the test's own: what an agent is told, again and again until it acknowledges. */
import t from 'tap'
import type { PayloadMessage } from '../../proto/acs.ts'
import {
  aState,
  aTask,
  aTaskDefinition,
  anInstance,
  aVault,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { createAccess } from '../access/check.ts'
import type { State } from '../state/state.ts'
import type { TaskRow } from '../state/tables.ts'
import {
  connectInput,
  disconnectDueAt,
  openSession,
  type Session,
  type SessionEffect,
  type SessionEvent,
  stepSession,
} from './session.ts'
import { taskCredentials } from './task-credentials.ts'

const instance = anInstance({ seqNum: 5 })
const { instanceId } = instance
const definition = aTaskDefinition()

/** A session over a state, with a clock that the test moves. */
class Scene {
  readonly state: State
  readonly world = aWorld()
  now = testNow
  session: Session

  constructor(tasks: readonly TaskRow[] = [], over: Partial<typeof instance> = {}) {
    this.state = aState({ instance: [{ ...instance, ...over }], task: tasks, taskDefinition: [definition] })
    this.session = openSession(instanceId, this.now)
  }

  step(event: SessionEvent): readonly SessionEffect[] {
    const { state: reader, world, now } = this
    const view = { reader, world, now, mintCredentials: taskCredentials(aVault(), world), access: createAccess(world) }
    const { session, effects } = stepSession(this.session, event, view)
    this.session = session
    return effects
  }

  hear(type: string, message: object): readonly SessionEffect[] {
    return this.step({ kind: 'frame', frame: { type, message: { ...message } } })
  }

  /** Runs what a step submitted, as the turn would. */
  commit(effects: readonly SessionEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'submit') inTransaction(this.state, (tx) => effect.input.run(tx, this.now, this.world))
    }
  }
}

function sent(effects: readonly SessionEffect[]): readonly string[] {
  return effects.flatMap((effect) => (effect.kind === 'send' ? [effect.type] : []))
}

function payloadsIn(effects: readonly SessionEffect[]): readonly PayloadMessage[] {
  return effects.flatMap((effect) =>
    effect.kind === 'send' && effect.type === 'PayloadMessage' ? [effect.message as PayloadMessage] : [],
  )
}

function taskNumber(number: number, over: Partial<TaskRow> = {}): TaskRow {
  const taskId = number.toString(16).padStart(32, '0')
  const taskArn = `arn:aws:ecs:us-east-1:123456789012:task/default/${taskId}`
  return aTask({ taskId, taskArn, instanceId, seqNum: number, acknowledgedSeqNum: 0, ...over })
}

await t.test('after a connect: heartbeat, manifest, then payloads of at most ten tasks in order', (test) => {
  const scene = new Scene(Array.from({ length: 23 }, (_each, index) => taskNumber(23 - index)))
  const effects = scene.step({ kind: 'connected' })
  test.same(sent(effects), [
    'HeartbeatMessage',
    'TaskManifestMessage',
    'PayloadMessage',
    'PayloadMessage',
    'PayloadMessage',
  ])
  const payloads = payloadsIn(effects)
  test.same(
    payloads.map(({ tasks, seqNum }) => [tasks.length, seqNum]),
    [
      [10, 10],
      [10, 20],
      [3, 23],
    ],
  )
  test.match(effects, [{}, {}, { kind: 'send', message: { timeline: 5, tasks: { length: 23 } } }])
  test.end()
})

await t.test('what is not acknowledged is sent again after ten seconds, what is never again', (test) => {
  const scene = new Scene([taskNumber(1), taskNumber(2)])
  const [payload] = payloadsIn(scene.step({ kind: 'connected' }))
  scene.now += 9000
  test.same(payloadsIn(scene.step({ kind: 'committed' })), [], 'not before')
  scene.now += 1000
  const [again] = payloadsIn(scene.step({ kind: 'tick' }))
  test.equal(again?.tasks.length, 2)
  test.not(again?.messageId, payload?.messageId)
  scene.commit(scene.hear('AckRequest', { messageId: again?.messageId }))
  scene.now += 60_000
  scene.hear('HeartbeatAckRequest', {})
  test.same(payloadsIn(scene.step({ kind: 'tick' })), [])
  test.same(scene.hear('AckRequest', { messageId: again?.messageId }), [], 'a repeated ack is nothing')
  test.end()
})

await t.test('a STOPPED report counts as the ack of a task that the agent could not read', (test) => {
  const scene = new Scene([taskNumber(1)])
  scene.step({ kind: 'connected' })
  const { taskArn } = taskNumber(1)
  const effects = scene.hear('GantryTaskStateChange', {
    messageId: 'm',
    task: taskArn,
    status: 'STOPPED',
    reason: null,
    containers: [{ containerName: 'app', status: 'STOPPED', exitCode: 1, reason: null, lastLogLines: null }],
  })
  scene.commit(effects)
  const [container] = scene.state.get('task', taskNumber(1).taskId)?.containers ?? []
  test.match(container, { exitCode: 1, reason: undefined, lastLogLines: undefined }, 'null is absent')
  test.same(sent(scene.step({ kind: 'submitted', change: 'm' })), ['GantryTaskStateAck'])
  scene.now += 20_000
  test.same(payloadsIn(scene.step({ kind: 'committed' })), [])
  test.end()
})

await t.test('a started agent process is told of every live task, a reconnected one of what is new', (test) => {
  const known = taskNumber(3, { acknowledgedSeqNum: 3, lastStatus: 'RUNNING' })
  const reconnected = new Scene([known])
  inTransaction(reconnected.state, (tx) => connectInput(instanceId, {}, false).run(tx, testNow, reconnected.world))
  test.same(payloadsIn(reconnected.step({ kind: 'connected' })), [])
  const started = new Scene([known])
  inTransaction(started.state, (tx) => connectInput(instanceId, {}, true).run(tx, testNow, started.world))
  test.equal(payloadsIn(started.step({ kind: 'connected' }))[0]?.tasks[0]?.arn, known.taskArn)
  test.ok(Number(started.state.get('instance', instanceId)?.seqNum) > 5, 'each connect takes a number for its manifest')
  test.end()
})

await t.test('silent for three heartbeat intervals, and the agent is disconnected', (test) => {
  const scene = new Scene()
  scene.step({ kind: 'connected' })
  const beat = (): readonly SessionEffect[] => {
    scene.now += 5000
    return scene.step({ kind: 'tick' })
  }
  test.same(sent(beat()), ['HeartbeatMessage'])
  test.same(sent(beat()), ['HeartbeatMessage'])
  scene.hear('HeartbeatAckRequest', { messageId: 'any sign of life counts' })
  const heardAt = scene.now
  test.same([...sent(beat()), ...sent(beat())], Array(2).fill('HeartbeatMessage'))
  const lost = beat()
  test.match(lost, [{ kind: 'log' }, { kind: 'submit', input: { name: 'agentDisconnected' } }, { kind: 'close' }])
  scene.commit(lost)
  test.match(scene.state.get('instance', instanceId), { agentConnected: false, silentSince: heardAt })
  test.strictSame(beat(), [], 'while its socket closes there is no more to say')
  test.end()
})

await t.test('a clock that was set forward disconnects nobody by itself', (test) => {
  const scene = new Scene()
  scene.step({ kind: 'connected' })
  scene.hear('HeartbeatAckRequest', {})
  scene.now += 3_600_000
  test.same(sent(scene.step({ kind: 'tick' })), ['HeartbeatMessage'])
  scene.hear('HeartbeatAckRequest', {})
  scene.now += 5000
  test.same(sent(scene.step({ kind: 'tick' })), ['HeartbeatMessage'])
  test.end()
})

await t.test('a reconnect within 15 seconds is no loss, and a restart of the controller gives a minute', (test) => {
  test.equal(disconnectDueAt(500_000, 0), 515_000)
  test.equal(disconnectDueAt(1000, 1000), 61_000)
  test.end()
})

await t.test('stop candidates are confirmed only where the task truly should not run', (test) => {
  const running = taskNumber(1, { acknowledgedSeqNum: 1 })
  const stopping = taskNumber(2, { desiredStatus: 'STOPPED' })
  const foreign = taskNumber(3, { instanceId: 'f'.repeat(32) })
  const scene = new Scene([running, stopping, foreign])
  const manifest = scene
    .step({ kind: 'connected' })
    .find((effect) => effect.kind === 'send' && 'type' in effect && effect.type === 'TaskManifestMessage')
  const messageId = (manifest as { message: { messageId: string } }).message.messageId
  const unknown = taskNumber(9)
  const stopCandidates = [running, stopping, foreign, unknown].map(({ taskArn, clusterArn }) => ({
    taskArn,
    taskClusterArn: clusterArn,
    desiredStatus: 'STOPPED',
  }))
  const effects = scene.hear('TaskStopVerificationMessage', { messageId, stopCandidates })
  test.match(effects[0], {
    type: 'TaskStopVerificationAck',
    message: { messageId, stopTasks: [stopping, foreign, unknown].map(({ taskArn }) => ({ taskArn })) },
  })
  test.same(sent(scene.hear('TaskStopVerificationMessage', { messageId: 'older', stopCandidates })), [])
  test.end()
})

await t.test('foreign input: unreadable, unknown and foreign messages change nothing and say so', (test) => {
  const scene = new Scene([taskNumber(1)])
  scene.step({ kind: 'connected' })
  test.match(scene.hear('Whatever', {}), [{ kind: 'log', level: 'debug' }])
  test.match(scene.hear('AckRequest', { messageId: 7 }), [{ kind: 'log', level: 'warn' }])
  test.match(scene.hear('GantryHostReport', { messageId: 'm', usedTcpPorts: [70_000], usedUdpPorts: [] }), [
    { kind: 'log' },
  ])
  test.match(scene.hear('GantryHostReport', { messageId: 'm', engineSilentForMs: -1 }), [{ kind: 'log' }])
  test.match(scene.hear('GantryHostReport', { messageId: 'm', engineSilentForMs: 5000 }), [
    { kind: 'submit', input: { name: 'hostReport' } },
  ])
  const wrong = { messageId: 'm1', task: taskNumber(1).taskArn, status: 'DANCING', containers: [] }
  const beyond = { ...wrong, status: 'STOPPED', executionStoppedAt: 1e300 }
  test.same(sent(scene.hear('GantryTaskStateChange', beyond)), ['GantryTaskStateRefusal'], 'no Date can show it')
  test.same(sent(scene.hear('GantryTaskStateChange', wrong)), ['GantryTaskStateRefusal'])
  test.match(scene.step({ kind: 'refused', change: 'm2', reason: 'not yours' }), [
    { type: 'GantryTaskStateRefusal', message: { messageId: 'm2', reason: 'not yours' } },
  ])
  test.match(scene.step({ kind: 'failed', reason: 'the disk is full' }), [{ kind: 'log' }, { kind: 'close' }])
  test.end()
})

await t.test('the channel of a deregistered instance is closed', (test) => {
  const scene = new Scene([], { status: 'INACTIVE' })
  test.match(scene.step({ kind: 'connected' }), [{ kind: 'log' }, { kind: 'close', code: 1000 }])
  test.strictSame(scene.step({ kind: 'tick' }), [], 'once is enough')
  test.end()
})

await t.test('a task that cannot be told fails alone', (test) => {
  const broken = taskNumber(1, { taskDefinitionArn: 'arn:aws:ecs:us-east-1:123456789012:task-definition/gone:1' })
  const scene = new Scene([broken, taskNumber(2)])
  const effects = scene.step({ kind: 'connected' })
  const [payload] = payloadsIn(effects)
  test.equal(payload?.tasks.length, 1)
  test.ok(effects.some((effect) => effect.kind === 'log' && effect.level === 'error'))
  scene.commit(scene.hear('AckRequest', { messageId: payload?.messageId }))
  test.equal(scene.state.get('task', broken.taskId)?.acknowledgedSeqNum, 0, 'the ack does not stand for it')
  test.equal(scene.state.get('task', taskNumber(2).taskId)?.acknowledgedSeqNum, 2)
  test.end()
})
