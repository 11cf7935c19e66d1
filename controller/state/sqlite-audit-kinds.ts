/**
 * Whose records of what kind are in the audit trail, and how many. When the trail is full, the loudest caller's most
 * frequent kind makes room: so who calls without end pushes out what is like his calls, and neither what others did nor
 * what he himself did but seldom.
 */
import { crc32 } from 'node:zlib'
import { hostRoleName } from '../access/host-lookup.ts'
import type { AuditRecord } from './audit-record.ts'

/** A kind is a number below 2^52: its caller in the upper half, what was called in the lower one. */
const halfSize = 2 ** 26
/** Records of before there were kinds have 0. */
const unknownCaller = 1
const knownCallersFrom = 2

/** Same kind, same number. Two kinds that share one by chance are only trimmed as if they were one. */
export function kindOf({ principalArn, action, code }: AuditRecord): number {
  // What a refused call says that it wanted is its maker's word; only what rights were asked on is known to exist.
  const what = code === 'OK' || code.startsWith('AccessDenied') ? `${action} ${code}` : code
  return callerOf(principalArn) * halfSize + half(what, 0)
}

function callerOf(principalArn: string | undefined): number {
  if (principalArn === undefined) return unknownCaller
  const [account = '', roleName, sessionName] = principalArn.split('/')
  // Whoever takes a role names the session: as many names as he likes make him no other caller. A host has one.
  const isSession = sessionName !== undefined && account.endsWith(':assumed-role') && roleName !== hostRoleName
  return half(isSession ? `${account}/${roleName}` : principalArn, knownCallersFrom)
}

function half(text: string, from: number): number {
  return from + (crc32(text) % (halfSize - from))
}

/** Counts follow a turn, which may fail: what was counted since the last `keep` can be taken back. */
export class AuditKinds {
  readonly #counts = new Map<number, number>()
  #total = 0
  #counted: (readonly [kind: number, count: number])[] = []

  get total(): number {
    return this.#total
  }

  countOf(kind: number): number {
    return this.#counts.get(kind) ?? 0
  }

  /** `count` is negative for records that went. */
  add(kind: number, count: number): void {
    this.#count(kind, count)
    this.#counted.push([kind, count])
  }

  keep(): void {
    this.#counted = []
  }

  takeBack(): void {
    for (const [kind, count] of this.#counted) this.#count(kind, -count)
    this.#counted = []
  }

  /** The kind that makes room next; undefined of an empty trail. Calls that nobody could be made out for keep a part. */
  loudest(unknownCallersMax: number): number | undefined {
    const byCaller = new Map<number, { records: number; kind: number; most: number }>()
    for (const [kind, count] of this.#counts) {
      const caller = Math.floor(kind / halfSize)
      const known = byCaller.get(caller)
      if (known === undefined) byCaller.set(caller, { records: count, kind, most: count })
      else {
        known.records += count
        if (count > known.most) Object.assign(known, { kind, most: count })
      }
    }
    const unknown = byCaller.get(unknownCaller)
    if (unknown !== undefined && unknown.records > unknownCallersMax) return unknown.kind
    const known = [...byCaller].filter(([caller]) => caller !== unknownCaller).map(([, each]) => each)
    const [first, ...others] = known
    if (first === undefined) return unknown?.kind
    return others.reduce((loudest, each) => (each.records > loudest.records ? each : loudest), first).kind
  }

  #count(kind: number, count: number): void {
    this.#total += count
    const now = this.countOf(kind) + count
    if (now > 0) this.#counts.set(kind, now)
    else this.#counts.delete(kind)
  }
}
