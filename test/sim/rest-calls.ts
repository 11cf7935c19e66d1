/**
 * What of Gantry's own REST API writes, by the names that its turns have there: no operations of ECS, so no codec stands
 * before them, and the body's schema is not asked.
 */
import { resumeReplacement, setLostAfter } from '../../controller/ecs/cluster-losses.ts'
import { createSubnet, setDefaultSubnet } from '../../controller/ecs/subnets.ts'
import type { Transaction } from '../../controller/state/transaction.ts'
import type { World } from '../../proto/world.ts'

interface RestInput {
  readonly cluster?: string
  readonly lostAfterMs?: number | null
  readonly subnetId?: string
}

type RestCall = (tx: Transaction, input: RestInput, now: number, world: World) => object

/** Room for all tasks of a history, those of hosts included that were deregistered by force. */
const subnet = {
  cidr: '10.42.0.0/20',
  attachment: { kind: 'vxlan', networkId: 42, multicastGroup: '239.42.0.1' },
} as const

export const restCalls: ReadonlyMap<string, RestCall> = new Map<string, RestCall>([
  ['setLostAfter', (tx, { cluster = '', lostAfterMs = null }) => setLostAfter(tx, cluster, lostAfterMs)],
  ['createSubnet', (tx, { subnetId }, now, world) => createSubnet(tx, { subnetId, ...subnet }, now, world)],
  ['setDefaultSubnet', (tx, { cluster = '', subnetId = '' }) => setDefaultSubnet(tx, cluster, subnetId)],
  ['resumeReplacement', (tx, { cluster = '' }, now) => resumeReplacement(tx, cluster, now)],
])
