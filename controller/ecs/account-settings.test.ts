import t from 'tap'
import { readInput } from '../../proto/codec/json.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import { aCall, anInstance, aState, aTaskDefinition, aWorld, inTransaction } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import type { State } from '../state/state.ts'
import { accountSettingHandlers as handlers } from './account-settings.ts'
import { clusterHandlers } from './clusters.ts'
import { taskHandlers } from './tasks.ts'

const root = 'arn:aws:iam::123456789012:root'
const ann = 'arn:aws:iam::123456789012:user/ann'
const byAnn = aCall({ principalArn: ann })
type Name = NonNullable<Input<'PutAccountSetting'>['name']>

function put(
  state: State,
  name: Name,
  value: string,
  principalArn?: string,
  call = aCall(),
): Output<'PutAccountSetting'> {
  const input = readInput('PutAccountSetting', { name, value, principalArn })
  return inTransaction(state, (tx) => handlers.PutAccountSetting.handle(tx, input, call, aWorld()))
}

function putDefault(state: State, name: Name, value: string, call = aCall()): Output<'PutAccountSettingDefault'> {
  const input = readInput('PutAccountSettingDefault', { name, value })
  return inTransaction(state, (tx) => handlers.PutAccountSettingDefault.handle(tx, input, call, aWorld()))
}

function remove(state: State, name: Name, principalArn?: string, call = aCall()): Output<'DeleteAccountSetting'> {
  const input = readInput('DeleteAccountSetting', { name, principalArn })
  return inTransaction(state, (tx) => handlers.DeleteAccountSetting.handle(tx, input, call, aWorld()))
}

function list(state: State, over: Input<'ListAccountSettings'> = {}, call = aCall()): Output<'ListAccountSettings'> {
  const input = readInput('ListAccountSettings', over)
  return handlers.ListAccountSettings.handle(state, input, call, aWorld())
}

function valueFor(state: State, name: Name, call = aCall()): string | undefined {
  return list(state, { name, effectiveSettings: true }, call).settings?.[0]?.value
}

await t.test("what holds: one's own, else the account's, else ECS's default", async (test) => {
  const state = aState()
  test.same(list(state).settings, [], 'nobody has put anything')
  test.equal(valueFor(state, 'containerInsights', byAnn), 'disabled')

  const setting = { name: 'containerInsights', value: 'enabled', type: 'user' }
  test.same(putDefault(state, 'containerInsights', 'enabled', byAnn), { setting: { ...setting, principalArn: root } })
  test.equal(valueFor(state, 'containerInsights', byAnn), 'enabled')
  test.same(list(state, {}, byAnn).settings, [], 'not her own')

  put(state, 'containerInsights', 'enhanced', undefined, byAnn)
  test.equal(valueFor(state, 'containerInsights', byAnn), 'enhanced')
  test.equal(valueFor(state, 'containerInsights'), 'enabled', 'the root user has the default')
  test.same(list(state, { principalArn: ann }).settings, [{ ...setting, value: 'enhanced', principalArn: ann }])

  test.same(remove(state, 'containerInsights', ann).setting, { ...setting, principalArn: ann }, 'what holds now')
  test.same(remove(state, 'containerInsights', ann).setting, { ...setting, principalArn: ann }, 'and a repeat')
  remove(state, 'containerInsights')
  test.equal(valueFor(state, 'containerInsights', byAnn), 'disabled')
})

await t.test('all settings in pages of ten, by name and by value', async (test) => {
  const state = aState()
  const first = list(state, { effectiveSettings: true })
  const second = list(state, { effectiveSettings: true, nextToken: first.nextToken })
  const all = [...(first.settings ?? []), ...(second.settings ?? [])]
  test.equal(first.settings?.length, 10)
  test.equal(second.nextToken, undefined)
  test.same(Object.fromEntries(all.map(({ name, value }) => [name, value])), {
    awsvpcTrunking: 'disabled',
    containerInsights: 'disabled',
    containerInstanceLongArnFormat: 'enabled',
    defaultLogDriverMode: 'blocking',
    fargateEventWindows: 'disabled',
    fargateFIPSMode: 'disabled',
    fargateTaskRetirementWaitPeriod: '7',
    guardDutyActivate: 'off',
    serviceLongArnFormat: 'enabled',
    tagResourceAuthorization: 'on',
    taskLongArnFormat: 'enabled',
  })
  test.ok(all.every(({ principalArn }) => principalArn === root))
  test.same(
    all.filter(({ type }) => type === 'aws_managed').map(({ name }) => name),
    ['guardDutyActivate'],
  )
  const named = { name: 'awsvpcTrunking' as const, effectiveSettings: true }
  test.equal(list(state, { ...named, value: 'disabled' }).settings?.length, 1)
  test.equal(list(state, { ...named, value: 'enabled' }).settings?.length, 0)
})

