import { test } from 'tap'
import { aState, aTask, aTaskDefinition, anInstance, inTransaction } from '../../test/support/builders.ts'
import { sampleInput } from '../../test/support/sample-input.ts'
import { awsServices } from '../api/aws-services.ts'
import type { State } from '../state/state.ts'
import { type AccessCheck, openToAll } from './authorization.ts'
import { conditionKeys, isConditionKey } from './condition-keys.ts'
import { routeRowOf, rowOf } from './rows.ts'
import { channelRow } from './rows/channels.ts'

const place = { region: 'us-east-1', account: '123456789012' }

/** What a row asks for: `ecs:RunTask on ...`, without the parts of ARNs that are always the same. */
function asked(checks: readonly AccessCheck[]): string[] {
  return checks.map(
    ({ action, resource }) => `${action} on ${resource.replace(`arn:aws:ecs:us-east-1:123456789012:`, '')}`,
  )
}

function ecs(state: State, operation: string, input: object): readonly AccessCheck[] {
  return rowOf('ecs', operation)?.(input, state, place) ?? []
}

await test('every operation that is routed has a row, and so has every other one of ECS', async (t) => {
  const state = aState()
  const given = new Set<string>()
  let walked = 0
  for (const { name, model, handlers } of awsServices) {
    const operations = name === 'ecs' ? Object.keys(model.operations) : Object.keys(handlers)
    for (const operation of operations) {
      const row = rowOf(name, operation)
      t.ok(row, `${name}:${operation} has a row`)
      for (const members of ['required', 'all'] as const) {
        const checks = row?.(sampleInput(model, operation, members), state, place) ?? []
        if (checks === openToAll) continue
        t.ok(checks.length > 0, `${name}:${operation} takes something`)
        const actions = checks.filter(({ action }) => action === `${name}:${operation}`)
        t.ok(actions.length > 0, `${name}:${operation} takes an action of its own name`)
        for (const { resource, keys = {} } of checks) {
          for (const key of Object.keys(keys)) given.add(key.replace(/\/.*/, '/'))
          t.match(resource, /^(\*|sample|arn:aws:[a-z]+:[^:]*:[^:]*:.+)$/, `${operation} names ${resource}`)
          t.same(
            Object.keys(keys).filter((key) => !isConditionKey(key)),
            [],
            `${operation} gives keys that are evaluated`,
          )
        }
        walked += 1
      }
    }
  }
  t.ok(walked > 300, `${walked} inputs were judged`)
  // A key that no row gives is one that no condition ever meets. Tags of resources are looked up when they are
  // asked for, and a secret's id stands for one that is there.
  const own = conditionKeys.filter((key) => !key.startsWith('aws:') && !/:resourceTag\/$/i.test(key))
  t.same(
    own.filter((key) => !given.has(key)),
    ['secretsmanager:SecretId'],
  )
  t.equal(rowOf('ecs', 'constructor'), undefined)
  t.equal(rowOf('ecs', 'NoSuchOperation'), undefined)
})

await test('what has the required resources of the reference has them here', async (t) => {
  const state = aState()
  const cases: readonly (readonly [string, object, readonly string[]])[] = [
    ['DescribeTasks', { cluster: 'prod', tasks: ['a', 'b', 'a'] }, ['task/prod/a', 'task/prod/b']],
    ['DescribeTasks', { tasks: [`arn:aws:ecs:us-east-1:123456789012:task/default/a`] }, ['task/default/a']],
    ['StopTask', { cluster: 'arn:aws:ecs:us-east-1:123456789012:cluster/prod', task: 'a' }, ['task/prod/a']],
    ['DescribeServices', { services: ['web', 'api'] }, ['service/default/web', 'service/default/api']],
    ['ListTasks', { cluster: 'prod' }, ['container-instance/prod/*']],
    ['ListTasks', { cluster: 'prod', containerInstance: 'i' }, ['container-instance/prod/i']],
    ['ListServices', { cluster: 'prod' }, ['*']],
    ['DescribeClusters', {}, ['cluster/default']],
    ['DescribeClusters', { clusters: ['a', 'b'] }, ['cluster/a', 'cluster/b']],
    ['DeregisterContainerInstance', { cluster: 'prod', containerInstance: 'i' }, ['cluster/prod']],
    ['ExecuteCommand', { cluster: 'prod', task: 'a' }, ['cluster/prod', 'task/prod/a']],
    ['RunTask', { taskDefinition: 'web' }, ['task-definition/web:*']],
    ['RunTask', { taskDefinition: 'web:3' }, ['task-definition/web:3']],
    ['RegisterTaskDefinition', { family: 'web', containerDefinitions: [] }, ['task-definition/web:*']],
    ['DeleteTaskDefinitions', { taskDefinitions: ['a:1', 'b:2'] }, ['task-definition/a:1', 'task-definition/b:2']],
    ['UpdateTaskSet', { cluster: 'c', service: 's', taskSet: 'ecs-svc/1' }, ['task-set/c/s/ecs-svc/1']],
    ['DescribeTaskSets', { cluster: 'c', service: 's' }, ['task-set/c/s/*']],
    [
      'StopServiceDeployment',
      { serviceDeploymentArn: 'arn:aws:ecs:us-east-1:123456789012:service-deployment/c/s/x' },
      ['service/c/s', 'service-deployment/c/s/x'],
    ],
    [
      'PutAttributes',
      { attributes: [{ targetId: 'i' }, { targetId: 'j' }] },
      ['container-instance/default/i', 'container-instance/default/j'],
    ],
  ]
  for (const [operation, input, resources] of cases) {
    const expected = resources.map((resource) => `ecs:${operation} on ${resource}`)
    t.same(asked(ecs(state, operation, input)), expected, operation)
  }
})

