/**
 * Subnets and the addresses of tasks (network mode awsvpc), with AWS's own SDK client as judge and scripted agents: that no
 * address has two owners, that what finds none waits, and that none is used again while its host is cut off.
 */
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  DeregisterContainerInstanceCommand,
  DescribeContainerInstancesCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  ECSClient,
  type Failure,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  type RunTaskCommandInput,
  StartTaskCommand,
  StopTaskCommand,
  type Task,
  UpdateServiceCommand,
  waitUntilTasksRunning,
  waitUntilTasksStopped,
} from '@aws-sdk/client-ecs'
import t, { type Test } from 'tap'
import { type AgentPeer, startAgentPeer } from '../support/agent-peer.ts'
import { callRest, eventually, type RawAnswer, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const { endpoint, credentials } = controller
const ecs = new ECSClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
t.teardown(() => ecs.destroy())
const soon = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 }

const eni = { name: 'ecs.capability.task-eni' }
const wired = { name: 'gantry.network-interfaces', value: 'eth0,eth1' }

function startHost(attributes: readonly { name: string; value?: string }[], gantryProtocol = true): Promise<AgentPeer> {
  const key = controller.agentCredentials
  return startAgentPeer({ endpoint, key, gantryProtocol, attributes, isExternal: false, memory: 16_384 })
}

