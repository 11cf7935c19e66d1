/** What a task's state change says: a whole picture each time, so that a repeat or a lost one harms nothing. */
import type { GantryContainerStateChange, GantryTaskStateChange, PayloadContainer } from '../../proto/acs.ts'
import { lastLogBytesMax, lastLogLinesMax } from '../../proto/acs.ts'
import { stableHash } from '../../proto/hash.ts'
import { definedContainers } from './internal-containers.ts'
import { factsOf } from './lifecycle.ts'
import { attachmentsOf, reasonOfInternals } from './network-steps.ts'
import { networkBindings } from './network.ts'
import type { ContainerFacts, TaskView, Wait } from './view.ts'

const reasonCharactersMax = 1024

/**
 * A digest of all that the report would say but the wait; empty where there is nothing to say yet. A report is due when
 * it differs from the last one's.
 */
export function reportContent(view: TaskView): string {
  const { facts, payload } = view
  const quiet = payload.containers.every(({ name }) => factsOf(facts, name).knownStatus === 'PENDING')
  if (facts.knownStatus === 'PENDING' && quiet && facts.reason === undefined) return ''
  const change = changeOf(view)
  // When it started is told with what else there is to tell: it is set once by us and once more by Docker.
  return stableHash({ ...change, containers: change.containers.map(({ startedAt: _startedAt, ...rest }) => rest) })
}

/** The state change itself. `wait` becomes one sentence with its age in seconds. */
export function stateChangeOf(
  view: TaskView,
  messageId: string,
  wait: Wait | undefined,
  now: number,
): GantryTaskStateChange {
  const waitingFor = wait === undefined ? undefined : sentenceOf(wait, now)
  return { messageId, ...changeOf(view), ...(waitingFor === undefined ? {} : { waitingFor }) }
}

export function sentenceOf(wait: Wait, now: number): string {
  return `${wait.cause}, for ${Math.max(0, Math.round((now - wait.since) / 1000))} s`
}

function changeOf(view: TaskView): Omit<GantryTaskStateChange, 'messageId' | 'waitingFor'> {
  const { facts, payload } = view
  return withoutUndefined({
    task: facts.taskArn,
    status: facts.knownStatus,
    reason: (facts.reason ?? reasonOfInternals(view))?.slice(0, reasonCharactersMax),
    attachments: attachmentsOf(view),
    containers: definedContainers(payload).map((container) => containerChangeOf(view, container)),
    pullStartedAt: facts.pullStartedAt,
    pullStoppedAt: facts.pullStoppedAt,
    executionStoppedAt: facts.executionStoppedAt,
  })
}

function containerChangeOf(view: TaskView, container: PayloadContainer): GantryContainerStateChange {
  const facts = factsOf(view.facts, container.name)
  const stopped = facts.knownStatus === 'STOPPED'
  return withoutUndefined({
    containerName: container.name,
    status: statusTold(facts),
    // One that is made ahead of its start is no news.
    runtimeId: facts.knownStatus === 'PENDING' && !facts.started ? undefined : facts.dockerId,
    imageDigest: facts.imageDigest,
    exitCode: stopped ? facts.exitCode : undefined,
    reason: facts.reason?.slice(0, reasonCharactersMax),
    networkBindings: bindingsOf(view, container),
    healthStatus: facts.healthStatus,
    restartCount: facts.restartCount,
    startedAt: facts.startedAt,
    finishedAt: facts.finishedAt,
    lastLogLines: stopped && facts.lastLogLines?.length ? facts.lastLogLines : undefined,
  })
}

/** To the world outside a container that its policy starts again has been running all the time. */
function statusTold({ knownStatus, restartCount, started }: ContainerFacts): ContainerFacts['knownStatus'] {
  return knownStatus === 'PENDING' && restartCount !== undefined && started ? 'RUNNING' : knownStatus
}

/** From Docker where it shows them; after the end, when it no longer does, from the ports that were chosen. */
function bindingsOf(view: TaskView, container: PayloadContainer) {
  const facts = factsOf(view.facts, container.name)
  if (!facts.started || view.payload.networkMode !== 'bridge') return undefined
  const shown = view.observed.get(container.name)?.ports ?? []
  const ports = shown.length > 0 ? shown : facts.hostPorts.map((port) => ({ ...port, hostIp: '0.0.0.0' }))
  const bindings = networkBindings(container.portMappings, ports)
  return bindings.length > 0 ? bindings : undefined
}

/** The last lines within their bounds: the newest are kept, and a line that is too long loses its beginning. */
export function boundedLogLines(lines: readonly string[]): readonly string[] {
  const kept: string[] = []
  let bytesLeft = lastLogBytesMax
  for (const line of lines.slice(-lastLogLinesMax).toReversed()) {
    if (bytesLeft <= 0) break
    const text = tailOf(line, bytesLeft)
    kept.unshift(text)
    bytesLeft -= utf8Length(text) + 1
  }
  return kept
}

function tailOf(line: string, bytesMax: number): string {
  if (utf8Length(line) <= bytesMax) return line
  const characters = Array.from(line).slice(-bytesMax)
  let bytes = characters.reduce((sum, character) => sum + utf8Length(character), 0)
  while (bytes > bytesMax) bytes -= utf8Length(characters.shift() ?? '')
  return characters.join('')
}

function utf8Length(text: string): number {
  let bytes = 0
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}

type Defined<T> = { [K in keyof T]: T[K] }

function withoutUndefined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T
}
