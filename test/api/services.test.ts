/**
 * Services over the wire: AWS's SDK client and Debian's `aws` command with their waiters as the judges, the sequences of
 * calls that deploy tools make, and calls that are refused while the service that they name goes on.
 */
import {
  type CreateServiceCommandInput,
  CreateServiceCommand,
  DeleteServiceCommand,
  type Deployment,
  DeregisterContainerInstanceCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  ListServicesCommand,
  ListTasksCommand,
  paginateListServices,
  RegisterTaskDefinitionCommand,
  type Service,
  StopTaskCommand,
  UpdateServiceCommand,
  type UpdateServiceCommandInput,
  waitUntilServicesInactive,
  waitUntilServicesStable,
} from '@aws-sdk/client-ecs'
import t, { type Test } from 'tap'
import { startAgentPeer } from '../support/agent-peer.ts'
import { awsCommand } from '../support/aws-command.ts'
import { callEcs, eventually, type RunningController, startController } from '../support/controller.ts'

// Each call of the aws command starts a Python program: on a busy machine that takes seconds.
t.setTimeout(400_000)
let controller = await startController()
t.teardown(() => controller.stop())
let ecs = clientOf(controller)
const aws = awsCommand(controller)
const peer = await startAgentPeer({
  endpoint: controller.endpoint,
  key: controller.agentCredentials,
  gantryProtocol: true,
  cpu: 8192,
  memory: 8192,
})
const patience = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 }
const sleeper = { name: 'main', image: 'busybox', memory: 64, command: ['sleep', '600'] }
for (const family of ['web', 'web', 'odd'] as const) {
  await ecs.send(
    new RegisterTaskDefinitionCommand({
      family,
      containerDefinitions: [sleeper],
      tags: [{ key: 'of', value: family }],
    }),
  )
}

await t.test('a service runs its tasks, is rolled over and goes; the waiters of the SDK see it', async (test) => {
  const created = await create({
    serviceName: 'sdk',
    desiredCount: 3,
    enableECSManagedTags: true,
    propagateTags: 'SERVICE',
    tags: [{ key: 'team', value: 'lab' }],
  })
  const first = created.deployments?.[0]?.id ?? ''
  await stable(test, 'sdk')
  const [running] = await describe('sdk')
  test.match(running, { runningCount: 3, pendingCount: 0, desiredCount: 3, deployments: [{ id: first }] })
  await eventually('the deployment to be complete', async () => {
    const [service] = await describe('sdk')
    return service?.deployments?.[0]?.rolloutState === 'COMPLETED' ? true : undefined
  })
  const tasks = await tasksOf('sdk')
  test.equal(tasks.length, 3)
  const described = await ecs.send(new DescribeTasksCommand({ tasks, include: ['TAGS'] }))
  for (const task of described.tasks ?? []) {
    test.match(task, { startedBy: first, group: 'service:sdk', launchType: 'EXTERNAL', lastStatus: 'RUNNING' })
    test.same(Object.fromEntries((task.tags ?? []).map(({ key = '', value }) => [key, value])), {
      team: 'lab',
      'aws:ecs:clusterName': 'default',
      'aws:ecs:serviceName': 'sdk',
    })
  }
  const messages = ((await describe('sdk'))[0]?.events ?? []).map(({ message = '' }) => message)
  const text = messages.toReversed().join('\n')
  test.match(
    text,
    /\(service sdk\) has started 3 tasks: \(task [0-9a-f]{32}\) \(task [0-9a-f]{32}\) \(task [0-9a-f]{32}\)\./,
  )
  test.match(text, /\(service sdk\) has reached a steady state\./)

  const updated = await update({ service: 'sdk', taskDefinition: 'web:2' })
  test.match(updated.deployments, [
    { status: 'PRIMARY', taskDefinition: /web:2$/ },
    { id: first, status: 'ACTIVE' },
  ])
  await stable(test, 'sdk')
  const renewed = await tasksOf('sdk')
  test.equal(renewed.length, 3)
  test.notOk(
    renewed.some((task) => tasks.includes(task)),
    'none of the former tasks is left',
  )
  const ended = await ecs.send(new DescribeTasksCommand({ tasks }))
  for (const task of ended.tasks ?? []) {
    test.match(task, {
      stopCode: 'ServiceSchedulerInitiated',
      stoppedReason: /^Scaling activity initiated by \(deployment ecs-svc\/[0-9]{19}\)$/,
    })
  }

  const removed = await ecs.send(new DeleteServiceCommand({ service: 'sdk', force: true }))
  test.match(removed.service, { status: 'DRAINING', desiredCount: 0 })
  const inactive = await waitUntilServicesInactive({ client: ecs, ...patience }, { services: ['sdk'] })
  test.equal(inactive.state, 'SUCCESS')
  test.match(await describe('sdk'), [{ status: 'INACTIVE', runningCount: 0, deployments: [] }])
  test.same(await tasksOf('sdk'), [])
  test.match(await create({ serviceName: 'sdk', desiredCount: 0 }), { status: 'ACTIVE' }, 'its name is free again')
  await remove('sdk')
})

