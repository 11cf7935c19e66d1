/**
 * Takes a host out of use before its agent ends, where the operator asked for that: no new tasks come, services start
 * theirs elsewhere, and those here stop. Tasks of no service are left as they are, as ECS leaves them on a draining host.
 * The next start takes it back, unless an operator had drained the host himself.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ApiCallError } from './ecs-api.ts'
import type { CallApi } from './ecs-api.ts'
import type { Timers } from './timers.ts'
import type { TurnLog } from './turn-options.ts'

export interface DrainOptions {
  readonly callApi: CallApi
  readonly cluster: string
  readonly containerInstanceArn: string
  /** Where it is remembered that the agent drained the host itself. */
  readonly directory: string
  /** How many tasks of services have not stopped here, or have and the controller does not know it. */
  readonly serviceTasks: () => number
  readonly timeoutMs: number
  readonly now: () => number
  readonly timers: Timers
  readonly log: TurnLog
}

const markName = 'drained-at-stop'
const lookMs = 500
const retryMs = 1000
const retryMostMs = 60_000
const progressMs = 10_000

/** Takes tasks again where the agent itself had drained the host; answers what drains it once more. */
export function backInUse(options: DrainOptions): () => Promise<void> {
  let isDraining = false
  void endDrain(options, () => isDraining)
  return async () => {
    isDraining = true
    await drainHost(options)
  }
}

/** Resolves once the services' tasks have left, or the time is up; it never fails: the agent ends either way. */
export async function drainHost(options: DrainOptions): Promise<void> {
  const { now, timeoutMs, log, serviceTasks } = options
  const until = now() + timeoutMs
  if (!(await beginDrain(options, until))) return
  let toldAt = now()
  log.info(
    { serviceTasks: serviceTasks(), timeoutMs },
    'This host is draining; the agent ends when its services have left.',
  )
  // The controller may need a moment until it has told the agent of the first stop.
  while (serviceTasks() > 0) {
    if (now() >= until) {
      log.warn({ serviceTasks: serviceTasks() }, 'GANTRY_DRAIN_TIMEOUT is over; what is left goes on without an agent.')
      return
    }
    if (now() - toldAt >= progressMs) {
      toldAt = now()
      log.info({ serviceTasks: serviceTasks() }, 'draining')
    }
    await pause(options, lookMs)
  }
  log.info({}, 'The tasks of services have left this host.')
}

/**
 * After a start: takes tasks again where the agent itself had drained the host. It asks until it has an answer, or until
 * the host is to be drained once more: a controller that starts at the same time must not leave the host out of use.
 */
export async function endDrain(
  options: Omit<DrainOptions, 'serviceTasks' | 'timeoutMs'>,
  isOver: () => boolean = () => false,
): Promise<void> {
  const mark = join(options.directory, markName)
  for (let waitMs = retryMs; existsSync(mark) && !isOver(); waitMs = Math.min(waitMs * 2, retryMostMs)) {
    try {
      await setStatus(options, 'ACTIVE')
      rmSync(mark, { force: true })
      options.log.info({}, 'This host takes tasks again: it was drained when its agent was told to end.')
    } catch (error) {
      options.log.warn({ err: error, retryInMs: waitMs }, 'The host is still draining, as it was when its agent ended.')
      await pause(options, waitMs)
    }
  }
}

/** False where there is nothing to wait for: an operator had drained it, or nobody answers in time. */
async function beginDrain(options: DrainOptions, until: number): Promise<boolean> {
  const { now, log, directory } = options
  for (;;) {
    try {
      const wasDraining = (await statusOf(options)) === 'DRAINING'
      if (!wasDraining) {
        writeFileSync(join(directory, markName), '', { mode: 0o600 })
        await setStatus(options, 'DRAINING')
      }
      return true
    } catch (error) {
      if (!(error instanceof ApiCallError) || now() + retryMs >= until) {
        log.warn({ err: error }, 'The host could not be drained; its tasks go on without an agent.')
        return false
      }
      await pause(options, retryMs)
    }
  }
}

async function statusOf({
  callApi,
  cluster,
  containerInstanceArn,
}: Pick<DrainOptions, 'callApi' | 'cluster' | 'containerInstanceArn'>) {
  const answer = await callApi('DescribeContainerInstances', { cluster, containerInstances: [containerInstanceArn] })
  const [instance] = (answer['containerInstances'] ?? []) as readonly { readonly status?: string }[]
  return instance?.status
}

async function setStatus(
  { callApi, cluster, containerInstanceArn }: Pick<DrainOptions, 'callApi' | 'cluster' | 'containerInstanceArn'>,
  status: 'ACTIVE' | 'DRAINING',
): Promise<void> {
  const answer = await callApi('UpdateContainerInstancesState', {
    cluster,
    containerInstances: [containerInstanceArn],
    status,
  })
  const [failure] = (answer['failures'] ?? []) as readonly { readonly reason?: string }[]
  if (failure !== undefined) throw new ApiCallError(undefined, `UpdateContainerInstancesState: ${failure.reason ?? ''}`)
}

async function pause({ timers }: Pick<DrainOptions, 'timers'>, ms: number): Promise<void> {
  await new Promise<void>((resolve) => timers.after(ms, resolve))
}
