/**
 * Task sets and task protection over the wire: AWS's SDK client and Debian's `aws` command as the judges, and a controller
 * that is killed in between.
 */
import {
  CreateServiceCommand,
  CreateTaskSetCommand,
  DeleteServiceCommand,
  DeleteTaskSetCommand,
  DescribeServicesCommand,
  DescribeTaskSetsCommand,
  DescribeTasksCommand,
  ECSClient,
  GetTaskProtectionCommand,
  ListTagsForResourceCommand,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  type Service,
  TagResourceCommand,
  type TaskSet,
  UpdateServiceCommand,
  UpdateServicePrimaryTaskSetCommand,
  UpdateTaskProtectionCommand,
  UpdateTaskSetCommand,
  waitUntilServicesInactive,
  waitUntilServicesStable,
} from '@aws-sdk/client-ecs'
import t, { type Test } from 'tap'
import { startAgentPeer } from '../support/agent-peer.ts'
import { awsCommand } from '../support/aws-command.ts'
import { eventually, getRest, type RunningController, startController } from '../support/controller.ts'

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
const cluster = 'default'
const patience = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 }
for (const image of ['one', 'two']) {
  const containerDefinitions = [{ name: 'main', image, memory: 64, command: ['sleep', '600'] }]
  await ecs.send(new RegisterTaskDefinitionCommand({ family: 'web', containerDefinitions }))
}
const external = ['--deployment-controller', 'type=EXTERNAL']
const half = { value: 50, unit: 'PERCENT' } as const
const whole = { value: 100, unit: 'PERCENT' } as const

await t.test('a service of task sets: two of them, scaled, the primary switched, one deleted', async (test) => {
  const service = 'sets'
  const made = await ecs.send(
    new CreateServiceCommand({
      serviceName: service,
      desiredCount: 3,
      deploymentController: { type: 'EXTERNAL' },
      enableECSManagedTags: true,
    }),
  )
  test.match(made.service, {
    deploymentController: { type: 'EXTERNAL' },
    deployments: [],
    taskSets: [],
    desiredCount: 3,
  })
  const { taskSet: one = {} } = await ecs.send(
    new CreateTaskSetCommand({
      cluster,
      service,
      taskDefinition: 'web:1',
      scale: whole,
      externalId: 'release-1',
      tags: [{ key: 'release', value: '1' }],
    }),
  )
  test.match(one, {
    id: /^ecs-svc\/\d{19}$/,
    taskSetArn: /^arn:aws:ecs:us-east-1:123456789012:task-set\/default\/sets\/ecs-svc\/\d{19}$/,
    serviceArn: /service\/default\/sets$/,
    clusterArn: /cluster\/default$/,
    status: 'ACTIVE',
    taskDefinition: /web:1$/,
    externalId: 'release-1',
    computedDesiredCount: 3,
    stabilityStatus: 'STABILIZING',
    tags: [{ key: 'release', value: '1' }],
  })
  test.ok(one.createdAt instanceof Date && one.stabilityStatusAt instanceof Date)
  await steady(service, one)
  await ecs.send(new UpdateServicePrimaryTaskSetCommand({ cluster, service, primaryTaskSet: one.taskSetArn }))
  const { taskSet: two = {} } = await ecs.send(
    new CreateTaskSetCommand({ cluster, service, taskDefinition: 'web:2', scale: half }),
  )
  const grown = await steady(service, two)
  test.match(grown, { computedDesiredCount: 2, runningCount: 2, pendingCount: 0 }, 'half of three is two: rounded up')
  test.match(await serviceOf(service), { runningCount: 5, pendingCount: 0, taskDefinition: /web:1$/ })
  const tasks = await tasksOf(service)
  const described = await ecs.send(new DescribeTasksCommand({ tasks, include: ['TAGS'] }))
  for (const task of described.tasks ?? []) {
    test.match(task, { group: 'service:sets', lastStatus: 'RUNNING' })
    test.equal(task.startedBy, task.taskDefinitionArn?.endsWith('web:1') === true ? one.id : two.id)
    test.ok(task.tags?.some(({ key, value }) => key === 'aws:ecs:serviceName' && value === service))
  }

  const { taskSet: scaled } = await ecs.send(
    new UpdateTaskSetCommand({ cluster, service, taskSet: two.id, scale: whole }),
  )
  test.match(scaled, { scale: { value: 100 }, computedDesiredCount: 3, stabilityStatus: 'STABILIZING' })
  await steady(service, two)
  const { taskSet: primary } = await ecs.send(
    new UpdateServicePrimaryTaskSetCommand({ cluster, service, primaryTaskSet: two.id }),
  )
  test.match(primary, { id: two.id, status: 'PRIMARY' })
  test.match(await serviceOf(service), {
    taskDefinition: /web:2$/,
    taskSets: [
      { id: two.id, status: 'PRIMARY' },
      { id: one.id, status: 'ACTIVE' },
    ],
  })
  await test.rejects(ecs.send(new DeleteTaskSetCommand({ cluster, service, taskSet: two.id })), {
    name: 'InvalidParameterException',
    message: /^Primary TaskSet cannot be deleted/,
  })
  await test.rejects(ecs.send(new DeleteTaskSetCommand({ cluster, service, taskSet: one.id })), {
    message: /cannot be deleted while it is scaled above 0/,
  })
  const { taskSet: going } = await ecs.send(
    new DeleteTaskSetCommand({ cluster, service, taskSet: one.taskSetArn, force: true }),
  )
  test.match(going, { status: 'DRAINING', computedDesiredCount: 0 })
  await gone(service, one)
  test.match(await serviceOf(service), { runningCount: 3, taskSets: [{ id: two.id, runningCount: 3 }] })
  const messages = ((await serviceOf(service)).events ?? []).map(({ message = '' }) => message)
  test.ok(messages.some((text) => text.startsWith(`(service sets, taskSet ${one.id}) has started 3 tasks: (task `)))
  test.ok(messages.includes(`(service sets, taskSet ${two.id}) has reached a steady state.`))

  const tags = [{ key: 'late', value: 'yes' }]
  await ecs.send(new TagResourceCommand({ resourceArn: two.taskSetArn, tags }))
  test.same((await ecs.send(new ListTagsForResourceCommand({ resourceArn: two.taskSetArn }))).tags, tags)
})

