import * as fc from 'fast-check'
import t from 'tap'
import { anInstance, aTask } from '../../../test/support/builders.ts'
import type { InstanceRow, TaskRow } from '../../state/tables.ts'
import { compileQuery, type CountedTasks, evaluateQuery } from './evaluate.ts'
import { failingPart } from './explain.ts'
import { expressionLengthMax, parseQuery, printQuery } from './parse.ts'
import { operatorsOf, type Query, type QueryOperator, type QuerySubject, type SimpleQuery } from './query.ts'
import { QueryError } from './query-error.ts'
import { compareVersions, readInstant, readVersion, type Version } from './values.ts'

function simple(attribute: string, operator: QueryOperator, ...values: string[]): SimpleQuery {
  return { kind: 'simple', subject: { kind: 'attribute', attribute }, operator, values }
}

const a = simple('a', 'exists')
const b = simple('b', 'exists')
const c = simple('c', 'exists')

await t.test('the examples of the ECS guide are read as they stand', async (test) => {
  const group: QuerySubject = { kind: 'task:group', attribute: '' }
  const examples: readonly [string, Query][] = [
    ['attribute:ecs.instance-type == t2.small', simple('ecs.instance-type', 'equals', 't2.small')],
    [
      'attribute:ecs.availability-zone in [us-east-1a, us-east-1b]',
      simple('ecs.availability-zone', 'in', 'us-east-1a', 'us-east-1b'),
    ],
    [
      'attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d',
      {
        kind: 'and',
        parts: [
          simple('ecs.instance-type', 'matches', 'g2.*'),
          simple('ecs.availability-zone', 'not_equals', 'us-east-1d'),
        ],
      },
    ],
    [
      'task:group == service:production',
      { kind: 'simple', subject: group, operator: 'equals', values: ['service:production'] },
    ],
    [
      'not(task:group == database)',
      { kind: 'not', part: { kind: 'simple', subject: group, operator: 'equals', values: ['database'] } },
    ],
    [
      'runningTasksCount == 1',
      { kind: 'simple', subject: { kind: 'runningTasksCount', attribute: '' }, operator: 'equals', values: ['1'] },
    ],
    [
      'agentVersion < 1.14.5',
      { kind: 'simple', subject: { kind: 'agentVersion', attribute: '' }, operator: 'less_than', values: ['1.14.5'] },
    ],
    [
      'registeredAt < 2018-02-13',
      {
        kind: 'simple',
        subject: { kind: 'registeredAt', attribute: '' },
        operator: 'less_than',
        values: ['2018-02-13'],
      },
    ],
    [
      "ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']",
      {
        kind: 'simple',
        subject: { kind: 'ec2InstanceId', attribute: '' },
        operator: 'in',
        values: ['i-abcd1234', 'i-wxyx7890'],
      },
    ],
  ]
  for (const [text, query] of examples) test.same(parseQuery(text), query, text)
})

await t.test('and binds closer than or, not closer than both, and parentheses closest', async (test) => {
  const cases: readonly [string, Query][] = [
    [
      'attribute:a exists or attribute:b exists and attribute:c exists',
      { kind: 'or', parts: [a, { kind: 'and', parts: [b, c] }] },
    ],
    [
      '(attribute:a exists or attribute:b exists) and attribute:c exists',
      { kind: 'and', parts: [{ kind: 'or', parts: [a, b] }, c] },
    ],
    [
      'attribute:a exists||attribute:b exists&&attribute:c exists',
      { kind: 'or', parts: [a, { kind: 'and', parts: [b, c] }] },
    ],
    ['not attribute:a exists and attribute:b exists', { kind: 'and', parts: [{ kind: 'not', part: a }, b] }],
    ['!(attribute:a exists and attribute:b exists)', { kind: 'not', part: { kind: 'and', parts: [a, b] } }],
    ['! not !attribute:a exists', { kind: 'not', part: { kind: 'not', part: { kind: 'not', part: a } } }],
    ['((attribute:a exists))', a],
    ['attribute:a exists and attribute:b exists and attribute:c exists', { kind: 'and', parts: [a, b, c] }],
  ]
  for (const [text, query] of cases) test.same(parseQuery(text), query, text)
})

