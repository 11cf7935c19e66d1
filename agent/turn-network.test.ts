/** Tasks with addresses of their own (network mode awsvpc), on the fake engine: what is made, in which order, what is told. */
import { arch } from 'node:os'
import { test } from 'tap'
import type { PayloadTask } from '../proto/acs.ts'
import { fakeEngine } from '../test/support/fake-engine.ts'
import { fakeTime } from '../test/support/fake-time.ts'
import { anAgent, memoryJournal } from '../test/support/fake-turn.ts'
import type { Agent } from '../test/support/fake-turn.ts'
import { aPayloadContainer, aPayloadTask, instanceArn, taskArnOf } from '../test/support/payloads.ts'
import { networkFromLabel, withTaskNetwork } from './decide/task-network.ts'
import { startTaskNetworks } from './network-upkeep.ts'
import { pauseImageNames } from './pause-image.ts'
import { createTaskNetworks, networkSpecOf, noHostInterfaces } from './task-networks.ts'

const one = taskArnOf(1)
const pauseName = '~internal~ecs~pause'
const network = 'gantry-subnet-0a'
const [pauseOfX86 = '', pauseOfArm = ''] = pauseImageNames()
const pauseImage = arch() === 'arm64' ? pauseOfArm : pauseOfX86
const attachmentArn = 'arn:aws:ecs:us-east-1:123456789012:attachment/1'
const subnet = {
  subnetId: 'subnet-0a',
  cidr: '10.0.0.0/24',
  gateway: '10.0.0.1',
  attachment: { kind: 'macvlan', parent: 'eth0' },
} as const

function addressed(over: Partial<PayloadTask> = {}, last = 5): PayloadTask {
  return aPayloadTask({
    networkMode: 'awsvpc',
    elasticNetworkInterfaces: [
      {
        attachmentArn,
        ec2Id: 'eni-1',
        index: 0,
        macAddress: `0a:00:0a:00:00:0${last}`,
        ipv4Addresses: [{ privateAddress: `10.0.0.${last}`, primary: true }],
        domainName: ['home.lan'],
        domainNameServers: ['10.0.0.53'],
        privateDnsName: `ip-10-0-0-${last}.home.lan`,
        subnetGatewayIpv4Address: '10.0.0.1/24',
      },
    ],
    gantry: { knownStatus: 'PENDING', network: subnet },
    ...over,
  })
}

async function reaches(agent: Agent, status: string, arn = one): Promise<void> {
  await agent.time.until(`${arn} is ${status}`, () => agent.last(arn)?.status === status)
}

async function shownOf(agent: Agent, name: string) {
  const shown = agent.engine.inspectNetwork(name)
  await agent.time.pass(100)
  return shown
}

function bodyOf(agent: Agent, name: string): Record<string, Record<string, unknown>> {
  return agent.engine.find(name).body as Record<string, Record<string, unknown>>
}

