/**
 * Who asks the task endpoint, and for whom it may ask: a task reaches only its own. The id in the path is a secret of the
 * container's; beyond that the address that the request comes from must be one of the container's own, or, for a
 * container that shares the host's network, one of the host's.
 */
import { networkInterfaces } from 'node:os'
import type { PayloadContainer } from '../proto/acs.ts'
import { definedContainers, internalNames } from './decide/internal-containers.ts'
import type { ObservedContainer } from './engine.ts'
import type { AskersSocket, IsHeldBy } from './socket-owner.ts'
import type { TurnTask } from './turn-options.ts'

export interface Caller {
  readonly task: TurnTask
  readonly container: PayloadContainer
  readonly endpointId: string
}

export type InspectContainer = (dockerId: string) => Promise<ObservedContainer | undefined>

/** The container whose endpoint id this is, whoever asks; undefined where there is none. */
export function containerOf(tasks: readonly TurnTask[], endpointId: string): Caller | undefined {
  for (const task of tasks) {
    for (const container of definedContainers(task.payload)) {
      if (task.facts.containers[container.name]?.endpointId === endpointId) return { task, container, endpointId }
    }
  }
  return undefined
}

/** The task whose role's keys are known by this id. */
export function taskOfCredentials(tasks: readonly TurnTask[], credentialsId: string): TurnTask | undefined {
  return tasks.find(({ facts }) => facts.roles?.task?.credentialsId === credentialsId)
}

/** The task for whose role this key was made, be it one that was replaced since: a program signs with what it has. */
export function taskOfAccessKey(tasks: readonly TurnTask[], accessKeyId: string, now: number): TurnTask | undefined {
  return tasks.find(({ facts: { roles, knownStatus } }) => {
    const issued = knownStatus === 'STOPPED' ? [] : (roles?.task?.issued ?? [])
    return issued.some((one) => one.accessKeyId === accessKeyId && one.endsAt > now)
  })
}

/** The task whose own address this is: only a task of the mode awsvpc has one that is nobody else's. */
export function taskOfAddress(tasks: readonly TurnTask[], address: string): TurnTask | undefined {
  return tasks.find((task) => task.payload.networkMode === 'awsvpc' && addressesOf(task, pauseOf(task)).has(address))
}

/**
 * The task with what Docker shows of its containers by now: a quick program asks before the agent has looked at its
 * container, so those that are not seen to run yet are looked at first.
 */
export async function upToDate(task: TurnTask, inspect: InspectContainer): Promise<TurnTask> {
  const behind = task.payload.containers.flatMap(({ name }): [string, string][] => {
    const { dockerId, knownStatus, removed } = task.facts.containers[name] ?? {}
    const isSeen = task.observed.get(name)?.status === 'running' || knownStatus === 'STOPPED' || removed === true
    return dockerId === undefined || isSeen ? [] : [[name, dockerId]]
  })
  if (behind.length === 0) return task
  const looks = behind.map(async ([name, dockerId]) => [name, await inspect(dockerId).catch(() => undefined)] as const)
  const seen = (await Promise.all(looks)).flatMap(([name, shown]) =>
    shown === undefined ? [] : [[name, shown] as const],
  )
  return { ...task, observed: new Map([...task.observed, ...seen]) }
}

/** True where the request comes from where this container's requests come from. `task` must be up to date. */
export function isItself({ task, container }: Pick<Caller, 'task' | 'container'>, address: string): boolean {
  switch (task.payload.networkMode) {
    case 'bridge':
      return addressesOf(task, task.observed.get(container.name)).has(address)
    case 'awsvpc':
      return addressesOf(task, pauseOf(task)).has(address)
    case 'host':
      return hostAddresses().has(address)
    case 'none':
      return false
    default:
      return task.payload.networkMode satisfies never
  }
}

/**
 * True where the request comes from one of the task's containers: what it asks for gives the task's own rights away.
 * `task` must be up to date. In the mode host the address is everybody's, so it is looked at who holds the connection.
 */
export function isOfTask(task: TurnTask, socket: AskersSocket, isHeldBy: IsHeldBy): boolean {
  const { networkMode } = task.payload
  const containers = definedContainers(task.payload)
  if (networkMode !== 'host') return containers.some((container) => isItself({ task, container }, socket.address))
  if (!hostAddresses().has(socket.address)) return false
  const dockerIds = containers.flatMap(({ name }) => task.facts.containers[name]?.dockerId ?? [])
  return isHeldBy(socket, dockerIds)
}

/** IPv4 in its own form, also where the socket listens on both families. */
export function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '')
}

function pauseOf(task: TurnTask): ObservedContainer | undefined {
  return task.observed.get(internalNames.CNI_PAUSE)
}

function addressesOf({ payload }: TurnTask, observed: ObservedContainer | undefined): ReadonlySet<string> {
  const shown = (observed?.details?.networks ?? []).flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
  const own = (payload.elasticNetworkInterfaces ?? []).flatMap(({ ipv4Addresses }) =>
    ipv4Addresses.map(({ privateAddress }) => privateAddress),
  )
  return new Set([...shown, ...own].filter((address) => address !== ''))
}

function hostAddresses(): ReadonlySet<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)))
}
