/**
 * What of Gantry's own REST API writes, by the names that its turns have there: no operations of ECS, so no codec stands
 * before them, and the body's schema is not asked.
 */
import { resumeReplacement, setLostAfter } from '../../controller/ecs/cluster-losses.ts'
import type { Transaction } from '../../controller/state/transaction.ts'

interface RestInput {
  readonly cluster?: string
  readonly lostAfterMs?: number | null
}

type RestCall = (tx: Transaction, input: RestInput, now: number) => object

export const restCalls: ReadonlyMap<string, RestCall> = new Map<string, RestCall>([
  ['setLostAfter', (tx, { cluster = '', lostAfterMs = null }) => setLostAfter(tx, cluster, lostAfterMs)],
  ['resumeReplacement', (tx, { cluster = '' }, now) => resumeReplacement(tx, cluster, now)],
])