await t.test('a controller that was killed goes on with its task sets, and replaces nothing', async (test) => {
  const before = await tasksOf('sets')
  const [primary = {}] = (await serviceOf('sets')).taskSets ?? []
  await controller.kill9()
  controller = await startController({ dataDir: controller.dataDir, port: controller.port })
  ecs = clientOf(controller)
  await peer.connect(true)
  await steady('sets', primary)
  test.same(await tasksOf('sets'), before)
  await ecs.send(new UpdateServiceCommand({ service: 'sets', desiredCount: 4 }))
  test.match(await steady('sets', primary), { runningCount: 4, computedDesiredCount: 4, status: 'PRIMARY' })
  await test.rejects(ecs.send(new DeleteServiceCommand({ service: 'sets' })), { message: /scaled above 0/ })
  const { service } = await ecs.send(new DeleteServiceCommand({ service: 'sets', force: true }))
  test.match(service, { status: 'DRAINING' })
  await waitUntilServicesInactive({ client: ecs, ...patience }, { services: ['sets'] })
  test.match(await serviceOf('sets'), { status: 'INACTIVE', runningCount: 0 })
})

await t.test('task sets by the aws command', async (test) => {
  await aws('ecs', 'create-service', '--service-name', 'cli', '--desired-count', '2', ...external)
  const named = ['--cluster', cluster, '--service', 'cli']
  const made = await aws('ecs', 'create-task-set', ...named, '--task-definition', 'web:1')
  test.match(made, { taskSet: { scale: { value: 0, unit: 'PERCENT' }, computedDesiredCount: 0, runningCount: 0 } })
  const taskSet = ['--task-set', (made['taskSet'] as TaskSet).id ?? '']
  const scale = ['--scale', 'value=50,unit=PERCENT']
  test.match(await aws('ecs', 'update-task-set', ...named, ...taskSet, ...scale), {
    taskSet: { computedDesiredCount: 1 },
  })
  await steady('cli', made['taskSet'] as TaskSet)
  test.match(await aws('ecs', 'describe-task-sets', ...named, '--task-sets', taskSet[1] ?? ''), {
    taskSets: [{ runningCount: 1, stabilityStatus: 'STEADY_STATE', createdAt: /^20/ }],
    failures: [],
  })
  await test.rejects(aws('ecs', 'describe-task-sets', ...named), /TaskSets cannot be empty\./)
  await aws('ecs', 'update-service-primary-task-set', ...named, '--primary-task-set', taskSet[1] ?? '')
  await aws('ecs', 'delete-task-set', ...named, ...taskSet, '--force')
  await gone('cli', made['taskSet'] as TaskSet)
  await aws('ecs', 'update-service', '--service', 'cli', '--desired-count', '0')
  test.match(await aws('ecs', 'delete-service', '--service', 'cli'), { service: { desiredCount: 0 } })
  await waitUntilServicesInactive({ client: ecs, ...patience }, { services: ['cli'] })
})