function insights(value: string): NonNullable<Input<'CreateCluster'>['settings']> {
  return [{ name: 'containerInsights', value }]
}

await t.test('what is refused says why', async (test) => {
  const state = aState()
  const cases: readonly [() => unknown, RegExp][] = [
    [
      () => put(state, 'taskLongArnFormat', 'disabled'),
      /^InvalidParameterException: You can no longer disable Long Arn s/,
    ],
    [
      () => put(state, 'taskLongArnFormat', 'ENABLED'),
      /^InvalidParameterException: Invalid setting 'value': .*'ENABLED'/,
    ],
    [() => putDefault(state, 'tagResourceAuthorization', 'enabled'), /takes one of on, off/],
    [() => putDefault(state, 'fargateTaskRetirementWaitPeriod', '3'), /takes one of 0, 7, 14/],
    [() => put(state, 'fargateTaskRetirementWaitPeriod', '0', ann), /is set for the whole account/],
    [() => put(state, 'guardDutyActivate', 'on'), /^InvalidParameterException: .*managed by AWS/],
    [() => put(state, 'awsvpcTrunking', 'enabled', 'ann'), /^InvalidParameterException: Invalid principalArn/],
    [() => put(state, 'awsvpcTrunking', 'enabled', ann.replace('1234', '9999')), /of account 123456789012/],
    [() => put(state, 'awsvpcTrunking', 'enabled', root, byAnn), /^AccessDeniedException: .*user\/ann is not the root/],
    [() => remove(state, 'awsvpcTrunking', root, byAnn), /^AccessDeniedException/],
    [() => list(state, { principalArn: root }, byAnn), /^AccessDeniedException/],
    [() => list(state, { value: 'enabled' }), /value takes a setting name/],
    [() => list(state, { maxResults: 11 }), /from 1 to 10/],
    [() => put(state, 'dualStackIPv6' as Name, 'enabled'), /^InvalidParameterException: /],
  ]
  for (const [act, expected] of cases) test.match(refusal(act), expected)
  test.equal(put(state, 'serviceLongArnFormat', 'enabled').setting?.value, 'enabled', 'what holds anyway can be put')
  test.same(state.all('accountSetting').length, 1, 'nothing of a refused call remains')
})

await t.test(
  'new clusters have the Container Insights of the account, unless their creator says otherwise',
  async (test) => {
    const state = aState()
    putDefault(state, 'containerInsights', 'enhanced')
    const create = (input: Input<'CreateCluster'>, call = aCall()) =>
      inTransaction(state, (tx) => clusterHandlers.CreateCluster.handle(tx, input, call, aWorld())).cluster?.settings
    test.same(create({ clusterName: 'one' }), insights('enhanced'))
    test.same(create({ clusterName: 'two', settings: insights('disabled') }), insights('disabled'))
    put(state, 'containerInsights', 'enabled', ann)
    test.same(create({ clusterName: 'three' }, byAnn), insights('enabled'))
    test.same(create({ clusterName: 'one' }, byAnn), insights('enhanced'), 'a cluster that is there stays as it is')
  },
)

await t.test('tasks take over the log driver mode of who starts them', async (test) => {
  const state = aState({ instance: [anInstance()], taskDefinition: [aTaskDefinition()] })
  const run = (call = aCall()) => {
    const input = { cluster: 'default', taskDefinition: 'web' }
    const { tasks } = inTransaction(state, (tx) =>
      taskHandlers.RunTask.handle(tx, input, call, aWorld(state.all('task').length)),
    )
    return state.all('task').find((row) => row.taskArn === tasks?.[0]?.taskArn)?.logDriverMode
  }
  test.equal(run(), undefined)
  put(state, 'defaultLogDriverMode', 'non-blocking', ann)
  test.equal(run(byAnn), 'non-blocking')
  test.equal(run(), undefined)
})
