import t from 'tap'
import { parseTcsFrame } from '../proto/tcs.ts'
import { aPayloadContainer, aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { fakeTime } from '../test/support/fake-time.ts'
import { admitTask } from './decide/admission.ts'
import { internalNames } from './decide/internal-containers.ts'
import { withContainer } from './decide/lifecycle.ts'
import { healthMessages, instanceStatusMessage, metricsMessages } from './decide/telemetry.ts'
import type { MeasuredTask, Measures, Publisher } from './decide/telemetry.ts'
import { freshContainer } from './decide/view.ts'
import type { ContainerFacts } from './decide/view.ts'
import { startTelemetry } from './telemetry.ts'
import type { TurnTask } from './turn-options.ts'

const by: Publisher = { cluster: 'lab', containerInstance: 'arn:instance', uuid: () => 'id' }
const now = 1_800_000_000_123
const set = { min: 1, max: 3, sampleCount: 4, sum: 8 }

function aRunningTask(number: number, of: Partial<ContainerFacts> = {}, defined = aPayloadContainer()): MeasuredTask {
  const payload = aPayloadTask({ arn: taskArnOf(number), containers: [defined] })
  const facts = { ...admitTask(payload, undefined, 0), knownStatus: 'RUNNING' as const }
  const container = { ...freshContainer, knownStatus: 'RUNNING' as const, dockerId: `docker-${number}`, ...of }
  return { payload, facts: withContainer(facts, defined.name, container) }
}

const measuresOf = (...numbers: readonly number[]): Measures =>
  new Map(numbers.map((number) => [`docker-${number}`, { cpuStatsSet: set, memoryStatsSet: set }]))

await t.test('metrics are in the official shape, and an idle host says that it is', async (test) => {
  const [message, ...others] = metricsMessages(by, [aRunningTask(1)], measuresOf(1), now)
  test.strictSame(others, [])
  test.match(message, {
    metadata: { cluster: 'lab', containerInstance: 'arn:instance', messageId: 'id', idle: false, fin: true },
    taskMetrics: [
      { taskArn: taskArnOf(1), containerMetrics: [{ containerName: 'web', cpuStatsSet: set, memoryStatsSet: set }] },
    ],
    timestamp: 1_800_000_000.123,
  })
  const idle = metricsMessages(by, [], new Map(), now)
  test.match(idle, [{ metadata: { idle: true, fin: true } }])
  test.notOk('taskMetrics' in (idle[0] ?? {}))
})

await t.test('ten tasks to a message, and only the last part is the end', async (test) => {
  const numbers = Array.from({ length: 23 }, (_, index) => index + 1)
  const tasks = numbers.map((number) => aRunningTask(number))
  const messages = metricsMessages(by, tasks, measuresOf(...numbers), now)
  test.strictSame(
    messages.map(({ metadata, taskMetrics }) => [taskMetrics?.length, metadata.fin]),
    [
      [10, false],
      [10, false],
      [3, true],
    ],
  )
  const large = new Map([...measuresOf(...numbers)].map(([id, one]) => [id, { ...one, pad: 'x'.repeat(300_000) }]))
  const split = metricsMessages(by, tasks, large, now)
  test.ok(
    split.every((one) => parseTcsFrame(JSON.stringify({ type: 'PublishMetricsRequest', message: one })) !== undefined),
  )
})

await t.test('restarts are told where there is a restart policy; what is not measured is left out', async (test) => {
  const restarting = aPayloadContainer({ restartPolicy: { enabled: true } })
  const tasks = [
    aRunningTask(1, { restartCount: 2 }, restarting),
    aRunningTask(2, { restartCount: 1 }),
    aRunningTask(3),
  ]
  const [message] = metricsMessages(by, tasks, measuresOf(1, 2), now)
  test.match(
    message?.taskMetrics?.map(({ containerMetrics }) => containerMetrics[0]?.restartStatsSet),
    [{ restartCount: 2 }, undefined],
  )
  test.equal(message?.taskMetrics?.length, 2)
})

await t.test('health is told of containers that are checked, and of none else', async (test) => {
  const checked = aPayloadContainer({ name: 'web', healthCheckType: 'docker' })
  const internal = {
    ...aPayloadContainer({ name: internalNames.CNI_PAUSE, healthCheckType: 'docker' }),
    internal: 'CNI_PAUSE' as const,
  }
  const task = aRunningTask(1, { healthStatus: 'UNHEALTHY' }, checked)
  const payload = { ...task.payload, containers: [internal, ...task.payload.containers] }
  test.match(healthMessages(by, [{ ...task, payload }, aRunningTask(2)], now), [
    { tasks: [{ taskArn: taskArnOf(1), containers: [{ containerName: 'web', healthStatus: 'UNHEALTHY' }] }] },
  ])
  test.strictSame(healthMessages(by, [aRunningTask(2)], now), [])
  test.match(instanceStatusMessage(by, { silentSince: now - 5000, changedAt: now - 5000 }, now), {
    statuses: [{ type: 'ContainerRuntime', status: 'IMPAIRED', lastStatusChange: (now - 5000) / 1000 }],
  })
})

await t.test(
  'it publishes every 20 s, quicker for a while when asked, and what was not sent counts again',
  async (test) => {
    const time = fakeTime()
    const sent: { readonly type: string; readonly at: number }[] = []
    const asked: number[] = []
    let isFull = false
    const startedAt = time.now()
    const telemetry = startTelemetry({
      publisher: by,
      tasks: () => [] as readonly TurnTask[],
      measuresSince: (since) => {
        asked.push(since - startedAt)
        return new Map()
      },
      measureNow: async () => undefined,
      engineAnswers: async () => true,
      send(type) {
        if (isFull) return false
        sent.push({ type, at: time.now() - startedAt })
        return true
      },
      now: () => time.now(),
      timers: time,
    })
    await time.pass(60_000)
    test.strictSame(sent, [], 'without a channel nothing is said')
    telemetry.linkUp()
    await time.pass(41_000)
    const metrics = (): readonly number[] =>
      sent.filter(({ type }) => type === 'PublishMetricsRequest').map(({ at }) => at / 1000)
    test.strictSame(metrics(), [60, 80, 100])
    isFull = true
    await time.pass(20_000)
    isFull = false
    telemetry.onFrame({ type: 'GantryTelemetryPace', message: { everyMs: 1, forMs: 3000 } })
    await time.pass(30_000)
    test.strictSame(metrics().slice(3), [121, 122, 123, 124, 144])
    test.strictSame(asked.slice(3, 6), [100_000, 100_000, 121_000], 'the message that did not go out was made up for')
    telemetry.linkDown()
    await time.pass(60_000)
    test.equal(metrics().length, 8)
    telemetry.close()
  },
)
