/** What happens around hosts, written down for people: who joined, who was refused and why. Never a token or a secret. */
import type { HostActionName, HostEventRow } from '../state/host-tables.ts'
import type { Transaction } from '../state/transaction.ts'

export type HostEvent = Omit<HostEventRow, 'eventId' | 'at' | 'count'> & { readonly count?: number | undefined }

/** Rows that are kept. Beyond it the oldest go, those first that strangers cause: so they push nothing else out. */
export const hostEventsMax = 1000
/** So that cutting them down is rare. */
const slack = 100

export function addHostEvent(tx: Transaction, event: HostEvent, now: number): void {
  const rows = tx.all('hostEvent')
  const eventId = nextEventId(rows.at(-1)?.eventId, now)
  tx.put('hostEvent', eventId, { ...event, eventId, at: now, count: event.count ?? 1 })
  if (rows.length < hostEventsMax + slack) return
  const excess = rows.length - hostEventsMax
  const ofStrangers = rows.filter((row) => row.name === 'JOIN_REFUSED').slice(0, excess)
  const others = rows.filter((row) => row.name !== 'JOIN_REFUSED').slice(0, excess - ofStrangers.length)
  for (const { eventId: old } of [...ofStrangers, ...others]) tx.delete('hostEvent', old)
}

/** Later than the newest one, also where the clock was set back. */
function nextEventId(newest: string | undefined, now: number): string {
  const [newestAt = '', newestPlace] = newest?.split('-') ?? []
  const at = Math.max(Math.trunc(now), Number(newestAt), 0)
  const place = at === Number(newestAt) ? Number(newestPlace) + 1 : 0
  return `${String(at).padStart(14, '0')}-${String(place).padStart(6, '0')}`
}

/**
 * The words of an event, for a person. What hosts and strangers said may be among them, so that characters by which a
 * terminal is steered, or by which a line reads otherwise than it is, are replaced.
 */
export function hostEvent(
  name: HostActionName,
  message: string,
  facts: Partial<Omit<HostEvent, 'name' | 'message'>> = {},
): HostEvent {
  return { name, message: message.replaceAll(unshown, '\u{fffd}'), ...facts }
}

/** Controls, formats (such as those that turn the direction of writing around), separators of lines. */
const unshown = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

export function isShowable(text: string): boolean {
  return text.search(unshown) === -1
}
