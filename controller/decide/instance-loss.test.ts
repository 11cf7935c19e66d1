/** Lost instances, one and many: who counts as lost and when, when replacement pauses and how it ends, what drains. */
import * as fc from 'fast-check'
import t from 'tap'
import {
  aCluster,
  aDeployment,
  anInstance,
  aService,
  aState,
  aTask,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { resumeReplacement, setLostAfter } from '../ecs/cluster-losses.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { State } from '../state/state.ts'
import type { ClusterRow, InstanceRow, TaskRow } from '../state/tables.ts'
import type { Change } from '../state/transaction.ts'
import { decideUntilQuiet, markDirty, nothingUndecided } from '../turn-deciders.ts'
import {
  type InstanceSight,
  isHeld,
  type LossMemory,
  massLossOf,
  massWindowMs,
  returnSettleMs,
} from './instance-loss.ts'
import { instanceTasksDecider } from './instance-tasks.ts'
import { schedule } from './schedule.ts'
import { countHeldLost } from './service-tasks.ts'
import { connectInput, disconnectInput } from './session.ts'

const second = 1000
const quietLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const well: InstanceSight = { isDue: false }

function wellOnes(count: number): readonly InstanceSight[] {
  return Array.from({ length: count }, () => well)
}

/** Instances that fell silent so many seconds after the first; those that are due are named by their place. */
function silentAt(seconds: readonly number[], due: readonly number[] = [0]): readonly InstanceSight[] {
  return seconds.map((at, place) => ({ silentSince: testNow + at * second, isDue: due.includes(place) }))
}

await t.test('what is a mass, and what is not', (test) => {
  const table: readonly (readonly [string, readonly InstanceSight[], LossMemory, object | undefined])[] = [
    ['nobody is silent', wellOnes(5), {}, undefined],
    ['one of one', silentAt([0]), {}, undefined],
    ['two of two: fewer than three', silentAt([0, 0]), {}, undefined],
    ['three of three', silentAt([0, 0, 0]), {}, { vanished: 3, of: 3 }],
    ['three of ten: exactly 30 %', [...silentAt([0, 1, 2]), ...wellOnes(7)], {}, undefined],
    ['three of nine', [...silentAt([0, 1, 2]), ...wellOnes(6)], {}, { vanished: 3, of: 9 }],
    ['one is due, and two are suspects', [...silentAt([0, 4, 5], [0]), ...wellOnes(2)], {}, { vanished: 3, of: 5 }],
    ['three are suspects, and none is due', [...silentAt([0, 1, 2], []), ...wellOnes(2)], {}, undefined],
    ['one each minute and a bit', [...silentAt([0, 61, 122], [2]), ...wellOnes(2)], {}, undefined],
    ['within a minute of the third', [...silentAt([0, 70, 100, 120], [3]), ...wellOnes(2)], {}, { vanished: 3, of: 5 }],
    [
      'an old mass does not come back by a new loss',
      [...silentAt([0, 1, 2, 9999], [3]), ...wellOnes(5)],
      {},
      undefined,
    ],
    [
      'what an operator accepted',
      [...silentAt([0, 1, 2]), ...wellOnes(2)],
      { lossesAcceptedAt: testNow + 2000 },
      undefined,
    ],
    [
      'after an operator accepted, three more',
      [...silentAt([0, 1, 50, 51, 52], [2]), ...wellOnes(2)],
      { lossesAcceptedAt: testNow + 20_000 },
      { vanished: 3, of: 5 },
    ],
    [
      'it goes on while three are away, though none is due',
      [...silentAt([0, 1, 2], []), ...wellOnes(5)],
      { replacementPausedSince: testNow + 15_000, lossWindowSince: testNow },
      { vanished: 3, of: 8 },
    ],
    [
      'it ends once two are away',
      [...silentAt([0, 1], []), ...wellOnes(6)],
      { replacementPausedSince: testNow + 15_000, lossWindowSince: testNow },
      undefined,
    ],
    [
      'a slow loss later keeps it no longer',
      [...silentAt([0, 1, 300], []), ...wellOnes(5)],
      { replacementPausedSince: testNow + 15_000, lossWindowSince: testNow },
      undefined,
    ],
  ]
  for (const [name, sights, memory, expected] of table) {
    const mass = massLossOf(sights, memory)
    test.match({ mass }, { mass: expected }, name)
    test.equal(mass === undefined, expected === undefined, name)
  }
  test.end()
})

const someSights = fc.array(
  fc.record({ silentSince: fc.option(fc.integer({ min: 0, max: 200_000 }), { nil: undefined }), isDue: fc.boolean() }),
  { maxLength: 20 },
)
const someMemory = fc.option(
  fc.record({ replacementPausedSince: fc.constant(0), lossWindowSince: fc.integer({ min: 0, max: 200_000 }) }),
  { nil: {} },
)

const namesTrueMasses = (): void =>
  fc.assert(
    fc.property(someSights, someMemory, (sights, memory) => {
      const mass = massLossOf(sights, memory)
      const silences = sights.flatMap(({ silentSince }) => (silentSince === undefined ? [] : [silentSince]))
      if (mass === undefined) return
      const { windowSince, vanished, of } = mass
      // It is named for real: so many are silent, within a minute, and more than 30 % of those that were well before.
      const within = silences.filter((since) => since >= windowSince && since <= windowSince + massWindowMs)
      if (vanished !== within.length || vanished < 3 || vanished / of <= 0.3 || of > sights.length) {
        throw new Error(`not a mass: ${JSON.stringify(mass)}`)
      }
      // Deciding twice changes nothing: with what it led to remembered, it goes on and is the same.
      const remembered = { replacementPausedSince: 0, lossWindowSince: windowSince }
      const again = massLossOf(
        sights.map((sight) => ({ ...sight, isDue: false })),
        remembered,
      )
      if (JSON.stringify(again) !== JSON.stringify(mass)) throw new Error('it judges otherwise the second time')
      // Once all are back it ends.
      if (massLossOf(wellOnes(sights.length), remembered) !== undefined) throw new Error('it never ends')
    }),
    { numRuns: 2000 },
  )
const ignoresSlowLosses = (): void =>
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 61, max: 500 }), { maxLength: 12 }), fc.nat(12), (gaps, others) => {
      // Slow losses, further than a minute apart, are never a mass, whichever of them is due.
      let at = 0
      const seconds = gaps.map((gap) => (at += gap))
      const sights = [...silentAt(seconds, [...seconds.keys()]), ...wellOnes(others)]
      if (massLossOf(sights, {}) !== undefined) throw new Error('slow losses paused the replacement')
    }),
  )

