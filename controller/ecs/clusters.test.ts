import t from 'tap'
import type { Input } from '../../proto/model/types.ts'
import {
  aCall,
  aCluster,
  anInstance,
  aService,
  aState,
  aTask,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import type { State } from '../state/state.ts'
import { clusterHandlers as handlers, createDefaultCluster, requireCluster } from './clusters.ts'
import { page } from './paging.ts'
import { checkTags } from './tags.ts'

const arn = (name: string): string => `arn:aws:ecs:us-east-1:123456789012:cluster/${name}`
const create = (state: State, input: Input<'CreateCluster'>) =>
  inTransaction(state, (tx) => handlers.CreateCluster.handle(tx, input, aCall(), aWorld()).cluster)
const remove = (state: State, cluster: string) =>
  inTransaction(state, (tx) => handlers.DeleteCluster.handle(tx, { cluster }, aCall(), aWorld()).cluster)
const describe = (state: State, input: Input<'DescribeClusters'>) =>
  handlers.DescribeClusters.handle(state, input, aCall(), aWorld())

await t.test('CreateCluster', async (group) => {
  await group.test('given nothing, it makes the cluster `default`', async (test) => {
    const cluster = create(aState({ cluster: [aCluster({ clusterName: 'default', status: 'INACTIVE' })] }), {})
    test.match(cluster, { clusterArn: arn('default'), clusterName: 'default', status: 'ACTIVE' })
    test.same(cluster?.settings, [{ name: 'containerInsights', value: 'disabled' }])
  })

  await group.test('is idempotent by name, and refuses to change what exists', async (test) => {
    const state = aState()
    const tags = [{ key: 'team', value: 'web' }]
    const first = create(state, { clusterName: 'lab', tags, capacityProviders: ['FARGATE'] })
    test.same(create(state, { clusterName: 'lab' }), first)
    test.same(create(state, { clusterName: 'lab', tags, capacityProviders: ['FARGATE'] }), first)
    test.match(
      refusal(() => create(state, { clusterName: 'lab', capacityProviders: [] })),
      /^InvalidParameterException: Arguments on this idempotent request are inconsistent.*capacityProviders/,
    )
  })

  const refusals: readonly [string, Input<'CreateCluster'>, RegExp][] = [
    ['a name with a space', { clusterName: 'my lab' }, /Invalid cluster name 'my lab'/],
    ['a name of 256 characters', { clusterName: 'a'.repeat(256) }, /Invalid cluster name/],
    ['a setting with another value', { settings: [{ name: 'containerInsights', value: 'on' }] }, /Invalid value 'on'/],
    ['a provider that was never created', { capacityProviders: ['spot-fleet'] }, /'spot-fleet' could not be found/],
    [
      'a strategy over a provider that the cluster lacks',
      { defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1 }] },
      /not associated with the cluster \('FARGATE'\)/,
    ],
    [
      'two bases in one strategy',
      {
        capacityProviders: ['FARGATE', 'FARGATE_SPOT'],
        defaultCapacityProviderStrategy: [
          { capacityProvider: 'FARGATE', weight: 1, base: 1 },
          { capacityProvider: 'FARGATE_SPOT', weight: 1, base: 1 },
        ],
      },
      /Only one capacity provider/,
    ],
    [
      'an overridden command log without its configuration',
      { configuration: { executeCommandConfiguration: { logging: 'OVERRIDE' } } },
      /logConfiguration is required/,
    ],
    ['a tag that is given twice', { tags: [{ key: 'a' }, { key: 'a' }] }, /Tag keys must be unique: 'a'/],
  ]
  for (const [what, input, message] of refusals) {
    await group.test(`refuses ${what}`, async (test) => {
      const state = aState()
      const answer = refusal(() => create(state, { clusterName: 'new', ...input }))
      test.match(answer, /^InvalidParameterException: /)
      test.match(answer, message)
      test.equal(state.get('cluster', 'new'), undefined, 'nothing of it remains')
    })
  }
})