await t.test('every operator has a sign and a word, and spaces mean nothing', async (test) => {
  const forms: readonly [QueryOperator, readonly string[], readonly string[]][] = [
    ['equals', ['== x', 'equals x', "=='x'"], ['x']],
    ['not_equals', ['!= x', 'not_equals x'], ['x']],
    ['greater_than', ['> x', 'greater_than x'], ['x']],
    ['greater_than_equal', ['>= x', 'greater_than_equal x'], ['x']],
    ['less_than', ['< x', 'less_than x'], ['x']],
    ['less_than_equal', ['<= x', 'less_than_equal "x"'], ['x']],
    ['exists', ['exists'], []],
    ['not_exists', ['!exists', '! exists', 'not_exists'], []],
    ['in', ['in [x,y]', "in['x' , y ]", 'in\n[x, "y"]'], ['x', 'y']],
    ['not_in', ['!in [x,y]', 'not_in [x, y]'], ['x', 'y']],
    ['matches', ['=~ x', 'matches x'], ['x']],
    ['not_matches', ['!~ x', 'not_matches x'], ['x']],
  ]
  for (const [operator, texts, values] of forms) {
    for (const text of texts) test.same(parseQuery(`attribute:a ${text}`), simple('a', operator, ...values), text)
  }
  test.same(parseQuery('attribute:a==x'), simple('a', 'equals', 'x'))
  test.same(
    parseQuery("attribute:a == 'it has (many) [signs], and = or \"'"),
    simple('a', 'equals', 'it has (many) [signs], and = or "'),
  )
  test.same(parseQuery('attribute:a == and'), simple('a', 'equals', 'and'), 'where a value is due, a word is a value')
  test.same(
    parseQuery(String.raw`attribute:a/b.c_d\e-1 == C:\x@y`),
    simple(String.raw`a/b.c_d\e-1`, 'equals', String.raw`C:\x@y`),
  )
  test.same(parseQuery("attribute:a == ''"), simple('a', 'equals', ''))
  test.same(parseQuery('attribute:a =~ [a-c]{2,3}.x|y && attribute:b exists'), {
    kind: 'and',
    parts: [simple('a', 'matches', '[a-c]{2,3}.x|y'), b],
  })
  test.same(parseQuery("(attribute:a =~ '(t2|m4)[.].*')"), simple('a', 'matches', '(t2|m4)[.].*'))
})

