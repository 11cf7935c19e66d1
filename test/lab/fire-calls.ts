/**
 * The calls that a controller under fire gets, and what became of each: answered, or not known. Nothing here judges; the
 * checks do, after the restart.
 */
import {
  type ECSClient,
  ECSServiceException,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StopTaskCommand,
} from '@aws-sdk/client-ecs'
import type { FireServices, ServiceCall } from './fire-services.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface RegisterCall {
  readonly kind: 'register'
  /** Stands in the definition itself, so that a revision tells which call made it. */
  readonly id: string
  readonly family: string
  readonly containers: number
  revision?: number
}

export interface RunCall {
  readonly kind: 'run'
  /** The clientToken, and the startedBy. */
  readonly id: string
  readonly taskDefinition: string
  readonly count: number
  arns?: readonly string[]
}

export interface StopCall {
  readonly kind: 'stop'
  readonly id: string
  readonly arn: string
  isAnswered?: boolean
}

export type FireCall = RegisterCall | RunCall | StopCall | ServiceCall

export const families = ['fire-a', 'fire-b', 'fire-c']
export const markerVariable = 'MADE_BY'
const workers = 6

/** What the calls choose from, and add to. */
export interface FireState {
  readonly random: SeededRandom
  /** Ids are unique in one run. */
  nextId: number
  /** Tasks that run, as far as was answered, and that no call has tried to stop. */
  readonly stoppable: string[]
  readonly services: FireServices
}

export function definitionOf(call: RegisterCall) {
  const environment = [{ name: markerVariable, value: call.id }]
  return {
    family: call.family,
    containerDefinitions: Array.from({ length: call.containers }, (_, at) => ({
      name: `c${at}`,
      image: 'busybox',
      memory: 8,
      essential: at === 0,
      environment,
    })),
  }
}

export function inputOf(call: RunCall) {
  return { taskDefinition: call.taskDefinition, count: call.count, clientToken: call.id, startedBy: call.id }
}

/** Calls, several at a time, until the controller is gone; all that were made, in the order in which they began. */
export async function callUntilGone(client: ECSClient, state: FireState): Promise<readonly FireCall[]> {
  const calls: FireCall[] = []
  const work = async (): Promise<void> => {
    for (;;) {
      const call = chooseCall(state)
      calls.push(call)
      if (!(await make(client, call, state))) return
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
  return calls
}

function chooseCall(state: FireState): FireCall {
  const { random, stoppable, services } = state
  state.nextId += 1
  const id = `call-${state.nextId}`
  const dice = random.next()
  if (dice < 0.2) return services.choose(random, state.nextId, families)
  if (dice < 0.4) return { kind: 'register', id, family: random.pick(families), containers: random.between(1, 3) }
  if (dice < 0.6 && stoppable.length > 0) {
    const [arn = ''] = stoppable.splice(random.between(0, stoppable.length - 1), 1)
    return { kind: 'stop', id, arn }
  }
  return { kind: 'run', id, taskDefinition: random.pick(families), count: random.between(1, 3) }
}

/** False once the controller no longer answers. What it answers to these calls is never a refusal. */
async function make(client: ECSClient, call: FireCall, state: FireState): Promise<boolean> {
  try {
    if (call.kind === 'register') {
      const { taskDefinition } = await client.send(new RegisterTaskDefinitionCommand(definitionOf(call)))
      call.revision = taskDefinition?.revision ?? 0
    } else if (call.kind === 'run') {
      const { tasks = [], failures = [] } = await client.send(new RunTaskCommand(inputOf(call)))
      if (failures.length > 0) throw new Error(`RunTask ${call.id} was not placed: ${JSON.stringify(failures)}`)
      call.arns = tasks.map(({ taskArn = '' }) => taskArn)
      state.stoppable.push(...call.arns)
    } else if (call.kind === 'stop') {
      await client.send(new StopTaskCommand({ task: call.arn, reason: call.id }))
      call.isAnswered = true
    } else {
      await state.services.make(client, call)
    }
    return true
  } catch (error) {
    if (error instanceof ECSServiceException && error.$response !== undefined) throw error
    if (error instanceof Error && /was not placed/.test(error.message)) throw error
    return false
  }
}