await t.test('a stopped task is replaced; scaling and two updates at once settle', async (test) => {
  await create({ serviceName: 'churn', desiredCount: 2 })
  await stable(test, 'churn')
  const [victim = ''] = await tasksOf('churn')
  await ecs.send(new StopTaskCommand({ task: victim, reason: 'by hand' }))
  const replaced = await tasksComeTo('churn', 2)
  test.notOk(replaced.includes(victim))
  const stopped = await ecs.send(new DescribeTasksCommand({ tasks: [victim] }))
  test.match(stopped.tasks, [{ stopCode: 'UserInitiated', stoppedReason: 'by hand' }])

  test.match(await update({ service: 'churn', desiredCount: 4 }), { desiredCount: 4, deployments: [{}] })
  await stable(test, 'churn')
  test.match(await describe('churn'), [{ runningCount: 4 }])

  const answers = await Promise.all([
    update({ service: 'churn', taskDefinition: 'web:2' }),
    update({ service: 'churn', taskDefinition: 'odd' }),
  ])
  const [service] = await describe('churn')
  test.equal(withStatus(service, 'PRIMARY').length, 1)
  test.ok(answers.some(({ deployments }) => deployments?.[0]?.id === withStatus(service, 'PRIMARY')[0]?.id))
  await stable(test, 'churn')
  const [settled] = await describe('churn')
  test.match(settled, { runningCount: 4, taskDefinition: service?.taskDefinition })
  const tasks = await ecs.send(new DescribeTasksCommand({ tasks: await tasksOf('churn') }))
  for (const task of tasks.tasks ?? []) test.equal(task.taskDefinitionArn, service?.taskDefinition)

  test.match(await update({ service: 'churn', desiredCount: 1 }), { desiredCount: 1 })
  await stable(test, 'churn')
  await remove('churn')
})

await t.test('lists by page, and tasks by service', async (test) => {
  const names = Array.from({ length: 12 }, (_, index) => `page-${String(index).padStart(2, '0')}`)
  for (const serviceName of names) await create({ serviceName, desiredCount: 0 })
  const first = await ecs.send(new ListServicesCommand({}))
  test.equal(first.serviceArns?.length, 10)
  const arns: string[] = []
  for await (const page of paginateListServices({ client: ecs, pageSize: 5 }, {}))
    arns.push(...(page.serviceArns ?? []))
  test.same(
    arns.map((arn) => arn.split('/').at(-1)),
    names,
  )
  await test.rejects(ecs.send(new ListTasksCommand({ serviceName: 'nobody' })), { name: 'ServiceNotFoundException' })
  for (const service of names) await ecs.send(new DeleteServiceCommand({ service }))
})

await t.test('the aws command: create, wait, roll, scale down, delete, wait', async (test) => {
  const made = await aws('ecs', 'create-service', '--service-name', 'cli', '--task-definition', 'web:1', ...count(2))
  test.match(made, { service: { serviceName: 'cli', status: 'ACTIVE', desiredCount: 2 } })
  await aws('ecs', 'wait', 'services-stable', '--services', 'cli')
  test.match(await aws('ecs', 'describe-services', '--services', 'cli'), {
    services: [{ runningCount: 2, deployments: [{ status: 'PRIMARY' }] }],
    failures: [],
  })
  // The command looks again only after 15 seconds: from here on it is asked when there is something to see.
  await aws('ecs', 'update-service', '--service', 'cli', '--force-new-deployment')
  await stable(test, 'cli')
  await aws('ecs', 'wait', 'services-stable', '--services', 'cli')
  test.match(await aws('ecs', 'list-services', '--scheduling-strategy', 'REPLICA'), { serviceArns: [/\/cli$/] })
  await test.rejects(aws('ecs', 'delete-service', '--service', 'cli'), /cannot be stopped while it is scaled above 0/)
  await aws('ecs', 'update-service', '--service', 'cli', ...count(0))
  await stable(test, 'cli')
  await aws('ecs', 'wait', 'services-stable', '--services', 'cli')
  test.match(await aws('ecs', 'delete-service', '--service', 'cli'), { service: { desiredCount: 0 } })
  await aws('ecs', 'wait', 'services-inactive', '--services', 'cli')
  test.match(await aws('ecs', 'describe-services', '--services', 'cli', 'nobody'), {
    services: [{ status: 'INACTIVE' }],
    failures: [{ reason: 'MISSING' }],
  })
  await test.rejects(aws('ecs', 'update-service', '--service', 'cli'), /\(ServiceNotActiveException\)/)
})

