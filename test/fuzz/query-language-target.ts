/** The cluster query language: whatever stands there is a query or a QueryError, and a query is what it prints. */
import * as fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import { compileQuery } from '../../controller/decide/query/evaluate.ts'
import { contradiction, failingPart, foundValues, partText } from '../../controller/decide/query/explain.ts'
import { parseQuery, printQuery } from '../../controller/decide/query/parse.ts'
import { QueryError } from '../../controller/decide/query/query-error.ts'
import { operatorSigns } from '../../controller/decide/query/query.ts'
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

const subjects = [
  'attribute:stack',
  'attribute:ecs.instance-type',
  'attribute:rack',
  'attribute:nothing',
  'agentVersion',
  'registeredAt',
  'runningTasksCount',
  'task:group',
  'ec2InstanceId',
]

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

function expressions(): fc.Arbitrary<string> {
  const values = fc.oneof(
    fc.constantFrom('1', '1.2.3', '2018-06-18', '2018-06-18T22:28:28Z', 'g2.2xlarge', 'service:web', '', ...patterns),
    fc.array(fc.constantFrom(...patterns), { maxLength: 6 }).map((parts) => parts.join('')),
    hostileText(patterns),
  )
  const quoted = values.map((value) => `"${value.slice(0, 400)}"`)
  const value = fc.oneof(
    values,
    quoted,
    fc.array(quoted, { maxLength: 3 }).map((all) => `[${all.join(', ')}]`),
  )
  const simple = fc
    .tuple(fc.constantFrom(...subjects), fc.constantFrom(...Object.values(operatorSigns)), value)
    .map((parts) => parts.join(' '))
  const { query } = fc.letrec<{ query: string }>((tie) => ({
    query: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      simple,
      fc.tuple(tie('query'), fc.constantFrom('and', 'or'), tie('query')).map(([a, and, b]) => `(${a}) ${and} (${b})`),
      tie('query').map((inner) => `not (${inner})`),
    ),
  }))
  return mutated(query, [' and ', ' or ', 'not ', 'in [', ' =~ ', 'attribute:', '!exists', ...patterns])
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
      if (error instanceof QueryError && error.message.length < 1000) return
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
  },
})
