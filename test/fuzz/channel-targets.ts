/** What agents say on their channels, and what is said on streams: read into checked values, or dropped. */
import * as fc from 'fast-check'
import { answerTelemetry } from '../../controller/decide/telemetry.ts'
import {
  readAck,
  readHostReport,
  readStopVerification,
  readTaskStateChange,
} from '../../controller/decide/agent-messages.ts'
import { parseFrame, writeFrame } from '../../proto/acs.ts'
import { readLogBatch, readLogEvents, writeLogBatch, writeLogEvent } from '../../proto/logs.ts'
import { commandLine, commandWords } from '../../proto/streams.ts'
import { parseTcsFrame } from '../../proto/tcs.ts'
import { aState, aTask, aTaskDefinition, anInstance, inTransaction } from '../support/builders.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { corrupted, hostileJson, hostileText, mutated, mutatedBytes } from './hostile.ts'
import { requireCleanPrototypes } from './refusals.ts'

const instance = anInstance()
const task = aTask({ instanceId: instance.instanceId })
const state = aState({ instance: [instance], task: [task], taskDefinition: [aTaskDefinition()] })

/** Messages as they should be, to begin with. */
export const agentMessages: readonly { readonly type: string; readonly message: object }[] = [
  {
    type: 'GantryTaskStateChange',
    message: {
      messageId: 'message-1',
      task: task.taskArn,
      status: 'STOPPED',
      reason: 'Essential container in task exited',
      containers: [
        {
          containerName: 'app',
          status: 'STOPPED',
          exitCode: 1,
          runtimeId: 'a'.repeat(64),
          imageDigest: `sha256:${'0'.repeat(64)}`,
          networkBindings: [{ bindIP: '0.0.0.0', containerPort: 80, hostPort: 32_768, protocol: 'tcp' }],
          healthStatus: 'UNKNOWN',
          startedAt: 1_800_000_000_000,
          lastLogLines: ['one', 'two'],
        },
      ],
      pullStartedAt: 1_800_000_000_000,
      executionStoppedAt: 1_800_000_100_000,
      attachments: [{ attachmentArn: 'arn:aws:ecs:us-east-1:123456789012:attachment/1', status: 'ATTACHED' }],
    },
  },
  {
    type: 'GantryHostReport',
    message: {
      messageId: 'message-2',
      usedTcpPorts: [22, 80],
      usedUdpPorts: [],
      engineSilentForMs: 0,
      disk: { path: '/var/lib/docker', usedPercent: 40, freeMiB: 9000, isPressed: false },
    },
  },
  { type: 'AckRequest', message: { messageId: 'message-3', cluster: 'default' } },
  { type: 'NackRequest', message: { messageId: 'message-4', reason: 'no' } },
  { type: 'HeartbeatAckRequest', message: { messageId: 'message-5' } },
  {
    type: 'IAMRoleCredentialsAckRequest',
    message: { messageId: 'm', expiration: '2026-11-21T12:00:00Z', credentialsId: 'c' },
  },
  {
    type: 'TaskStopVerificationMessage',
    message: { messageId: 'message-6', stopCandidates: [{ taskArn: task.taskArn, desiredStatus: 'STOPPED' }] },
  },
]

export const telemetryMessages: readonly { readonly type: string; readonly message: object }[] = [
  {
    type: 'PublishMetricsRequest',
    message: {
      metadata: {
        cluster: 'default',
        containerInstance: instance.containerInstanceArn,
        idle: false,
        messageId: 'm',
        fin: true,
      },
      taskMetrics: [
        {
          taskArn: task.taskArn,
          containerMetrics: [
            {
              containerName: 'app',
              cpuStatsSet: { min: 0, max: 1, sampleCount: 2, sum: 1 },
              memoryStatsSet: { min: 1 },
            },
          ],
        },
      ],
      timestamp: 1_800_000_000_000,
    },
  },
  {
    type: 'PublishHealthRequest',
    message: {
      metadata: { cluster: 'default', messageId: 'm', fin: true },
      tasks: [{ taskArn: task.taskArn, containers: [{ containerName: 'app', healthStatus: 'HEALTHY' }] }],
      timestamp: 1_800_000_000_000,
    },
  },
  {
    type: 'PublishInstanceStatusRequest',
    message: {
      metadata: { cluster: 'default', requestId: 'r' },
      statuses: [{ type: 'CONTAINER_RUNTIME', status: 'OK', lastUpdated: '2026-11-21T12:00:00Z' }],
      timestamp: 1_800_000_000_000,
    },
  },
]