await t.test('the calls of Terraform, and of a deploy tool that sends nulls', async (test) => {
  const tags = [{ key: 'managed-by', value: 'terraform' }]
  await call('CreateCluster', { clusterName: 'tf', tags })
  const include = ['TAGS', 'CONFIGURATIONS', 'SETTINGS']
  test.match(await call('DescribeClusters', { clusters: ['tf'], include }), { clusters: [{ status: 'ACTIVE', tags }] })
  const inCluster = { cluster: 'arn:aws:ecs:us-east-1:123456789012:cluster/tf' }
  const asked = {
    deploymentConfiguration: {
      deploymentCircuitBreaker: { enable: true, rollback: true },
      maximumPercent: 200,
      minimumHealthyPercent: 100,
    },
    deploymentController: { type: 'ECS' },
    desiredCount: 0,
    enableECSManagedTags: false,
    enableExecuteCommand: false,
    launchType: 'EC2',
    placementConstraints: [{ type: 'distinctInstance' }],
    placementStrategy: [{ type: 'spread', field: 'attribute:ecs.availability-zone' }],
    schedulingStrategy: 'REPLICA',
    tags,
  }
  const serviceName = 'app'
  await call('CreateService', {
    ...inCluster,
    ...asked,
    serviceName,
    taskDefinition: 'web:1',
    clientToken: 'terraform-20261121000000000000000001',
  })
  const refresh = { ...inCluster, services: [serviceName], include: ['TAGS'] }
  const planned = { status: 'ACTIVE', ...asked, taskDefinition: /task-definition\/web:1$/ }
  test.match(await call('DescribeServices', refresh), { services: [planned], failures: [] }, 'the next plan is empty')
  await call('UpdateService', {
    ...inCluster,
    service: serviceName,
    taskDefinition: 'web:2',
    desiredCount: 1,
    forceNewDeployment: false,
    deploymentConfiguration: asked.deploymentConfiguration,
    capacityProviderStrategy: null,
    networkConfiguration: null,
    platformVersion: null,
    healthCheckGracePeriodSeconds: null,
    loadBalancers: null,
    serviceConnectConfiguration: null,
  })
  test.match(await call('DescribeServices', refresh), {
    services: [{ desiredCount: 1, taskDefinition: /web:2$/, deployments: [{ status: 'PRIMARY' }] }],
  })
  await test.rejects(call('DeleteCluster', inCluster), /ClusterContainsServicesException/)
  await call('UpdateService', { ...inCluster, service: serviceName, desiredCount: 0 })
  await eventually('the deletion to be taken', () =>
    call('DeleteService', { ...inCluster, service: serviceName, force: null }).catch((error: unknown) => {
      if (String(error).includes('The service cannot be stopped while deployments are active.')) return undefined
      throw error
    }),
  )
  await eventually('the service to be gone', async () => {
    const { services } = await call('DescribeServices', refresh)
    return (services as readonly Service[])[0]?.status === 'INACTIVE' ? true : undefined
  })
  test.match(await call('DeleteCluster', inCluster), { cluster: { status: 'INACTIVE' } })
})

