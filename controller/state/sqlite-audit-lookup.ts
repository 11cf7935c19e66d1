/**
 * Looking records up in the audit trail. Every way in is an index that has them in their order, and one look goes over a
 * bounded part of it: what it did not get to is for the next one, behind the place that it ended at.
 */
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite'
import type { AuditPlace, AuditQuery } from './audit-record.ts'

/** Entries of an index that one look goes over: some milliseconds, whatever is asked and however long the trail is. */
export const lookedOverMax = 2000

/** A condition and its values. */
type Condition = readonly [text: string, ...values: SQLInputValue[]]

/** An index, and what leads into it. */
interface Way {
  readonly index: string
  readonly conditions: readonly Condition[]
}

/** Where a look ends: the last place that it goes over, or undefined where that is the end of the trail. */
interface Reach {
  readonly way: Way
  readonly last: AuditPlace | undefined
}

export interface FoundRows {
  readonly rows: readonly Readonly<Record<string, SQLOutputValue>>[]
  /** Undefined: there are no older ones. */
  readonly next: AuditPlace | undefined
}

export function lookUpAudit(database: DatabaseSync, query: AuditQuery): FoundRows {
  const { way, last } = selective(waysOf(query).map((each) => ({ way: each, last: reachOf(database, each, query) })))
  const conditions = [...way.conditions, ...boundsOf(query, last), ...filtersOf(query)]
  const rows = database
    .prepare(
      `select id, at, action, code, crc, row from audit indexed by ${way.index} where ${textOf(conditions)} ` +
        'order by at desc, id desc limit ?',
    )
    .all(...valuesOf(conditions), query.limit)
  return { rows, next: rows.length === query.limit ? placeOf(rows.at(-1)) : last }
}

/** All that are there, what mostly leads to the fewest first; by time is the way for what has no index, such as every action of a service. */
function waysOf({ principalArn, action, code }: AuditQuery): readonly Way[] {
  const ways: Way[] = []
  if (code !== undefined && code !== 'OK') {
    // The second half is what tells SQLite that this index has them.
    ways.push({ index: 'audit_of_refusal', conditions: [["code = ? and code <> 'OK'", code]] })
  }
  if (action !== undefined && servicePrefix(action) === undefined) {
    ways.push({ index: 'audit_of_action', conditions: [['action = ?', action]] })
  }
  if (principalArn !== undefined)
    ways.push({ index: 'audit_of_principal', conditions: [['principal = ?', principalArn]] })
  return ways.length > 0 ? ways : [{ index: 'audit_in_time', conditions: [] }]
}

/** The one that reaches the furthest back with the same work has the fewest records that are not asked for. */
function selective([first, ...others]: readonly Reach[]): Reach {
  if (first === undefined) throw new Error('Bug: there is no way into the audit trail.')
  return others.reduce((best, each) => (isBefore(each.last, best.last) ? each : best), first)
}

function isBefore(left: AuditPlace | undefined, right: AuditPlace | undefined): boolean {
  if (left === undefined || right === undefined) return left === undefined && right !== undefined
  return left.at < right.at || (left.at === right.at && left.id < right.id)
}

function reachOf(database: DatabaseSync, way: Way, query: AuditQuery): AuditPlace | undefined {
  const conditions = [...way.conditions, ...boundsOf(query, undefined)]
  const last = database
    .prepare(
      `select at, id from audit indexed by ${way.index} where ${textOf(conditions)} ` +
        `order by at desc, id desc limit 1 offset ${lookedOverMax - 1}`,
    )
    .get(...valuesOf(conditions))
  return placeOf(last)
}

/** One for each side: of two SQLite goes by the first, and looks at every record for the other. */
function* boundsOf({ since, until, before }: AuditQuery, last: AuditPlace | undefined): Iterable<Condition> {
  if (last === undefined) yield ['at >= ?', since ?? 0]
  else yield ['(at, id) >= (?, ?)', last.at, last.id]
  if (before !== undefined && (until === undefined || before.at <= until)) {
    yield ['(at, id) < (?, ?)', before.at, before.id]
  } else if (until !== undefined) yield ['at <= ?', until]
}

/** All of them: that one is the way in already costs nothing. */
function* filtersOf({ principalArn, action, code }: AuditQuery): Iterable<Condition> {
  if (principalArn !== undefined) yield ['principal = ?', principalArn]
  const prefix = action === undefined ? undefined : servicePrefix(action)
  // The character behind the colon: what starts with `ecs:` stands between these two.
  if (prefix !== undefined) yield ['action >= ? and action < ?', prefix, `${prefix.slice(0, -1)};`]
  else if (action !== undefined) yield ['action = ?', action]
  if (code !== undefined) yield ['code = ?', code]
}

/** `ecs:` of `ecs:*`. */
function servicePrefix(action: string): string | undefined {
  return action.endsWith(':*') ? action.slice(0, -1) : undefined
}

function placeOf(row: Readonly<Record<string, SQLOutputValue>> | undefined): AuditPlace | undefined {
  return row === undefined ? undefined : { at: Number(row['at']), id: Number(row['id']) }
}

function textOf(conditions: readonly Condition[]): string {
  return conditions.map(([text]) => text).join(' and ')
}

function valuesOf(conditions: readonly Condition[]): readonly SQLInputValue[] {
  return conditions.flatMap(([, ...values]) => values)
}