async function rest(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<RawAnswer> {
  return callRest(endpoint, credentials, method, path, body === undefined ? undefined : JSON.stringify(body))
}

async function madeSubnet(test: Test, subnet: object): Promise<string> {
  const answer = await rest('POST', '/v1/subnets', subnet)
  test.equal(answer.status, 200, answer.text)
  return String(answer.json['subnetId'])
}

async function refusal(sent: Promise<unknown>): Promise<string> {
  try {
    await sent
    return 'not refused'
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  }
}

function refusedRun(input: Partial<RunTaskCommandInput>): Promise<string> {
  return refusal(ecs.send(new RunTaskCommand({ taskDefinition: 'net', ...input })))
}

function inSubnets(...subnets: string[]): Pick<RunTaskCommandInput, 'networkConfiguration'> {
  return { networkConfiguration: { awsvpcConfiguration: { subnets } } }
}

async function run(
  count: number,
  subnets: string[],
  taskDefinition = 'net',
): Promise<{ readonly tasks: readonly Task[]; readonly failures: readonly Failure[] }> {
  const answer = await ecs.send(new RunTaskCommand({ taskDefinition, count, ...inSubnets(...subnets) }))
  return { tasks: answer.tasks ?? [], failures: answer.failures ?? [] }
}

function detailOf(task: Task | undefined, name: string): string {
  return task?.attachments?.[0]?.details?.find((detail) => detail.name === name)?.value ?? ''
}

function addressOf(task: Task | undefined): string {
  return detailOf(task, 'privateIPv4Address')
}

async function described(tasks: readonly Task[]): Promise<readonly Task[]> {
  const answer = await ecs.send(new DescribeTasksCommand({ tasks: arnsOf(tasks) }))
  return answer.tasks ?? []
}

function arnsOf(tasks: readonly Task[]): string[] {
  return tasks.map(({ taskArn = '' }) => taskArn)
}

async function stop(tasks: readonly Task[]): Promise<void> {
  for (const { taskArn } of tasks) await ecs.send(new StopTaskCommand({ task: taskArn }))
}

async function stopped(tasks: readonly Task[]): Promise<void> {
  await stop(tasks)
  if (tasks.length > 0) await waitUntilTasksStopped({ client: ecs, ...soon }, { tasks: arnsOf(tasks) })
}

interface Addresses {
  readonly addresses: readonly {
    readonly address: string
    readonly owner: string
    readonly state: string
    readonly taskArn?: string
    readonly containerInstance: string
  }[]
  readonly usage: Readonly<Record<string, number>>
}

async function addressesIn(subnetId: string): Promise<Addresses> {
  const answer = await rest('GET', `/v1/subnets/${subnetId}/addresses`)
  return answer.json as unknown as Addresses
}

for (const [family, networkMode] of [
  ['net', 'awsvpc'],
  ['plain', 'bridge'],
] as const) {
  await ecs.send(
    new RegisterTaskDefinitionCommand({
      family,
      networkMode,
      containerDefinitions: [
        { name: 'main', image: 'busybox', memory: 64, portMappings: [{ containerPort: 80 }] },
        { name: 'side', image: 'busybox', memory: 64, essential: false },
      ],
    }),
  )
}

await t.test('subnets: made, shown, changed, deleted; and what is refused', async (test) => {
  const eth0 = { kind: 'macvlan', parent: 'eth0' }
  const made = await rest('POST', '/v1/subnets', {
    name: 'lan',
    cidr: '10.20.0.0/24',
    gateway: '10.20.0.1',
    ranges: ['10.20.0.110-10.20.0.119', '10.20.0.100'],
    reservedAddresses: ['10.20.0.115'],
    attachment: eth0,
    dnsServers: ['10.20.0.1'],
    searchDomains: ['home.lan'],
    tags: [{ key: 'where', value: 'home' }],
  })
  test.equal(made.status, 200, made.text)
  const subnetId = String(made.json['subnetId'])
  test.match(made.json, {
    subnetId: /^subnet-[0-9a-f]{17}$/,
    name: 'lan',
    ranges: ['10.20.0.100', '10.20.0.110-10.20.0.119'],
    addresses: { total: 10, free: 10, tasks: 0, hosts: 0, quarantined: 0 },
    limits: [/Wi-Fi/, /DHCP/],
  })
  test.same((await rest('GET', `/v1/subnets/${subnetId}`)).json, made.json)
  test.match((await rest('GET', '/v1/subnets')).json, { subnets: [{ subnetId }] })

  const lan = { cidr: '10.21.0.0/24', attachment: { kind: 'macvlan', parent: 'eth1' } }
  const vxlan = { kind: 'vxlan', networkId: 7, multicastGroup: '239.1.1.7' }
  const manyAddresses = Array.from({ length: 101 }, (_, index) => `10.21.0.${index + 2}`)
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ ...lan, cidr: '10.21.0.5/24' }, /canonical.*10\.21\.0\.0\/24/],
    [{ ...lan, cidr: '10.21.0' }, /no block of IPv4 addresses/],
    [{ ...lan, cidr: '10.0.0.0/8' }, /of size \/8/],
    [{ ...lan, cidr: '10.21.0.0/30' }, /of size \/30/],
    [{ ...lan, cidr: '169.254.0.0/24' }, /link-local/],
    [{ ...lan, gateway: '10.22.0.1' }, /gateway 10\.22\.0\.1 lies outside of cidr 10\.21\.0\.0\/24/],
    [{ ...lan, gateway: '10.21.0.0' }, /network address/],
    [{ ...lan, gateway: '10.21.0.255' }, /broadcast address/],
    [{ ...lan, gateway: 'router' }, /no IPv4 address/],
    [{ ...lan, ranges: ['10.22.0.1-10.22.0.9'] }, /ranges: 10\.22\.0\.1 lies outside/],
    [{ ...lan, ranges: ['10.21.0.9-10.21.0.1'] }, /ends before it begins. Write 10\.21\.0\.1-10\.21\.0\.9/],
    [{ ...lan, ranges: ['10.21.0.1-10.21.0.9', '10.21.0.9-10.21.0.12'] }, /overlap/],
    [{ ...lan, ranges: ['10.21.0.1'], gateway: '10.21.0.1' }, /too small.* have 0 /],
    [{ ...lan, ranges: ['10.21.0.1', '10.21.0.2'], gateway: '10.21.0.1' }, /too small.* have 1 .*own interface/],
    [{ ...lan, reservedAddresses: ['10.9.9.9'] }, /reservedAddresses 10\.9\.9\.9 lies outside/],
    [{ ...lan, attachment: eth0 }, /\(lan\) is macvlan on eth0 already.*VLAN/],
    [{ ...lan, cidr: '10.20.0.0/25', attachment: vxlan }, /overlaps with 10\.20\.0\.0\/24 .*\(lan\)/],
    [{ ...lan, cidr: '10.20.0.0/24' }, /overlaps with .* availability zone of its own/],
    [{ ...lan, attachment: { kind: 'ipvlan' } }, /macvlan, bridge or vxlan, and not 'ipvlan'/],
    [{ ...lan, attachment: { kind: 'macvlan' } }, /attachment\.parent must be the name/],
    [{ ...lan, attachment: { kind: 'macvlan', parent: 'an interface too long' } }, /attachment\.parent/],
    [{ ...lan, attachment: { ...eth0, vlan: 4095 } }, /vlan must be a whole number from 1 to 4094/],
    [{ ...lan, attachment: { ...vxlan, multicastGroup: '10.1.1.1' } }, /239\.0\.0\.0\/8/],
    [{ ...lan, attachment: vxlan, gateway: '10.21.0.1' }, /gateway is not for VXLAN/],
    [{ ...lan, attachment: { ...vxlan, networkId: 0 } }, /networkId must be/],
    [{ ...lan, assignPublicIp: 'lan', attachment: { kind: 'bridge' } }, /assignPublicIp can't be lan/],
    [{ ...lan, mtu: 10 }, /mtu must be/],
    [{ ...lan, dnsServers: ['dns.home'] }, /dnsServers: 'dns.home'/],
    [{ ...lan, searchDomains: ['no domain'] }, /searchDomains/],
    [{ ...lan, subnetId: 'my-subnet' }, /not of the form subnet-/],
    [{ ...lan, gatway: '10.21.0.1' }, /no member gatway/],
    [{ ...lan, ranges: manyAddresses }, /ranges can have at most 100 items, and has 101/],
    [{ ...lan, reservedAddresses: manyAddresses }, /reservedAddresses can have at most 100 items/],
    [{ ...lan, name: 'red\u001b[31m' }, /name takes no control characters/],
    [{ ...lan, attachment: { ...eth0, vlan: true } }, /body\/attachment\/vlan must be integer/],
    [{ ...lan, mtu: '1500' }, /body\/mtu must be integer,null/],
    [{ ...lan, ranges: '10.21.0.9' }, /body\/ranges must be array/],
  ]
  for (const [subnet, message] of cases) {
    const answer = await rest('POST', '/v1/subnets', subnet)
    test.match({ ...answer.json, status: answer.status }, { status: 400, code: 'InvalidParameterException', message })
  }
  test.match(await rest('POST', '/v1/subnets', { ...lan, cidr: '10.99.0.0/24', subnetId }), {
    status: 400,
    json: { code: 'ConflictException' },
  })

  const zoned = await rest('PATCH', `/v1/subnets/${subnetId}`, { availabilityZone: 'a' })
  test.equal(zoned.json['availabilityZone'], 'a')
  const inB = { ...lan, cidr: '10.20.0.0/24', availabilityZone: 'b' }
  const sameRanges = await rest('POST', '/v1/subnets', { ...inB, ranges: ['10.20.0.119-10.20.0.130'] })
  test.match(sameRanges.json, { code: 'InvalidParameterException', message: /so do the ranges.*same network/ })
  const otherRanges = await madeSubnet(test, { ...inB, ranges: ['10.20.0.120-10.20.0.130'] })
  test.equal((await rest('DELETE', `/v1/subnets/${otherRanges}`)).status, 204)

  const changed = await rest('PATCH', `/v1/subnets/${subnetId}`, { gateway: null, ranges: [], name: 'island' })
  test.match(changed.json, { name: 'island', ranges: ['10.20.0.1-10.20.0.254'], addresses: { free: 253 } })
  test.equal(changed.json['gateway'], undefined)
  test.match(await rest('PATCH', '/v1/clusters/default', { defaultSubnetId: subnetId }), {
    json: { defaultSubnetId: subnetId },
  })
  const inUse = await rest('DELETE', `/v1/subnets/${subnetId}`)
  test.match(inUse.json, { code: 'ResourceInUseException', message: /default of cluster default/ })
  test.equal((await rest('PATCH', '/v1/clusters/default', { defaultSubnetId: null })).status, 200)
  test.equal((await rest('DELETE', `/v1/subnets/${subnetId}`)).status, 204)
  test.match(await rest('GET', `/v1/subnets/${subnetId}`), { status: 404, json: { code: 'ResourceNotFoundException' } })
  const document = (await rest('GET', '/v1/openapi.json')).json['paths'] as Record<string, unknown>
  test.ok(document['/v1/subnets/{subnetId}/addresses'])
})

