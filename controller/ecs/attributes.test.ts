import t from 'tap'
import { readInput } from '../../proto/codec/json.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import {
  aCall,
  aCluster,
  anInstance,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { planPlacement } from '../decide/placement-plan.ts'
import { attributesOf, tagsOf } from '../decide/operator-changes.ts'
import type { State } from '../state/state.ts'
import { attributeHandlers } from './attributes.ts'
import { instanceHandlers } from './instances.ts'
import { tagHandlers } from './tag-resource.ts'

const one = anInstance({ instanceId: `${'a'.repeat(31)}1` })
const two = anInstance({ instanceId: `${'a'.repeat(31)}2` })
const rack = (value: string, instance = one) => ({ name: 'rack', value, targetId: instance.containerInstanceArn })

function put(
  state: State,
  attributes: Input<'PutAttributes'>['attributes'],
  cluster?: string,
): Output<'PutAttributes'> {
  const input = readInput('PutAttributes', { attributes, cluster })
  return inTransaction(state, (tx) => attributeHandlers.PutAttributes.handle(tx, input, aCall(), aWorld()))
}

function remove(state: State, attributes: Input<'DeleteAttributes'>['attributes']): Output<'DeleteAttributes'> {
  const input = readInput('DeleteAttributes', { attributes })
  return inTransaction(state, (tx) => attributeHandlers.DeleteAttributes.handle(tx, input, aCall(), aWorld()))
}

function list(state: State, over: Partial<Input<'ListAttributes'>> = {}): Output<'ListAttributes'> {
  const input = readInput('ListAttributes', { targetType: 'container-instance', ...over })
  return attributeHandlers.ListAttributes.handle(state, input, aCall(), aWorld())
}

function describe(state: State): Readonly<Record<string, string | undefined>> {
  const input = { containerInstances: [one.instanceId] }
  const answer = instanceHandlers.DescribeContainerInstances.handle(state, input, aCall(), aWorld())
  const attributes = answer.containerInstances?.[0]?.attributes ?? []
  return Object.fromEntries(attributes.map(({ name = '', value }) => [name, value]))
}

await t.test('attributes are put, put again, listed, and deleted', async (test) => {
  const state = aState({ instance: [one, two] })

  const answer = put(state, [
    rack('r1'),
    { name: 'ssd', targetId: one.instanceId, targetType: 'container-instance' },
    rack('r2', two),
  ])
  test.same(
    answer.attributes,
    [rack('r1'), { name: 'ssd', targetId: one.containerInstanceArn }, rack('r2', two)],
    'targets are answered by their ARNs',
  )
  test.match(describe(state), { rack: 'r1', 'ecs.os-type': 'linux' }, 'beside those of the agent')
  test.equal(state.get('instance', one.instanceId)?.version, 2)

  put(state, [rack('r9')])
  put(state, [rack('r9')])
  test.equal(state.get('instance', one.instanceId)?.version, 3, 'a repeat is no change')
  test.same(list(state, { attributeName: 'rack' }).attributes, [rack('r9'), rack('r2', two)], 'a put overwrites')
  test.same(list(state, { attributeName: 'rack', attributeValue: 'r2' }).attributes, [rack('r2', two)])
  test.equal(list(state).attributes?.length, 11, 'without a filter all are there, built-in ones too')

  test.same(remove(state, [{ name: 'rack', targetId: one.containerInstanceArn }]).attributes, [rack('r9')])
  test.same(
    remove(state, [{ name: 'rack', targetId: one.containerInstanceArn }]).attributes,
    [],
    'a repeat is no error',
  )
  test.match(
    refusal(() => remove(state, [rack('other', two)])),
    /has the value 'r2', not 'other'/,
  )
  test.same(remove(state, [rack('r2', two)]).attributes, [rack('r2', two)], 'what was listed can be handed back')
  test.notOk('rack' in describe(state))
})

