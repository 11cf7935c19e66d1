/**
 * The real turn of the agent, with its real journal and timers, over the fake engine; events are injected as Docker
 * Engine would stream them. A process of its own, so that its memory is that of the turn.
 */
import { performance } from 'node:perf_hooks'
import { openJournal } from '../agent/journal.ts'
import { realTimers } from '../agent/timers.ts'
import { startAgentTurn } from '../agent/turn.ts'
import type { EngineEvent } from '../agent/engine.ts'
import { aWorld } from '../test/support/builders.ts'
import { fakeEngine } from '../test/support/fake-engine.ts'
import type { FakeTime } from '../test/support/fake-time.ts'
import { turnConfig } from '../test/support/fake-turn.ts'
import { aPayloadContainer, aPayloadMessage, aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { memoryOf } from './process-memory.ts'

export interface EventsWork {
  readonly directory: string
  readonly containers: number
  readonly events: number
}

export interface EventsResult {
  readonly beforeMb: number
  readonly afterMb: number
  readonly cpuMicrosecondsPerEvent: number
  readonly eventsPerSecond: number
}

/** Events that arrive in one chunk of the stream. */
const chunk = 200
const settleMs = 2000

async function run({ directory, containers, events }: EventsWork): Promise<EventsResult> {
  let onEvent: ((event: EngineEvent) => void) | undefined
  const fake = fakeEngine(realTime)
  fake.latencyMs = 1
  const engine = {
    ...fake,
    watch: async (listener: (event: EngineEvent) => void, signal: AbortSignal) => {
      onEvent = listener
      return fake.watch(listener, signal)
    },
  }
  const running = new Set<string>()
  const turn = startAgentTurn({
    engine,
    journal: openJournal(directory),
    clock: realTime,
    timers: realTimers,
    world: aWorld(),
    log: { debug: ignore, info: ignore, warn: ignore, error: complain },
    config: turnConfig,
    registryAuth: () => undefined,
    busyPorts: () => ({ tcp: [], udp: [] }),
    send(type, message) {
      const { messageId, status, task } = message as { messageId?: string; status?: string; task?: string }
      if (type !== 'GantryTaskStateChange') return true
      if (status === 'RUNNING' && task !== undefined) running.add(task)
      setImmediate(() => turn.onFrame({ type: 'GantryTaskStateAck', message: { messageId } }))
      return true
    },
  })
  turn.linkUp()
  const tasks = Array.from({ length: containers }, (_, index) =>
    aPayloadTask({ arn: taskArnOf(index + 1), containers: [aPayloadContainer()] }),
  )
  turn.onFrame({ type: 'PayloadMessage', message: aPayloadMessage(tasks) })
  while (running.size < containers) await pause(50)
  await pause(settleMs)
  const beforeMb = memoryOf(process.pid).residentMb
  const ids = [...fake.containers.keys()]
  const cpuBefore = process.cpuUsage()
  const begun = performance.now()
  for (let sent = 0; sent < events; sent += chunk) {
    for (let at = sent; at < sent + chunk; at += 1)
      onEvent?.({ containerId: ids[at % ids.length] ?? '', action: 'start' })
    await new Promise((resolve) => setImmediate(resolve))
  }
  const durationMs = performance.now() - begun
  const { user, system } = process.cpuUsage(cpuBefore)
  await pause(settleMs)
  const afterMb = memoryOf(process.pid).residentMb
  await turn.close()
  return {
    beforeMb,
    afterMb,
    cpuMicrosecondsPerEvent: (user + system) / events,
    eventsPerSecond: (events * 1000) / durationMs,
  }
}

/** The fake engine asks for a clock and timers; what moves a fake clock by hand is never called here. */
const realTime: FakeTime = {
  now: () => Date.now(),
  after: (delayMs, callback) => realTimers.after(delayMs, callback),
  pass: pause,
  until: () => Promise.reject(new Error('time passes by itself here')),
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs)
  })
}

function ignore(): void {}

function complain(facts: object): void {
  process.send?.({
    failure: JSON.stringify(facts, (_, value: unknown) => (value instanceof Error ? value.stack : value)),
  })
}

process.on('message', (work: EventsWork) => {
  run(work).then(
    (result) => process.send?.(result, () => process.exit(0)),
    (error: unknown) => complain({ err: error }),
  )
})
