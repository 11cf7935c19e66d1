/**
 * Notes when keys and roles are used, and has it written down some seconds later, all at once: a call costs no write. What
 * a crash takes with it is noted again at the next use.
 */
import type { Principal } from './access/principal.ts'
import { isWorthNoting, noteUses, type Use } from './iam/last-used.ts'
import type { Log } from './log.ts'
import type { Turn } from './turn.ts'

const writeAfterMs = 5000
/** More keys and roles than this are not used within seconds; those beyond it are noted at their next use. */
const usesMax = 10_000

export interface LastUsedNotes {
  note(principal: Principal, now: number): void
  close(): void
}

export function startLastUsedNotes({ turn, log }: { readonly turn: Turn; readonly log: Log }): LastUsedNotes {
  const uses = new Map<string, Use>()
  let timer: NodeJS.Timeout | undefined
  const write = (): void => {
    timer = undefined
    const noted = [...uses.values()]
    uses.clear()
    turn.submit({ name: 'lastUsed', run: (tx) => noteUses(tx, noted) }).catch((error: unknown) => {
      log.debug({ err: error }, 'when keys were last used could not be written down; the next use notes it again')
    })
  }
  return {
    note(principal, now) {
      const use = useOf(principal, now)
      if (use === undefined || uses.size >= usesMax) return
      const row = turn.reader.get(use.table, use.key)
      if (row === undefined || !isWorthNoting(row.lastUsed, use)) return
      uses.set(`${use.table}/${use.key}`, use)
      timer ??= setTimeout(write, writeAfterMs).unref()
    },
    close: () => clearTimeout(timer),
  }
}

/** Of a session the role is noted, as IAM does; root and hosts have no row for it. */
function useOf({ kind, accessKeyId, roleName, tokenIssuedAt, signedFor }: Principal, at: number): Use | undefined {
  const use = { at, serviceName: signedFor.service.slice(0, 64), region: signedFor.region.slice(0, 64) }
  if (kind === 'role' && roleName !== undefined) return { ...use, table: 'role', key: roleName }
  if (kind === 'user' && tokenIssuedAt === undefined) return { ...use, table: 'accessKey', key: accessKeyId }
  return undefined
}
