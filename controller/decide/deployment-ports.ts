/**
 * A deployment whose host port is taken on every host that it could go to, by something that is not of its service: no
 * retry can heal that, and each of those who hold the port is named to whoever has to choose.
 */
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { type Candidate, placementCandidates } from './placement-candidates.ts'
import { armFilters } from './placement-filters.ts'
import { reservedTcpPorts, taskDemand } from './resources.ts'
import { placementRequestOf, sourceOf } from './service-starts.ts'

/** How long ports stay taken before that counts as lasting: what is on its way out has left by then. Milliseconds. */
export const portsHeldMs = 5000

const portFilterNames: readonly string[] = ['tcpPorts', 'udpPorts']
/** What an instance fails once and for all: it isn't one that the service could go to. */
const eligibilityFilterNames: readonly string[] = ['status', 'launchType', 'platform', 'attributes', 'memberOf', 'gpu']

/**
 * One sentence on who holds the ports; undefined where a host may yet have room for the deployment to go on.
 */
export function portsHeldOutside(tx: Transaction, service: ServiceRow, deployment: DeploymentRow): string | undefined {
  const counts = deployment.waiting?.counts ?? []
  if (!counts.some(({ filter }) => portFilterNames.includes(filter))) return undefined
  const known = [...portFilterNames, ...eligibilityFilterNames]
  if (counts.some(({ filter }) => !known.includes(filter))) return undefined
  const source = sourceOf(tx, service, deployment)
  if (source === undefined) return undefined
  const demand = taskDemand(source.definition, undefined)
  const filters = armFilters(placementRequestOf(source))
  const holders: string[] = []
  for (const candidate of placementCandidates(tx, service.clusterName)) {
    const failed = filters.find((filter) => !filter.judge(candidate))
    if (failed !== undefined && eligibilityFilterNames.includes(failed.name)) continue
    const holder = holderOf(tx, candidate, demand, service.serviceKey)
    if (holder === undefined) return undefined
    holders.push(holder)
  }
  return holders.length === 0 ? undefined : sentenceOf(holders)
}

type Demand = Pick<ReturnType<typeof taskDemand>, 'tcpPorts' | 'udpPorts'>

/** Who holds one of the ports on this instance to stay; undefined where nobody does, or only what is of the service. */
function holderOf(tx: Transaction, { instance }: Candidate, demand: Demand, serviceKey: string): string | undefined {
  const onHost = `on ${instance.ec2InstanceId ?? instance.instanceId}`
  const reserved = demand.tcpPorts.find((port) => reservedTcpPorts.includes(port))
  if (reserved !== undefined) return `TCP port ${reserved} is never given to tasks`
  const tcp = demand.tcpPorts.find((port) => instance.hostTcpPorts.includes(port))
  if (tcp !== undefined) return `TCP port ${tcp} is held by a program outside of Gantry ${onHost}`
  const udp = demand.udpPorts.find((port) => instance.hostUdpPorts.includes(port))
  if (udp !== undefined) return `UDP port ${udp} is held by a program outside of Gantry ${onHost}`
  for (const task of tx.find('task', 'liveByInstance', instance.instanceId)) {
    if (task.serviceKey === serviceKey || !isToStay(task)) continue
    const port = task.reserved.tcpPorts.find((held) => demand.tcpPorts.includes(held))
    const shared = port ?? task.reserved.udpPorts.find((held) => demand.udpPorts.includes(held))
    if (shared !== undefined) return `port ${shared} is held by task ${task.taskId} of ${task.group} ${onHost}`
  }
  return undefined
}

function isToStay({ lastStatus, desiredStatus, lostSince, evacuatingSince }: TaskRow): boolean {
  return (
    lastStatus === 'RUNNING' && desiredStatus === 'RUNNING' && lostSince === undefined && evacuatingSince === undefined
  )
}

const holdersTold = 3

function sentenceOf(holders: readonly string[]): string {
  const told = [...new Set(holders)].slice(0, holdersTold).join('; ')
  const hosts = holders.length === 1 ? 'the only host' : `each of the ${holders.length} hosts`
  return `a port that the task needs is taken on ${hosts} it could run on: ${told}`
}
