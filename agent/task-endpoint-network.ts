/**
 * The Docker networks by which containers reach the task endpoint: the engine's default bridge, and, for tasks with an
 * address of their own, a second network of their pause container that leads nowhere else.
 */
import { EngineError } from './engine.ts'
import type { Engine, ObservedNetwork } from './engine.ts'
import { taskEndpointAddress } from './task-endpoint-socket.ts'
import type { HostBridge } from './task-endpoint-socket.ts'

export const taskEndpointNetworkName = 'gantry-task-endpoints'

type Networks = Pick<Engine, 'createNetwork' | 'inspectNetwork'>

/**
 * Makes the network `gantry-task-endpoints`, or finds it. A container that is connected to it reaches 169.254.170.2 by a
 * second interface; it gets no default route by it. Fails with an EngineError.
 */
export async function ensureTaskEndpointNetwork(engine: Networks): Promise<HostBridge> {
  const found = await engine.inspectNetwork(taskEndpointNetworkName)
  if (found !== undefined) return bridgeOf(found)
  await engine
    .createNetwork({
      name: taskEndpointNetworkName,
      driver: 'bridge',
      internal: true,
      cidr: '169.254.170.0/23',
      gateway: '169.254.170.1',
      // Docker would give it to the first container.
      reserved: { endpoint: taskEndpointAddress },
      options: {},
      labels: { 'gantry.purpose': 'task-endpoints' },
    })
    .catch((error: unknown) => {
      // Somebody was quicker.
      if (!(error instanceof EngineError) || error.kind !== 'conflict') throw error
    })
  const made = await engine.inspectNetwork(taskEndpointNetworkName)
  if (made === undefined) throw new EngineError('notFound', `the network ${taskEndpointNetworkName} is not there`)
  return bridgeOf(made)
}

/** The bridge that containers of the mode `bridge` are on; undefined where the engine has none (`--bridge=none`). */
export async function defaultBridge(engine: Networks): Promise<HostBridge | undefined> {
  const found = await engine.inspectNetwork('bridge')
  return found === undefined || found.cidr === '' ? undefined : bridgeOf(found)
}

function bridgeOf({ id, cidr, options }: ObservedNetwork): HostBridge {
  return {
    name: options['com.docker.network.bridge.name'] ?? `br-${id.slice(0, 12)}`,
    cidr,
    isSplit: options['com.docker.network.bridge.enable_icc'] === 'false',
  }
}