await t.test('calls that are refused, while the service that they name goes on', async (test) => {
  await create({ serviceName: 'calm', desiredCount: 1 })
  await stable(test, 'calm')
  const tasks = await tasksOf('calm')
  const before = await describe('calm')
  const cases: readonly (readonly [string, object, string, RegExp])[] = [
    ['UpdateService', { desiredCount: -1 }, 'InvalidParameterException', /desiredCount/],
    ['UpdateService', { desiredCount: 1e9 }, 'InvalidParameterException', /desiredCount/],
    ['UpdateService', { desiredCount: 'two' }, 'SerializationException', /desiredCount/],
    ['UpdateService', { taskDefinition: 'nobody' }, 'ClientException', /TaskDefinition not found/],
    ['UpdateService', { cluster: 'nowhere' }, 'ClusterNotFoundException', /Cluster not found/],
    ['UpdateService', { service: 'nobody' }, 'ServiceNotFoundException', /Service not found/],
    ['UpdateService', { deploymentConfiguration: { maximumPercent: 100 } }, 'InvalidParameterException', /100 as this/],
    ['UpdateService', { deploymentConfiguration: { strategy: 'GREEN' } }, 'InvalidParameterException', /strategy/],
    ['UpdateService', { deploymentConfiguration: { strategy: 'CANARY' } }, 'UnsupportedFeatureException', /CANARY/],
    ['UpdateService', { placementStrategy: {} }, 'SerializationException', /placementStrategy/],
    [
      'UpdateService',
      { placementStrategy: [{ type: 'spread', field: 'attributes:rack' }] },
      'InvalidParameterException',
      /attribute:/,
    ],
    ['UpdateService', { placementConstraints: [{ type: 'spread' }] }, 'InvalidParameterException', /type/],
    [
      'UpdateService',
      { placementConstraints: [{ type: 'memberOf', expression: 'attribute:rack ==' }] },
      'InvalidParameterException',
      /expression/i,
    ],
    ['CreateService', { serviceName: 'calm', desiredCount: 9 }, 'InvalidParameterException', /not idempotent/],
    ['CreateService', { desiredCount: 1 }, 'InvalidParameterException', /serviceName/],
    ['CreateService', { serviceName: 'other', launchType: 'FARGATE', desiredCount: 1 }, 'UnsupportedFea', /FARGATE/],
    ['DeleteService', {}, 'InvalidParameterException', /scaled above 0/],
    ['DescribeServices', { services: Array.from({ length: 11 }, () => 'calm') }, 'InvalidParameterException', /10/],
    ['ListServices', { nextToken: 'x' }, 'InvalidParameterException', /token/i],
  ]
  for (const [operation, input, code, message] of cases) {
    const whole = { ...(operation === 'CreateService' ? { taskDefinition: 'web:1' } : { service: 'calm' }), ...input }
    const { status, json, text } = await callEcs(controller.endpoint, controller.credentials, operation, whole)
    test.equal(status, 400, `${operation} ${JSON.stringify(input)}: ${text}`)
    test.match(json['__type'], code)
    test.match(text, message)
  }
  const asAgent = await callEcs(controller.endpoint, controller.agentCredentials, 'DeleteService', { service: 'calm' })
  test.match(asAgent.json['__type'], 'AccessDeniedException', "an agent's key is for agents' calls")
  test.same(await describe('calm'), before)
  test.same(await tasksOf('calm'), tasks)
})

await t.test('what can not go on says why, and goes on once that is mended', async (test) => {
  const portMappings = [{ containerPort: 80, hostPort: 8080 }]
  const containerDefinitions = [{ ...sleeper, portMappings }]
  await ecs.send(new RegisterTaskDefinitionCommand({ family: 'port', containerDefinitions }))
  const half = { minimumHealthyPercent: 50, maximumPercent: 150 }
  await create({ serviceName: 'torn', desiredCount: 1, placementConstraints: [onRack('a'), onRack('b')] })
  await create({ serviceName: 'port', desiredCount: 1, taskDefinition: 'port' })
  await create({ serviceName: 'tight', desiredCount: 1, deploymentConfiguration: half })
  await stable(test, 'port')
  await stable(test, 'tight')
  for (const service of ['port', 'tight']) await update({ service, forceNewDeployment: true })
  await says('torn', /was unable to place a task .* no instance can meet both attribute:rack == a and == b/)
  await says('port', /was unable to place a task .* already using a port required by your task/)
  await says(
    'tight',
    /was unable to stop or start tasks during a deployment .* desiredCount 1, minimumHealthyPercent 50/,
  )

  await update({ service: 'torn', placementConstraints: [] })
  await update({ service: 'port', deploymentConfiguration: { minimumHealthyPercent: 0 } })
  await update({ service: 'tight', desiredCount: 2 })
  for (const service of ['torn', 'port', 'tight']) await stable(test, service)

  await update({ service: 'port', forceNewDeployment: true })
  await remove('port')
  test.match(await describe('port'), [{ status: 'INACTIVE', deployments: [] }], 'deleted in the middle of a deployment')
  for (const service of ['torn', 'tight']) await remove(service)
})