await t.test('protected tasks outlast scale-in and a rollout, by the SDK and by the aws command', async (test) => {
  const service = 'kept'
  await ecs.send(new CreateServiceCommand({ serviceName: service, taskDefinition: 'web:1', desiredCount: 3 }))
  await stable(test, service)
  const tasks = await tasksOf(service)
  const [kept = '', ...others] = tasks
  const { tasks: [standalone] = [] } = await ecs.send(new RunTaskCommand({ taskDefinition: 'web:1' }))
  const answer = await ecs.send(
    new UpdateTaskProtectionCommand({
      cluster,
      tasks: [kept, standalone?.taskArn ?? '', 'nobody'],
      protectionEnabled: true,
      expiresInMinutes: 60,
    }),
  )
  test.match(answer, {
    protectedTasks: [{ taskArn: kept, protectionEnabled: true }],
    failures: [
      { arn: standalone?.taskArn, reason: 'TASK_NOT_VALID' },
      { arn: /nobody$/, reason: 'MISSING' },
    ],
  })
  const inMinutes = ((answer.protectedTasks?.[0]?.expirationDate?.getTime() ?? 0) - Date.now()) / 60_000
  test.ok(inMinutes > 58 && inMinutes <= 60, `protected for another ${inMinutes} minutes`)

  await ecs.send(new UpdateServiceCommand({ service, desiredCount: 1 }))
  await stable(test, service)
  test.same(await tasksOf(service), [kept], 'the others went')
  await ecs.send(new UpdateServiceCommand({ service, taskDefinition: 'web:2' }))
  const until = answer.protectedTasks?.[0]?.expirationDate?.toISOString() ?? ''
  await eventually('the rollout to wait for the protected task', async () => {
    const { events = [] } = await serviceOf(service)
    return events.find(({ message = '' }) => message.includes('scale-in protection') && message.includes(until))
  })
  const why = await getRest(controller.endpoint, controller.credentials, `/v1/services/${cluster}/${service}/why`)
  test.match(why.json, { state: 'stuck', summary: new RegExp(`protected, the last until ${until}`) })
  const blocked = await ecs.send(
    new UpdateTaskProtectionCommand({
      cluster,
      tasks: (await tasksOf(service)).filter((task) => task !== kept),
      protectionEnabled: true,
    }),
  )
  test.match(blocked.failures, [{ reason: 'DEPLOYMENT_BLOCKED', detail: /1 tasks are protected already, and 1 are/ }])

  const named = ['--cluster', cluster, '--tasks', kept]
  test.match(await aws('ecs', 'get-task-protection', ...named), {
    protectedTasks: [{ taskArn: kept, protectionEnabled: true, expirationDate: /^20/ }],
    failures: [],
  })
  const longer = ['--protection-enabled', '--expires-in-minutes', '2880']
  test.match(await aws('ecs', 'update-task-protection', ...named, ...longer), { protectedTasks: [{ taskArn: kept }] })
  test.match(await aws('ecs', 'update-task-protection', ...named, '--no-protection-enabled'), {
    protectedTasks: [{ taskArn: kept, protectionEnabled: false }],
  })
  await stable(test, service)
  test.notOk((await tasksOf(service)).includes(kept), 'the rollout went on at once')
  const past = await ecs.send(new GetTaskProtectionCommand({ cluster, tasks: [kept, ...others] }))
  test.match(past, { failures: [], protectedTasks: [kept, ...others].map(() => ({ protectionEnabled: false })) })
  await test.rejects(
    ecs.send(new UpdateTaskProtectionCommand({ cluster, tasks: [kept], protectionEnabled: true, expiresInMinutes: 0 })),
    { name: 'InvalidParameterException', message: /from 1 to 2880/ },
  )
  await ecs.send(new DeleteServiceCommand({ service, force: true }))
})

/** Waits until the task set has what it is to have. */
function steady(service: string, { id = '' }: TaskSet): Promise<TaskSet> {
  return eventually(`task set ${id} of ${service} to be steady`, async () => {
    const { taskSets } = await ecs.send(new DescribeTaskSetsCommand({ cluster, service, taskSets: [id] }))
    return taskSets?.find(({ stabilityStatus }) => stabilityStatus === 'STEADY_STATE')
  })
}

function gone(service: string, { id = '' }: TaskSet): Promise<true> {
  return eventually(`task set ${id} of ${service} to be gone`, async () => {
    const { failures } = await ecs.send(new DescribeTaskSetsCommand({ cluster, service, taskSets: [id] }))
    return failures?.[0]?.reason === 'MISSING' ? true : undefined
  })
}

async function stable(test: Test, service: string): Promise<void> {
  const { state } = await waitUntilServicesStable({ client: ecs, ...patience }, { services: [service] })
  test.equal(state, 'SUCCESS', `${service} is stable`)
}

async function serviceOf(name: string): Promise<Service> {
  const { services } = await ecs.send(new DescribeServicesCommand({ services: [name] }))
  return services?.[0] ?? {}
}

async function tasksOf(serviceName: string): Promise<string[]> {
  const { taskArns } = await ecs.send(new ListTasksCommand({ serviceName }))
  return (taskArns ?? []).toSorted()
}

function clientOf({ endpoint, credentials }: RunningController): ECSClient {
  const client = new ECSClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
  t.teardown(() => client.destroy())
  return client
}
