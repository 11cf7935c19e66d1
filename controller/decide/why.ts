/**
 * "Why is this not running": what the state alone tells about one task, in plain words, with ages, and what to do next.
 * A plain value for REST and for people; the lines of output in it never stand in an answer of the ECS API.
 */
import type { PlacementNote } from '../state/service-tables.ts'
import type { InstanceRow, TaskContainer, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { type EndedHow, isNeverStarted, meaningOfExitCode } from './exit-code.ts'
import { ageText } from './age.ts'
import { networkFacts } from './why-network.ts'
import { roleFacts, roleRemedies } from './why-roles.ts'
import { engineSilentSince, isEngineSilent } from './engine-health.ts'

export interface Why {
  readonly taskArn: string
  readonly state: 'waiting' | 'running' | 'stopping' | 'stopped'
  /** One sentence. */
  readonly summary: string
  /** What the summary rests on, each a sentence of its own, in the order in which it happened or matters. */
  readonly facts: readonly string[]
  /** What to do, in order; empty where nothing needs doing. */
  readonly next: readonly string[]
  readonly containers: readonly WhyContainer[]
  /** What placement weighed when it chose the instance. */
  readonly placement?: PlacementNote | undefined
  /** Seconds since the task was made, since its agent last spoke of it, and since its connection last changed. */
  readonly ages: {
    readonly created: number
    readonly reported?: number | undefined
    readonly connectivity?: number | undefined
    readonly stopped?: number | undefined
  }
}

export interface WhyContainer {
  readonly name: string
  readonly lastStatus: string
  readonly essential: boolean
  /** How often it was started again in place. */
  readonly restartCount?: number | undefined
  readonly exitCode?: number | undefined
  /** What the exit code usually means. */
  readonly exitCodeMeaning?: string | undefined
  readonly reason?: string | undefined
  readonly healthStatus?: string | undefined
  readonly image?: string | undefined
  /** The end of its output, as the agent sent it with STOPPED. */
  readonly lastLogLines?: readonly string[] | undefined
}

/** Explains `row` as of `now` (epoch milliseconds). */
export function explainTask(reader: Reader, row: TaskRow, now: number): Why {
  const instance = reader.get('instance', row.instanceId)
  const story = tellStory(row, instance, now)
  return {
    taskArn: row.taskArn,
    ...story,
    facts: [...story.facts, ...roleFacts(reader, row, now), ...networkFacts(reader, row, now), ...placementFacts(row)],
    placement: row.placement,
    containers: row.containers.map((container) => explainContainer(row, container)),
    ages: {
      created: secondsSince(row.createdAt, now),
      ...optionalAge('reported', row.reportedAt, now),
      ...optionalAge('connectivity', instance?.connectivityAt, now),
      ...optionalAge('stopped', row.stoppedAt, now),
    },
  }
}

/** `It was placed on instance 1, one of 3 that could take it of 4 (1 is draining): 0 of its group in a; next came ...` */
function placementFacts({ placement }: TaskRow): readonly string[] {
  const [chosen, second] = placement?.ranking ?? []
  if (placement === undefined || chosen === undefined || placement.considered < 2) return []
  const { able, considered, counts } = placement
  const refused = counts.map(({ explanation }) => explanation).join(', ')
  const others = refused === '' ? '' : ` (${refused})`
  const scores = chosen.scores.length === 0 ? '' : `: ${chosen.scores.join(', ')}`
  const next = second === undefined ? '' : `; next came instance ${second.instanceId}: ${second.scores.join(', ')}`
  return [
    `It was placed on instance ${chosen.instanceId}, one of ${able} that could take it of ${considered}${others}${scores}${next}.`,
  ]
}

interface Story {
  readonly state: Why['state']
  readonly summary: string
  readonly facts: readonly string[]
  readonly next: readonly string[]
}

function tellStory(row: TaskRow, instance: InstanceRow | undefined, now: number): Story {
  if (row.lastStatus === 'STOPPED') return stopped(row, now)
  const lost = lostInstance(row, instance, now)
  const silent = lost ?? silentEngine(row, instance, now)
  if (row.desiredStatus === 'STOPPED') return stopping(row, { lost, silent }, now)
  if (silent !== undefined) return silent
  return row.lastStatus === 'RUNNING' ? running(row, now) : waiting(row, instance, now)
}

/** The instance's silence comes first: whatever else is known of the task is as old as that. */
function lostInstance(row: TaskRow, instance: InstanceRow | undefined, now: number): Story | undefined {
  const state = row.lastStatus === 'RUNNING' ? 'running' : 'waiting'
  if (instance === undefined || instance.status === 'INACTIVE') {
    return {
      state,
      summary: `The container instance of this task is deregistered; the task was last known ${row.lastStatus}.`,
      facts: [reportedFact(row, now)],
      next: ['Stop the task, and run it again on an instance that is registered.'],
    }
  }
  if (instance.agentConnected) return undefined
  const span = forText(instance.connectivityAt, now)
  const known =
    row.lastStatus === 'RUNNING' ? 'its containers go on without the controller' : 'nothing was heard of it since'
  return {
    state,
    summary: `The agent of the task's instance has been disconnected${span}; the task was last known ${row.lastStatus}, ${known}.`,
    facts: [acknowledgedFact(row), reportedFact(row, now)],
    next: [
      `Check that the host of instance ${instance.instanceId} is up and that its agent runs and reaches the controller.`,
    ],
  }
}

function waiting(row: TaskRow, instance: InstanceRow | undefined, now: number): Story {
  const age = ageText(now - row.createdAt)
  const facts = [`The task was made ${age} ago.`, acknowledgedFact(row), reportedFact(row, now)]
  if (instance?.status === 'DRAINING') facts.push('Its instance is draining.')
  if (row.acknowledgedSeqNum < row.seqNum || row.seqNum === 0) {
    return {
      state: 'waiting',
      summary: `The agent has not acknowledged this task yet, made ${age} ago.`,
      facts,
      next: ['Wait a few seconds: the task is sent again every 10 s. If it stays so, look at the log of the agent.'],
    }
  }
  if (row.waitingFor !== undefined) {
    return { state: 'waiting', summary: agentWaits(row.waitingFor), facts, next: [] }
  }
  if (row.pullStartedAt !== undefined && row.pullStoppedAt === undefined) {
    return {
      state: 'waiting',
      summary: `Its images (${imagesOf(row)}) are being pulled, for ${ageText(now - row.pullStartedAt)} now.`,
      facts,
      next: ['A pull that takes long: check the size of the image and the way from the host to the registry.'],
    }
  }
  const pending = row.containers.filter((container) => container.lastStatus === 'PENDING').map(({ name }) => name)
  return {
    state: 'waiting',
    summary: `The agent has the task and is starting it; not running yet: ${pending.join(', ') || 'no container'}.`,
    facts,
    next: ['If this lasts, look at the log of the agent and at the containers on the host (docker ps --all).'],
  }
}

/** Gantry's agent says it as `waits for image nginx:1 to be pulled, for 12 s`. */
function agentWaits(waitingFor: string): string {
  const text = withoutDot(waitingFor)
  return text.startsWith('waits ') ? `The agent ${text}.` : `The agent waits: ${text}.`
}

/** While the engine is silent its agent can neither start nor look: what is known of the task is as old as that. */
function silentEngine(row: TaskRow, instance: InstanceRow | undefined, now: number): Story | undefined {
  if (instance === undefined || !isEngineSilent(instance)) return undefined
  const isRunning = row.lastStatus === 'RUNNING'
  const span = forText(engineSilentSince(instance), now)
  const known = isRunning ? 'was last known RUNNING' : 'starts once it does'
  return {
    state: isRunning ? 'running' : 'waiting',
    summary: `The Docker Engine of the task's instance has not answered${span}; the task ${known}.`,
    facts: [acknowledgedFact(row), reportedFact(row, now)],
    next: [`Start Docker Engine on the host of instance ${instance.instanceId}, or look at its log.`],
  }
}

function running(row: TaskRow, now: number): Story {
  const verb = row.startedAt === undefined ? 'is running' : `has been running${forText(row.startedAt, now)}`
  const ended = row.containers.filter((container) => container.lastStatus === 'STOPPED')
  const sick = row.containers.filter((container) => container.healthStatus === 'UNHEALTHY')
  const facts = [reportedFact(row, now)]
  for (const container of ended) facts.push(`Container ${container.name} has ended: ${outcomeOf(row, container)}.`)
  for (const container of sick) facts.push(`Container ${container.name} fails its health check.`)
  facts.push(...restartFacts(row, now))
  return {
    state: 'running',
    summary: `The task ${verb}${sick.length === 0 ? '' : ', and it is not healthy'}.`,
    facts,
    next: sick.length === 0 ? [] : ['Run the health check command inside the container on the host (docker exec).'],
  }
}

function restartFacts(row: TaskRow, now: number): readonly string[] {
  return row.containers.flatMap(({ name, restartCount, startedAt }) => {
    if (restartCount === undefined) return []
    const times = restartCount === 1 ? 'once' : `${restartCount} times`
    const last = startedAt === undefined ? '' : `, last ${ageText(now - startedAt)} ago`
    return [`Container ${name} was started again in place ${times}${last}.`]
  })
}

interface Hindrance {
  /** Its agent is not there. */
  readonly lost: Story | undefined
  /** That, or its engine does not answer. */
  readonly silent: Story | undefined
}

function stopping(row: TaskRow, { lost, silent }: Hindrance, now: number): Story {
  const since = row.stoppingAt === undefined ? '' : `, asked ${ageText(now - row.stoppingAt)} ago`
  const reason = row.stoppedReason === undefined ? '' : ` (${row.stoppedReason})`
  const facts = [...(silent === undefined ? [] : [silent.summary]), acknowledgedFact(row), reportedFact(row, now)]
  const summary = `The task is to stop${since}${reason}: ${howItStops(row, { lost, silent })}.`
  return { state: 'stopping', summary, facts, next: silent?.next ?? [] }
}

function howItStops(row: TaskRow, { lost, silent }: Hindrance): string {
  if (lost !== undefined) return 'it is told as soon as its agent is back, and may be running until then'
  if (silent !== undefined) return 'that is done once Docker Engine answers again, and it may be running until then'
  if (row.acknowledgedSeqNum < row.seqNum) return 'the agent has not acknowledged it yet'
  if (row.waitingFor !== undefined) return `its agent ${withoutDot(row.waitingFor)}`
  return 'its containers get SIGTERM, and SIGKILL after their stopTimeout'
}

function stopped(row: TaskRow, now: number): Story {
  const age = row.stoppedAt === undefined ? '' : ` ${ageText(now - row.stoppedAt)} ago`
  const cause = row.stoppedReason ?? 'no reason was given'
  const facts: string[] = []
  if (row.stopCode !== undefined)
    facts.push(`Stop code ${row.stopCode}: ${stopCodeMeanings[row.stopCode] ?? 'see ECS'}.`)
  for (const container of row.containers) {
    if (container.exitCode === undefined && container.reason === undefined) continue
    facts.push(`Container ${container.name}: ${outcomeOf(row, container)}.`)
  }
  if (row.startedAt === undefined) facts.push('It never ran.')
  else if (row.stoppedAt !== undefined) facts.push(`It ran for ${ageText(row.stoppedAt - row.startedAt)}.`)
  const told = endOf(row)
  return {
    state: 'stopped',
    summary: `The task stopped${age}: ${withoutDot(cause)}.${told}`,
    facts,
    next: nextAfter(row),
  }
}

const stopCodeMeanings: Readonly<Record<string, string>> = {
  TaskFailedToStart: 'it could not be started',
  EssentialContainerExited: 'a container without which the task is not to run has ended',
  UserInitiated: 'someone stopped it',
  ServiceSchedulerInitiated: 'its service stopped it',
  SpotInterruption: 'its host was taken away',
  TerminationNotice: 'its host is going away',
  InfrastructureHealth: 'its host was not healthy',
}

/** What to say of the container on which the end turned, unless the reason says it already. */
function endOf(row: TaskRow): string {
  if (row.stopCode === 'UserInitiated') return ''
  const container = culpritOf(row) ?? row.containers.find((one) => one.essential && one.exitCode !== undefined)
  if (container === undefined) return ''
  if (container.exitCode === undefined && container.reason === row.stoppedReason) return ''
  return ` Container ${container.name}: ${outcomeOf(row, container)}.`
}

function endedHow(row: TaskRow, container: TaskContainer): EndedHow {
  return {
    wasStopped: row.stopCode === 'UserInitiated' || row.stopCode === 'ServiceSchedulerInitiated',
    outOfMemory: container.reason?.includes('OutOfMemory') === true,
    neverStarted: isNeverStarted(container),
  }
}

/** The container that ended the task: an essential one that failed, else any; one that only waited for another is last. */
function culpritOf(row: TaskRow): TaskContainer | undefined {
  if (row.stopCode === 'UserInitiated') return undefined
  const failed = row.containers.filter(
    (container) => container.reason !== undefined || (container.exitCode !== undefined && container.exitCode !== 0),
  )
  const began = failed.filter((container) => !isNeverStarted(container))
  return began.find((container) => container.essential) ?? began[0] ?? failed[0]
}

function nextAfter(row: TaskRow): readonly string[] {
  if (row.stopCode === 'UserInitiated') return []
  const texts = [row.stoppedReason ?? '', ...row.containers.map((container) => container.reason ?? '')].join('\n')
  const next: string[] = [...roleRemedies(row)]
  if (texts.includes('CannotPull')) {
    next.push('Check the name and tag of the image, and that the host reaches its registry and may pull from it.')
  }
  if (texts.includes('CannotStart') || texts.includes('CannotCreate')) {
    next.push('Check the entry point, command, ports, volumes and devices of the container definition.')
  }
  for (const container of row.containers) {
    const advice =
      container.exitCode === undefined
        ? undefined
        : meaningOfExitCode(container.exitCode, endedHow(row, container)).advice
    if (advice !== undefined && !next.includes(advice)) next.push(advice)
  }
  const spoke = row.containers.some((container) => (container.lastLogLines ?? []).length > 0)
  if (next.length === 0 && culpritOf(row) !== undefined) {
    next.push(spoke ? 'Read the last lines of its output.' : "Read the container's log on the host (docker logs).")
  }
  return next
}

function explainContainer(row: TaskRow, container: TaskContainer): WhyContainer {
  const { name, lastStatus, essential, exitCode, reason, healthStatus, image, lastLogLines } = container
  const exitCodeMeaning =
    exitCode === undefined ? undefined : meaningOfExitCode(exitCode, endedHow(row, container)).meaning
  const { restartCount } = container
  return {
    name,
    lastStatus,
    essential,
    restartCount,
    exitCode,
    exitCodeMeaning,
    reason,
    healthStatus,
    image,
    lastLogLines,
  }
}

function outcomeOf(row: TaskRow, container: TaskContainer): string {
  const parts: string[] = []
  if (container.exitCode !== undefined) {
    const meaning = meaningOfExitCode(container.exitCode, endedHow(row, container)).meaning
    parts.push(`exit code ${container.exitCode} (${meaning})`)
  }
  if (container.reason !== undefined) parts.push(withoutDot(container.reason))
  return parts.length === 0 ? 'no exit code was reported' : parts.join(', ')
}

function acknowledgedFact(row: TaskRow): string {
  const told = row.seqNum > 0 && row.acknowledgedSeqNum >= row.seqNum
  return told
    ? 'The agent has acknowledged what it was told last.'
    : 'The agent has not acknowledged what it was told last.'
}

function reportedFact(row: TaskRow, now: number): string {
  if (row.reportedAt === undefined) return 'The agent has not reported on it yet.'
  return `The agent last reported on it ${ageText(now - row.reportedAt)} ago.`
}

function imagesOf(row: TaskRow): string {
  return [...new Set(row.containers.map((container) => container.image ?? container.name))].join(', ')
}

function forText(at: number | undefined, now: number): string {
  return at === undefined ? '' : ` for ${ageText(now - at)}`
}

function optionalAge(name: string, at: number | undefined, now: number): Record<string, number> {
  return at === undefined ? {} : { [name]: secondsSince(at, now) }
}

function secondsSince(at: number, now: number): number {
  return Math.max(0, Math.round((now - at) / 1000))
}

function withoutDot(sentence: string): string {
  return sentence.endsWith('.') ? sentence.slice(0, -1) : sentence
}
