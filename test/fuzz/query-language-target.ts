/** The cluster query language: whatever stands there is a query or a QueryError, and a query is what it prints. */
import * as fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import { compileQuery } from '../../controller/decide/query/evaluate.ts'
import { contradiction, failingPart, foundValues, partText } from '../../controller/decide/query/explain.ts'
import { parseQuery, printQuery } from '../../controller/decide/query/parse.ts'
import { QueryError } from '../../controller/decide/query/query-error.ts'
import { operatorSigns, operatorsOf, type QuerySubjectKind } from '../../controller/decide/query/query.ts'
import { anInstance } from '../support/builders.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { hostileText, mutated } from './hostile.ts'

const instance = anInstance({
  attributes: [
    { name: 'ecs.instance-type', value: 'g2.2xlarge' },
    { name: 'stack', value: `${'a'.repeat(128)}b` },
    { name: 'rack' },
  ],
})
const target = { instance, tasks: [] }

const attributes = ['stack', 'ecs.instance-type', 'rack', 'nothing', 'a-b_c.d/e']
/** Values that each subject is compared with. */
const comparedWith: Readonly<Record<QuerySubjectKind, readonly string[]>> = {
  agentConnected: ['true', 'false'],
  agentVersion: ['1.2.3', '1.105.1'],
  attribute: ['g2.2xlarge', 'a', '"a b"', '""'],
  ec2InstanceId: ['i-0123456789abcdef0', '"i-*"'],
  registeredAt: ['2018-06-18', '2018-06-18T22:28:28Z', '2018-06-18T22:28:28+00:00'],
  runningTasksCount: ['0', '10'],
  'task:group': ['service:web', 'family:a'],
}

const patterns = [
  '.*',
  'a*',
  '(a+)+',
  '(a|a)*b',
  '[a-z]{1,50}',
  'g2\\..*',
  '(?i)A.*',
  '\\p{Alpha}+',
  'a{2,}',
  '^a$',
  '[^b]+b',
]

/** What a subject may be asked, by the language's own tables. */
function rightConditions(): fc.Arbitrary<string> {
  const pattern = fc
    .array(fc.constantFrom(...patterns), { minLength: 1, maxLength: 5 })
    .map((parts) => `"${parts.join('')}"`)
  const kinds = Object.keys(operatorsOf) as readonly QuerySubjectKind[]
  return fc.oneof(
    ...kinds.map((kind) => {
      const subject =
        kind === 'attribute' ? fc.constantFrom(...attributes).map((name) => `attribute:${name}`) : fc.constant(kind)
      const value = fc.constantFrom(...comparedWith[kind])
      const list = fc.array(value, { minLength: 1, maxLength: 3 }).map((all) => `[${all.join(', ')}]`)
      return fc
        .tuple(subject, fc.constantFrom(...operatorsOf[kind]), value, list, pattern)
        .map(([who, operator, one, all, like]) => {
          const sign = operatorSigns[operator]
          if (operator === 'exists' || operator === 'not_exists') return `${who} ${sign}`
          if (operator === 'in' || operator === 'not_in') return `${who} ${sign} ${all}`
          return `${who} ${sign} ${operator === 'matches' || operator === 'not_matches' ? like : one}`
        })
    }),
  )
}

function anyConditions(): fc.Arbitrary<string> {
  const value = hostileText(patterns).map((text) => text.slice(0, 400))
  const subject = fc.oneof(fc.constantFrom(...Object.keys(operatorsOf), 'attribute:stack'), value)
  const asked = fc.oneof(
    value,
    value.map((text) => `"${text}"`),
    fc.array(value, { maxLength: 3 }).map((all) => `[${all.join(', ')}]`),
  )
  return fc.tuple(subject, fc.constantFrom(...Object.values(operatorSigns)), asked).map((parts) => parts.join(' '))
}

function expressions(): fc.Arbitrary<string> {
  const simple = fc.oneof({ arbitrary: rightConditions(), weight: 6 }, { arbitrary: anyConditions(), weight: 1 })
  const { query } = fc.letrec<{ query: string }>((tie) => ({
    query: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      simple,
      fc.tuple(tie('query'), fc.constantFrom('and', 'or'), tie('query')).map(([a, and, b]) => `(${a}) ${and} (${b})`),
      tie('query').map((inner) => `not (${inner})`),
    ),
  }))
  const hurt = mutated(query, [' and ', ' or ', 'not ', 'in [', ' =~ ', 'attribute:', '!exists', ...patterns])
  return fc.oneof(query, hurt)
}

export const queryLanguage = fuzzTarget<string>({
  name: 'query-language',
  share: 12,
  values: expressions,
  judge(text) {
    let query: ReturnType<typeof parseQuery>
    try {
      query = parseQuery(text)
    } catch (error) {
      if (error instanceof QueryError && error.message.length < 1000) return false
      throw error
    }
    for (const counted of ['held', 'running'] as const) {
      const compiled = compileQuery(query, counted)
      const isHeld = compiled.holds(target)
      if (compiled.holds(target) !== isHeld) throw new Error('It is answered otherwise when it is asked again.')
      if (!isHeld) foundValues(failingPart(compiled, target), [target], counted)
    }
    partText(query)
    contradiction([query, query])
    const printed = printQuery(query)
    // What is printed may be longer than what may be written.
    if (printed.length <= 2000 && !isDeepStrictEqual(parseQuery(printed), query)) {
      throw new Error(`It is another query once it is printed: ${printed}`)
    }
    return true
  },
})