await test('its network is made, then what holds it, then its containers, which join that', async (t) => {
  const agent = anAgent({ pauseImage })
  const hostConfig = JSON.stringify({
    Dns: ['9.9.9.9'],
    ExtraHosts: ['db:10.0.0.9'],
    Links: ['x'],
    Sysctls: { 'net.core.somaxconn': '512', 'kernel.shm_rmid_forced': '1' },
  })
  const config = JSON.stringify({ Hostname: 'mine', ExposedPorts: { '81/tcp': {} } })
  const web = aPayloadContainer({
    portMappings: [{ containerPort: 80, hostPort: 80, protocol: 'tcp' }],
    dockerConfig: { version: '', config, hostConfig },
  })
  agent.payload([addressed({ containers: [web, aPayloadContainer({ name: 'side', essential: false })] })])
  agent.payload([addressed({ arn: taskArnOf(2), containers: [web] }, 6)])
  await reaches(agent, 'RUNNING')
  await reaches(agent, 'RUNNING', taskArnOf(2))

  const { networks } = agent.engine
  t.match(networks.get(network), { driver: 'macvlan', cidr: '10.0.0.0/24', gateway: '10.0.0.1', internal: false })
  t.same(networks.get(network)?.options, { parent: 'eth0', macvlan_mode: 'bridge' })
  t.ok(networks.has('gantry-task-endpoints'))
  const pause = bodyOf(agent, pauseName)
  t.match(pause, {
    Image: pauseImage,
    Hostname: 'ip-10-0-0-5.home.lan',
    MacAddress: '0a:00:0a:00:00:05',
    NetworkingConfig: { EndpointsConfig: { [network]: { IPAMConfig: { IPv4Address: '10.0.0.5' } } } },
  })
  t.match(pause['HostConfig'], {
    NetworkMode: network,
    DnsSearch: ['home.lan'],
    ExtraHosts: ['db:10.0.0.9'],
    Sysctls: { 'net.core.somaxconn': '512' },
    CapDrop: ['ALL'],
  })
  t.same(pause['HostConfig']?.['Dns'], ['9.9.9.9', '10.0.0.53'], 'what a container asked for comes first')
  const body = bodyOf(agent, 'web')
  t.equal(body['HostConfig']?.['NetworkMode'], `container:${agent.engine.find(pauseName).id}`)
  t.same(body['HostConfig']?.['Sysctls'], { 'kernel.shm_rmid_forced': '1' }, 'what is not of the network stays')
  for (const member of ['Hostname', 'ExposedPorts', 'MacAddress', 'NetworkingConfig']) t.notOk(member in body, member)
  for (const member of ['Dns', 'DnsSearch', 'ExtraHosts', 'Links', 'PortBindings'])
    t.notOk(member in (body['HostConfig'] ?? {}), member)

  const told = agent.last(one)
  t.same(
    told?.containers.map(({ containerName }) => containerName),
    ['web', 'side'],
    'nobody is told of the pause container',
  )
  t.same(told?.attachments, [{ attachmentArn, status: 'ATTACHED' }])
  t.same(
    told?.containers.flatMap(({ networkBindings = [] }) => networkBindings),
    [],
    'no port of the host is taken',
  )
  t.same(agent.turn.ownPorts(), { tcp: [], udp: [] })

  agent.payload([addressed({ desiredStatus: 'STOPPED' })], { seqNum: 2 })
  await reaches(agent, 'STOPPED')
  const ends = (name: string): number => agent.engine.find(name).finishedAt ?? 0
  t.ok(ends(pauseName) >= ends('web') && ends(pauseName) >= ends('side'), 'what holds the network stops last')
  t.equal(agent.engine.find(pauseName).status, 'exited', 'a task that is STOPPED holds no address')
})

await test('a network that cannot be made is the reason of the end; one that an engine was too slow for is made later', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.engine.fail('createNetwork', 'refused')
  agent.payload([addressed()])
  await reaches(agent, 'STOPPED')
  t.match(agent.last(one)?.reason, /^ContainerNetworkingError: createNetwork failed as planned/)
  t.same(agent.engine.created, [])

  agent.engine.fail('createNetwork', 'deadline', { afterDeed: true })
  agent.engine.fail('inspectNetwork', 'unreachable', { times: 3 })
  agent.payload([addressed({ arn: taskArnOf(2) })])
  await reaches(agent, 'RUNNING', taskArnOf(2))
  t.equal(agent.last(taskArnOf(2))?.reason, undefined)
})

await test('the end of what holds the network is the end of the task, and so is another one in its place', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.payload([addressed()])
  await reaches(agent, 'RUNNING')
  agent.engine.exit(pauseName, 137)
  await reaches(agent, 'STOPPED')
  t.match(agent.last(one)?.reason, /container that holds the task's network ended \(exit code 137\)/)
  t.equal(agent.engine.find('web').status, 'exited')

  agent.engine.containers.clear()
  agent.payload([addressed({ arn: taskArnOf(2) })], { seqNum: 2 })
  await reaches(agent, 'RUNNING', taskArnOf(2))
  await agent.time.pass(60_000)
  t.equal(agent.last(taskArnOf(2))?.status, 'RUNNING', 'looking again changes nothing')
  const { id } = agent.engine.find(pauseName)
  void agent.engine.stopContainer(id, 1).then(async () => agent.engine.startContainer(id))
  await reaches(agent, 'STOPPED', taskArnOf(2))
  t.match(agent.last(taskArnOf(2))?.reason, /^ContainerNetworkingError: /)
})

await test('a host on which the endpoints have no network runs the task all the same', async (t) => {
  for (const call of ['connectNetwork', 'createNetwork'] as const) {
    const agent = anAgent({ pauseImage })
    agent.engine.networks.set(network, networkSpecOf(subnet, undefined, instanceArn))
    agent.engine.fail(call, 'refused', { times: 1 })
    agent.payload([addressed()])
    await reaches(agent, 'RUNNING')
    await agent.time.pass(60_000)
    t.equal(agent.last(one)?.status, 'RUNNING', call)
    t.equal(agent.engine.find(pauseName).starts, 1)
  }
})

