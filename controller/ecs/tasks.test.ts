import t from 'tap'
import {
  aCall,
  aCluster,
  aService,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  anInstance,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { isApiError } from '../../proto/errors.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import { createState, type State } from '../state/state.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { describeInstance } from './instances.ts'
import { describeTask, taskHandlers } from './tasks.ts'

const world = aWorld(42)

function runTask(state: State, input: Partial<Input<'RunTask'>> = {}, now = testNow): Output<'RunTask'> {
  const whole = { taskDefinition: 'web', ...input }
  return inTransaction(state, (tx) => taskHandlers.RunTask.handle(tx, whole, aCall({ now }), world))
}

function startTask(state: State, input: Partial<Input<'StartTask'>>): Output<'StartTask'> {
  const whole = { taskDefinition: 'web', containerInstances: ['1'], ...input }
  return inTransaction(state, (tx) => taskHandlers.StartTask.handle(tx, whole, aCall(), world))
}

function stopTask(state: State, input: Input<'StopTask'>, now = testNow + 1000): Output<'StopTask'> {
  return inTransaction(state, (tx) => taskHandlers.StopTask.handle(tx, input, aCall({ now }), world))
}

function describeTasks(state: State, input: Input<'DescribeTasks'>): Output<'DescribeTasks'> {
  return taskHandlers.DescribeTasks.handle(state, input, aCall(), world)
}

function listTasks(state: State, input: Input<'ListTasks'> = {}): Output<'ListTasks'> {
  return taskHandlers.ListTasks.handle(state, input, aCall(), world)
}

/** `code: message` of what `act` is refused with; `not refused` where it is taken. */
function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (isApiError(error)) return `${error.code}: ${error.message}`
    throw error
  }
  return 'not refused'
}

function host(instanceId: string, over: Partial<InstanceRow> = {}): InstanceRow {
  return anInstance({ instanceId, registeredAt: testNow - 1000 + Number(instanceId), ...over })
}

function withHosts(...instance: InstanceRow[]): State {
  return aState({ instance, taskDefinition: [aTaskDefinition()] })
}

const external = { launchType: 'EXTERNAL' as const }

await t.test('RunTask answers a task as ECS shows it', async (test) => {
  const state = withHosts(host('1'))
  const { tasks = [], failures } = runTask(state, {
    startedBy: 'me',
    tags: [{ key: 'team', value: 'lab' }],
    overrides: { containerOverrides: [{ name: 'app', command: ['sleep', '1'], cpu: 128 }] },
  })
  test.same(failures, [])
  const [task] = tasks
  const taskId = task?.taskArn?.split('/').at(-1) ?? ''
  test.match(taskId, /^[0-9a-f]{32}$/)
  test.match(task, {
    taskArn: `arn:aws:ecs:us-east-1:123456789012:task/default/${taskId}`,
    clusterArn: 'arn:aws:ecs:us-east-1:123456789012:cluster/default',
    containerInstanceArn: 'arn:aws:ecs:us-east-1:123456789012:container-instance/default/1',
    taskDefinitionArn: 'arn:aws:ecs:us-east-1:123456789012:task-definition/web:1',
    group: 'family:web',
    startedBy: 'me',
    launchType: 'EC2',
    availabilityZone: 'us-east-1a',
    attributes: [{ name: 'ecs.cpu-architecture', value: 'x86_64' }],
    lastStatus: 'PENDING',
    desiredStatus: 'RUNNING',
    healthStatus: 'UNKNOWN',
    connectivity: 'CONNECTED',
    cpu: '128',
    memory: '512',
    version: 1,
    createdAt: testNow,
    enableExecuteCommand: false,
    tags: [{ key: 'team', value: 'lab' }],
    overrides: {
      containerOverrides: [{ name: 'app', command: ['sleep', '1'], cpu: 128 }],
      inferenceAcceleratorOverrides: [],
    },
  })
  test.same(task?.attachments, [])
  test.notOk(task !== undefined && 'platformFamily' in task, 'the platform is a matter of Fargate')
  const [container] = task?.containers ?? []
  const containerId = container?.containerArn?.split('/').at(-1) ?? ''
  test.match(containerId, /^[0-9a-f]{8}-[0-9a-f]{4}-4/)
  test.same(container, {
    containerArn: `arn:aws:ecs:us-east-1:123456789012:container/default/${taskId}/${containerId}`,
    taskArn: task?.taskArn,
    name: 'app',
    image: 'busybox:latest',
    lastStatus: 'PENDING',
    networkBindings: [],
    networkInterfaces: [],
    managedAgents: [],
    healthStatus: 'UNKNOWN',
    cpu: '128',
    memory: '512',
    gpuIds: [],
  })
  const row = state.get('task', taskId)
  test.match(row, { seqNum: 0, acknowledgedSeqNum: 0, reserved: { cpuUnits: 128, memoryMiB: 512 } })
  const described = describeTasks(state, { tasks: [taskId] }).tasks?.[0]
  test.notOk(described !== undefined && 'tags' in described, 'tags are not there unless they are asked for')
})