await t.test('laws of the mass loss', (test) => {
  test.doesNotThrow(namesTrueMasses)
  test.doesNotThrow(ignoresSlowLosses)
  test.end()
})

const readyLongAgo = testNow - 3_600_000

/** A cluster of five hosts, each with a task of service `web` and a standalone one, and a clock. */
class Scene {
  now = testNow
  readonly world = aWorld()
  readonly instances: readonly InstanceRow[]
  readonly state: State
  readonly deploymentId: string
  readyAt = readyLongAgo
  readonly silences = new Map<string, number>()

  constructor(cluster: Partial<ClusterRow> = {}, hosts = 5) {
    const deployment = aDeployment()
    this.deploymentId = deployment.id
    this.instances = Array.from({ length: hosts }, (_each, at) => anInstance({ ec2InstanceId: `i-${at}` }))
    const tasks = this.instances.flatMap(({ instanceId }) => [
      aTask({ instanceId, lastStatus: 'RUNNING', serviceKey: 'default/web', deploymentId: deployment.id }),
      aTask({ instanceId, lastStatus: 'RUNNING' }),
    ])
    this.state = aState({
      cluster: [aCluster(cluster)],
      instance: this.instances,
      task: tasks,
      service: [aService({ desiredCount: hosts })],
      deployment: [deployment],
    })
  }

  id(place: number): string {
    return this.instances[place]?.instanceId ?? ''
  }

  /** The agent was last heard now, and is written down as disconnected 15 s later. */
  cut(...places: readonly number[]): void {
    const silentSince = this.now
    this.now += 15 * second
    for (const place of places)
      this.run((tx) => disconnectInput(this.id(place), silentSince).run(tx, this.now, this.world))
  }