await t.test('a refusal names the column, what was expected there and what was found', async (test) => {
  const cases: readonly [string, number, RegExp][] = [
    ['', 1, /expected a subject \(agentConnected, .* or task:group\), found the end\. The expression is: $/],
    ['attributes:stack == prod', 1, /expected a subject .*, found 'attributes:stack'\. Write attribute:stack\./],
    ['attribute.stack == prod', 1, /Write attribute:stack\./],
    ['ecs.os-type == linux', 1, /Write attribute:ecs\.os-type\./],
    ['AgentConnected == true', 1, /Write agentConnected\./],
    ['group == db', 1, /Write task:group\./],
    [
      'attribute: stack == prod',
      11,
      /the name of an attribute \(1 to 128 .* directly after the colon\), found nothing/,
    ],
    [`attribute:${'x'.repeat(129)} exists`, 11, /1 to 128/],
    [
      'attribute:a',
      12,
      /expected an operator of attribute:a \(== != > >= < <= exists !exists in !in =~ !~\), found the end/,
    ],
    ['attribute:a = b', 13, /found '='\. Equality is written ==\./],
    ['attribute:a ~ b', 13, /A match is written =~\./],
    ['attribute:a EQUALS b', 13, /found 'EQUALS'\. Write equals\./],
    ['attribute:a notin [b]', 13, /Write not_in\./],
    ['attribute:a not in [b]', 13, /Write !in, not_in, !exists or not_exists/],
    ['agentConnected exists', 16, /expected an operator of agentConnected \(== != in !in =~ !~\), found 'exists'/],
    ['runningTasksCount in [1]', 19, /operator of runningTasksCount \(== != > >= < <=\), found 'in'/],
    ['registeredAt =~ 2018.*', 14, /operator of registeredAt .*found '=~'/],
    ['ec2InstanceId !exists', 15, /operator of ec2InstanceId .*found '!exists'/],
    ['attribute:a ==', 15, /expected a value after ==, found the end/],
    ['attribute:a == [b]', 16, /expected a value after ==, found '\['\. A list is for in and !in\./],
    ['attribute:a in b', 16, /expected a list such as attribute:a in \[first, second\], found 'b'/],
    ['attribute:a in []', 17, /expected a value of the list, found '\]'/],
    ['attribute:a in [b,]', 19, /expected a value of the list, found '\]'/],
    ['attribute:a in [b c]', 19, /expected ',' or the '\]' of the list that begins at column 16, found 'c'/],
    [
      'attribute:a == b c',
      18,
      /expected 'and', 'or' or the end, found 'c'\. A value with spaces is written in quotes\./,
    ],
    ['attribute:a exists AND attribute:b exists', 20, /Write 'and' in small letters\./],
    ['attribute:a exists & attribute:b exists', 20, /found '&'\. Write it twice\./],
    ['attribute:a exists and', 23, /expected a subject .*found the end/],
    ['(attribute:a exists', 20, /expected 'and', 'or' or the '\)' for the '\(' at column 1, found the end/],
    ['attribute:a exists)', 19, /found '\)'\. No parenthesis is open\./],
    ["attribute:a == 'b", 16, /the string that begins here has no closing '/],
    ['agentConnected == yes', 19, /expected true or false, found 'yes'/],
    ['agentVersion > newest', 16, /expected a version such as 1\.14\.5, found 'newest'/],
    [
      'registeredAt < 2018-02-30',
      16,
      /expected a date such as 2018-06-18T22:28:28\+00:00, .* or 2018-06-18, found '2018-02-30'/,
    ],
    ['runningTasksCount < -1', 21, /expected a whole number of 0 or more, found '-1'/],
    ['attribute:a =~', 15, /expected a pattern after =~, found the end/],
    ['attribute:a =~ (t2|m4).*', 16, /expected a pattern with parentheses or quotes inside quotes, found '\('/],
    ['attribute:a =~ t2[(]', 19, /inside quotes, found '\('/],
    ["attribute:a =~ 'x(?=y)'", 18, /look-ahead is not supported/],
    ['attribute:a =~ x++', 18, /possessive/],
    [`${'('.repeat(65)}attribute:a exists`, 65, /nested 64 deep at most/],
    [
      `attribute:a == ${'x'.repeat(expressionLengthMax)}`,
      expressionLengthMax + 1,
      /at most 2000 characters, and this one has 2015/,
    ],
  ]
  for (const [text, column, message] of cases) {
    const error = refusalOf(text)
    test.equal(error.column, column, text.slice(0, 80))
    test.match(error.message, message)
    test.ok(error.message.startsWith(`Invalid expression at column ${column}: `))
    test.ok(error.message.length < 600, 'however long the expression is')
  }
  test.match(refusalOf('attribute:a = b').message, /The expression is: attribute:a = b$/)
})

function refusalOf(text: string): QueryError {
  try {
    parseQuery(text)
  } catch (error) {
    if (error instanceof QueryError) return error
    throw error
  }
  throw new Error(`it was taken: ${text}`)
}

function holds(
  text: string,
  over: Partial<InstanceRow> = {},
  tasks: readonly TaskRow[] = [],
  counted?: CountedTasks,
): boolean {
  return evaluateQuery(parseQuery(text), { instance: anInstance(over), tasks }, counted)
}

function withStack(value: string | undefined): Partial<InstanceRow> {
  return { attributes: value === undefined ? [] : [{ name: 'stack', value }] }
}

await t.test('attributes: a condition needs a value, and an operator changes what the agent gave', async (test) => {
  const [prod, dev, without] = [withStack('prod'), withStack('dev'), withStack(undefined)]
  const cases: readonly [string, boolean, boolean, boolean][] = [
    ['attribute:stack == prod', true, false, false],
    ['attribute:stack != prod', false, true, false],
    ['not (attribute:stack == prod)', false, true, true],
    ['attribute:stack exists', true, true, false],
    ['attribute:stack !exists', false, false, true],
    ['attribute:stack in [prod, test]', true, false, false],
    ['attribute:stack !in [prod, test]', false, true, false],
    ['attribute:stack =~ p.*', true, false, false],
    ['attribute:stack =~ p', false, false, false],
    ['attribute:stack !~ p.*', false, true, false],
    ['attribute:stack > dev', true, false, false],
    ['attribute:stack >= dev', true, true, false],
    ['attribute:stack < prod', false, true, false],
    ['attribute:stack <= prod', true, true, false],
    ['attribute:stack == PROD', false, false, false],
    ['attribute:stack == prod or attribute:stack !exists', true, false, true],
    ['attribute:stack exists and attribute:stack != dev', true, false, false],
  ]
  for (const [text, onProd, onDev, onNone] of cases) {
    test.same([holds(text, prod), holds(text, dev), holds(text, without)], [onProd, onDev, onNone], text)
  }
  test.ok(holds('attribute:size > 9', { attributes: [{ name: 'size', value: '90' }] }))
  test.notOk(holds('attribute:size > 9', { attributes: [{ name: 'size', value: '10' }] }), 'the order is that of texts')
  test.ok(
    holds("attribute:ecs.capability.x == '' and attribute:ecs.capability.x exists", {
      attributes: [{ name: 'ecs.capability.x' }],
    }),
  )
  const changed = { ...dev, attributeChanges: { put: [{ name: 'stack', value: 'prod' }], deleted: [] } }
  test.ok(holds('attribute:stack == prod', changed))
  test.ok(holds('attribute:stack !exists', { ...dev, attributeChanges: { put: [], deleted: ['stack'] } }))
})

function withAgent(agentVersion: string): Partial<InstanceRow> {
  return { versionInfo: { agentVersion } }
}

function requireVersion(text: string): Version {
  const version = readVersion(text)
  if (version === undefined) throw new Error(`${text} is no version`)
  return version
}

await t.test('versions are compared by their numbers, dates as instants of UTC', async (test) => {
  test.ok(holds('agentVersion < 1.14.5', withAgent('1.9.10')), 'not as texts')
  test.ok(holds('agentVersion >= 1.14', withAgent('1.14.0')))
  test.ok(holds('agentVersion == v1.14.5', withAgent('1.14.5+build')))
  test.ok(holds('agentVersion < 2.0.0 and agentVersion > 2.0.0-rc.1', withAgent('2.0.0-rc.2')))
  test.notOk(holds('agentVersion < 1.0.0'), 'an agent that gave no version is neither older nor newer')
  test.same(
    ['<', '>=', '==', '!='].map((sign) => holds(`agentVersion ${sign} 1.0.0`, withAgent('unknown'))),
    [false, false, false, true],
  )
  const ascending = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
  ]
  test.same(
    [...ascending].reverse().sort((left, right) => compareVersions(requireVersion(left), requireVersion(right))),
    ascending,
  )

  const registered = { registeredAt: Date.UTC(2018, 5, 18, 22, 28, 28, 456) }
  for (const text of [
    '2018-06-18T22:28:28+00:00',
    '2018-06-18T22:28:28Z',
    '2018-06-18T22:28:28',
    "'2018-06-19T00:28:28+02:00'",
  ]) {
    test.ok(holds(`registeredAt == ${text}`, registered), `${text}: by the second`)
  }
  test.ok(holds('registeredAt > 2018-06-18 and registeredAt < 2018-06-19', registered), 'a date is its midnight')
  test.notOk(holds('registeredAt <= 2018-06-18', registered))
  test.equal(readInstant('2016-02-29'), Date.UTC(2016, 1, 29))
  for (const bad of [
    '2018-02-29',
    '2018-13-01',
    '2018-00-01',
    '2018-01-01T24:00:00Z',
    '2018-01-01T00:60:00Z',
    '18-01-01',
    '2018-01-01T00:00',
    '2018-01-01Z',
  ]) {
    test.equal(readInstant(bad), undefined, bad)
  }
})

