/** What happens around hosts, written down for people: who joined, who was refused and why. Never a token or a secret. */
import type { World } from '../../proto/world.ts'
import type { HostActionName, HostEventRow } from '../state/host-tables.ts'
import type { Transaction } from '../state/transaction.ts'

export type HostEvent = Omit<HostEventRow, 'eventId' | 'at' | 'count'> & { readonly count?: number | undefined }

/** Rows that are kept; the oldest go first. */
export const hostEventsMax = 1000
/** So that cutting them down is rare. */
const slack = 100

export function addHostEvent(tx: Transaction, event: HostEvent, now: number, world: World): void {
  const eventId = `${String(Math.max(0, Math.trunc(now))).padStart(14, '0')}-${world.hex(8)}`
  tx.put('hostEvent', eventId, { ...event, eventId, at: now, count: event.count ?? 1 })
  const rows = tx.all('hostEvent')
  if (rows.length <= hostEventsMax + slack) return
  for (const { eventId: old } of rows.slice(0, rows.length - hostEventsMax)) tx.delete('hostEvent', old)
}

/** The words of an event, for a person; names are as the state has them. */
export function hostEvent(
  name: HostActionName,
  message: string,
  facts: Partial<Omit<HostEvent, 'name' | 'message'>> = {},
): HostEvent {
  return { name, message, ...facts }
}