  back(...places: readonly number[]): void {
    for (const place of places) {
      const facts = { agentVersion: '1.0.0' }
      this.run((tx) => connectInput(this.id(place), facts, false).run(tx, this.now, this.world))
    }
  }

  /** A turn: the input, then the deciders until they are quiet. */
  run(write: Parameters<typeof inTransaction<unknown>>[1]): void {
    const overlay = this.state.begin()
    write(overlay)
    this.#decide(overlay.changes(), overlay)
  }

  tick(): void {
    const silence = { readyAt: this.readyAt, silences: this.silences }
    this.run((tx) => schedule(tx, silence, this.now, this.world))
  }

  lost(): readonly number[] {
    return [...this.instances.keys()].filter((at) => this.state.get('instance', this.id(at))?.lostSince !== undefined)
  }

  tasksOn(place: number): readonly TaskRow[] {
    return this.state.find('task', 'liveByInstance', this.id(place))
  }

  cluster(): ClusterRow | undefined {
    return this.state.get('cluster', 'default')
  }

  events(): readonly string[] {
    return this.state.find('serviceEvent', 'byService', 'default/web').map(({ message }) => message)
  }

  #decide(changes: readonly Change[], overlay: ReturnType<State['begin']>): void {
    const undecided = nothingUndecided()
    markDirty(undecided, changes)
    const deciding = {
      overlay,
      undecided,
      deciders: [],
      keyedDeciders: [instanceTasksDecider],
      now: this.now,
      world: this.world,
      log: quietLog,
    }
    while (decideUntilQuiet(deciding, { decisionsMax: 10_000, decidedRowsMax: 10_000 }) > 0) continue
    this.state.apply(overlay.changes())
  }
}