await t.test('networkConfiguration in the words of ECS', async (test) => {
  const isolated = await madeSubnet(test, { cidr: '10.30.0.0/28', attachment: { kind: 'bridge' } })
  test.match(
    await refusedRun({}),
    /^InvalidParameterException: Network Configuration must be provided when networkMode/,
  )
  test.match(await refusedRun(inSubnets()), /^InvalidParameterException: subnets can not be empty/)
  test.match(
    await refusedRun(inSubnets('subnet-0')),
    /Error retrieving subnet information for \[subnet-0\]: The subnet ID 'subnet-0' does not exist/,
  )
  test.match(await refusedRun(inSubnets(...Array.from({ length: 17 }, () => isolated))), /at most 16 items/)
  test.match(
    await refusedRun({ taskDefinition: 'plain', ...inSubnets(isolated) }),
    /^InvalidParameterException: Network Configuration is not valid for the given networkMode/,
  )
  const awsvpcConfiguration = { subnets: [isolated] }
  test.match(
    await refusedRun({
      networkConfiguration: { awsvpcConfiguration: { ...awsvpcConfiguration, assignPublicIp: 'ENABLED' } },
    }),
    /^InvalidParameterException: Assign public IP is not supported for this launch type/,
  )
  const securityGroups = ['sg-1', 'sg-2', 'sg-3', 'sg-4', 'sg-5', 'sg-6']
  test.match(
    await refusedRun({ networkConfiguration: { awsvpcConfiguration: { ...awsvpcConfiguration, securityGroups } } }),
    /securityGroups can have at most 5 items/,
  )
  test.equal((await rest('DELETE', `/v1/subnets/${isolated}`)).status, 204)
})