await t.test('tasks of one call see each other', async (test) => {
  const definition = aTaskDefinition({
    containerDefinitions: [
      {
        name: 'app',
        image: 'busybox',
        memory: 64,
        portMappings: [{ containerPort: 80, hostPort: 80, protocol: 'tcp' }],
      },
    ],
  })
  const state = aState({ instance: [host('1'), host('2')], taskDefinition: [definition] })
  const { tasks = [], failures = [] } = runTask(state, { count: 3 })
  test.same(new Set(tasks.map((task) => task.containerInstanceArn?.at(-1))), new Set(['1', '2']))
  const near = 'instance 1 (has TCP port 80 in use), instance 2 (has TCP port 80 in use)'
  const detail = `2 of 3 tasks placed, for the next one no instance matched: 2 have TCP port 80 in use; nearest: ${near}`
  test.same(failures, [
    { arn: host('1').containerInstanceArn, reason: 'RESOURCE:PORTS', detail },
    { arn: host('2').containerInstanceArn, reason: 'RESOURCE:PORTS', detail },
  ])
  const spread = { count: 5, placementStrategy: [{ type: 'spread' as const, field: 'instanceId' }] }
  const three = withHosts(host('1'), host('2'), host('3'))
  const order = runTask(three, spread).tasks?.map((task) => task.containerInstanceArn?.at(-1))
  test.same(order, ['1', '2', '3', '1', '2'])
})