await t.test('a list comes in pages that neither repeat nor skip', async (test) => {
  const state = aState({ instance: [one, two] })
  const seen: string[] = []
  let nextToken: string | undefined
  do {
    const page = list(state, { maxResults: 3, nextToken })
    test.ok((page.attributes?.length ?? 0) <= 3)
    seen.push(...(page.attributes ?? []).map(({ name, targetId }) => `${targetId}/${name}`))
    nextToken = page.nextToken
  } while (nextToken !== undefined)
  test.equal(seen.length, 8)
  test.equal(new Set(seen).size, 8)
})

await t.test('an operator and an agent each keep their word', async (test) => {
  const state = aState()
  const register = (over: Partial<Input<'RegisterContainerInstance'>>) =>
    inTransaction(state, (tx) =>
      instanceHandlers.RegisterContainerInstance.handle(
        tx,
        {
          totalResources: [
            { name: 'CPU', type: 'INTEGER', integerValue: 1024 },
            { name: 'MEMORY', type: 'INTEGER', integerValue: 1024 },
          ],
          attributes: [
            { name: 'rack', value: 'r1' },
            { name: 'lab', value: 'attic' },
            { name: 'ecs.os-type', value: 'linux' },
          ],
          tags: [
            { key: 'team', value: 'a' },
            { key: 'cost', value: '1' },
          ],
          ...over,
        },
        aCall(),
        aWorld(),
      ),
    ).containerInstance
  const targetId = register({})?.containerInstanceArn ?? ''
  const instance = () => state.all('instance')[0] ?? anInstance()
  const tag = <Op extends 'TagResource' | 'UntagResource'>(operation: Op, input: Omit<Input<Op>, 'resourceArn'>) =>
    inTransaction(state, (tx) => {
      const whole = readInput(operation, { ...input, resourceArn: targetId })
      if (operation === 'TagResource')
        tagHandlers.TagResource.handle(tx, whole as Input<'TagResource'>, aCall(), aWorld())
      else tagHandlers.UntagResource.handle(tx, whole as Input<'UntagResource'>, aCall(), aWorld())
    })

  put(state, [{ name: 'rack', value: 'r2', targetId }])
  remove(state, [{ name: 'lab', targetId }])
  put(state, [{ name: 'ssd', targetId }])
  tag('TagResource', { tags: [{ key: 'team', value: 'b' }] })
  tag('UntagResource', { tagKeys: ['cost'] })

  const answer = register({ containerInstanceArn: targetId })
  test.match(
    answer?.attributes?.find(({ name }) => name === 'rack'),
    { value: 'r1' },
    'the agent finds in the answer what it sent: it ends where one differs',
  )
  const ofAgent = [
    { name: 'ecs.os-type', value: 'linux' },
    { name: 'ecs.availability-zone', value: 'us-east-1a' },
  ]
  test.same(attributesOf(instance()), [{ name: 'rack', value: 'r2' }, ...ofAgent, { name: 'ssd' }])
  test.same(tagsOf(instance()), [{ key: 'team', value: 'b' }])

  // The official agent sends its custom attributes once, and no tags where none are configured.
  register({ containerInstanceArn: targetId, attributes: [{ name: 'ecs.os-type', value: 'linux' }], tags: [] })
  test.same(
    attributesOf(instance()).toSorted(byName),
    [...ofAgent, { name: 'rack', value: 'r2' }, { name: 'ssd' }].toSorted(byName),
  )
  test.same(tagsOf(instance()), [{ key: 'team', value: 'b' }])

  put(state, [{ name: 'lab', value: 'cellar', targetId }])
  test.match(
    attributesOf(instance()),
    [{}, {}, {}, {}, { name: 'lab', value: 'cellar' }],
    'what was deleted can be put',
  )
})

await t.test('placement spreads over what an operator put', async (test) => {
  const state = aState({ instance: [one, two], task: [aTask({ instanceId: one.instanceId, group: 'g' })] })
  put(state, [rack('r1'), rack('r1', two)])
  const three = anInstance({ instanceId: `${'a'.repeat(31)}3` })
  inTransaction(state, (tx) => tx.put('instance', three.instanceId, three))
  put(state, [rack('r2', three)])
  const strategies = [{ type: 'spread' as const, field: 'attribute:rack' }]
  const request = { definition: aTaskDefinition(), group: 'g', constraints: [], strategies }
  test.match(planPlacement(state, 'default', request, testNow, aWorld()).next(), {
    instance: { instanceId: three.instanceId },
  })
})