await t.test('a task is shown with its interface, and its agent is told all of it', async (test) => {
  const subnetId = await madeSubnet(test, {
    cidr: '10.40.0.0/24',
    gateway: '10.40.0.1',
    ranges: ['10.40.0.10-10.40.0.20'],
    attachment: { kind: 'macvlan', parent: 'eth1', vlan: 40 },
    dnsServers: ['10.40.0.2'],
    searchDomains: ['home.lan'],
    assignPublicIp: 'lan',
    mtu: 1400,
  })
  const official = await startHost([eni, wired], false)
  const wireless = await startHost([eni, { name: 'gantry.network-interfaces', value: 'wlan0' }])
  const before = await run(1, [subnetId])
  test.match(before.failures[0]?.detail, /1 lacks attribute gantry\.protocol/)
  test.match(before.failures[0]?.detail, /1 lacks the network interface eth1 of the subnets \(found wlan0\)/)
  const host = await startHost([eni, wired])
  const started = await ecs.send(
    new RunTaskCommand({
      taskDefinition: 'net',
      networkConfiguration: {
        awsvpcConfiguration: { subnets: [subnetId], securityGroups: ['sg-1'], assignPublicIp: 'ENABLED' },
      },
    }),
  )
  const [task] = started.tasks ?? []
  const id = task?.attachments?.[0]?.id ?? ''
  test.match(task, {
    lastStatus: 'PENDING',
    attachments: [
      {
        type: 'ElasticNetworkInterface',
        status: 'PRECREATED',
        details: [
          { name: 'subnetId', value: subnetId },
          { name: 'networkInterfaceId', value: /^eni-[0-9a-f]{17}$/ },
          { name: 'macAddress', value: /^0a:[0-9a-f]{2}:0a:28:00:0b$/ },
          { name: 'privateDnsName', value: 'ip-10-40-0-11.home.lan' },
          { name: 'privateIPv4Address', value: '10.40.0.11' },
        ],
      },
    ],
    containers: [
      { networkInterfaces: [{ attachmentId: id, privateIpv4Address: '10.40.0.11' }] },
      { networkInterfaces: [{ attachmentId: id, privateIpv4Address: '10.40.0.11' }] },
    ],
  })
  await waitUntilTasksRunning({ client: ecs, ...soon }, { tasks: arnsOf(started.tasks ?? []) })
  test.match((await described(started.tasks ?? []))[0]?.attachments, [{ status: 'ATTACHED' }])
  const payload = host.tasks.get(task?.taskArn ?? '')
  test.match(payload, {
    networkMode: 'awsvpc',
    elasticNetworkInterfaces: [
      {
        attachmentArn: new RegExp(`:attachment/${id}$`),
        ec2Id: detailOf(task, 'networkInterfaceId'),
        index: 0,
        macAddress: detailOf(task, 'macAddress'),
        ipv4Addresses: [{ privateAddress: '10.40.0.11', primary: true }],
        domainName: ['home.lan'],
        domainNameServers: ['10.40.0.2'],
        privateDnsName: 'ip-10-40-0-11.home.lan',
        subnetGatewayIpv4Address: '10.40.0.1/24',
      },
    ],
    gantry: {
      network: {
        subnetId,
        cidr: '10.40.0.0/24',
        gateway: '10.40.0.1',
        attachment: { kind: 'macvlan', parent: 'eth1', vlan: 40 },
        hostAddress: '10.40.0.10',
        hostMacAddress: /^0a:[0-9a-f]{2}:0a:28:00:0a$/,
        mtu: 1400,
      },
    },
  })
  test.match(await addressesIn(subnetId), {
    addresses: [
      { address: '10.40.0.10', owner: 'host', state: 'host', containerInstance: host.instanceId },
      { address: '10.40.0.11', owner: 'task', state: 'running', taskArn: task?.taskArn },
    ],
    usage: { total: 11, free: 9, tasks: 1, hosts: 1 },
  })
  const { containerInstances } = await ecs.send(
    new DescribeContainerInstancesCommand({ containerInstances: [host.instanceArn] }),
  )
  test.match(containerInstances?.[0]?.attachments, [
    {
      type: 'ElasticNetworkInterface',
      status: 'CREATED',
      details: [{}, {}, {}, { name: 'privateIPv4Address', value: '10.40.0.10' }],
    },
  ])
  const refused = await rest('DELETE', `/v1/subnets/${subnetId}`)
  test.match(refused.json, {
    code: 'ResourceInUseException',
    message: /2 addresses are in use: .*the host itself.*task /,
  })
  const moved = await rest('PATCH', `/v1/subnets/${subnetId}`, { gateway: '10.40.0.3' })
  test.match(moved.json, { code: 'ResourceInUseException', message: /^gateway of subnet/ })
  const busy = await rest('POST', `/v1/subnets/${subnetId}/release`, { addresses: ['10.40.0.11'] })
  test.match(busy.json, { code: 'InvalidParameterException', message: /in use: 10\.40\.0\.11 by task/ })

  const why = await rest('GET', `/v1/tasks/${task?.taskArn?.split('/').at(-1) ?? ''}/why`)
  test.match(JSON.stringify(why.json['facts']), /10\.40\.0\.11.*security groups.*not enforced/i)

  await stopped(started.tasks ?? [])
  const [end] = await described(started.tasks ?? [])
  test.match(end?.attachments, [{ status: 'DELETED' }], 'the interface is gone with the task')
  test.match(await addressesIn(subnetId), { addresses: [{ owner: 'host' }], usage: { free: 10 } })
  const rehung = await rest('PATCH', `/v1/subnets/${subnetId}`, { gateway: '10.40.0.3' })
  test.match(rehung.json, { gateway: '10.40.0.3', addresses: { free: 11 } }, 'an idle host holds nothing up')
  const again = await run(1, [subnetId])
  await stopped(again.tasks)
  test.match(await addressesIn(subnetId), { addresses: [{ owner: 'host' }], usage: { free: 10 } })
  for (const peer of [official, wireless, host]) {
    await ecs.send(new DeregisterContainerInstanceCommand({ containerInstance: peer.instanceArn }))
  }
  test.match(
    await addressesIn(subnetId),
    { addresses: [], usage: { free: 11 } },
    'the host left, and its address with it',
  )
  test.equal((await rest('DELETE', `/v1/subnets/${subnetId}`)).status, 204)
})

