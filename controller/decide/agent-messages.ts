/**
 * What agents say on their channels, read into typed values. An agent's frame is foreign input: a member of the wrong
 * type makes the message unreadable, and says so, rather than reaching the state.
 */
import type { AckRequest, GantryHostReport, GantryTaskStateChange, TaskIdentifier } from '../../proto/acs.ts'
import { containerStatuses } from '../../proto/status.ts'

/** Why a message can't be read, as a sentence. */
export interface Unreadable {
  readonly unreadable: string
}

type Message = Readonly<Record<string, unknown>>
type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string' && value.length <= 1024
/** Epoch milliseconds that a Date can hold. */
const isInstant: Check = (value) => typeof value === 'number' && value >= 0 && value <= 8.64e15
const isInteger: Check = (value) => Number.isSafeInteger(value)
const isOneOf =
  (values: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && values.includes(value)
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null || check(value)
const listOf =
  (check: Check, max: number): Check =>
  (value) =>
    Array.isArray(value) && value.length <= max && value.every(check)

const isNetworkBinding: Check = shaped({
  bindIP: optional(isText),
  containerPort: optional(isPort),
  hostPort: optional(isPort),
  protocol: optional(isOneOf(['tcp', 'udp'])),
  containerPortRange: optional(isText),
  hostPortRange: optional(isText),
})

const isContainerChange: Check = shaped({
  containerName: isText,
  status: optional(isOneOf(containerStatuses)),
  exitCode: optional(isInteger),
  reason: optional(isText),
  runtimeId: optional(isText),
  imageDigest: optional(isText),
  restartCount: optional(isInteger),
  networkBindings: optional(listOf(isNetworkBinding, 1000)),
  healthStatus: optional(isOneOf(['HEALTHY', 'UNHEALTHY', 'UNKNOWN'])),
  startedAt: optional(isInstant),
  finishedAt: optional(isInstant),
  // Those that are too many are dropped by the report: for them alone no end of a task may be refused.
  lastLogLines: optional(listOf((value) => typeof value === 'string', 10_000)),
})

const isAttachmentChange: Check = shaped({ attachmentArn: isText, status: isText })

const taskChangeMembers = {
  messageId: isText,
  task: isText,
  status: isOneOf(['PENDING', 'RUNNING', 'STOPPED']),
  reason: optional(isText),
  containers: listOf(isContainerChange, 100),
  pullStartedAt: optional(isInstant),
  pullStoppedAt: optional(isInstant),
  executionStoppedAt: optional(isInstant),
  waitingFor: optional(isText),
  attachments: optional(listOf(isAttachmentChange, 100)),
}

export function readTaskStateChange(message: Message): GantryTaskStateChange | Unreadable {
  const problem = firstProblem(message, taskChangeMembers)
  if (problem !== undefined) return { unreadable: problem }
  const change = message as unknown as GantryTaskStateChange
  return { ...withoutNulls(change), containers: change.containers.map(withoutNulls) }
}

export function readHostReport(message: Message): GantryHostReport | Unreadable {
  const ports = listOf(isPort, 65_536)
  const problem = firstProblem(message, {
    messageId: isText,
    usedTcpPorts: optional(ports),
    usedUdpPorts: optional(ports),
    engineSilentForMs: optional(isInstant),
    disk: optional(isDiskUse),
  })
  return problem === undefined ? withoutNulls(message as unknown as GantryHostReport) : { unreadable: problem }
}

const isDiskUse: Check = shaped({
  path: isText,
  usedPercent: isInstant,
  freeMiB: isInstant,
  isPressed: (value) => typeof value === 'boolean',
})

export function readAck(message: Message): AckRequest | Unreadable {
  const problem = firstProblem(message, { messageId: isText })
  return problem === undefined ? (message as unknown as AckRequest) : { unreadable: problem }
}

/** The manifest's id, and the tasks that the agent holds and did not find in it. */
export function readStopVerification(
  message: Message,
): { readonly messageId: string; readonly stopCandidates: readonly TaskIdentifier[] } | Unreadable {
  const isCandidate = shaped({ taskArn: isText })
  const problem = firstProblem(message, { messageId: isText, stopCandidates: listOf(isCandidate, 10_000) })
  if (problem !== undefined) return { unreadable: problem }
  return message as unknown as { messageId: string; stopCandidates: readonly TaskIdentifier[] }
}

/** On the wire null is absent; a row knows absent members alone. */
function withoutNulls<T extends object>(message: T): T {
  return Object.fromEntries(Object.entries(message).filter(([, member]) => member !== null)) as T
}

function isPort(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535
}

function shaped(members: Readonly<Record<string, Check>>): Check {
  return (value) => typeof value === 'object' && value !== null && firstProblem(value as Message, members) === undefined
}

function firstProblem(message: Message, members: Readonly<Record<string, Check>>): string | undefined {
  for (const [name, check] of Object.entries(members)) {
    if (!check(message[name])) return `its member ${name} is missing or not what it should be`
  }
  return undefined
}
