import t from 'tap'
import { readInput } from '../../proto/codec/json.ts'
import { ApiError } from '../../proto/errors.ts'
import { aCall, aState, aTaskDefinition, aWorld, anInstance, inTransaction } from '../../test/support/builders.ts'
import { checkConstraints, checkStrategies } from './placement-rules.ts'
import { runTask } from './run-task.ts'
import { taskDefinitionHandlers } from './task-definitions.ts'

/** What RunTask answers to placement members as a caller's JSON has them. */
function refusalOf(members: Readonly<Record<string, unknown>>): string {
  return refusal(() => run(members))
}

function run(members: Readonly<Record<string, unknown>>) {
  const state = aState({ instance: [anInstance()], taskDefinition: [aTaskDefinition()] })
  const input = readInput('RunTask', { taskDefinition: 'web', ...members })
  return inTransaction(state, (tx) => runTask(tx, input, aCall(), aWorld()))
}

function refusal(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (error instanceof ApiError) return `${error.code}: ${error.message}`
    throw error
  }
  throw new Error('it was not refused')
}

const constraintForm =
  /\[\{"type": "distinctInstance"\}, \{"type": "memberOf", "expression": "attribute:stack == prod"\}\]/
const strategyForm = /\[\{"type": "spread", "field": "attribute:ecs\.availability-zone"\}, \{"type": "binpack", /

await t.test('the malformed shapes that people copy around are refused with the right form', async (test) => {
  const [constraint, strategy] = ['placementConstraints', 'placementStrategy']
  const cases: readonly [string, unknown, RegExp, RegExp?][] = [
    [
      constraint,
      { type: 'distinctInstance' },
      /^SerializationException: .* must be a list, not an object\./,
      constraintForm,
    ],
    [constraint, 'distinctInstance', /^SerializationException: .* must be a list, not this string\./, constraintForm],
    [constraint, ['distinctInstance'], /placementConstraints\[0\] must be an object/, constraintForm],
    [
      constraint,
      [{ type: 'memberof' }],
      /^InvalidParameterException: .*must be one of distinctInstance, memberOf/,
      constraintForm,
    ],
    [constraint, [{ type: 'spread', field: 'host' }], /not 'spread'.* belong into placementStrategy\./, constraintForm],
    [
      constraint,
      [{ expression: 'attribute:a == b' }],
      /^InvalidParameterException: .*type must be distinctInstance or memberOf/,
    ],
    [constraint, [{ type: 'memberOf' }], /needs an expression\. Write \{"type": "memberOf", "expression": /],
    [constraint, [{ type: 'memberOf', expression: '  ' }], /needs an expression/],
    [
      constraint,
      [{ type: 'memberOf', expression: 'attributes:stack == prod' }],
      /at column 1: .*Write attribute:stack\./,
    ],
    [constraint, [{ type: 'memberOf', expression: 'attribute:stack = prod' }], /column 17: .*Equality is written ==/],
    [
      constraint,
      [{ type: 'distinctInstance', expression: 'attribute:a == b' }],
      /^InvalidParameterException: distinctInstance expression should not be specified\. .*of type memberOf/,
    ],
    [constraint, [{ type: 'distinctInstance', expression: '' }], /distinctInstance expression should not be specified/],
    [constraint, [{ type: 'distinctInstance' }, { type: 'distinctInstance' }], /given more than once\. Give it once/],
    [strategy, { type: 'random' }, /^SerializationException: .* must be a list, not an object\./, strategyForm],
    [
      strategy,
      [{ type: 'memberOf', expression: 'x' }],
      /not 'memberOf'.* belong into placementConstraints\./,
      strategyForm,
    ],
    [strategy, [{ type: 'distinctInstance' }], /not 'distinctInstance'/, strategyForm],
    [strategy, [{ field: 'cpu' }], /type must be random, spread or binpack\. Write/],
    [strategy, [{ type: 'binpack' }], /takes the field cpu or memory, and has no field\. Write \{"type": "binpack"/],
    [strategy, [{ type: 'binpack', field: 'disk' }], /cpu or memory, and has 'disk'/],
    [strategy, [{ type: 'spread' }], /instanceId, host or attribute:NAME, and has no field\. Write/],
    [
      strategy,
      [{ type: 'spread', field: 'attributes:rack' }],
      /has 'attributes:rack'\. Write .*"field": "attribute:rack"\}/,
    ],
    [strategy, [{ type: 'spread', field: 'rack' }], /Write \{"type": "spread", "field": "attribute:rack"\}/],
    [strategy, [{ type: 'spread', field: 'attribute' }], /Write .*attribute:ecs\.availability-zone/],
    [strategy, [{ type: 'spread', field: 'availabilityZone' }], /Write .*attribute:ecs\.availability-zone/],
    [strategy, [{ type: 'spread', field: 'InstanceId' }], /Write \{"type": "spread", "field": "instanceId"\}/],
    [strategy, [{ type: 'spread', field: 'memory' }], /Write \{"type": "binpack", "field": "memory"\}/],
  ]
  for (const [member, value, message, form] of cases) {
    const answer = refusalOf({ [member]: value })
    test.match(answer, message, `${member} ${JSON.stringify(value)}`)
    if (form !== undefined) test.match(answer, form)
  }
})

function register(placementConstraints: unknown): string {
  return refusal(() => {
    const containerDefinitions = [{ name: 'app', image: 'busybox', memory: 64 }]
    const input = readInput('RegisterTaskDefinition', { family: 'web', containerDefinitions, placementConstraints })
    inTransaction(aState(), (tx) => taskDefinitionHandlers.RegisterTaskDefinition.handle(tx, input, aCall(), aWorld()))
    throw new ApiError('ServerException', 'taken')
  })
}

await t.test('a task definition takes memberOf alone', async (test) => {
  test.match(
    register([{ type: 'distinctInstance' }]),
    /^ClientException: .*must be one of memberOf, not 'distinctInstance'/,
  )
  test.match(
    register([{ type: 'memberOf', expression: 'attribute:a ==' }]),
    /^ClientException: Invalid expression at column 15/,
  )
  test.match(
    register({ type: 'memberOf', expression: 'x' }),
    /^SerializationException: .*must be a list.*memberOf alone/,
  )
  test.equal(register([{ type: 'memberOf', expression: 'attribute:a == b' }]), 'ServerException: taken')
})

await t.test('what is right is taken as it stands, and the definition comes before the call', async (test) => {
  const own = [{ type: 'distinctInstance' as const }, { type: 'memberOf' as const, expression: 'attribute:a exists' }]
  const ofDefinition = [{ type: 'memberOf' as const, expression: 'attribute:b exists' }]
  test.same(checkConstraints(ofDefinition, own), [...ofDefinition, ...own])
  test.same(checkConstraints(undefined, undefined), [])
  test.match(
    refusal(() => checkConstraints(ofDefinition, Array.from({ length: 5 }, () => own).flat())),
    /at most 10 placement constraints, those of its task definition included; there are 11/,
  )
  const strategies = [
    { type: 'spread' as const, field: 'attribute:ecs.availability-zone' },
    { type: 'spread' as const, field: 'host' },
    { type: 'binpack' as const, field: 'MEMORY' },
    { type: 'random' as const },
    { type: 'random' as const, field: 'what random is given is not used' },
  ]
  test.same(checkStrategies(strategies), strategies)
  test.match(
    refusal(() => checkStrategies([...strategies, ...strategies])),
    /At most 5 placement strategies can be given, and there are 10/,
  )
})

await t.test(
  'constraints that contradict each other are taken, and explained where the task finds no place',
  async (test) => {
    const placementConstraints = ['attribute:ecs.os-type == linux', 'attribute:ecs.os-type == windows'].map(
      (expression) => ({
        type: 'memberOf',
        expression,
      }),
    )
    const { tasks, failures } = run({ placementConstraints })
    test.same(tasks, [])
    test.match(failures, [
      {
        reason: 'MemberOf placement constraint unsatisfied.',
        detail:
          'no instance matched: 1 fails memberOf attribute:ecs.os-type == windows (found linux), ' +
          'and no instance can meet both attribute:ecs.os-type == linux and == windows',
      },
    ])
    test.equal(run({ placementConstraints: placementConstraints.slice(0, 1) }).tasks?.length, 1)
  },
)
