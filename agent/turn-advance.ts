/** Decides about one task until nothing new follows: takes the local steps at once, hands out those for the engine. */
import type { World } from '../proto/world.ts'
import { chooseDockerName } from './decide/admission.ts'
import { factsOf, settle, withContainer } from './decide/lifecycle.ts'
import { chooseHostPorts } from './decide/network.ts'
import type { PortsInUse } from './decide/network.ts'
import { stateChangeOf } from './decide/report.ts'
import { nextSteps } from './decide/next-steps.ts'
import { startSlotCause, stepKey, takesStartSlot } from './decide/steps.ts'
import type { EngineStep, LocalSteps, Step } from './decide/steps.ts'
import type { HostView, Wait } from './decide/view.ts'
import type { Outbox } from './outbox.ts'
import type { AgentTurnConfig, AgentTurnOptions, TurnLog } from './turn-options.ts'
import { forgetTask, heldPorts, setFacts, viewOf } from './turn-state.ts'
import type { LiveTask, TurnState } from './turn-state.ts'

export interface AdvanceContext {
  readonly state: TurnState
  readonly outbox: Outbox
  readonly config: AgentTurnConfig
  readonly world: World
  readonly log: TurnLog
  readonly busyPorts: AgentTurnOptions['busyPorts']
  readonly secrets: TurnSecrets
  /** The host as it stands at this moment; asked again for each decision, since each may take a start slot. */
  readonly host: () => HostView
  readonly now: number
  /** False until Docker Engine has shown its containers to this process: until then a PENDING one may be running. */
  readonly engineShown: boolean
  /** Where the search for a dynamic port goes on. */
  readonly ports: { searchFrom: number }
}

/** What is held in memory for tasks, and goes with them. */
export type TurnSecrets = Pick<AgentTurnOptions, 'roleCredentials' | 'fetched'>

/** Decisions about one task in one turn; more would mean that they never come to rest. */
const roundsMax = 50

type LocalTable = {
  readonly [Name in keyof LocalSteps]: (context: AdvanceContext, task: LiveTask, args: LocalSteps[Name]) => void
}

/** Adds to `begun` the steps for the engine that are to be started now; each is marked as under way. */
export function advance(context: AdvanceContext, task: LiveTask, begun: EngineStep[]): void {
  task.wakeAt = undefined
  task.awaitsStartSlot = false
  for (let round = 0; round < roundsMax; round += 1) {
    if (context.engineShown) settleTask(context, task)
    if (task.facts.knownStatus === 'STOPPED') letGo(context.secrets, task)
    const steps = nextSteps(viewOf(task), context.now, context.host())
    task.awaitsStartSlot = steps.some(({ step, args }) => step === 'wait' && args.cause === startSlotCause)
    const actions = steps.filter(({ step }) => step !== 'wait')
    for (const step of steps) take(context, task, step, begun)
    const forgotten = context.state.tasks.get(task.payload.arn) !== task
    if (actions.length === 0 || forgotten) {
      context.state.dirty.delete(task.payload.arn)
      return
    }
  }
  throw new Error(`The decisions about task ${task.payload.arn} did not come to rest in ${roundsMax} rounds.`)
}

/** The keys of its execution role stay until nothing is left of it. */
function letGo({ roleCredentials, fetched }: TurnSecrets, { facts }: LiveTask): void {
  if (facts.roles === undefined) return
  roleCredentials?.forgetTaskRole(facts.taskArn)
  fetched?.forgetTask(facts.taskArn)
}

function settleTask(context: AdvanceContext, task: LiveTask): void {
  const { state, config, log, now } = context
  const { knownStatus: before, restart, reported } = task.facts
  setFacts(state, task, settle(viewOf(task), now, config.pullBehavior, context.host().controller))
  const { knownStatus, reason, containers } = task.facts
  if (reported !== undefined && task.facts.reported === undefined) withdrawReports(context, task)
  if (task.facts.restart?.begunAt !== restart?.begunAt) {
    log.warn(
      { task: task.payload.arn, ...task.facts.restart },
      'no controller is there: a task is started again in place',
    )
  }
  if (knownStatus === before) return
  const reasons = Object.values(containers).flatMap((container) => container.reason ?? [])
  log.info({ task: task.payload.arn, from: before, to: knownStatus, reason, reasons }, 'task status')
}

/** Nobody has heard of the end that they tell, and it is none any more. */
function withdrawReports({ state, outbox }: AdvanceContext, task: LiveTask): void {
  for (const sequence of outbox.drop(task.payload.arn)) {
    state.unsaved.outbox.delete(sequence)
    state.unsaved.delivered.add(sequence)
  }
}