await test('an application that ends takes the network with it, and the reason is the application’s own', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.payload([addressed()])
  await reaches(agent, 'RUNNING')
  agent.engine.exit('web', 3)
  await reaches(agent, 'STOPPED')
  t.equal(agent.last(one)?.reason, undefined)
  t.equal(agent.last(one)?.containers[0]?.exitCode, 3)
  t.equal(agent.engine.find(pauseName).status, 'exited')
})

await test('an agent without its journal knows from the container what it finds', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.payload([addressed()])
  await reaches(agent, 'RUNNING')
  agent.kill()
  agent.sent.length = 0
  agent.start(memoryJournal())
  await agent.time.until('it is adopted', () => agent.turn.tasks().length === 1)
  const [adopted] = agent.turn.tasks()
  t.equal(adopted?.payload.networkMode, 'awsvpc')
  t.same(adopted?.payload.gantry?.network, subnet)
  agent.payload([addressed({ gantry: { knownStatus: 'RUNNING', network: subnet } })], { seqNum: 2 })
  await reaches(agent, 'RUNNING')
  t.same(agent.last(one)?.attachments, [{ attachmentArn, status: 'ATTACHED' }])
  t.equal(agent.engine.created.length, 2, 'nothing was made a second time')
  agent.payload([addressed({ desiredStatus: 'STOPPED' })], { seqNum: 3 })
  await reaches(agent, 'STOPPED')
})

await test('a host that boots without its controller starts the task again in a network that is looked at anew', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.payload([addressed({ gantry: { knownStatus: 'PENDING', network: subnet, restartAlone: true } })])
  await reaches(agent, 'RUNNING')
  await agent.time.pass(1000)
  const pause = agent.engine.find(pauseName)
  agent.turn.linkDown()
  agent.engine.restart()
  agent.engine.networks.delete(network)
  agent.engine.networks.delete('gantry-task-endpoints')
  await agent.time.until('it runs again', () => {
    const [held, app] = [pauseName, 'web'].map((name) => agent.engine.find(name))
    return (held?.starts ?? 0) > 1 && (app?.starts ?? 0) > 1 && held?.status === 'running' && app?.status === 'running'
  })
  t.ok(agent.engine.networks.has(network), 'the network was made again')
  t.same(
    (await shownOf(agent, 'gantry-task-endpoints'))?.containerIds,
    [pause.id],
    'and the endpoints were joined again',
  )
  t.ok((agent.engine.find('web').startedAt ?? 0) >= (pause.startedAt ?? 0), 'what holds the network came first')
  await agent.time.pass(10_000)
  t.equal(agent.turn.tasks()[0]?.facts.reason, undefined, 'its own second start is nobody else’s')
})

await test('alone: what a full disk let the agent forget of a start in place does not end the task', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.payload([addressed({ gantry: { knownStatus: 'PENDING', network: subnet, restartAlone: true } })])
  await reaches(agent, 'RUNNING')
  await agent.time.pass(1000)
  agent.turn.linkDown()
  agent.journal.full = true
  agent.engine.restart()
  const again = (): boolean =>
    [pauseName, 'web'].every((name) => {
      const { starts, status } = agent.engine.find(name)
      return starts > 1 && status === 'running'
    })
  await agent.time.until('it runs again', again)
  agent.kill()
  agent.journal.full = false
  agent.start()
  await agent.time.pass(60_000)
  t.equal(agent.turn.tasks()[0]?.knownStatus, 'RUNNING')
  t.equal(agent.engine.find('web').starts, 2)
})

await test('alone: a network that was made ready for a start that failed is looked at again for the next one', async (t) => {
  const agent = anAgent({ pauseImage })
  agent.engine.fail('createContainer', 'refused', { times: 1 })
  agent.payload([addressed({ gantry: { knownStatus: 'PENDING', network: subnet, restartAlone: true } })])
  agent.turn.linkDown()
  await agent.time.until('the network is made', () => agent.engine.networks.has(network))
  await agent.time.pass(100)
  agent.engine.networks.delete(network)
  const runs = (): boolean => agent.turn.tasks()[0]?.facts.containers['web']?.knownStatus === 'RUNNING'
  await agent.time.until('it runs', runs, 300_000)
  t.ok(agent.engine.networks.has(network))
})