await t.test('tasks: counts for a cap and for a list, groups for company and for distance', async (test) => {
  const running = aTask({ group: 'service:web', lastStatus: 'RUNNING' })
  const starting = aTask({ group: 'family:db' })
  const leaving = aTask({ group: 'service:old', lastStatus: 'RUNNING', desiredStatus: 'STOPPED' })
  const tasks = [running, starting, leaving]
  test.ok(holds('runningTasksCount == 3', {}, tasks), 'a placement counts all that is held')
  test.ok(holds('runningTasksCount == 2', {}, tasks, 'running'), 'a list counts what is RUNNING')
  test.ok(holds('task:group == service:web and task:group == family:db', {}, tasks), 'each has its own task')
  test.notOk(holds('task:group == service:old', {}, tasks), 'a task that is being stopped is no company')
  test.ok(holds('task:group != service:web', {}, tasks), 'some task is of another group')
  test.notOk(holds('not (task:group == service:web)', {}, tasks))
  test.ok(holds('task:group =~ service:.*', {}, tasks))
  test.ok(holds('task:group in [family:db, x]', {}, tasks))
  test.same([holds('task:group exists', {}, [leaving]), holds('task:group !exists', {}, [leaving])], [false, true])
  test.same([holds('task:group exists', {}, [running]), holds('task:group !exists', {}, [running])], [true, false])
  test.ok(holds('agentConnected == true and agentConnected in [true]'))
  test.ok(holds('agentConnected != true', { agentConnected: false }))
  test.ok(holds('ec2InstanceId =~ i-.*', { ec2InstanceId: 'i-1' }))
  test.notOk(holds('ec2InstanceId =~ .*', { ec2InstanceId: undefined }))
})