await t.test('an instance is lost 15 s after its agent was last heard, and its tasks with it', (test) => {
  const scene = new Scene()
  scene.cut(0)
  scene.now -= 1
  scene.tick()
  test.same(scene.lost(), [], 'not yet, while its patience lasts')
  scene.now += 1
  scene.tick()
  test.same(scene.lost(), [0])
  test.same(
    scene.tasksOn(0).map(({ lostSince }) => lostSince),
    [scene.now, scene.now],
  )
  test.equal(scene.cluster()?.replacementPausedSince, undefined)
  test.match(scene.events(), [
    /^\(service web\) has lost 1 tasks with container instance \w+, and replaces them: \(task/,
  ])
  const lostAt = scene.now
  scene.now += 1000
  scene.tick()
  test.equal(scene.state.get('instance', scene.id(0))?.lostSince, lostAt, 'a second tick changes nothing')
  scene.back(0)
  scene.now += returnSettleMs - 1
  scene.tick()
  test.same(scene.lost(), [0], 'first its agent tells which of its tasks ended meanwhile')
  test.equal(scene.tasksOn(0)[0]?.lostSince, lostAt)
  scene.now += 1
  scene.tick()
  test.same(scene.lost(), [])
  test.ok(scene.tasksOn(0).every(({ lostSince }) => lostSince === undefined))
  test.match(scene.state.get('instance', scene.id(0)), { returnedAt: undefined, silentSince: undefined })
  test.end()
})

await t.test('an instance that comes back and goes again was lost all the time', (test) => {
  const scene = new Scene()
  scene.cut(0)
  scene.tick()
  const lostAt = scene.now
  scene.back(0)
  scene.cut(0)
  scene.now += 60 * second
  scene.tick()
  test.equal(scene.state.get('instance', scene.id(0))?.lostSince, lostAt)
  test.equal(scene.tasksOn(0)[0]?.lostSince, lostAt)
  test.end()
})

await t.test("the cluster's patience, a controller's restart, and an agent that never came", (test) => {
  const patient = new Scene({ lostAfterMs: 60_000 })
  patient.cut(0)
  patient.tick()
  test.same(patient.lost(), [])
  patient.now += 45 * second
  patient.tick()
  test.same(patient.lost(), [0])

  const restarted = new Scene()
  restarted.cut(0)
  restarted.readyAt = restarted.now
  restarted.now += 59 * second
  restarted.tick()
  test.same(restarted.lost(), [], 'nothing is lost in the first minute')
  restarted.now += second
  restarted.tick()
  test.same(restarted.lost(), [0])

  const young = new Scene()
  const neverHere = anInstance({ agentConnected: false, connectivityAt: undefined })
  young.run((tx) => tx.put('instance', neverHere.instanceId, neverHere))
  young.now += 3_600_000
  young.tick()
  test.equal(young.state.get('instance', neverHere.instanceId)?.lostSince, undefined)
  test.end()
})

await t.test('three of five vanish: replacement pauses before the first task is replaced, and says so', (test) => {
  const scene = new Scene()
  scene.silences.set(scene.id(1), scene.now + 4000).set(scene.id(2), scene.now + 2000)
  scene.cut(0)
  scene.tick()
  test.match(scene.cluster(), { replacementPausedSince: scene.now, lossWindowSince: scene.now - 15_000 })
  test.same(scene.lost(), [0], 'the others are not lost yet, and count all the same')
  scene.tick()
  test.match(scene.events(), [/^\(service web\) does not replace .*: 3 of the 5 .*\/v1\/clusters\/default\/resume/])
  scene.tick()
  test.equal(scene.events().length, 1, 'once')

  scene.silences.clear()
  scene.tick()
  test.equal(scene.cluster()?.replacementPausedSince, undefined, 'it ends by itself')
  test.match(scene.events()[1], /replaces its tasks on lost container instances again: enough of/)
  test.equal(scene.state.get('service', 'default/web')?.pauseAnnouncedAt, undefined)
  test.end()
})

await t.test('three of three, a restart in the pause, and one that is deregistered', (test) => {
  const scene = new Scene({}, 3)
  scene.cut(0, 1, 2)
  scene.tick()
  test.same(scene.lost(), [0, 1, 2])
  const pausedSince = scene.cluster()?.replacementPausedSince
  test.equal(pausedSince, scene.now)
  scene.readyAt = scene.now + 10 * second
  scene.now += 600 * second
  scene.tick()
  test.equal(scene.cluster()?.replacementPausedSince, pausedSince, 'a restart does not end it')
  const gone = scene.state.get('instance', scene.id(0))
  if (gone !== undefined) scene.run((tx) => tx.put('instance', gone.instanceId, { ...gone, status: 'INACTIVE' }))
  scene.tick()
  test.equal(scene.cluster()?.replacementPausedSince, undefined, 'two are no mass')
  test.end()
})

await t.test('a pause does not end before the tasks of those that came back count again', (test) => {
  const scene = new Scene({}, 3)
  scene.cut(0, 1, 2)
  scene.tick()
  scene.back(0)
  scene.tick()
  test.not(scene.cluster()?.replacementPausedSince, undefined)
  scene.now += 5 * second
  scene.tick()
  test.same(scene.lost(), [1, 2])
  test.equal(scene.cluster()?.replacementPausedSince, undefined, 'and then two are no mass')
  test.end()
})

await t.test('those that come back one after the other are waited for: nothing of them starts twice', (test) => {
  const scene = new Scene({}, 3)
  scene.cut(0, 1, 2)
  scene.tick()
  scene.back(0)
  scene.now += 2 * second
  scene.back(1, 2)
  scene.now += returnSettleMs - 2 * second
  scene.tick()
  test.same(scene.lost(), [1, 2], 'the first has told, the others are back and have not')
  test.not(scene.cluster()?.replacementPausedSince, undefined)
  scene.now += 2 * second
  scene.tick()
  test.same(scene.lost(), [])
  test.equal(scene.cluster()?.replacementPausedSince, undefined)
  test.end()
})

await t.test('after a pause those still away have their time: neither is replaced before it is over', (test) => {
  const scene = new Scene({}, 4)
  const held = (): number => countHeldLost(scene.state, 'default', scene.deploymentId)
  scene.cut(0, 1, 2)
  scene.tick()
  scene.tick()
  test.equal(held(), 3)
  scene.back(0)
  scene.now += 5 * second
  scene.tick()
  const endedAt = scene.now
  test.match(scene.cluster(), { replacementPausedSince: undefined, returnsAwaited: { until: endedAt + 150_000 } })
  test.match(scene.events().at(-1), /again: enough of .* the others are waited for 150 seconds more/i)
  test.equal(held(), 2)
  scene.now += 60 * second
  scene.cut(3)
  scene.tick()
  test.same(scene.lost(), [1, 2, 3])
  test.equal(held(), 2, 'one that falls silent after the pause is replaced at once')
  scene.back(1)
  scene.now += 40 * second
  scene.tick()
  test.equal(held(), 1, 'one that comes in time was not replaced')
  scene.now = endedAt + 149_999
  scene.tick()
  test.equal(held(), 1)
  scene.now += 1
  scene.tick()
  test.equal(held(), 0, 'and the other is')
  test.equal(scene.cluster()?.returnsAwaited, undefined)
  test.end()
})

await t.test('the time of those still away ends when all are back, or an operator says so', (test) => {
  for (const end of ['all are back', 'an operator'] as const) {
    const scene = new Scene({}, 3)
    scene.cut(0, 1, 2)
    scene.tick()
    scene.back(0)
    scene.now += 5 * second
    scene.tick()
    test.not(scene.cluster()?.returnsAwaited, undefined)
    if (end === 'an operator') scene.run((tx) => resumeReplacement(tx, 'default', scene.now))
    else {
      scene.back(1, 2)
      scene.tick()
      test.not(scene.cluster()?.returnsAwaited, undefined, 'not before they have told')
      scene.now += 5 * second
      scene.tick()
    }
    test.equal(scene.cluster()?.returnsAwaited, undefined, end)
    test.equal(countHeldLost(scene.state, 'default', scene.deploymentId), 0)
    scene.tick()
    test.equal(scene.cluster()?.replacementPausedSince, undefined)
  }
  test.end()
})

await t.test(
  'laws of held losses: of those silent from the window to the end of the pause, and of no others',
  (test) => {
    const instant = fc.integer({ min: 0, max: 100 })
    fc.assert(
      fc.property(instant, instant, instant, instant, (since, length, silentSince, patience) => {
        const loss = { silentSince, lostSince: silentSince + patience }
        const pausedUntil = since + length
        const isOfThem = loss.lostSince >= since && silentSince <= pausedUntil
        if (isHeld(loss, {})) throw new Error('held though nothing was paused')
        if (isHeld(loss, { returnsAwaited: { since, pausedUntil } }) !== isOfThem) throw new Error('another is held')
        const paused = { replacementPausedSince: since + 15, lossWindowSince: since }
        if (isHeld(loss, paused) !== loss.lostSince >= since) throw new Error('the pause holds another')
      }),
    )
    test.end()
  },
)

await t.test('an operator says that they are gone: they never pause it again, three more do', (test) => {
  const scene = new Scene({}, 8)
  scene.cut(0, 1, 2)
  scene.tick()
  scene.tick()
  scene.now += second
  scene.run((tx) => resumeReplacement(tx, 'default', scene.now))
  test.match(scene.cluster(), { replacementPausedSince: undefined, lossesAcceptedAt: scene.now })
  scene.tick()
  test.equal(scene.cluster()?.replacementPausedSince, undefined)
  test.match(scene.events()[1], /again: an operator said/)
  scene.cut(3)
  scene.tick()
  test.equal(scene.cluster()?.replacementPausedSince, undefined, 'one more is one')
  scene.cut(4, 5, 6)
  scene.tick()
  test.equal(scene.cluster()?.replacementPausedSince, scene.now)
  test.throws(() => scene.run((tx) => setLostAfter(tx, 'default', 14_999)), { code: 'InvalidParameterException' })
  test.throws(() => scene.run((tx) => setLostAfter(tx, 'nowhere', 20_000)), { code: 'ClusterNotFoundException' })
  test.end()
})

await t.test('hosts that drain are switched off together: that is meant', (test) => {
  const scene = new Scene()
  for (const at of [0, 1, 2]) drain(scene, at)
  scene.cut(0, 1, 2)
  scene.tick()
  test.same(scene.lost(), [0, 1, 2])
  test.equal(scene.cluster()?.replacementPausedSince, undefined)
  test.end()
})

await t.test('draining: tasks of services are to move, pending ones stop at once, standalone ones stay', (test) => {
  const scene = new Scene()
  const serviceTask = { instanceId: scene.id(0), serviceKey: 'default/web', deploymentId: 'ecs-svc/1' }
  const pending = aTask({ ...serviceTask, lastStatus: 'PENDING' })
  const alone = aTask({ instanceId: scene.id(0), lastStatus: 'PENDING' })
  scene.run((tx) => {
    for (const task of [pending, alone]) tx.put('task', task.taskId, task)
  })
  drain(scene, 0)
  const since = scene.now
  test.match(scene.state.get('task', pending.taskId), {
    evacuatingSince: since,
    desiredStatus: 'STOPPED',
    stopCode: 'ServiceSchedulerInitiated',
    stoppedReason: /is DRAINING/,
    stoppingAt: since,
  })
  test.match(scene.state.get('task', alone.taskId), { desiredStatus: 'RUNNING', evacuatingSince: undefined })
  const moving = (): readonly (number | undefined)[] =>
    scene
      .tasksOn(0)
      .filter(({ serviceKey, taskId }) => serviceKey !== undefined && taskId !== pending.taskId)
      .map(({ evacuatingSince }) => evacuatingSince)
  test.same(moving(), [since])
  const late = aTask({ ...serviceTask, lastStatus: 'PENDING' })
  scene.now += 1000
  scene.run((tx) => tx.put('task', late.taskId, late))
  test.match(scene.state.get('task', late.taskId), { desiredStatus: 'STOPPED' }, 'one that was placed meanwhile')
  const instance = scene.state.get('instance', scene.id(0))
  if (instance !== undefined)
    scene.run((tx) => tx.put('instance', instance.instanceId, { ...instance, status: 'ACTIVE' }))
  test.same(moving(), [undefined, undefined], 'back to ACTIVE takes it back')
  test.end()
})

await t.test('an instance of many tasks is marked in several turns, each bounded', (test) => {
  const scene = new Scene()
  const many = Array.from({ length: 1200 }, () => aTask({ instanceId: scene.id(0), lastStatus: 'RUNNING' }))
  scene.run((tx) => {
    for (const task of many) tx.put('task', task.taskId, task)
  })
  const overlay = scene.state.begin()
  const lost = scene.state.get('instance', scene.id(0))
  if (lost !== undefined) overlay.put('instance', lost.instanceId, { ...lost, lostSince: 7 })
  const outcomes = [1, 2, 3, 4].map(() => instanceTasksDecider.decide(overlay, scene.id(0), scene.now, scene.world))
  test.same(outcomes, ['more', 'more', 'done', 'done'])
  test.equal(overlay.find('task', 'liveByInstance', scene.id(0)).filter((task) => task.lostSince === 7).length, 1202)
  test.end()
})

await t.test('the tick wakes the services that are due, ends protection, and goes on where a bound was met', (test) => {
  const state = aState({
    service: [waking('a', testNow), waking('b', testNow), waking('c', testNow + 1)],
    task: [aTask({ protectedUntil: testNow })],
  })
  const silence = { readyAt: readyLongAgo, silences: new Map<string, number>() }
  const results = [1, 2, 3, 4].map(() => inTransaction(state, (tx) => schedule(tx, silence, testNow, aWorld(), 1)))
  test.same(
    results.map(({ rowsWritten, hasMore }) => [rowsWritten, hasMore]),
    [
      [1, true],
      [1, true],
      [1, true],
      [0, false],
    ],
  )
  test.same(
    state.all('service').map(({ wakeAt }) => wakeAt),
    [undefined, undefined, testNow + 1],
  )
  test.equal(state.all('task')[0]?.protectedUntil, undefined)
  test.end()
})

function drain(scene: Scene, place: number): void {
  const instance = scene.state.get('instance', scene.id(place))
  if (instance !== undefined)
    scene.run((tx) => tx.put('instance', instance.instanceId, { ...instance, status: 'DRAINING' }))
}

function waking(serviceName: string, wakeAt: number): ServiceRow {
  return aService({ serviceName, wakeAt })
}