await t.test('ten custom attributes an instance, and none of a call that goes beyond', async (test) => {
  const state = aState({ instance: [one] })
  const numbered = (from: number, count: number) =>
    Array.from({ length: count }, (_, at) => ({ name: `n${from + at}`, targetId: one.containerInstanceArn }))
  put(state, numbered(0, 10))
  test.match(
    refusal(() => put(state, numbered(9, 2))),
    /^AttributeLimitExceededException: You can apply up to 10 custom .* would have 11\. Remove some with DeleteAttributes/,
  )
  put(state, numbered(5, 5))
  test.match(
    refusal(() => put(state, numbered(0, 11))),
    /^InvalidParameterException: .*at most 10 attributes in a single/,
  )
})

await t.test('what is refused says why', async (test) => {
  const gone = anInstance({ status: 'INACTIVE' })
  const elsewhere = anInstance({ clusterName: 'other' })
  const state = aState({ cluster: [aCluster({ clusterName: 'other' })], instance: [one, gone, elsewhere] })
  const target = { targetId: one.containerInstanceArn }
  const cases: readonly [NonNullable<Input<'PutAttributes'>['attributes']>, RegExp][] = [
    [[], /^InvalidParameterException: attributes can not be empty/],
    [[{ name: 'ecs.os-type', ...target }], /^InvalidParameterException: .*reserved/],
    [[{ name: 'com.amazonaws.ecs.capability.x', ...target }], /^InvalidParameterException: .*reserved/],
    [[{ name: 'gantry.protocol', ...target }], /^InvalidParameterException: .*reserved/],
    [[{ name: 'a b', ...target }], /^InvalidParameterException: Attribute name 'a b'/],
    [[{ name: 'x'.repeat(129), ...target }], /^InvalidParameterException: Attribute name/],
    [[{ name: 'a', value: '', ...target }], /^InvalidParameterException: The value of attribute a/],
    [[{ name: 'a', value: ' b', ...target }], /without a space at either end/],
    [[{ name: 'a', value: 'x'.repeat(129), ...target }], /must be 1 to 128/],
    [[{ name: 'a' }], /^InvalidParameterException: Attribute a names no targetId/],
    [[{ name: 'a', targetId: one.instanceId }], /^InvalidParameterException: Attribute a needs a targetType/],
    [
      [
        { name: 'a', ...target },
        { name: 'a', ...target },
      ],
      /given twice/,
    ],
    [[{ name: 'a', targetId: gone.containerInstanceArn }], /^TargetNotFoundException: /],
    [[{ name: 'a', targetId: elsewhere.containerInstanceArn }], /^TargetNotFoundException: .*of cluster default/],
    [
      [
        { name: 'a', ...target },
        { name: 'a', targetId: 'nobody', targetType: 'container-instance' },
      ],
      /^TargetNotFound/,
    ],
  ]
  for (const [attributes, expected] of cases)
    test.match(
      refusal(() => put(state, attributes)),
      expected,
    )
  test.match(
    refusal(() => put(state, [{ name: 'a', ...target }], 'nowhere')),
    /^ClusterNotFoundException: Cluster not/,
  )
  test.match(
    refusal(() => list(state, { attributeValue: 'x' })),
    /attributeValue takes an attributeName/,
  )
  test.match(
    refusal(() => list(state, { maxResults: 101 })),
    /from 1 to 100/,
  )
  test.match(
    refusal(() => list(state, { nextToken: 'made up' })),
    /Invalid token/,
  )
  test.same(state.get('instance', one.instanceId), one, 'nothing of a refused call remains')
})

function byName(left: { name: string | undefined }, right: { name: string | undefined }): number {
  return (left.name ?? '') < (right.name ?? '') ? -1 : 1
}