const attributeNames = fc.constantFrom('a', 'stack', 'ecs.os-type', 'rack/1')
const values = fc.oneof(
  fc.constantFrom('prod', 'dev', 'and', 'not', '', 'two words', "it's", 'say "x"', '(a)', '[a, b]', 'a,b', '!', '=='),
  fc.string({ maxLength: 8 }).filter((text) => !(text.includes("'") && text.includes('"'))),
)
const patterns = fc.constantFrom('p.*', '(prod|dev)', '[a-d]+', 'x y', String.raw`\d{2,3}`, "it's")
const textSubjects = fc.oneof(
  attributeNames.map((attribute): QuerySubject => ({ kind: 'attribute', attribute })),
  fc.constantFrom<QuerySubject>({ kind: 'task:group', attribute: '' }, { kind: 'ec2InstanceId', attribute: '' }),
)

function simpleQueries(subject: QuerySubject, value: fc.Arbitrary<string>): fc.Arbitrary<Query> {
  return fc.constantFrom(...operatorsOf[subject.kind]).chain((operator) => {
    const build = (given: readonly string[]): Query => ({ kind: 'simple', subject, operator, values: given })
    if (operator === 'exists' || operator === 'not_exists') return fc.constant(build([]))
    if (operator === 'in' || operator === 'not_in') return fc.array(value, { minLength: 1, maxLength: 3 }).map(build)
    const isPattern = operator === 'matches' || operator === 'not_matches'
    return (isPattern && subject.kind !== 'agentConnected' ? patterns : value).map((one) => build([one]))
  })
}