await t.test('DeleteCluster', async (group) => {
  await group.test('refuses while instances are registered or tasks live, and names which', async (test) => {
    const state = aState({ instance: [anInstance({ instanceId: 'i1', status: 'DRAINING' })] })
    test.match(
      refusal(() => remove(state, 'default')),
      /^ClusterContainsContainerInstancesException: /,
    )

    const instance = anInstance({ instanceId: 'i1', status: 'INACTIVE' })
    const withTask = aState({ instance: [instance], task: [aTask({ instanceId: 'i1', lastStatus: 'RUNNING' })] })
    test.match(
      refusal(() => remove(withTask, 'default')),
      /^ClusterContainsTasksException: /,
    )
    for (const status of ['ACTIVE', 'DRAINING'] as const) {
      test.equal(
        refusal(() => remove(aState({ service: [aService({ status })] }), 'default')),
        'ClusterContainsServicesException: The Cluster cannot be deleted while Services are active.',
      )
    }
    test.match(remove(aState({ service: [aService({ status: 'INACTIVE' })] }), 'default'), { status: 'INACTIVE' })
    test.match(
      refusal(() => remove(withTask, 'nowhere')),
      /^ClusterNotFoundException: Cluster not found\./,
    )
  })

  await group.test(
    'leaves an INACTIVE cluster that is described, not listed, and made afresh under its name',
    async (test) => {
      const state = aState({ task: [aTask({ lastStatus: 'STOPPED' })] })
      create(state, { clusterName: 'lab', tags: [{ key: 'old', value: 'yes' }] })
      test.match(remove(state, arn('lab')), { status: 'INACTIVE' })
      test.match(remove(state, 'lab'), { status: 'INACTIVE' }, 'a repeat answers the same')
      test.match(describe(state, { clusters: ['lab'] }).clusters, [{ status: 'INACTIVE' }])
      test.same(handlers.ListClusters.handle(state, {}, aCall(), aWorld()).clusterArns, [arn('default')])
      test.match(
        refusal(() => requireCluster(state, 'lab')),
        /^ClusterNotFoundException/,
      )
      test.match(create(state, { clusterName: 'lab' }), { status: 'ACTIVE', tags: [] })
    },
  )
})

await t.test('DescribeClusters', async (group) => {
  const state = aState({
    cluster: [
      aCluster({ tags: [{ key: 'team', value: 'web' }], settings: [{ name: 'containerInsights', value: 'enabled' }] }),
    ],
    instance: [anInstance(), anInstance({ status: 'DRAINING' }), anInstance({ status: 'INACTIVE' })],
    task: [
      aTask({ lastStatus: 'RUNNING' }),
      aTask({ lastStatus: 'RUNNING', launchType: 'EXTERNAL' }),
      aTask({ lastStatus: 'PENDING' }),
      aTask({ lastStatus: 'STOPPED' }),
    ],
    service: [
      aService(),
      aService({ serviceName: 'edge', launchType: 'EXTERNAL' }),
      aService({ serviceName: 'leaving', status: 'DRAINING' }),
      aService({ serviceName: 'gone', status: 'INACTIVE' }),
    ],
  })

  await group.test('counts from the indexes, and gives lists only where they are asked for', async (test) => {
    test.match(describe(state, {}).clusters, [
      {
        clusterName: 'default',
        registeredContainerInstancesCount: 2,
        runningTasksCount: 2,
        pendingTasksCount: 1,
        activeServicesCount: 2,
        tags: [],
        settings: [],
        statistics: [],
      },
    ])
    const [full] =
      describe(state, { clusters: ['default'], include: ['TAGS', 'SETTINGS', 'STATISTICS'] }).clusters ?? []
    test.same(full?.tags, [{ key: 'team', value: 'web' }])
    test.same(full?.settings, [{ name: 'containerInsights', value: 'enabled' }])
    test.same(
      full?.statistics?.filter((one) => one.value !== '0'),
      [
        { name: 'runningEC2TasksCount', value: '1' },
        { name: 'runningExternalTasksCount', value: '1' },
        { name: 'pendingEC2TasksCount', value: '1' },
        { name: 'activeEC2ServiceCount', value: '1' },
        { name: 'activeExternalServiceCount', value: '1' },
        { name: 'drainingEC2ServiceCount', value: '1' },
      ],
    )
  })

  await group.test('answers MISSING with an ARN for what it does not know', async (test) => {
    const elsewhere = 'arn:aws:ecs:eu-west-1:123456789012:cluster/default'
    test.same(describe(state, { clusters: ['nope', elsewhere] }), {
      clusters: [],
      failures: [
        { arn: arn('nope'), reason: 'MISSING' },
        { arn: elsewhere, reason: 'MISSING' },
      ],
    })
    const tooMany = Array.from({ length: 101 }, (_, index) => `c${index}`)
    test.match(
      refusal(() => describe(state, { clusters: tooMany })),
      /^InvalidParameterException: .*at most 100/,
    )
  })
})