await t.test('twice as many starts as addresses on three hosts', async (test) => {
  const subnetId = await madeSubnet(test, {
    cidr: '10.50.0.0/24',
    ranges: ['10.50.0.10-10.50.0.21'],
    attachment: { kind: 'macvlan', parent: 'eth0' },
  })
  const hosts = await Promise.all([startHost([eni, wired]), startHost([eni, wired]), startHost([eni, wired])])
  const calls = await Promise.all([run(10, [subnetId]), run(8, [subnetId]), run(6, [subnetId])])
  const tasks = calls.flatMap((call) => call.tasks)
  const failures = calls.flatMap((call) => call.failures)
  test.equal(tasks.length, 9, 'twelve addresses are for three hosts and nine tasks')
  test.equal(new Set(tasks.map(addressOf)).size, 9)
  test.equal(new Set(tasks.map((task) => detailOf(task, 'macAddress'))).size, 9)
  test.ok(failures.every(({ reason }) => reason === 'RESOURCE:ENI'))
  test.match(
    failures.at(-1)?.detail,
    new RegExp(
      `3 find no address for the task \\(subnet ${subnetId} has 0 of 12 addresses free: .*3 are hosts' own\\)`,
    ),
  )
  await waitUntilTasksRunning({ client: ecs, ...soon }, { tasks: arnsOf(tasks) })

  await ecs.send(
    new CreateServiceCommand({ serviceName: 'web', taskDefinition: 'net', desiredCount: 3, ...inSubnets(subnetId) }),
  )
  const waiting = await eventually('web to say what it waits for', async () => {
    const { services } = await ecs.send(new DescribeServicesCommand({ services: ['web'] }))
    return services?.[0]?.events?.find(({ message = '' }) => message.includes('unable to place a task'))?.message
  })
  test.match(waiting, /encountered error "RESOURCE:ENI".*has 0 of 12 addresses free: 9 running/)
  const why = await rest('GET', '/v1/services/default/web/why')
  test.match(why.json, {
    state: 'waiting',
    waiting: { counts: [{ filter: 'addresses', reason: 'RESOURCE:ENI', count: 3 }] },
  })
  const planned = await rest('POST', '/v1/plan', { runTask: { taskDefinition: 'net', ...inSubnets(subnetId) } })
  test.match(planned.json, { tasks: [], failures: [{ reason: 'RESOURCE:ENI' }] })

  const [first, second, third] = tasks
  await stopped([first, second].flatMap((task) => task ?? []))
  const two = await eventually('web to take the two that are free', async () => {
    const { taskArns = [] } = await ecs.send(new ListTasksCommand({ serviceName: 'web' }))
    return taskArns.length === 2 ? taskArns : undefined
  })
  const { tasks: ofWeb = [] } = await ecs.send(new DescribeTasksCommand({ tasks: two }))
  test.same(
    ofWeb.map(addressOf).toSorted((left, right) => (left < right ? -1 : 1)),
    [addressOf(first), addressOf(second)].toSorted((left, right) => (left < right ? -1 : 1)),
  )

  await ecs.send(new DeleteServiceCommand({ service: 'web', force: true }))
  await waitUntilTasksStopped({ client: ecs, ...soon }, { tasks: two })
  const cut = hosts.find(({ instanceArn }) => instanceArn === third?.containerInstanceArn)
  await cut?.disconnect('cut')
  const heldThere = ({ addresses }: Addresses): readonly string[] =>
    addresses.filter(({ containerInstance }) => containerInstance === cut?.instanceId).map(({ address }) => address)
  const held = heldThere(await addressesIn(subnetId))
  const others = tasks.slice(2).filter((task) => task.containerInstanceArn !== cut?.instanceArn)
  await stop(tasks.slice(2))
  await waitUntilTasksStopped({ client: ecs, ...soon }, { tasks: arnsOf(others) })
  const again = await run(10, [subnetId])
  const now = await addressesIn(subnetId)
  const kept = heldThere(now)
  test.ok(
    held.every((address) => kept.includes(address)),
    'what the host had when it was cut off is its own',
  )
  test.notOk(again.tasks.some((task) => held.includes(addressOf(task))))
  test.equal(new Set(now.addresses.map(({ address }) => address)).size, 12)
  test.match(again.failures[0], { reason: 'RESOURCE:ENI', detail: /0 of 12 addresses free: .*[0-9] stopping/ })

  test.match(
    await refusal(
      ecs.send(
        new StartTaskCommand({ taskDefinition: 'net', containerInstances: [cut?.instanceId ?? ''], ...inSubnets() }),
      ),
    ),
    /subnets can not be empty/,
  )
  await cut?.connect(false)
  await eventually('the tasks that were to stop there to end', async () => {
    const { addresses } = await addressesIn(subnetId)
    return addresses.some(({ state }) => state === 'cutOff' || state === 'stopping') ? undefined : true
  })
  test.ok((await run(1, [subnetId])).tasks.length === 1, 'what it held is free once its agent said so')
})