const simples = fc.oneof(
  textSubjects.chain((subject) => simpleQueries(subject, values)),
  simpleQueries({ kind: 'agentConnected', attribute: '' }, fc.constantFrom('true', 'false')),
  simpleQueries({ kind: 'agentVersion', attribute: '' }, fc.constantFrom('1.2.3', '1.10', 'v2-rc.1')),
  simpleQueries({ kind: 'registeredAt', attribute: '' }, fc.constantFrom('2026-01-01', '2026-01-01T00:00:00+02:00')),
  simpleQueries({ kind: 'runningTasksCount', attribute: '' }, fc.nat(4).map(String)),
)

const { query: queries } = fc.letrec<{ query: Query }>((tie) => ({
  query: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    simples,
    tie('query').map((part): Query => ({ kind: 'not', part })),
    fc
      .tuple(fc.constantFrom('and' as const, 'or' as const), fc.array(tie('query'), { minLength: 2, maxLength: 3 }))
      .map(([kind, parts]): Query => ({ kind, parts })),
  ),
}))

const targets = fc
  .record({
    attributes: fc.array(fc.record({ name: attributeNames, value: fc.constantFrom('prod', 'dev', 'a', '12') }), {
      maxLength: 2,
    }),
    agentVersion: fc.constantFrom('1.2.3', '1.9.0', 'none', undefined),
    agentConnected: fc.boolean(),
    groups: fc.array(fc.constantFrom('prod', 'service:web'), { maxLength: 3 }),
  })
  .map(({ attributes, agentVersion, agentConnected, groups }) => ({
    instance: anInstance({ attributes, agentConnected, versionInfo: { agentVersion } }),
    tasks: groups.map((group) => aTask({ group })),
  }))

await t.test('laws: printed and read again it is the same; garbage is refused and nothing else', async () => {
  fc.assert(
    fc.property(queries, (query) => {
      const text = printQuery(query)
      fc.pre(text.length <= expressionLengthMax)
      return JSON.stringify(parseQuery(text)) === JSON.stringify(query)
    }),
    { numRuns: 500 },
  )
  const words = 'attribute:a task:group agentVersion == =~ !in in exists and or not ! ( ) [ ] , a 1.2 (? * { && || |'
  const pieces = fc.constantFrom(...words.split(' '), "'", '"', '\\', '\u{1f600}', '\ud800', '\0', '\n')
  const garbage = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join(' ')),
    fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join('')),
    fc.string({ maxLength: 30 }).map((pattern) => `attribute:a =~ "${pattern}`),
    fc.tuple(queries, fc.nat(200), pieces).map(([query, at, piece]) => {
      const text = printQuery(query)
      return text.slice(0, at) + piece + text.slice(at + 1)
    }),
  )
  let refused = 0
  fc.assert(
    fc.property(garbage, (text) => {
      try {
        const query = parseQuery(text)
        return JSON.stringify(parseQuery(printQuery(query))) === JSON.stringify(query)
      } catch (error) {
        refused += 1
        return error instanceof QueryError && error.column >= 1 && error.column <= text.length + 1
      }
    }),
    { numRuns: 3000 },
  )
  t.ok(refused > 1000, `${refused} were refused`)
})

await t.test('laws: not is the opposite, and the part that is named does fail', async (test) => {
  let failures = 0
  fc.assert(
    fc.property(queries, targets, (query, target) => {
      const compiled = compileQuery(query, 'held')
      const isHeld = compiled.holds(target)
      if (evaluateQuery({ kind: 'not', part: query }, target) === isHeld) return false
      if (isHeld) return true
      failures += 1
      return !evaluateQuery(failingPart(compiled, target), target)
    }),
    { numRuns: 1000 },
  )
  test.ok(failures > 200, `${failures} failed`)
})