await t.test('updates change what they name and keep the rest', async (group) => {
  const state = aState()
  create(state, { clusterName: 'lab', tags: [{ key: 'team', value: 'web' }] })
  const updated = inTransaction(state, (tx) =>
    handlers.UpdateCluster.handle(
      tx,
      {
        cluster: 'lab',
        serviceConnectDefaults: { namespace: 'inner' },
        settings: [{ name: 'containerInsights', value: 'enhanced' }],
      },
      aCall(),
      aWorld(),
    ),
  )
  group.match(updated.cluster, {
    tags: [{ key: 'team' }],
    settings: [{ value: 'enhanced' }],
    serviceConnectDefaults: { namespace: 'inner' },
  })
  const put = inTransaction(state, (tx) =>
    handlers.PutClusterCapacityProviders.handle(
      tx,
      {
        cluster: 'lab',
        capacityProviders: ['FARGATE', 'FARGATE_SPOT'],
        defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1 }],
      },
      aCall(),
      aWorld(),
    ),
  )
  group.match(put.cluster, {
    settings: [{ value: 'enhanced' }],
    capacityProviders: ['FARGATE', 'FARGATE_SPOT'],
    defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1, base: 0 }],
  })
  const settings = inTransaction(state, (tx) =>
    handlers.UpdateClusterSettings.handle(
      tx,
      { cluster: arn('lab'), settings: [{ name: 'containerInsights', value: 'disabled' }] },
      aCall(),
      aWorld(),
    ),
  )
  group.match(settings.cluster, { settings: [{ value: 'disabled' }], capacityProviders: ['FARGATE', 'FARGATE_SPOT'] })
})

await t.test('the default cluster is made once, and its deletion is respected', async (group) => {
  const state = aState()
  remove(state, 'default')
  inTransaction(state, (tx) => createDefaultCluster(tx, testNow, aWorld()))
  group.equal(state.get('cluster', 'default')?.status, 'INACTIVE')
})

await t.test('a page', async (group) => {
  const limits = { defaultSize: 2, maxSize: 3 }
  const keys = ['a', 'b', 'c', 'd', 'e']
  const walk = (items: readonly string[], descending: boolean): string[][] => {
    const pages: string[][] = []
    let nextToken: string | undefined
    do {
      const one = page(items, (key) => key, { nextToken }, { ...limits, descending })
      pages.push(one.items)
      nextToken = one.nextToken
    } while (nextToken !== undefined)
    return pages
  }

  await group.test('follows the one before, up and down, and the last has no token', async (test) => {
    test.same(walk(keys, false), [['a', 'b'], ['c', 'd'], ['e']])
    test.same(walk(keys.toReversed(), true), [['e', 'd'], ['c', 'b'], ['a']])
    test.same(walk([], false), [[]])
  })

  await group.test('neither repeats nor skips what stayed, where the list changes meanwhile', async (test) => {
    const { nextToken } = page(keys, (key) => key, {}, limits)
    test.same(page(['a', 'a2', 'c', 'd'], (key) => key, { nextToken }, limits).items, ['c', 'd'])
  })

  await group.test('refuses a bad size and a bad token', async (test) => {
    const bad = [
      { maxResults: 0 },
      { maxResults: 4 },
      { maxResults: 1.5 },
      { nextToken: 'x' },
      { nextToken: btoa('other:a') },
    ]
    for (const request of bad) {
      test.match(
        refusal(() => page(keys, (key) => key, request, limits)),
        /^InvalidParameterException: /,
      )
    }
  })
})

await t.test('tags', async (group) => {
  group.same(checkTags([{ key: 'Größe', value: 'a b' }, { key: 'empty' }]), [
    { key: 'Größe', value: 'a b' },
    { key: 'empty', value: '' },
  ])
  const bad = [
    [{ key: '' }],
    [{ key: 'a'.repeat(129) }],
    [{ key: 'a', value: 'b'.repeat(257) }],
    [{ key: 'AWS:ecs' }],
    [{ key: 'a#b' }],
    [{ key: 'a', value: 'b#' }],
    Array.from({ length: 51 }, (_, index) => ({ key: `k${index}` })),
  ]
  for (const tags of bad)
    group.match(
      refusal(() => checkTags(tags)),
      /^InvalidParameterException: /,
    )
})
