/**
 * The filter of `memberOf` constraints: an instance passes where every expression holds for it. A refusal names the
 * first part of an expression that an instance fails, and what the instance has there.
 */
import type { Candidate } from './placement-candidates.ts'
import { count, definePlacementFilter } from './placement-filter.ts'
import { type CompiledQuery, compileQuery } from './query/evaluate.ts'
import { contradiction, failingPart, foundValues, partText } from './query/explain.ts'
import { parseQuery } from './query/parse.ts'
import type { Query } from './query/query.ts'
import { QueryError } from './query/query-error.ts'

/** A placement has to count tasks that are still to start, or a cap would not hold for several placed at once. */
const counted = 'held'

interface Membership {
  readonly queries: readonly CompiledQuery[]
  /** Why an expression can't be read. Requests are refused for it, so it stands in rows alone that are older than a rule. */
  readonly problem: string | undefined
}

export const memberOf = definePlacementFilter<Membership>({
  name: 'memberOf',
  reason: 'MemberOf placement constraint unsatisfied.',
  take: ({ constraints }) => {
    const members = constraints.filter(({ type }) => type === 'memberOf')
    return members.length === 0 ? undefined : membershipOf(members.map(({ expression }) => expression ?? ''))
  },
  judge: ({ queries, problem }, candidate) => {
    if (problem !== undefined) return false
    for (const query of queries) if (!query.holds(candidate)) return false
    return true
  },
  explain: ({ queries, problem }, failed) => {
    if (problem !== undefined) return `${failed.length} can't be judged by memberOf: ${problem}`
    const phrases = failuresByPart(queries, failed).map(({ part, candidates }) => {
      const condition = `memberOf ${partText(part)} (found ${foundValues(part, candidates, counted)})`
      return count(candidates.length, `fails ${condition}`, `fail ${condition}`)
    })
    const shown = phrases.slice(0, phrasesMax)
    if (phrases.length > phrasesMax) shown.push(`and ${phrases.length - phrasesMax} more parts are failed`)
    const both = contradiction(queries.map(({ query }) => query))
    if (both !== undefined) shown.push(`and no instance can meet both ${both}`)
    return shown.join(', ')
  },
})

const phrasesMax = 5

function membershipOf(expressions: readonly string[]): Membership {
  try {
    return { queries: expressions.map(compiledOf), problem: undefined }
  } catch (error) {
    if (!(error instanceof QueryError)) throw error
    return { queries: [], problem: error.message }
  }
}

/** A cluster's services place by few expressions and many times; what a compiled one knows of the rows is kept with it. */
const compiled = new Map<string, CompiledQuery>()
const compiledMax = 500

function compiledOf(expression: string): CompiledQuery {
  const known = compiled.get(expression)
  if (known !== undefined) return known
  const query = compileQuery(parseQuery(expression), counted)
  const [oldest] = compiled.keys()
  if (compiled.size >= compiledMax && oldest !== undefined) compiled.delete(oldest)
  compiled.set(expression, query)
  return query
}

interface PartFailure {
  readonly part: Query
  readonly candidates: Candidate[]
}

/** The instances by the part that they fail first, the most frequent part first. */
function failuresByPart(queries: readonly CompiledQuery[], failed: readonly Candidate[]): readonly PartFailure[] {
  const byText = new Map<string, PartFailure>()
  for (const candidate of failed) {
    const query = queries.find((each) => !each.holds(candidate))
    if (query === undefined) continue
    const part = failingPart(query, candidate)
    const text = partText(part)
    const same = byText.get(text)
    if (same === undefined) byText.set(text, { part, candidates: [candidate] })
    else same.candidates.push(candidate)
  }
  return [...byText.values()].sort((left, right) => right.candidates.length - left.candidates.length)
}