await t.test('RunTask refuses in the words of ECS and says what to do instead', async (test) => {
  const state = aState({
    instance: [host('1')],
    cluster: [aCluster({ clusterName: 'empty' })],
    taskDefinition: [
      aTaskDefinition(),
      aTaskDefinition({ family: 'old', status: 'INACTIVE' }),
      aTaskDefinition({ family: 'vpc', networkMode: 'awsvpc', compatibilities: ['EC2', 'FARGATE'] }),
      aTaskDefinition({ family: 'ec2only', compatibilities: ['EC2'] }),
      aTaskDefinition({
        family: 'member',
        placementConstraints: [{ type: 'memberOf', expression: 'attributes:a == b' }],
      }),
    ],
  })
  const refused = (input: Partial<Input<'RunTask'>>): string => refusal(() => runTask(state, input))
  const cases: readonly [Partial<Input<'RunTask'>>, RegExp][] = [
    [{ cluster: 'empty' }, /^InvalidParameterException: No Container Instances were found in your cluster\.$/],
    [{ cluster: 'nowhere' }, /^ClusterNotFoundException: Cluster not found\.$/],
    [{ taskDefinition: 'unknown' }, /^ClientException: /],
    [{ taskDefinition: 'old:1' }, /^ClientException: TaskDefinition is inactive$/],
    [{ count: 0 }, /^InvalidParameterException: count must be .* 1 to 10/],
    [{ count: 11 }, /^InvalidParameterException: count/],
    [{ launchType: 'FARGATE' }, /^UnsupportedFeatureException: Launch type FARGATE .* Use launchType EC2 or EXTERNAL/],
    [
      { taskDefinition: 'vpc' },
      /^InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc'/,
    ],
    [
      { taskDefinition: 'ec2only', ...external },
      /^InvalidParameterException: Task definition does not support launch_type EXTERNAL/,
    ],
    [{ capacityProviderStrategy: [{ capacityProvider: 'FARGATE' }] }, /^UnsupportedFeatureException: .*launchType EC2/],
    [
      { capacityProviderStrategy: [{ capacityProvider: 'FARGATE' }], launchType: 'EC2' },
      /^InvalidParameterException: Specifying both a launch type and capacity provider/,
    ],
    [{ platformVersion: '1.4.0' }, /^InvalidParameterException: The platform version must be null/],
    [{ networkConfiguration: {} }, /^InvalidParameterException: Network Configuration is not valid/],
    [{ volumeConfigurations: [{ name: 'v' }] }, /^UnsupportedFeatureException: volumeConfigurations/],
    [{ startedBy: 'x'.repeat(129) }, /^InvalidParameterException: startedBy .* 128 .* 129/],
    [{ group: 'service:web' }, /^InvalidParameterException: Group must not start with 'service:'/],
    [{ propagateTags: 'SERVICE' }, /^InvalidParameterException: propagateTags SERVICE/],
    [{ tags: [{ key: 'aws:x', value: '' }] }, /^InvalidParameterException: .*aws:/],
    [
      { placementConstraints: [{ type: 'memberOf', expression: 'a' }] },
      /^InvalidParameterException: Invalid expression at column 1: expected a subject .*, found 'a'\./,
    ],
    [{ taskDefinition: 'member' }, /^InvalidParameterException: Invalid expression at column 1: .*Write attribute:a\./],
    [
      { placementConstraints: Array.from({ length: 11 }, () => ({ type: 'distinctInstance' as const })) },
      /^InvalidParameterException: .*at most 10 placement constraints/,
    ],
    [
      { placementStrategy: Array.from({ length: 6 }, () => ({ type: 'random' as const })) },
      /^InvalidParameterException: At most 5 placement strategies/,
    ],
    [
      { placementStrategy: [{ type: 'binpack', field: 'disk' }] },
      /^InvalidParameterException: .*cpu or memory.*'disk'/,
    ],
    [{ placementStrategy: [{ type: 'spread' }] }, /^InvalidParameterException: .*spread/],
    [{ clientToken: 'x'.repeat(65) }, /^InvalidParameterException: clientToken/],
    [{ clientToken: 'with space' }, /^InvalidParameterException: clientToken/],
  ]
  for (const [input, expected] of cases) test.match(refused(input), expected)
  test.equal(state.all('task').length, 0, 'nothing was started')
})