/** Frames of these messages with something else at some places, as text that is mutated. */
export function frames(messages: readonly { readonly type: string; readonly message: object }[]): fc.Arbitrary<string> {
  const type = fc.oneof(fc.constantFrom(...messages.map((each) => each.type)), hostileText())
  const right = fc.constantFrom(...messages)
  const message = corrupted(fc.constantFrom(...messages.map((each) => each.message)))
  const known = right.chain((each) =>
    corrupted(fc.constant(each.message)).map((inner) => ({ type: each.type, message: inner })),
  )
  const any = fc.record({ type, message: fc.oneof(message, hostileJson()) })
  return mutated(
    fc.oneof({ arbitrary: known, weight: 4 }, { arbitrary: any, weight: 1 }).map((frame) => JSON.stringify(frame)),
  )
}

/** An unreadable message says so; a readable one can be written again. */
export const agentFrames = fuzzTarget<string>({
  name: 'agent-messages',
  share: 10,
  values: () => frames(agentMessages),
  judge(text) {
    const frame = parseFrame(text)
    requireCleanPrototypes()
    if (frame === undefined) return false
    let readable = 0
    for (const read of [readTaskStateChange, readHostReport, readAck, readStopVerification]) {
      const message = read(frame.message)
      if ('unreadable' in message && typeof message.unreadable === 'string') continue
      readable += 1
      if (parseFrame(writeFrame(frame.type, message)) === undefined)
        throw new Error('It can be read and not be written.')
    }
    return readable > 0
  },
})

export const telemetryFrames = fuzzTarget<string>({
  name: 'telemetry',
  share: 6,
  values: () => {
    const block = fc.oneof(
      { arbitrary: fc.constant(''), weight: 3 },
      { arbitrary: hostileText(['host: a\r\n', 'X-Amz-Date: 1\r\n']), weight: 1 },
    )
    return fc.tuple(block, frames(telemetryMessages)).map((parts) => parts.join(''))
  },
  judge(text) {
    const parsed = parseTcsFrame(text)
    if (parsed === undefined) return false
    const { input } = answerTelemetry(instance.instanceId, parsed.frame)
    requireCleanPrototypes()
    // Into a transaction that is thrown away.
    if (input !== undefined) inTransaction(state, (tx) => input.run(tx, 1_800_000_000_000, undefined as never))
    return input !== undefined
  },
})

export const logBatches = fuzzTarget<Buffer>({
  name: 'log-batches',
  share: 3,
  values: () => {
    const events = fc.array(
      fc.tuple(fc.nat(), hostileText()).map(([time, text]) => writeLogEvent(time, text)),
      { maxLength: 4 },
    )
    const numbers = fc.record({
      stream: fc.nat(),
      sequence: fc.nat(),
      count: fc.nat(),
      firstTime: fc.nat(),
      lastTime: fc.nat(),
    })
    const header = corrupted(numbers.map((given) => ({ ...given, position: { time: '1', hash: 'a' } })))
    return mutatedBytes(
      fc.tuple(header, events).map(([each, lines]) => new TextDecoder().decode(writeLogBatch(each as never, lines))),
    )
  },
  judge(bytes) {
    const batch = readLogBatch(bytes)
    if (batch === undefined) return false
    for (const { time, text } of readLogEvents(new TextDecoder().decode(batch.body))) {
      if (!Number.isFinite(time) || typeof text !== 'string') throw new Error('An event without time or text.')
    }
    return true
  },
})

export const commandLines = fuzzTarget<string>({
  name: 'command-lines',
  share: 3,
  values: () => hostileText(["'", '"', '\\', '$(id)', '`', ' ']),
  judge(line) {
    const words = commandWords(line)
    if (words === undefined) return false
    const again = commandWords(commandLine(words))
    if (JSON.stringify(again) !== JSON.stringify(words)) throw new Error(`Other words: ${JSON.stringify(again)}`)
    return true
  },
})