function rememberStop({ state, now }: AdvanceContext, task: LiveTask, container: string): void {
  const facts = factsOf(task.facts, container)
  setFacts(state, task, withContainer(task.facts, container, { ...facts, stopAskedAt: facts.stopAskedAt ?? now }))
}

function take(context: AdvanceContext, task: LiveTask, step: Step, begun: EngineStep[]): void {
  switch (step.step) {
    case 'prepareContainer':
      return localSteps.prepareContainer(context, task, step.args)
    case 'report':
      return localSteps.report(context, task, step.args)
    case 'wait':
      return localSteps.wait(context, task, step.args)
    case 'forget':
      return localSteps.forget(context, task, step.args)
    default:
      if (step.step === 'stopContainer') rememberStop(context, task, step.args.container)
      task.underway.set(stepKey(step), { since: context.now })
      if (takesStartSlot(step)) context.state.startsUnderway += 1
      begun.push(step)
  }
}

const localSteps: LocalTable = {
  prepareContainer(context, task, { container }) {
    const { state, config, now } = context
    const { payload } = task
    const facts = factsOf(task.facts, container)
    const mappings = payload.containers.find(({ name }) => name === container)?.portMappings ?? []
    const choice =
      payload.networkMode === 'bridge'
        ? chooseHostPorts(
            mappings,
            config.dynamicHostPortRange,
            mappings.every(({ hostPort }) => hostPort) ? noPorts : portsInUse(context, facts.refusedPorts),
            context.ports.searchFrom,
          )
        : { hostPorts: [] }
    if (choice.refusal !== undefined) {
      const reason = `CannotStartContainerError: ${choice.refusal}`
      const ended = { ...facts, knownStatus: 'STOPPED', reason, lastLogLines: [], finishedAt: now } as const
      setFacts(state, task, withContainer(task.facts, container, ended))
      return
    }
    const picked = choice.hostPorts.filter((port) => port.picked).map(({ hostPort }) => hostPort)
    if (picked.length > 0) context.ports.searchFrom = Math.max(...picked) + 1
    const dockerName = chooseDockerName(payload, container, facts.refusedPorts?.length ?? 0)
    // Chosen even where the container keeps its name: what it is told follows from it.
    const isDefined = payload.containers.some(({ name, internal }) => name === container && internal === undefined)
    const offered = isDefined && context.host().endpoints?.offered === true
    const endpointId = facts.endpointId ?? (offered ? context.world.uuid() : undefined)
    const prepared = { ...facts, dockerName, hostPorts: choice.hostPorts, endpointId }
    setFacts(state, task, withContainer(task.facts, container, prepared))
  },

  report({ state, outbox, world, now }, task, { content, wait }) {
    const change = stateChangeOf(viewOf(task), world.uuid(), wait, now)
    const entry = outbox.put(change)
    // What tells of nothing but a wait is not worth a sync: after a crash the wait is told anew.
    if (content !== '') state.unsaved.outbox.set(entry.sequence, entry)
    const reported = { content, status: task.facts.knownStatus, at: now, waitCause: wait?.cause }
    setFacts(state, task, { ...task.facts, reported })
  },

  wait(_context, task, { until }: Wait) {
    if (until !== undefined) task.wakeAt = Math.min(task.wakeAt ?? until, until)
  },

  forget({ state, outbox, log, secrets }, _task, { taskArn }) {
    secrets.roleCredentials?.forgetTask(taskArn)
    secrets.fetched?.forgetTask(taskArn)
    for (const sequence of outbox.drop(taskArn)) state.unsaved.delivered.add(sequence)
    forgetTask(state, taskArn)
    // Should a container of it still turn up, the controller is asked about that one.
    state.lastManifest?.listed.delete(taskArn)
    log.info({ task: taskArn }, 'task cleaned up')
  },
}

/** Enough where each port is named: those are taken as they are, and looking at the host's own costs 10 ms. */
const noPorts: PortsInUse = { tcp: new Set(), udp: new Set() }

function portsInUse({ state, config, busyPorts }: AdvanceContext, refused: readonly number[] = []) {
  const held = heldPorts(state)
  const busy = busyPorts()
  return {
    tcp: new Set([...held.tcp, ...busy.tcp, ...config.reservedTcpPorts, ...refused]),
    udp: new Set([...held.udp, ...busy.udp, ...config.reservedUdpPorts, ...refused]),
  }
}