await t.test('overrides are checked against the definition', async (test) => {
  const sized = aTaskDefinition({ family: 'sized', cpu: '256', memory: '1024' })
  const state = aState({ instance: [host('1')], taskDefinition: [aTaskDefinition(), sized] })
  const cases: readonly [NonNullable<Input<'RunTask'>['overrides']>, RegExp][] = [
    [
      { containerOverrides: [{ name: 'app', environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/x.txt' }] }] },
      /^InvalidParameterException: Override for container named app: invalid environmentFiles. Each value is the ARN/,
    ],
    [
      { containerOverrides: [{ name: 'app', environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/x.env' }] }] },
      /^ClientException: When you are specifying container environment files, you must also .* 'executionRoleArn'/,
    ],
    [{ taskRoleArn: 'arn:aws:iam::1:user/ann' }, /^ClientException: Role is not valid: 'arn:aws:iam::1:user\/ann'/],
    [{ executionRoleArn: 'nobody' }, /^ClientException: ECS was unable to assume the role 'nobody' that was provided/],
    [
      { containerOverrides: [{ name: 'app', resourceRequirements: [{ type: 'GPU', value: '0' }] }] },
      /^InvalidParameterException: Override for container named app: The number of GPUs is a whole number/,
    ],
    [
      { containerOverrides: [{ name: 'other' }] },
      /^InvalidParameterException: Override for container named other is not a container in the TaskDefinition\.$/,
    ],
    [{ containerOverrides: [{ command: ['x'] }] }, /^InvalidParameterException: .*name should not be null or empty/],
    [{ containerOverrides: [{ name: 'app' }, { name: 'app' }] }, /^InvalidParameterException: .*twice/],
    [
      { containerOverrides: [{ name: 'app', command: ['x'.repeat(8192)] }] },
      /^InvalidParameterException: Container Overrides length must be at most 8192$/,
    ],
    [{ cpu: 'much' }, /^ClientException: Invalid 'cpu' setting for task/],
    [{ memory: '-1' }, /^ClientException: Invalid 'memory' setting for task/],
    [{ containerOverrides: [{ name: 'app', memory: 2 }] }, /^InvalidParameterException: .*at least 6 MiB/],
    [
      { containerOverrides: [{ name: 'app', memory: 64, memoryReservation: 128 }] },
      /^ClientException: .*64 MiB.*128 MiB/,
    ],
    [{ ephemeralStorage: { sizeInGiB: 30 } }, /^InvalidParameterException: ephemeralStorage/],
  ]
  for (const [overrides, expected] of cases) {
    test.match(
      refusal(() => runTask(state, { overrides })),
      expected,
    )
  }
  const tooLarge = { containerOverrides: [{ name: 'app', memory: 2048 }] }
  test.match(
    refusal(() => runTask(state, { taskDefinition: 'sized', overrides: tooLarge })),
    /^ClientException: .*2048 MiB is more than the memory of the task \(1024 MiB\)/,
  )
  const [task] = runTask(state, { taskDefinition: 'sized', overrides: { cpu: '0.5 vCPU', memory: '2GB' } }).tasks ?? []
  test.match(task, { cpu: '512', memory: '2048', overrides: { cpu: '512', memory: '2048' } }, 'sizes in plain numbers')
})

await t.test('tags, groups and launch types', async (test) => {
  const tagged = aTaskDefinition({
    tags: [
      { key: 'a', value: 'definition' },
      { key: 'b', value: 'definition' },
    ],
  })
  const state = aState({ instance: [host('1', external)], taskDefinition: [tagged] })
  const [task] =
    runTask(state, {
      group: 'batch',
      tags: [{ key: 'a', value: 'own' }],
      propagateTags: 'TASK_DEFINITION',
      enableECSManagedTags: true,
    }).tasks ?? []
  test.same(task?.tags, [
    { key: 'a', value: 'own' },
    { key: 'b', value: 'definition' },
    { key: 'aws:ecs:clusterName', value: 'default' },
  ])
  test.match(task, { group: 'batch', launchType: 'EXTERNAL' }, 'without a launch type, that of the instance')
  const { tasks, failures } = runTask(state, { launchType: 'EC2' })
  test.same(tasks, [])
  test.match(failures, [
    { reason: 'ATTRIBUTE', detail: 'no instance matched: 1 is of launch type EXTERNAL (want EC2)' },
  ])
})

await t.test('a clientToken makes RunTask idempotent for a day', async (test) => {
  const state = withHosts(host('1'))
  const first = runTask(state, { clientToken: 'once', count: 2 })
  const again = runTask(state, { clientToken: 'once', count: 2, cluster: 'default' }, testNow + 60_000)
  test.same(
    again.tasks?.map((task) => task.taskArn),
    first.tasks?.map((task) => task.taskArn),
    'the same tasks, however the cluster is written',
  )
  test.equal(state.count('task', 'byCluster', 'default'), 2)
  test.match(
    refusal(() => runTask(state, { clientToken: 'once', count: 3 })),
    /^ConflictException: /,
  )
  runTask(state, { clientToken: 'once', count: 3 }, testNow + 24 * 60 * 60 * 1000)
  test.equal(state.count('task', 'byCluster', 'default'), 5, 'a day later the token is new')

  const full = withHosts(host('1', { status: 'DRAINING' }))
  test.match(runTask(full, { clientToken: 'retry' }).failures, [{ reason: 'INACTIVE' }])
  inTransaction(full, (tx) => tx.put('instance', '1', host('1')))
  test.equal(runTask(full, { clientToken: 'retry' }).tasks?.length, 1, 'a call that started nothing can be made again')
})

const wants = (name: string, value: string) => ({
  name,
  image: 'busybox',
  memory: 8,
  resourceRequirements: [{ type: 'GPU' as const, value }],
})

await t.test('each GPU is given to one container, until its task has stopped', async (test) => {
  const gpus = { name: 'GPU', type: 'STRINGSET', stringSetValue: ['GPU-a', 'GPU-b', 'GPU-c'] }
  const registeredResources = [...anInstance().registeredResources, gpus]
  const definition = aTaskDefinition({ containerDefinitions: [wants('train', '1'), wants('serve', '1')] })
  const state = aState({ instance: [host('1'), host('2', { registeredResources })], taskDefinition: [definition] })

  const first = runTask(state)
  test.same(
    first.tasks?.map(({ containerInstanceArn = '' }) => containerInstanceArn.at(-1)),
    ['2'],
    'the host without one is passed over',
  )
  test.same(
    first.tasks?.[0]?.containers?.map(({ gpuIds }) => gpuIds),
    [['GPU-a'], ['GPU-b']],
  )
  const one = { containerOverrides: [{ name: 'train', resourceRequirements: [] }, { ...wants('serve', '1') }] }
  const refused = runTask(state, { count: 1, overrides: one })
  test.match(refused.failures?.[0], {
    reason: 'RESOURCE:GPU',
    detail: /1 has too few GPUs \(want 2, most registered 0\), 1 lacks GPUs \(want 2, most free 1\)/,
  })
  test.match(startTask(state, { containerInstances: ['1', '2'] }).failures, [
    { reason: 'RESOURCE:GPU' },
    { reason: 'RESOURCE:GPU' },
  ])
  const freeOf = (): readonly string[] | undefined => {
    const instance = state.get('instance', '2')
    if (instance === undefined) throw new Error('the instance is gone')
    return describeInstance(state, instance).remainingResources?.find(({ name }) => name === 'GPU')?.stringSetValue
  }
  test.same(freeOf(), ['GPU-c'])

  const [row] = state.all('task')
  if (row === undefined) throw new Error('no task was written')
  inTransaction(state, (tx) => tx.put('task', row.taskId, { ...row, lastStatus: 'STOPPED' }))
  test.same(freeOf(), ['GPU-a', 'GPU-b', 'GPU-c'])
  test.same(
    runTask(state, { count: 2 }).tasks?.length,
    1,
    'the second task of the call sees what the first one got, and finds too few',
  )
})

await t.test('StartTask goes where it is told, or says why not, for each instance', async (test) => {
  const state = withHosts(
    host('1'),
    host('2', { status: 'DRAINING' }),
    host('3', { agentConnected: false }),
    host('4', { registeredResources: [] }),
    host('5', { status: 'INACTIVE' }),
  )
  const { tasks = [], failures = [] } = startTask(state, { containerInstances: ['1', '2', '3', '4', '5', '6'] })
  test.same(
    tasks.map((task) => task.containerInstanceArn?.at(-1)),
    ['1'],
  )
  test.same(
    failures.map(({ arn, reason, detail }) => [arn?.split('/').at(-1), reason, detail]),
    [
      ['2', 'INACTIVE', 'no instance matched: 1 is draining'],
      ['3', 'AGENT', 'no instance matched: 1 has a disconnected agent'],
      ['4', 'RESOURCE:CPU', 'no instance matched: 1 lacks CPU (want 256 units, most free 0)'],
      ['5', 'INACTIVE', 'no instance matched: 1 is deregistered'],
      ['6', 'MISSING', undefined],
    ],
  )
  const placementConstraints = [{ type: 'memberOf' as const, expression: 'attribute:a == b' }]
  const pinned = aState({ instance: [host('1')], taskDefinition: [aTaskDefinition({ placementConstraints })] })
  test.equal(startTask(pinned, {}).tasks?.length, 1, 'constraints are for what is placed, and this is not')
  test.match(
    refusal(() => startTask(state, { containerInstances: [] })),
    /^InvalidParameterException: Container instances cannot be empty/,
  )
  test.match(
    refusal(() => startTask(state, { containerInstances: Array.from({ length: 11 }, () => '1') })),
    /^InvalidParameterException: At most 10/,
  )
  test.match(
    refusal(() =>
      startTask(state, { containerInstances: ['arn:aws:ecs:us-east-1:123456789012:container-instance/lab/1'] }),
    ),
    /^InvalidParameterException: Identifier is for cluster lab\. Your cluster is default$/,
  )
})

await t.test('StopTask says what is wanted and leaves what is observed to the agent', async (test) => {
  const running = aTask({ lastStatus: 'RUNNING', version: 3, instanceId: '1' })
  const stopped = aTask({ lastStatus: 'STOPPED', desiredStatus: 'STOPPED', stopCode: 'EssentialContainerExited' })
  const state = aState({ instance: [host('1', { agentConnected: false })], task: [running, stopped] })

  const { task } = stopTask(state, { task: running.taskArn })
  test.match(task, {
    lastStatus: 'RUNNING',
    desiredStatus: 'STOPPED',
    stopCode: 'UserInitiated',
    stoppedReason: 'Task stopped by user',
    stoppingAt: testNow + 1000,
    version: 4,
    connectivity: 'DISCONNECTED',
  })
  const again = stopTask(state, { task: running.taskId, reason: 'once more' }, testNow + 9000)
  test.match(again.task, { stoppedReason: 'Task stopped by user', stoppingAt: testNow + 1000, version: 4 })
  test.match(stopTask(state, { task: stopped.taskId }).task, { stopCode: 'EssentialContainerExited', version: 1 })

  const pending = aTask()
  const other = aState({ task: [pending] })
  test.match(stopTask(other, { task: pending.taskId, reason: 'enough' }).task, {
    lastStatus: 'PENDING',
    stoppedReason: 'enough',
  })
  test.equal(
    refusal(() => stopTask(other, { task: 'nothing' })),
    'InvalidParameterException: The referenced task was not found.',
  )
  test.match(
    refusal(() => stopTask(other, { task: pending.taskId, reason: 'x'.repeat(1025) })),
    /^InvalidParameterException: reason .*1024/,
  )
})

await t.test('DescribeTasks tells MISSING apart, reads the history, and leaks nothing', async (test) => {
  const secret = 'password=hunter2'
  const past = aTask({ lastStatus: 'STOPPED', desiredStatus: 'STOPPED', tags: [{ key: 'a', value: 'b' }] })
  const live = aTask({ instanceId: '1', waitingFor: 'an image', reportedAt: testNow })
  const [container] = live.containers
  const withLog: TaskRow = {
    ...live,
    containers: container === undefined ? [] : [{ ...container, lastLogLines: [secret], startedAt: 1, finishedAt: 2 }],
  }
  const state = createState({
    task: (taskId) => (taskId === past.taskId ? past : undefined),
    tasksOfCluster: () => [past],
    audited: () => ({ records: [] }),
  })
  inTransaction(state, (tx) => {
    tx.put('cluster', 'default', aCluster())
    tx.put('instance', '1', host('1', { agentConnected: false, connectivityAt: testNow + 5000 }))
    tx.put('task', live.taskId, withLog)
  })
  const { tasks = [], failures } = describeTasks(state, {
    tasks: [live.taskArn, past.taskId, 'f'.repeat(32)],
    include: ['TAGS'],
  })
  test.same(failures, [{ arn: `arn:aws:ecs:us-east-1:123456789012:task/default/${'f'.repeat(32)}`, reason: 'MISSING' }])
  const elsewhere = live.taskArn.replace('us-east-1', 'eu-west-1')
  test.same(describeTasks(state, { tasks: [elsewhere] }), {
    tasks: [],
    failures: [{ arn: elsewhere, reason: 'MISSING' }],
  })
  test.match(tasks[0], { connectivity: 'DISCONNECTED', connectivityAt: testNow + 5000, tags: [] })
  test.match(tasks[1], { lastStatus: 'STOPPED', tags: [{ key: 'a', value: 'b' }] })
  const text = JSON.stringify(describeTask(state, withLog, ['TAGS']))
  for (const internal of [
    secret,
    'lastLogLines',
    'reserved',
    'seqNum',
    'waitingFor',
    'reportedAt',
    'instanceId',
    'finishedAt',
    'essential',
  ]) {
    test.notOk(text.includes(internal), `${internal} stays inside`)
  }
  test.equal(
    refusal(() => describeTasks(state, { tasks: [] })),
    'InvalidParameterException: Tasks cannot be empty.',
  )
  test.match(
    refusal(() => describeTasks(state, { tasks: Array.from({ length: 101 }, () => 'x') })),
    /^InvalidParameterException: At most 100 tasks/,
  )
  test.match(
    refusal(() => describeTasks(state, { tasks: ['arn:aws:ecs:us-east-1:123456789012:task/lab/1'] })),
    /^InvalidParameterException: Identifier is for cluster lab/,
  )
})

await t.test('ListTasks narrows by every filter and gives pages', async (test) => {
  const rows = [
    aTask({ taskId: 'a', family: 'web', instanceId: '1', startedBy: 'me' }),
    aTask({ taskId: 'b', family: 'db', instanceId: '2', launchType: 'EXTERNAL', lastStatus: 'RUNNING' }),
    aTask({ taskId: 'c', family: 'web', instanceId: '2', desiredStatus: 'STOPPED', lastStatus: 'RUNNING' }),
    aTask({
      taskId: 'd',
      family: 'web',
      instanceId: '1',
      desiredStatus: 'STOPPED',
      lastStatus: 'STOPPED',
      startedBy: 'me',
    }),
    aTask({ taskId: 'e', clusterName: 'lab' }),
    aTask({ taskId: 'f', group: 'service:front', serviceKey: 'default/front' }),
    aTask({
      taskId: 'g',
      group: 'service:front',
      serviceKey: 'default/front',
      desiredStatus: 'STOPPED',
      lastStatus: 'STOPPED',
    }),
  ]
  const service = [aService({ serviceName: 'front' }), aService({ serviceName: 'idle' })]
  const state = aState({ cluster: [aCluster({ clusterName: 'lab' })], task: rows, service })
  const ids = (input: Input<'ListTasks'>): string | undefined =>
    listTasks(state, input)
      .taskArns?.map((arn) => arn.split('/').at(-1))
      .join('')
  test.equal(ids({}), 'abf', 'RUNNING is the default')
  test.equal(ids({ desiredStatus: 'STOPPED' }), 'cdg')
  test.equal(ids({ desiredStatus: 'PENDING' }), '')
  test.equal(ids({ cluster: 'lab' }), 'e')
  test.equal(ids({ family: 'web' }), 'af')
  test.equal(ids({ containerInstance: '1' }), 'a')
  test.equal(ids({ containerInstance: 'arn:aws:ecs:us-east-1:123456789012:container-instance/default/2' }), 'b')
  test.equal(ids({ launchType: 'EXTERNAL' }), 'b')
  test.equal(ids({ startedBy: 'me' }), 'a')
  test.equal(ids({ startedBy: 'me', desiredStatus: 'STOPPED' }), 'd')
  test.equal(ids({ serviceName: 'front' }), 'f')
  test.equal(ids({ serviceName: 'arn:aws:ecs:us-east-1:123456789012:service/default/front' }), 'f')
  test.equal(ids({ serviceName: 'front', desiredStatus: 'STOPPED' }), 'g')
  test.equal(ids({ serviceName: 'idle' }), '', 'a service without tasks')
  test.match(
    refusal(() => ids({ startedBy: 'me', family: 'web' })),
    /^InvalidParameterException: startedBy must be the only filter/,
  )
  test.match(
    refusal(() => ids({ serviceName: 'none' })),
    /^ServiceNotFoundException/,
  )
  test.match(
    refusal(() => ids({ maxResults: 101 })),
    /^InvalidParameterException/,
  )
  const first = listTasks(state, { maxResults: 2 })
  const second = listTasks(state, { maxResults: 2, nextToken: first.nextToken })
  test.equal(first.taskArns?.length, 2)
  test.match(second.taskArns, [/\/f$/])
  test.equal(second.nextToken, undefined)
})
