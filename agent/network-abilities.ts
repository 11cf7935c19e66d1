/** Whether tasks can have addresses of their own on this host, and on which of its interfaces: found out at start. */
import { networkInterfacesAttribute, taskEniMaxAttribute } from '../proto/networking.ts'
import type { Attribute } from './attributes.ts'
import type { AgentConfig } from './config.ts'
import { EngineError } from './engine.ts'
import type { Engine } from './engine.ts'
import { parentCandidates } from './host-interface.ts'
import { showLinks } from './ip-command.ts'
import type { RunIp } from './ip-command.ts'
import type { Log } from './log.ts'

/** What ECS takes as an attribute's value at most. */
const valueCharactersMax = 128

export interface NetworkAbilityOptions {
  readonly config: Pick<AgentConfig, 'taskEniMax' | 'dockerHost'>
  readonly engine: Pick<Engine, 'inspectNetwork'>
  readonly ip: RunIp
  readonly pauseImage: string | undefined
  readonly log: Log
}

/** Empty, with a warning that says why, where a task with an address of its own could not run here. */
export async function networkAttributes(options: NetworkAbilityOptions): Promise<readonly Attribute[]> {
  const { config, ip, pauseImage, log } = options
  if (pauseImage === undefined) return []
  try {
    await checkIp(ip)
    await checkSameNetwork(options)
    const interfaces = await parents(ip, log)
    return [
      { name: 'ecs.capability.task-eni' },
      { name: networkInterfacesAttribute, value: interfaces },
      ...(config.taskEniMax === undefined ? [] : [{ name: taskEniMaxAttribute, value: String(config.taskEniMax) }]),
    ]
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    log.warn({ why }, 'tasks with network mode awsvpc are not placed on this host')
    return []
  }
}

async function checkIp(ip: RunIp): Promise<void> {
  const version = await ip(['-Version'])
  if (/iproute2/.test(version)) return
  throw new Error(`The command \`ip\` of this host is not iproute2 (${version.trim().slice(0, 80)}). Install iproute2.`)
}

/** An engine elsewhere, or behind another network namespace, has other interfaces than those that `ip` shows. */
async function checkSameNetwork({ config, engine, ip }: NetworkAbilityOptions): Promise<void> {
  if (!config.dockerHost.startsWith('unix://')) {
    throw new Error(`Docker Engine is at ${config.dockerHost}, and may be on another host. Give it as unix:///path.`)
  }
  const bridge = (await engine.inspectNetwork('bridge'))?.options['com.docker.network.bridge.name']
  if (bridge === undefined) return
  const links = await showLinks(ip)
  if (links.some(({ ifname }) => ifname === bridge)) return
  throw new Error(
    `Docker Engine has a bridge ${bridge}, which is not among the interfaces here: it is in another network namespace. ` +
      'Run the agent where the engine is (a container: with --network host).',
  )
}

/** Whether the kernel has macvlan is asked by a request that it can only refuse: the loopback has no children. */
async function parents(ip: RunIp, log: Log): Promise<string> {
  const refusal = await ip(['link', 'add', 'name', 'gmv-question', 'link', 'lo', 'type', 'macvlan']).catch(
    (error: unknown) => (error instanceof EngineError ? error.message : String(error)),
  )
  if (/not permitted|denied/i.test(refusal)) {
    throw new Error(`Network interfaces can't be changed here: ${refusal}. The agent needs CAP_NET_ADMIN.`)
  }
  if (/Unknown device type|not supported/i.test(refusal)) {
    log.warn({ refusal }, 'the kernel has no macvlan: subnets attached with it are not for this host')
    return 'none'
  }
  const names: string[] = []
  for (const name of parentCandidates(await showLinks(ip))) {
    if ([...names, name].join(',').length <= valueCharactersMax) names.push(name)
    else log.warn({ interface: name }, 'this interface is left out of what is registered: the list is too long')
  }
  return names.length === 0 ? 'none' : names.join(',')
}