await test('a list of the operators’ API takes what it tells', (t) => {
  const input = { params: { cluster: 'prod' }, query: {}, body: undefined }
  const route = (path: string) => asked(routeRowOf(`GET /v1/clusters${path}`)?.(input, aState(), place) ?? [])
  t.same(route(''), ['ecs:ListClusters on *', 'ecs:DescribeClusters on cluster/*'])
  t.same(route('/:cluster/tasks'), ['ecs:ListTasks on container-instance/prod/*', 'ecs:DescribeTasks on task/prod/*'])
  t.same(route('/:cluster/instances'), [
    'ecs:ListContainerInstances on cluster/prod',
    'ecs:DescribeContainerInstances on container-instance/prod/*',
  ])
  t.end()
})

await test('a name is judged as what it stands for now', async (t) => {
  const state = aState()
  inTransaction(state, (tx) => {
    for (const revision of [1, 2]) {
      const row = aTaskDefinition({ family: 'web', revision })
      tx.put('taskDefinition', `web:${revision}`, { ...row, tags: [{ key: 'Team', value: 'a' }] })
    }
    const task = aTask({ taskId: 'a' })
    tx.put('task', 'a', { ...task, tags: [{ key: 'Team', value: 'b' }] })
    const instance = anInstance({ instanceId: 'i', clusterName: 'prod' })
    tx.put('instance', 'i', instance)
  })
  const [run] = ecs(state, 'RunTask', {
    taskDefinition: 'web',
    enableExecuteCommand: true,
    tags: [{ key: 'k', value: 'v' }],
  })
  t.match(run?.resource, /task-definition\/web:2$/)
  t.same(run?.resourceTags?.(), { Team: 'a' })
  t.match(run?.keys, {
    'ecs:cluster': 'arn:aws:ecs:us-east-1:123456789012:cluster/default',
    'ecs:enable-execute-command': 'true',
    'aws:RequestTag/k': 'v',
    'aws:TagKeys': ['k'],
  })
  t.same(ecs(state, 'StopTask', { task: 'a' })[0]?.resourceTags?.(), { Team: 'b' })
  t.equal(ecs(state, 'StopTask', { task: 'gone' })[0]?.resourceTags?.(), undefined)
  const named = (container?: string) => ecs(state, 'ExecuteCommand', { task: 'a', container })[1]?.keys
  for (const container of [undefined, '', 'app']) {
    t.equal(named(container)?.['ecs:container-name'], 'app', 'the one that the command would run in')
  }
  // A channel is its instance's, whichever cluster its query names.
  const dialling = { action: 'ecs:Poll', cluster: 'other', containerInstance: 'i' } as const
  t.same(asked(channelRow(dialling, state, place)), ['ecs:Poll on container-instance/prod/i'])
})

await test('what is made with tags takes the right to tag, unless root says otherwise', async (t) => {
  const state = aState()
  const input = { cluster: 'prod', serviceName: 'web', tags: [{ key: 'a', value: 'b' }] }
  t.same(asked(ecs(state, 'CreateService', input)), [
    'ecs:CreateService on service/prod/web',
    'ecs:TagResource on service/prod/web',
  ])
  t.equal(ecs(state, 'CreateService', input)[1]?.keys?.['ecs:CreateAction'], 'CreateService')
  const off = (principalArn: string) =>
    inTransaction(state, (tx) =>
      tx.put('accountSetting', `${principalArn}/tagResourceAuthorization`, {
        name: 'tagResourceAuthorization',
        value: 'off',
        principalArn,
      }),
    )
  off('arn:aws:iam::123456789012:user/ann')
  t.equal(ecs(state, 'CreateService', input).length, 2)
  off('arn:aws:iam::123456789012:root')
  t.equal(ecs(state, 'CreateService', input).length, 1)
})

await test('sizes are numbers in whatever form they come, and boundaries are a key of what AWS knows them for', (t) => {
  const state = aState()
  const [put] = ecs(state, 'RegisterTaskDefinition', { family: 'web', cpu: '4 vCPU', memory: '.5 GB' })
  t.match(put?.keys, { 'ecs:task-cpu': '4096', 'ecs:task-memory': '512' })
  t.equal(ecs(state, 'RegisterTaskDefinition', { family: 'web', cpu: 'much' })[0]?.keys?.['ecs:task-cpu'], 'much')
  t.equal(ecs(state, 'RegisterTaskDefinition', { family: 'web' })[0]?.keys?.['ecs:task-cpu'], undefined)

  const permissionsBoundaryArn = 'arn:aws:iam::123456789012:policy/bound'
  inTransaction(state, (tx) =>
    tx.put('user', 'ann', {
      UserName: 'ann',
      UserId: 'GUSRANN',
      Path: '/',
      Arn: 'arn:aws:iam::123456789012:user/ann',
      CreateDate: 0,
      Tags: [],
      inlinePolicies: [],
      attachedPolicyArns: [],
      permissionsBoundaryArn,
    }),
  )
  const boundaryFor = (operation: string) =>
    rowOf('iam', operation)?.({ UserName: 'ann' }, state, place)[0]?.keys?.['iam:PermissionsBoundary']
  for (const operation of ['PutUserPolicy', 'AttachUserPolicy', 'DeleteUserPermissionsBoundary']) {
    t.equal(boundaryFor(operation), permissionsBoundaryArn, operation)
  }
  for (const operation of ['CreateAccessKey', 'DeleteUser', 'TagUser', 'UpdateUser']) {
    t.equal(boundaryFor(operation), undefined, operation)
  }
  t.end()
})