await t.test('a daemon comes to each new instance by itself', async (test) => {
  await create({ serviceName: 'daemon', schedulingStrategy: 'DAEMON', desiredCount: undefined })
  const [only = ''] = await tasksComeTo('daemon', 1)
  const second = await startAgentPeer({
    endpoint: controller.endpoint,
    key: controller.agentCredentials,
    gantryProtocol: true,
  })
  const both = await tasksComeTo('daemon', 2)
  test.ok(both.includes(only))
  await stable(test, 'daemon')
  test.match(await describe('daemon'), [{ desiredCount: 2, runningCount: 2 }])
  await ecs.send(new DeleteServiceCommand({ service: 'daemon' }))
  await waitUntilServicesInactive({ client: ecs, ...patience }, { services: ['daemon'] })
  await second.disconnect('close')
  const containerInstance = second.instanceArn
  await ecs.send(new DeregisterContainerInstanceCommand({ containerInstance, force: true }))
})

await t.test('a controller that was killed finds its services, and replaces nothing', async (test) => {
  const tasks = await tasksOf('calm')
  const before = await describe('calm')
  await controller.kill9()
  controller = await startController({ dataDir: controller.dataDir, port: controller.port })
  ecs = clientOf(controller)
  await peer.connect(true)
  await stable(test, 'calm')
  test.same(await tasksOf('calm'), tasks)
  test.match(await describe('calm'), [{ deployments: [{ id: before[0]?.deployments?.[0]?.id }] }])
  await update({ service: 'calm', desiredCount: 2 })
  await stable(test, 'calm')
  const scaled = await tasksOf('calm')
  test.equal(scaled.length, 2)
  test.ok(tasks.every((task) => scaled.includes(task)))
})

/** Without the SDK: with nulls, and with exactly these members. Rejects with the error's code and text. */
async function call(operation: string, input: object): Promise<Readonly<Record<string, unknown>>> {
  const { status, json, text } = await callEcs(controller.endpoint, controller.credentials, operation, input)
  if (status !== 200) throw new Error(`${String(json['__type'])}: ${text}`)
  return json
}

async function stable(test: Test, service: string): Promise<void> {
  const { state } = await waitUntilServicesStable({ client: ecs, ...patience }, { services: [service] })
  test.equal(state, 'SUCCESS', `${service} is stable`)
}

function onRack(rack: string): { readonly type: 'memberOf'; readonly expression: string } {
  return { type: 'memberOf', expression: `attribute:rack == ${rack}` }
}

/** Waits until that many tasks of the service are wanted RUNNING. */
function tasksComeTo(service: string, wanted: number): Promise<readonly string[]> {
  return eventually(`${wanted} tasks of ${service}`, async () => {
    const tasks = await tasksOf(service)
    return tasks.length === wanted ? tasks : undefined
  })
}

/** Waits for an event of the service. */
function says(service: string, message: RegExp): Promise<string> {
  return eventually(`${service} to say ${message.source}`, async () => {
    const [shown] = await describe(service)
    return shown?.events?.map((event) => event.message ?? '').find((text) => message.test(text))
  })
}

async function create(input: Partial<CreateServiceCommandInput>): Promise<Service> {
  const { service } = await ecs.send(
    new CreateServiceCommand({ serviceName: undefined, taskDefinition: 'web:1', ...input }),
  )
  if (service === undefined) throw new Error('CreateService answered no service')
  return service
}

async function update(input: UpdateServiceCommandInput): Promise<Service> {
  const { service } = await ecs.send(new UpdateServiceCommand(input))
  if (service === undefined) throw new Error('UpdateService answered no service')
  return service
}

async function describe(...services: string[]): Promise<readonly Service[]> {
  return (await ecs.send(new DescribeServicesCommand({ services }))).services ?? []
}

async function remove(service: string): Promise<void> {
  await ecs.send(new DeleteServiceCommand({ service, force: true }))
  await waitUntilServicesInactive({ client: ecs, ...patience }, { services: [service] })
}

/** The service's tasks that are wanted RUNNING, in the order of their ARNs. */
async function tasksOf(serviceName: string): Promise<string[]> {
  return ((await ecs.send(new ListTasksCommand({ serviceName }))).taskArns ?? []).toSorted()
}

function withStatus(service: Service | undefined, status: string): readonly Deployment[] {
  return (service?.deployments ?? []).filter((deployment) => deployment.status === status)
}

function count(desiredCount: number): readonly string[] {
  return ['--desired-count', String(desiredCount)]
}

function clientOf({ endpoint, credentials }: RunningController): ECSClient {
  const client = new ECSClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
  t.teardown(() => client.destroy())
  return client
}
