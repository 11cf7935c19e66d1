/** Why a query doesn't hold for an instance: the first part that fails it, and what was found in its place. */
import { type CompiledQuery, type CountedTasks, type QueryTarget, valuesOf } from './evaluate.ts'
import { printQuery } from './parse.ts'
import { operatorSigns, type Query, type QuerySubject, subjectText } from './query.ts'

/** The smallest part of a query that fails it on an instance. */
export function failingPart(compiled: CompiledQuery, target: QueryTarget): Query {
  const { query, parts } = compiled
  if (query.kind === 'and') {
    const failed = parts.find((part) => !part.holds(target))
    return failed === undefined ? query : failingPart(failed, target)
  }
  const [part] = parts
  return query.kind === 'not' && part !== undefined ? holdingPart(part, target) : query
}

/** The smallest part that makes a query hold where it should not, as its negation. */
function holdingPart(compiled: CompiledQuery, target: QueryTarget): Query {
  const { query, parts } = compiled
  if (query.kind === 'or') {
    const held = parts.find((part) => part.holds(target))
    if (held !== undefined) return holdingPart(held, target)
  }
  const [part] = parts
  if (query.kind === 'not' && part !== undefined) return failingPart(part, target)
  return { kind: 'not', part: query }
}

const partLengthMax = 160

/** As a sentence names it. */
export function partText(part: Query): string {
  const text = part.kind === 'not' && part.part.kind === 'simple' ? `not ${printQuery(part.part)}` : printQuery(part)
  return text.length <= partLengthMax ? text : `${text.slice(0, partLengthMax)}...`
}

/**
 * What the instances have where the part asks: `dev, test`; `none` for an instance that has nothing there; and each
 * with its subject where the part asks for several.
 */
export function foundValues(part: Query, targets: readonly QueryTarget[], counted: CountedTasks): string {
  const subjects = subjectsOf(part)
  const found = subjects.map((subject) => ({ subject, values: distinctValues(subject, targets, counted) }))
  const [only] = found
  if (found.length === 1 && only !== undefined) return cutList(only.values)
  return found.map(({ subject, values }) => `${subjectText(subject)} ${cutList(values)}`).join('; ')
}

/** Two parts of which no instance meets both: the same attribute is to equal two values. Undefined where none are seen. */
export function contradiction(queries: readonly Query[]): string | undefined {
  const wanted = new Map<string, Query>()
  for (const query of queries.flatMap(conditionsOf)) {
    if (query.kind !== 'simple' || query.operator !== 'equals' || query.subject.kind === 'task:group') continue
    const name = subjectText(query.subject)
    const other = wanted.get(name)
    if (other?.kind === 'simple' && other.values[0] !== query.values[0]) {
      return `${partText(other)} and ${operatorSigns.equals} ${query.values[0] ?? ''}`
    }
    wanted.set(name, query)
  }
  return undefined
}

/** What has to hold all together. */
function conditionsOf(query: Query): readonly Query[] {
  return query.kind === 'and' ? query.parts.flatMap(conditionsOf) : [query]
}

function subjectsOf(query: Query): readonly QuerySubject[] {
  const byName = new Map<string, QuerySubject>()
  const visit = (part: Query): void => {
    if (part.kind === 'simple') byName.set(subjectText(part.subject), part.subject)
    else if (part.kind === 'not') visit(part.part)
    else for (const each of part.parts) visit(each)
  }
  visit(query)
  return [...byName.values()]
}

function distinctValues(
  subject: QuerySubject,
  targets: readonly QueryTarget[],
  counted: CountedTasks,
): readonly string[] {
  const distinct = new Set<string>()
  for (const target of targets) {
    const values = valuesOf(subject, target, counted)
    if (values.length === 0) distinct.add('none')
    for (const value of values) distinct.add(value === '' ? "''" : value)
  }
  const sorted = [...distinct]
  if (subject.kind === 'runningTasksCount') return sorted.sort((left, right) => Number(left) - Number(right))
  return sorted.sort()
}

const listedMax = 5

function cutList(values: readonly string[]): string {
  const shown = values.slice(0, listedMax).join(', ')
  return values.length <= listedMax ? shown : `${shown} and ${values.length - listedMax} more`
}