await test('what a payload lacks is said, and nothing is started for it', async (t) => {
  const agent = anAgent({ pauseImage })
  const { gantry: _none, ...bare } = addressed()
  agent.payload([bare])
  await reaches(agent, 'STOPPED')
  t.match(agent.last(one)?.reason, /names no interface or no subnet/)
  t.same(agent.engine.created, [])
})

await test('what can not be read of a network fails alone, and takes no agent down', async (t) => {
  const junk: readonly unknown[] = [{}, 'eni', [null], [{ ipv4Addresses: [null] }], [{ ipv4Addresses: {} }]]
  for (const elasticNetworkInterfaces of junk) {
    const agent = anAgent({ pauseImage })
    agent.payload([{ ...addressed(), elasticNetworkInterfaces } as PayloadTask, aPayloadTask({ arn: taskArnOf(2) })])
    await reaches(agent, 'STOPPED')
    t.match(agent.last(one)?.reason, /names no interface or no subnet/)
    await reaches(agent, 'RUNNING', taskArnOf(2))
    t.same(agent.errors, [])
  }
  const own = addressed().elasticNetworkInterfaces?.[0]
  t.same(Object.keys(networkFromLabel(JSON.stringify({ subnet, own }))), ['elasticNetworkInterfaces', 'gantry'])
  for (const label of ['', 'null', '{"own":null}', JSON.stringify({ subnet, own: null }), '{"subnet":{},"own":{}}']) {
    t.same(networkFromLabel(label), {}, label)
  }
})

await test('each kind of subnet has its Docker network, and without an own address none of a mesh', (t) => {
  const mesh = { kind: 'vxlan', networkId: 7, multicastGroup: '239.0.0.7' } as const
  const spec = networkSpecOf({ ...subnet, attachment: mesh, hostAddress: '10.0.0.8' }, 1450, 'me')
  t.match(spec, { driver: 'bridge', gateway: '10.0.0.8' }, 'each host is the way out of its own tasks')
  t.equal(spec.options['com.docker.network.driver.mtu'], '1450')
  t.throws(() => networkSpecOf({ ...subnet, attachment: mesh }, 1450, 'me'), /reserved no address for this host/)
  const vlan = networkSpecOf({ ...subnet, attachment: { kind: 'macvlan', parent: 'eth0', vlan: 7 } }, undefined, 'me')
  t.equal(vlan.options['parent'], 'eth0.7')
  t.match(networkSpecOf({ ...subnet, gateway: undefined }, undefined, 'me'), { internal: true })
  const untouched = { Image: 'busybox:1' }
  const task = aPayloadTask()
  t.equal(withTaskNetwork(task, aPayloadContainer(), { containers: {} } as never, untouched), untouched)
  t.end()
})

await test('an address that a stranger answers for is not taken', async (t) => {
  const agent = anAgent({ pauseImage })
  const host = { ...noHostInterfaces, strangerAt: async () => '02:00:00:00:00:99' }
  const networks = createTaskNetworks(agent.engine, host, 'me')
  const prepared = networks.prepare({ subnet, address: '10.0.0.5', macAddress: '0a:00:0a:00:00:05' })
  const refused = prepared.catch((error: unknown) => error)
  await agent.time.pass(1000)
  t.match(await refused, { kind: 'refused', message: /10\.0\.0\.5 is in use on eth0 by 02:00:00:00:00:99/ })
})

await test('what no task needs goes, also where the wall clock was set back by a day', async (t) => {
  const time = fakeTime()
  const engine = fakeEngine(time)
  const spec = networkSpecOf(subnet, undefined, instanceArn)
  engine.networks.set(network, spec)
  let backMs = 0
  const upkeep = startTaskNetworks({
    engine,
    ip: async () => '[]',
    containerInstanceArn: instanceArn,
    tasks: () => [],
    timers: time,
    now: () => time.now() - backMs,
    log: { warn: () => undefined } as never,
  })
  await time.pass(15_000)
  t.ok(engine.networks.has(network), 'not all tasks may be known yet')
  backMs = 24 * 3_600_000
  await time.pass(60_000)
  t.notOk(engine.networks.has(network))
  upkeep.close()
})