await t.test('a host that was deregistered by force leaves its addresses in quarantine', async (test) => {
  const host = await startHost([eni, { name: 'gantry.network-interfaces', value: 'eth7' }])
  const subnetId = await madeSubnet(test, {
    cidr: '10.60.0.0/28',
    attachment: { kind: 'macvlan', parent: 'eth7' },
  })
  const { tasks } = await run(2, [subnetId])
  test.equal(tasks.length, 2)
  await waitUntilTasksRunning({ client: ecs, ...soon }, { tasks: arnsOf(tasks) })
  await ecs.send(new DeregisterContainerInstanceCommand({ containerInstance: host.instanceArn, force: true }))
  const left = await eventually('the addresses to be in quarantine', async () => {
    const { addresses, usage } = await addressesIn(subnetId)
    return addresses.every(({ state }) => state === 'quarantined') ? { addresses, usage } : undefined
  })
  test.match(left, { addresses: [{ owner: 'host' }, { owner: 'task' }, { owner: 'task' }], usage: { quarantined: 3 } })
  const neither = await rest('POST', `/v1/subnets/${subnetId}/release`, {})
  test.match(neither.json, { code: 'InvalidParameterException' })
  const one = await rest('POST', `/v1/subnets/${subnetId}/release`, { addresses: [addressOf(tasks[0])] })
  test.match(one.json, { released: [addressOf(tasks[0])], subnet: { addresses: { quarantined: 2 } } })
  const rest2 = await rest('POST', `/v1/subnets/${subnetId}/release`, { containerInstance: host.instanceId })
  test.match(rest2.json, { subnet: { addresses: { quarantined: 0, free: 14 } } })
  test.equal((await rest('DELETE', `/v1/subnets/${subnetId}`)).status, 204)
})

