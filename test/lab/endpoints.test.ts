/**
 * What containers reach at 169.254.170.2, asked from within them: each network mode, its own and nothing else's, limits,
 * and what a `kill -9` of the agent and a restart of the engine leave of it. All in a network of the test's own, since
 * one agent of a host has that address.
 */
import { network } from './enter.ts'
import { DeregisterContainerInstanceCommand, DescribeContainerInstancesCommand } from '@aws-sdk/client-ecs'
import { CreateServiceCommand, ListTasksCommand, StopTaskCommand, TagResourceCommand } from '@aws-sdk/client-ecs'
import { resolve } from 'node:path'
import tap from 'tap'
import { callRest } from '../support/controller.ts'
import { askEngine, inspectRaw } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { startLab } from './lab.ts'

tap.setTimeout(400_000)
const lab = await startLab({ network, hosts: 1, agentEnvironment: { ECS_ENABLE_CONTAINER_METADATA: 'true' } })
const roles = rolesAt(lab.controller.endpoint, lab.controller.credentials)
tap.teardown(async () => {
  roles.close()
  await lab.close()
})
const host = lab.host(1)

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: unknown
}

/** Runs a command in a container, and gives what it wrote. */
async function inside(dockerId: string, command: readonly string[]): Promise<string> {
  const made = await askEngine(
    'POST',
    `/containers/${dockerId}/exec`,
    { AttachStdout: true, AttachStderr: false, Tty: true, Cmd: command },
    host.engine.host,
  )
  const { Id } = JSON.parse(made.text) as { Id: string }
  const ran = await askEngine('POST', `/exec/${Id}/start`, { Detach: false, Tty: true }, host.engine.host)
  return ran.text.replaceAll(/\r+\n/g, '\n')
}

/** Asks the task endpoint from within a container, as any program would: a path, or a variable's URI and what follows. */
async function ask(dockerId: string, path: string, method = 'GET', body = ''): Promise<Answer> {
  const head = `${method} ${path} HTTP/1.0\\r\\nContent-Length: ${body.length}\\r\\n\\r\\n`
  const text = await inside(dockerId, ['sh', '-c', `printf '${head}%s' '${body}' | nc -w 20 169.254.170.2 80`])
  const [headers = '', content = ''] = text.split(/\n\n(.*)/s)
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(headers)?.[1] ?? 0)
  const type = /^content-type: (.*)$/im.exec(headers)?.[1] ?? ''
  return { status, type, body: type === 'application/json' ? JSON.parse(content) : content }
}

/** The answer of the endpoint, once it has one to give. */
async function served(dockerId: string, path: string): Promise<Answer> {
  return eventually(async () => {
    const answer = await ask(dockerId, path)
    return answer.status === 200 ? answer : undefined
  }, `the endpoint answers ${path}`)
}

interface Running {
  readonly arn: string
  readonly dockerId: string
  /** Of the container's own environment. */
  readonly environment: Readonly<Record<string, string>>
  /** Its path at the endpoint, for v4, v3 and the API of the agent. */
  readonly v4: string
  readonly v3: string
  readonly api: string
}

async function running(arn: string, name: string): Promise<Running> {
  const container = (await host.containers(arn)).find((one) => one.name === name)
  const dockerId = container?.id ?? ''
  const raw = (await inspectRaw(dockerId, host.engine.host)) as { Config: { Env: string[] } }
  const environment = Object.fromEntries(raw.Config.Env.map((one) => one.split(/=(.*)/s).slice(0, 2)))
  return {
    arn,
    dockerId,
    environment,
    v4: pathOf(environment['ECS_CONTAINER_METADATA_URI_V4']),
    v3: pathOf(environment['ECS_CONTAINER_METADATA_URI']),
    api: pathOf(environment['ECS_AGENT_URI']),
  }
}

function pathOf(uri: string | undefined): string {
  return (uri ?? '').replace('http://169.254.170.2', '')
}

function protectionPath({ api }: Running): string {
  return `${api}/task-protection/v1/state`
}

const repository = resolve(import.meta.dirname, '../..')
const forever = ['sh', '-c', 'trap "exit 0" TERM; while true; do sleep 0.2; done']

async function start(definition: Parameters<typeof lab.define>[0]): Promise<string> {
  const [arn = ''] = await lab.run(await lab.define(definition))
  await lab.reach([arn], 'RUNNING')
  return arn
}