await t.test('several subnets, a default one, and an update to another', async (test) => {
  const attachment = { kind: 'macvlan', parent: 'eth8' }
  const small = await madeSubnet(test, { cidr: '10.70.0.0/28', attachment, availabilityZone: 'a' })
  const large = await madeSubnet(test, {
    cidr: '10.71.0.0/24',
    attachment: { ...attachment, vlan: 71 },
    availabilityZone: 'a',
  })
  const elsewhere = await madeSubnet(test, { cidr: '10.72.0.0/24', attachment, availabilityZone: 'b' })
  const host = await startHost([
    eni,
    { name: 'gantry.network-interfaces', value: 'eth8' },
    { name: 'ecs.availability-zone', value: 'a' },
    { name: 'gantry.task-eni-max', value: '3' },
  ])
  const { tasks } = await run(1, [small, large])
  test.match(addressOf(tasks[0]), /^10\.71\./, 'the one with the most free addresses')
  const overWireless = await madeSubnet(test, {
    cidr: '10.73.0.0/24',
    attachment: { kind: 'vxlan', networkId: 73, multicastGroup: '239.73.0.1', parent: 'wlan0' },
  })
  const wireless = await run(1, [overWireless])
  test.same(wireless.failures, [], 'hosts register no interface that macvlan can not hang on')
  await stopped(wireless.tasks)
  const far = await run(1, [elsewhere])
  test.match(far.failures[0]?.detail, /in another availability zone than the subnets \(want b, found .*a/)

  await rest('PATCH', '/v1/clusters/default', { defaultSubnetId: small })
  const created = await ecs.send(
    new CreateServiceCommand({ serviceName: 'by-default', taskDefinition: 'net', desiredCount: 1 }),
  )
  test.match(created.service, {
    networkConfiguration: { awsvpcConfiguration: { subnets: [small], securityGroups: [], assignPublicIp: 'DISABLED' } },
    deployments: [{ networkConfiguration: { awsvpcConfiguration: { subnets: [small] } } }],
  })
  const ofService = async (subnetId: string): Promise<readonly Task[] | undefined> => {
    const { taskArns = [] } = await ecs.send(new ListTasksCommand({ serviceName: 'by-default' }))
    const found = (await ecs.send(new DescribeTasksCommand({ tasks: taskArns }))).tasks ?? []
    return found.length === 1 && detailOf(found[0], 'subnetId') === subnetId ? found : undefined
  }
  await eventually('its task', () => ofService(small))
  const named = await rest('DELETE', `/v1/subnets/${large}`)
  test.equal(named.json['code'], 'ResourceInUseException')
  const updated = await ecs.send(new UpdateServiceCommand({ service: 'by-default', ...inSubnets(large) }))
  test.equal(updated.service?.deployments?.length, 2, 'another network is another deployment')
  await eventually('its task in the other subnet', () => ofService(large))
  const same = await ecs.send(new UpdateServiceCommand({ service: 'by-default', ...inSubnets(large) }))
  test.equal(same.service?.deployments?.[0]?.id, updated.service?.deployments?.[0]?.id, 'the same again starts nothing')

  const capped = await run(3, [large])
  test.match(capped.failures[0], { reason: /RESOURCE:ENI|ATTRIBUTE/, detail: /GANTRY_TASK_ENI_MAX is 3/ })
  await ecs.send(new DeleteServiceCommand({ service: 'by-default', force: true }))
  await stopped([...tasks, ...capped.tasks])
  await rest('PATCH', '/v1/clusters/default', { defaultSubnetId: null })
  const emptied = await eventually('the tasks of the service to end', async () => {
    const { addresses } = await addressesIn(large)
    return addresses.every(({ owner }) => owner === 'host') ? addresses : undefined
  })
  test.equal(emptied.length, 1)
  test.equal((await rest('DELETE', `/v1/subnets/${large}`)).status, 204, 'while its host is there')
  await ecs.send(new DeregisterContainerInstanceCommand({ containerInstance: host.instanceArn, force: true }))
})

await t.test('there are 200 subnets at most', async (test) => {
  const { subnets } = (await rest('GET', '/v1/subnets')).json as { subnets: readonly unknown[] }
  const made: string[] = []
  for (let number = subnets.length; number < 200; number += 1) {
    made.push(await madeSubnet(test, { cidr: `10.200.${number}.0/24`, attachment: { kind: 'bridge' } }))
  }
  const more = await rest('POST', '/v1/subnets', { cidr: '10.201.0.0/24', attachment: { kind: 'bridge' } })
  test.match(more.json, { code: 'LimitExceededException' })
  for (const subnetId of made) test.equal((await rest('DELETE', `/v1/subnets/${subnetId}`)).status, 204)
})

await t.test('what was given stays given when the controller is killed', async (test) => {
  const subnetId = await madeSubnet(test, { cidr: '10.80.0.0/28', attachment: { kind: 'macvlan', parent: 'eth9' } })
  const host = await startHost([eni, { name: 'gantry.network-interfaces', value: 'eth9' }])
  const { tasks } = await run(3, [subnetId])
  await controller.kill9()
  const again = await startController({ dataDir: controller.dataDir, port: controller.port })
  t.teardown(() => again.stop())
  test.same(
    (await described(tasks)).map((task) => [task.taskArn, addressOf(task)]),
    tasks.map((task) => [task.taskArn, addressOf(task)]),
  )
  await host.connect(false)
  await waitUntilTasksRunning({ client: ecs, ...soon }, { tasks: arnsOf(tasks) })
  const more = await run(3, [subnetId])
  test.equal(new Set([...tasks, ...more.tasks].map(addressOf)).size, 6)
  await waitUntilTasksRunning({ client: ecs, ...soon }, { tasks: arnsOf(more.tasks) })
})