const protects = ['ecs:GetTaskProtection', 'ecs:UpdateTaskProtection']
const taskRoleArn = await roles.role('worker', [allowed(protects)])

const bridgeTask = await start({
  networkMode: 'bridge',
  taskRoleArn,
  volumes: [{ name: 'data' }],
  containers: [
    {
      name: 'app',
      cpu: 64,
      memory: 48,
      command: forever,
      environment: [{ name: 'COLOUR', value: 'blue' }],
      dockerLabels: { team: 'lab' },
      portMappings: [{ containerPort: 80 }],
      mountPoints: [{ sourceVolume: 'data', containerPath: '/data' }],
      healthCheck: { command: ['CMD', 'true'], interval: 5 },
    },
    { name: 'side', command: forever, environment: [{ name: 'AWS_REGION', value: 'eu-west-1' }] },
  ],
})
const app = await running(bridgeTask, 'app')
const side = await running(bridgeTask, 'side')

await tap.test("the environment is the official agent's", async (t) => {
  const uuid = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
  const { environment } = app
  t.match(environment['ECS_CONTAINER_METADATA_URI'], new RegExp(`^http://169\\.254\\.170\\.2/v3/${uuid}$`))
  t.match(environment['ECS_CONTAINER_METADATA_URI_V4'], new RegExp(`^http://169\\.254\\.170\\.2/v4/${uuid}$`))
  t.match(environment['ECS_AGENT_URI'], new RegExp(`^http://169\\.254\\.170\\.2/api/${uuid}$`))
  t.match(environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'], new RegExp(`^/v2/credentials/${uuid}$`))
  t.match(environment, {
    AWS_REGION: 'us-east-1',
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_EXECUTION_ENV: 'AWS_ECS_EC2',
    COLOUR: 'blue',
  })
  t.equal(side.environment['AWS_REGION'], 'eu-west-1')
  t.equal(side.environment['AWS_DEFAULT_REGION'], undefined, 'who names a region is told of no other')
  t.not(app.v4, side.v4)
})

await tap.test('bridge: a container is shown itself and its task, as v4 and as v3', async (t) => {
  const one = await ask(app.dockerId, app.v4)
  t.equal(one.status, 200)
  t.equal(one.type, 'application/json')
  const raw = (await inspectRaw(app.dockerId, host.engine.host)) as unknown as RawContainer
  t.match(one.body, {
    DockerId: app.dockerId,
    Name: 'app',
    DockerName: raw.Name.slice(1),
    Image: lab.image,
    ImageID: raw.Image,
    Ports: [{ ContainerPort: 80, Protocol: 'tcp', HostIp: '0.0.0.0', HostPort: Number }],
    Labels: { team: 'lab', 'com.amazonaws.ecs.task-arn': bridgeTask },
    DesiredStatus: 'RUNNING',
    KnownStatus: 'RUNNING',
    Limits: { CPU: 64, Memory: 48 },
    CreatedAt: raw.Created.slice(0, 19),
    StartedAt: raw.State.StartedAt.slice(0, 19),
    Type: 'NORMAL',
    Health: { status: /HEALTHY|UNKNOWN/, statusSince: /^20/ },
    Volumes: [{ DockerName: /^ecs-/, Destination: '/data' }, { Destination: /^\/opt\/ecs\/metadata\// }],
    LogDriver: 'json-file',
    ContainerARN: /:container\//,
    Networks: [{ NetworkMode: 'bridge', IPv4Addresses: [raw.NetworkSettings.Networks['bridge']?.IPAddress] }],
  })
  t.notMatch(JSON.stringify(one.body), app.v4.slice(4), 'the id does not stand among the labels')

  const task = (await ask(side.dockerId, `${side.v4}/task`)).body as Shown
  t.match(task, {
    Cluster: 'default',
    TaskARN: bridgeTask,
    Family: /^lab-/,
    Revision: '1',
    DesiredStatus: 'RUNNING',
    KnownStatus: 'RUNNING',
    LaunchType: 'EC2',
    AvailabilityZone: 'us-east-1a',
    FaultInjectionEnabled: false,
    Containers: [{ Name: 'app' }, { Name: 'side', Limits: { CPU: 2 } }],
  })
  t.equal(task.Containers.length, 2)

  const old = (await ask(app.dockerId, app.v3)).body as Record<string, unknown>
  t.match(old, { DockerId: app.dockerId, Networks: [{ NetworkMode: 'bridge' }] })
  t.equal(old['ContainerARN'], undefined, 'v3 says less')
  t.match((await ask(app.dockerId, `${app.v3}/task`)).body, { TaskARN: bridgeTask, Containers: [{}, {}] })
})

await tap.test('tags are those that the controller has', async (t) => {
  await lab.client.send(new TagResourceCommand({ resourceArn: bridgeTask, tags: [{ key: 'team', value: 'blue' }] }))
  t.match((await ask(app.dockerId, `${app.v4}/taskWithTags`)).body, {
    TaskTags: { team: 'blue' },
    ContainerInstanceTags: {},
  })
})

await tap.test("stats are Docker's own document", async (t) => {
  await eventually(
    async () => ((await ask(app.dockerId, `${app.v4}/stats`)).body as Stats).network_rate_stats,
    'two samples',
  )
  const { status, body } = await ask(app.dockerId, `${app.v4}/stats`)
  t.equal(status, 200)
  t.match(body, {
    id: app.dockerId,
    cpu_stats: { cpu_usage: { total_usage: Number }, system_cpu_usage: Number, online_cpus: Number },
    memory_stats: { usage: Number, limit: 48 * 1024 * 1024 },
    pids_stats: { current: Number },
    networks: { eth0: { rx_bytes: Number, tx_bytes: Number } },
    network_rate_stats: { rx_bytes_per_sec: Number, tx_bytes_per_sec: Number },
  })
  const { cpu_stats: cpu, precpu_stats: before, memory_stats: memory } = body as Stats
  t.ok(cpu.cpu_usage.total_usage > before.cpu_usage.total_usage, 'it used CPU since the sample before')
  t.ok(memory.usage > 0)
  const all = (await ask(app.dockerId, `${app.v4}/task/stats`)).body as Record<string, unknown>
  t.same(Object.keys(all).toSorted(), [app.dockerId, side.dockerId].toSorted())
})

await tap.test("keys: all containers of the task are given its role's, and nobody is by another id", async (t) => {
  const path = app.environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'] ?? ''
  t.match(await ask(app.dockerId, path), { status: 200, body: { RoleArn: taskRoleArn } })
  t.match(await ask(app.dockerId, `/v1/credentials?id=${path.split('/').at(-1)}`), { status: 200 })
  t.match(await ask(side.dockerId, path), { status: 200, body: { RoleArn: taskRoleArn } })
  t.match(await ask(app.dockerId, '/v2/credentials/nobody'), { status: 400, body: { code: 'InvalidIdInRequest' } })
  t.match(await ask(app.dockerId, '/v2/credentials/'), { status: 400, body: { code: 'NoIdInRequest' } })
  t.match(await ask(app.dockerId, '/v1/credentials'), { status: 400, body: { code: 'NoIdInRequest' } })
})

await tap.test('host mode: the same address, also while a task publishes port 80 of the host', async (t) => {
  await start({
    networkMode: 'bridge',
    containers: [
      {
        name: 'web',
        command: ['httpd', '-f', '-p', '80', '-h', '/www'],
        portMappings: [{ containerPort: 80, hostPort: 80 }],
      },
    ],
  })
  const arn = await start({ networkMode: 'host', containers: [{ name: 'agent', command: forever }] })
  const one = await running(arn, 'agent')
  t.match(await ask(one.dockerId, one.v4), {
    status: 200,
    body: { DockerId: one.dockerId, Networks: [{ NetworkMode: 'host' }] },
  })
  t.match(await ask(app.dockerId, app.v4), { status: 200 }, 'and the other task still gets its own')
  t.equal((await ask(app.dockerId, one.v4)).status, 404, 'a container in bridge mode is not the host')
  t.equal((await ask(one.dockerId, app.v4)).status, 404, 'and the host is no such container')
})

await tap.test('awsvpc: a second interface leads to the endpoint and nowhere else', async (t) => {
  const lan = { cidr: '10.77.0.0/24', gateway: '10.77.0.1', ranges: ['10.77.0.100-10.77.0.119'] }
  const home = { cidr: '10.99.0.0/24', gateway: '10.99.0.1' }
  for (const [subnet, attachment] of [
    [lan, { kind: 'macvlan', parent: 'eth0' }],
    [home, { kind: 'bridge' }],
  ] as const) {
    const one = await inSubnet({ ...subnet, attachment })
    t.match(await ask(one.dockerId, one.v4), {
      status: 200,
      body: {
        DockerId: one.dockerId,
        Networks: [
          {
            NetworkMode: 'awsvpc',
            IPv4Addresses: [new RegExp(`^${subnet.cidr.slice(0, 6)}`)],
            IPv4SubnetCIDRBlock: subnet.cidr,
            MACAddress: /^[0-9a-f:]{17}$/,
            SubnetGatewayIpv4Address: `${subnet.gateway}/24`,
          },
        ],
      },
    })
    t.match(await ask(one.dockerId, '/v2/metadata'), { status: 200, body: { TaskARN: one.arn } })
    t.match(await ask(one.dockerId, `${one.v4}/stats`), { status: 200, body: { networks: { eth0: {} } } })
    t.equal((await ask(one.dockerId, app.v4)).status, 404, "another task's id")
    t.equal((await ask(app.dockerId, one.v4)).status, 404, 'nor may another task have its')
    const routes = await inside(one.dockerId, ['busybox', 'ip', 'route'])
    t.match(routes, new RegExp(`^default via ${subnet.gateway} `), routes)
    await lab.client.send(new StopTaskCommand({ task: one.arn }))
  }
})

async function inSubnet(subnet: object): Promise<Running> {
  const { endpoint, credentials } = lab.controller
  const made = await callRest(endpoint, credentials, 'POST', '/v1/subnets', JSON.stringify(subnet))
  const family = await lab.define({ networkMode: 'awsvpc', containers: [{ name: 'own', command: forever }] })
  const subnets = [String(made.json['subnetId'])]
  const [arn = ''] = await lab.run(family, { networkConfiguration: { awsvpcConfiguration: { subnets } } })
  await lab.reach([arn], 'RUNNING')
  return running(arn, 'own')
}

await tap.test("another task's id is refused as if it were nobody's", async (t) => {
  const arn = await start({ networkMode: 'bridge', containers: [{ name: 'other', command: forever }] })
  const other = await running(arn, 'other')
  t.match(await ask(other.dockerId, other.v4), { status: 200 })
  const refused = await ask(other.dockerId, app.v4)
  const nobody = await ask(other.dockerId, '/v4/11111111-1111-4111-8111-111111111111')
  t.equal(refused.status, 404)
  t.equal(nobody.status, 404)
  t.match(refused.body, /^V4 container metadata handler: unable to get container ID from request/)
  t.match(await ask(other.dockerId, `${app.v4}/task`), { status: 404, body: /^V4 task metadata handler/ })
  t.match(await ask(other.dockerId, `${app.v4}/stats`), { status: 404 })
  t.match(await ask(other.dockerId, app.v3), { status: 400, body: /^V3 container metadata handler/ })
  t.match(await ask(other.dockerId, `${app.api}/task-protection/v1/state`), {
    status: 404,
    body: { error: { Code: 'ResourceNotFoundException' } },
  })
  t.match(await ask(app.dockerId, '/v2/metadata'), { status: 400 }, 'v2 knows only tasks with addresses of their own')
  await lab.client.send(new StopTaskCommand({ task: arn }))
})

await tap.test('paths, methods and rates are as the official agent has them', async (t) => {
  t.match(await ask(app.dockerId, '//v4/../v4/x'), { status: 301 })
  t.match(await ask(app.dockerId, '/nothing'), { status: 404, body: '404 page not found\n' })
  t.match(await ask(app.dockerId, `${app.api}/task-protection/v1/state`, 'POST'), { status: 405 })
  t.match(await ask(app.dockerId, `${app.api}/fault/v1/network-latency/start`, 'POST', '{}'), {
    status: 400,
    body: { Error: `fault injection is not enabled for task: ${bridgeTask}` },
  })
  t.match(await ask(app.dockerId, `${app.v4}/associations/gpu`), { status: 200, body: { Associations: [] } })
  const [connections, ofEach] = [5, 120]
  const asked = connections * ofEach
  const many = `i=0; while [ $i -lt ${ofEach} ]; do printf 'GET ${side.v4}/task HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'; i=$((i+1)); done`
  const began = Date.now()
  const burst = await inside(side.dockerId, [
    'sh',
    '-c',
    `for n in $(seq ${connections}); do (${many}; sleep 2) | nc -w 20 169.254.170.2 80 | grep HTTP/1.1 & done; wait`,
  ])
  const statuses = [...burst.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
  const answered = statuses.filter((status) => status === '200').length
  t.equal(statuses.length, asked)
  t.ok(answered >= 60, `the burst is answered: ${answered}`)
  const mostAnswered = 60 + (40 * (Date.now() - began)) / 1000
  t.ok(answered <= mostAnswered, `and 40 a second beyond it: ${answered} of ${mostAnswered} at most`)
  t.equal(statuses.filter((status) => status === '429').length, asked - answered, 'the others are refused')
  t.match(await ask(side.dockerId, side.v4), { status: 200 }, 'other paths have rates of their own')
})

await tap.test("a task of a service protects itself; another one is told why it can't", async (t) => {
  t.match(await ask(app.dockerId, protectionPath(app)), {
    status: 200,
    body: { failure: { Reason: 'TASK_NOT_VALID' } },
  })
  const family = await lab.define({ taskRoleArn, containers: [{ name: 'worker', command: forever }] })
  await lab.client.send(new CreateServiceCommand({ serviceName: 'workers', taskDefinition: family, desiredCount: 1 }))
  const arn = await eventually(async () => {
    const { taskArns } = await lab.client.send(new ListTasksCommand({ serviceName: 'workers' }))
    return taskArns?.[0]
  }, 'the service has a task')
  await lab.reach([arn], 'RUNNING')
  const worker = await running(arn, 'worker')
  t.match(await ask(worker.dockerId, `${worker.v4}/task`), { body: { ServiceName: 'workers' } })
  t.match(await ask(worker.dockerId, protectionPath(worker)), {
    status: 200,
    body: { protection: { ProtectionEnabled: false, TaskArn: arn, ExpirationDate: null } },
  })
  const put = async (body: string): Promise<Answer> => ask(worker.dockerId, protectionPath(worker), 'PUT', body)
  const protectedNow = await put('{"ProtectionEnabled":true,"ExpiresInMinutes":60}')
  t.match(protectedNow, { status: 200, body: { protection: { ProtectionEnabled: true, TaskArn: arn } } })
  const { ExpirationDate: until } = (protectedNow.body as { protection: { ExpirationDate: string } }).protection
  const minutes = (Date.parse(until) - Date.now()) / 60_000
  t.ok(minutes > 58 && minutes <= 60.1, `protected for ${minutes} minutes`)
  const refused = { status: 400, body: { error: { Code: 'InvalidParameterException' } } }
  t.match(await put('{"ProtectionEnabled":true,"Colour":1}'), refused)
  t.match(await put('{"ProtectionEnabled":"yes"}'), refused)
  t.match(await put('{}'), { status: 400, body: { error: { Arn: arn, Message: /does not contain/ } } })
  t.match(await put('{"ProtectionEnabled":true,"ExpiresInMinutes":9999}'), refused)
  t.match(await put('{"ProtectionEnabled":false}'), { body: { protection: { ProtectionEnabled: false } } })
})

await tap.test('the first call of a container that is quick is answered', async (t) => {
  const command = [
    'sh',
    '-c',
    'busybox wget -q -O - $ECS_CONTAINER_METADATA_URI_V4 && busybox wget -q -O /dev/null $ECS_CONTAINER_METADATA_URI_V4/task && cat $ECS_CONTAINER_METADATA_FILE',
  ]
  const [arn = ''] = await lab.run(
    await lab.define({ networkMode: 'bridge', containers: [{ name: 'quick', command }] }),
  )
  const [task] = await lab.reach([arn], 'STOPPED')
  t.equal(task?.containers?.[0]?.exitCode, 0, 'and its metadata file is there')
})

await tap.test('the metadata file is complete once the container runs, and goes with it', async (t) => {
  const read = async (): Promise<Record<string, unknown>> =>
    JSON.parse(await inside(app.dockerId, ['sh', '-c', 'cat $ECS_CONTAINER_METADATA_FILE'])) as Record<string, unknown>
  const content = await eventually(async () => {
    const now = await read()
    return now['MetadataFileStatus'] === 'READY' ? now : undefined
  }, 'the file is READY')
  t.match(content, {
    Cluster: 'default',
    ContainerInstanceARN: host.instanceArn,
    TaskARN: bridgeTask,
    TaskDefinitionRevision: '1',
    ContainerID: app.dockerId,
    ContainerName: 'app',
    ImageName: lab.image,
    PortMappings: [{ ContainerPort: 80, Protocol: 'tcp' }],
    Networks: [{ NetworkMode: 'bridge', IPv4Addresses: [/^172\./] }],
    AvailabilityZone: 'us-east-1a',
    HostPrivateIPv4Address: host.address,
  })
})

await tap.test('a killed agent is back at the same address, and knows the same ids', async (t) => {
  await host.restartAgent()
  t.match(await served(app.dockerId, app.v4), { body: { DockerId: app.dockerId } })
  t.match(await ask(side.dockerId, `${side.v4}/task`), { status: 200, body: { TaskARN: bridgeTask } })
})

await tap.test('a second agent of the host waits for it, and has it when the first one ends', async (t) => {
  const secondDirectory = `${host.machine.disk}/second`
  await host.join(await lab.controller.invite(), '--directory', secondDirectory, '--name', 'second')
  const second = await host.machine.run([process.execPath, `${repository}/agent/main.ts`], {
    ECS_DATADIR: secondDirectory,
    DOCKER_HOST: host.engine.host,
    GANTRY_AGENT_CONFIG_FILE: '/dev/null',
    GANTRY_INTROSPECTION_PORT: '0',
  })
  const says = async (words: string): Promise<string> =>
    eventually(
      async () =>
        second
          .output()
          .split('\n')
          .find((line) => line.includes(words)),
      words,
    )
  const { containerInstanceArn } = JSON.parse(await says('Gantry agent ready')) as { containerInstanceArn: string }
  t.match(await says('Containers reach no task endpoint'), /Another agent of this host.*GANTRY_TASK_ENDPOINT=false/)
  t.match(await ask(app.dockerId, app.v4), { status: 200 }, 'the first one still answers')
  const canGiveKeys = async (): Promise<true | undefined> => {
    const { containerInstances } = await lab.client.send(
      new DescribeContainerInstancesCommand({ containerInstances: [containerInstanceArn] }),
    )
    const names = (containerInstances?.[0]?.attributes ?? []).map(({ name }) => name)
    return names.includes('com.amazonaws.ecs.capability.task-iam-role') ? true : undefined
  }
  t.equal(await canGiveKeys(), undefined)
  await host.killAgent()
  await eventually(canGiveKeys, 'the second agent has registered what it can do now')
  t.equal((await ask(app.dockerId, app.v4)).status, 404, "containers of another agent's are not its own")
  await second.kill9()
  // No task is to be placed on it.
  await lab.client.send(
    new DeregisterContainerInstanceCommand({ containerInstance: containerInstanceArn, force: true }),
  )
  await host.startAgent()
  await served(app.dockerId, app.v4)
})

await tap.test('an engine that restarts leaves it, or it is mended', async (t) => {
  await host.restartEngine()
  t.match(await served(app.dockerId, app.v4), { body: { DockerId: app.dockerId } })
})

await tap.test('a way to it that somebody takes away is laid anew', async (t) => {
  const removal = await host.machine.run(
    ['sh', '-c', 'sleep 1; ip route del 169.254.170.2/32; ip route show 169.254.170.2'],
    {},
  )
  await removal.ended
  t.equal(removal.output(), '', 'the route is gone')
  await eventually(async () => ((await ask(app.dockerId, app.v4)).status === 200 ? true : undefined), 'it is mended')
  const routes = await host.machine.run(['sh', '-c', 'sleep 1; ip route show 169.254.170.2'], {})
  await routes.ended
  t.match(routes.output(), /^169\.254\.170\.2 dev docker0/)

  // As `docker network prune` does where no task has an address of its own.
  const pruned = await askEngine('DELETE', '/networks/gantry-task-endpoints', undefined, host.engine.host)
  t.equal(pruned.status, 204, pruned.text)
  const one = await inSubnet({ cidr: '10.98.0.0/24', gateway: '10.98.0.1', attachment: { kind: 'bridge' } })
  await eventually(
    async () => ((await ask(one.dockerId, one.v4)).status === 200 ? true : undefined),
    'it is joined again',
  )
})

interface Shown {
  readonly Containers: readonly object[]
}

interface Stats {
  readonly cpu_stats: { readonly cpu_usage: { readonly total_usage: number } }
  readonly precpu_stats: { readonly cpu_usage: { readonly total_usage: number } }
  readonly memory_stats: { readonly usage: number }
  readonly network_rate_stats?: object
}

interface RawContainer {
  readonly Name: string
  readonly Created: string
  readonly Image: string
  readonly State: { readonly StartedAt: string }
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, { readonly IPAddress: string }>> }
}
