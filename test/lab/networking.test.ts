/** Every network mode on three real hosts, and who reaches whom: docs/networking.md. */
import { network } from './enter.ts'
import { type Task, CreateServiceCommand, DescribeServicesCommand } from '@aws-sdk/client-ecs'
import { StartTaskCommand, StopTaskCommand, UpdateServiceCommand } from '@aws-sdk/client-ecs'
import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import tap from 'tap'
import { callRest } from '../support/controller.ts'
import { askEngine } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'
import type { Host } from './host.ts'
import { startLab } from './lab.ts'
import { bridge } from './machine.ts'
import { ip } from './own-network.ts'

tap.setTimeout(400_000)
const lab = await startLab({ network, hosts: 3 })
tap.teardown(async () => lab.close())

const pauseName = '~internal~ecs~pause'
/** Does that, and then waits until it is told to end. */
const waiting = (script: string): string[] => {
  return ['sh', '-c', `trap 'exit 0' TERM; ${script}; while :; do sleep 600 & wait $!; done`]
}
/** Answers with its own words, on port 80 of whatever network it is in. */
const serving = (words: string): string[] => waiting(`echo ${words} > /www/index.html; httpd -p 80 -h /www`)
const subnetOf = {
  lan: await makeSubnet({
    cidr: '10.77.0.0/24',
    gateway: '10.77.0.1',
    ranges: ['10.77.0.100-10.77.0.119'],
    attachment: { kind: 'macvlan', parent: 'eth0' },
    dnsServers: ['10.77.0.1'],
    searchDomains: ['home.lan'],
  }),
  mesh: await makeSubnet({
    cidr: '10.88.0.0/24',
    ranges: ['10.88.0.10-10.88.0.60'],
    attachment: { kind: 'vxlan', networkId: 77, multicastGroup: '239.77.0.1', parent: 'eth0' },
  }),
  home: await makeSubnet({ cidr: '10.99.0.0/24', gateway: '10.99.0.1', attachment: { kind: 'bridge' } }),
}
const web = await lab.define({
  networkMode: 'awsvpc',
  containers: [
    {
      name: 'app',
      command: serving('hello'),
      portMappings: [{ containerPort: 80 }],
      systemControls: [{ namespace: 'net.core.somaxconn', value: '777' }],
    },
    { name: 'sidecar', command: waiting('true') },
  ],
})

async function rest(method: 'POST' | 'PATCH', path: string, body: object): Promise<Readonly<Record<string, unknown>>> {
  const { endpoint, credentials } = lab.controller
  const answer = await callRest(endpoint, credentials, method, path, JSON.stringify(body))
  if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.text}`)
  return answer.json
}

async function makeSubnet(subnet: object): Promise<string> {
  return String((await rest('POST', '/v1/subnets', subnet))['subnetId'])
}

/** Stands for whatever tasks find in the LAN. */
const gatewayPort = 8099
const gateway = createServer((_request, response) => response.end('the gateway'))
await new Promise<void>((resolve) => gateway.listen(gatewayPort, '10.77.0.1', resolve))
tap.teardown(() => gateway.close())

interface Placed {
  readonly host: Host
  readonly arn: string
  readonly address: string
  readonly mac: string
}

/** Starts a task with an address of its own on each of the hosts. */
async function startOn(hosts: readonly Host[], family: string, subnet: string): Promise<readonly Placed[]> {
  const networkConfiguration = { awsvpcConfiguration: { subnets: [subnet] } }
  const arns = await Promise.all(hosts.map(async (host) => lab.runOn(host, family, { networkConfiguration })))
  const running = (await lab.reach(arns, 'RUNNING')).map((task) => placed(task))
  await Promise.all(running.map(async (one) => isServing(one)))
  return running
}

/** A container runs before its program listens. */
async function isServing(of: Pick<Placed, 'host' | 'arn'>): Promise<void> {
  await eventually(
    async () => ((await inContainer(of, 'app', asking('127.0.0.1'))).includes('200 OK') ? true : undefined),
    `${of.arn} serves`,
  )
}

function placed(task: Task): Placed {
  const details = task.attachments?.[0]?.details ?? []
  const detail = (name: string): string => details.find((one) => one.name === name)?.value ?? ''
  const { taskArn: arn = '' } = task
  return { host: lab.hostOf(task), arn, address: detail('privateIPv4Address'), mac: detail('macAddress') }
}

async function stop(arns: readonly string[]): Promise<readonly Task[]> {
  await Promise.all(arns.map(async (task) => lab.client.send(new StopTaskCommand({ task }))))
  return lab.reach(arns, 'STOPPED')
}

/** What a script prints in one of a task's containers. */
async function inContainer({ host, arn }: Pick<Placed, 'host' | 'arn'>, name: string, script: string): Promise<string> {
  const container = (await host.containers(arn)).find((one) => one.name === name && one.isRunning)
  const exec = { AttachStdout: true, AttachStderr: true, Tty: true, Cmd: ['sh', '-c', script] }
  const made = await askEngine('POST', `/containers/${container?.id}/exec`, exec, host.engine.host)
  const { Id } = JSON.parse(made.text) as { Id: string }
  return (await askEngine('POST', `/exec/${Id}/start`, { Tty: true }, host.engine.host)).text
}

/** What a script prints on the host itself. */
async function onHost(host: Host, script: string): Promise<string> {
  // The machine's program is met while it runs.
  const program = await host.machine.run(['sh', '-c', `${script}; sleep 0.2`], {})
  await program.ended
  return program.output()
}

async function textAt(url: string): Promise<string> {
  return (await fetch(url)).text()
}

/** What must not change where nothing was started again. */
async function whatRuns({ host, arn }: Placed): Promise<readonly string[]> {
  return (await host.containers(arn)).map(({ id, startedAt, pid }) => `${id} ${startedAt} ${pid}`).toSorted()
}

function hostPortOf(task: Task | undefined): number {
  return task?.containers?.[0]?.networkBindings?.[0]?.hostPort ?? 0
}

interface Inspected {
  readonly HostConfig: { readonly Dns: readonly string[] }
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, { readonly IPAddress: string }>> }
}

async function inspect({ host, arn }: Pick<Placed, 'host' | 'arn'>, name: string): Promise<Inspected> {
  const container = (await host.containers(arn)).find((one) => one.name === name)
  const answer = await askEngine('GET', `/containers/${container?.id}/json`, undefined, host.engine.host)
  return JSON.parse(answer.text) as Inspected
}

/** The addresses that the engines of all hosts have running containers at; one that two have is there twice. */
async function addressesOnWire(prefix: string): Promise<readonly string[]> {
  const ofHosts = lab.hosts.map(async (host) => {
    const pauses = (await host.containers()).filter(({ name, isRunning }) => name === pauseName && isRunning)
    const networks = await Promise.all(pauses.map(async ({ taskArn }) => inspect({ host, arn: taskArn }, pauseName)))
    return networks.flatMap(({ NetworkSettings }) =>
      Object.values(NetworkSettings.Networks).map(({ IPAddress }) => IPAddress),
    )
  })
  return (await Promise.all(ofHosts)).flat().filter((address) => address.startsWith(prefix))
}

async function hostLinks(host: Host): Promise<string> {
  return onHost(host, 'ip -o link show')
}

function three<T>([one, two, other]: readonly T[]): readonly [T, T, T] {
  if (one === undefined || two === undefined || other === undefined) throw new Error('three were asked for')
  return [one, two, other]
}

const asking = (address: string, port = 80, path = '/'): string =>
  `printf "GET ${path} HTTP/1.0\\r\\nHost: ${address}\\r\\n\\r\\n" | /bin/busybox nc -w 20 ${address} ${port}`

await tap.test('bridge, host and none are what they are in ECS', async (t) => {
  const of = async (networkMode: 'bridge' | 'host' | 'none', ports: object): Promise<string> => {
    const command = networkMode === 'host' ? ['httpd', '-f', '-p', '8085', '-h', '/tmp'] : serving(networkMode)
    return lab.runOn(lab.host(1), await lab.define({ networkMode, containers: [{ name: 'app', command, ...ports }] }))
  }
  const arns = await Promise.all([
    of('bridge', { portMappings: [{ containerPort: 80, hostPort: 8081 }] }),
    of('bridge', { portMappings: [{ containerPort: 80 }] }),
    of('host', { portMappings: [{ containerPort: 8085 }] }),
    of('none', {}),
  ])
  const [fixed, dynamic, host, none] = await lab.reach(arns, 'RUNNING')
  await Promise.all(arns.slice(0, 2).map(async (arn) => isServing({ host: lab.host(1), arn })))
  const { address } = lab.host(1)
  t.equal(hostPortOf(fixed), 8081)
  t.match(await textAt(`http://${address}:8081/`), /bridge/, 'a static port')
  t.ok(hostPortOf(dynamic) > 30_000, `a dynamic port: ${hostPortOf(dynamic)}`)
  t.match(await textAt(`http://${address}:${hostPortOf(dynamic)}/`), /bridge/)
  t.match(await onHost(lab.host(2), asking(address, 8081)), /bridge/, 'from another host')
  const ofHost = await eventually(
    async () => fetch(`http://${address}:8085/`).catch(() => undefined),
    'the program in host mode listens',
  )
  t.equal(ofHost.status, 404, "in host mode the port is the host's own")
  const bridged = { host: lab.host(1), arn: fixed?.taskArn ?? '' }
  t.match(await inContainer(bridged, 'app', asking('10.77.0.1', gatewayPort)), /the gateway/, 'NAT leads to the LAN')
  const alone = await inContainer({ host: lab.host(1), arn: none?.taskArn ?? '' }, 'app', '/bin/busybox ip -o link')
  t.match(alone, /lo:/)
  t.notMatch(alone, /eth0/, 'none has nothing but itself')
  t.equal(host?.containers?.[0]?.networkInterfaces?.length ?? 0, 0)
  await stop(arns)
})

await tap.test('tasks with addresses of the LAN are reached from everywhere', async (t) => {
  const hosts = [lab.host(1), lab.host(1), lab.host(2)]
  const [one, two, other] = three(await startOn(hosts, web, subnetOf.lan))
  const [first] = await lab.describe(one.arn)
  t.comment(
    `RUNNING ${(first?.startedAt?.getTime() ?? 0) - (first?.createdAt?.getTime() ?? 0)} ms after it was asked for`,
  )
  t.equal(new Set([one.address, two.address, other.address]).size, 3)
  t.match(await textAt(`http://${one.address}/`), /hello/, 'from the LAN')
  t.match(await textAt(`http://${two.address}/`), /hello/, 'the same port, on the same host')
  const [fromSidecar, fromSameHost, fromOther, fromHost, fromOtherHost, toOwnHost, toGateway] = await Promise.all([
    inContainer(one, 'sidecar', asking('127.0.0.1')),
    inContainer(one, 'app', asking(two.address)),
    inContainer(other, 'app', asking(one.address)),
    onHost(lab.host(1), asking(one.address)),
    onHost(lab.host(3), asking(one.address)),
    inContainer(one, 'app', asking(lab.host(1).address, 51_678)),
    inContainer(one, 'app', asking('10.77.0.1', gatewayPort)),
  ])
  t.match(fromSidecar, /hello/, 'a sidecar shares localhost')
  t.match(fromSameHost, /hello/, 'from a task of the same host')
  t.match(fromOther, /hello/, 'from a task of another host')
  t.match(fromHost, /hello/, 'from its own host')
  t.match(fromOtherHost, /hello/, 'from another host')
  t.match(toOwnHost, /refused|HTTP/, 'its own host answers it by the address that all know')
  t.match(toGateway, /the gateway/, 'it reaches the LAN')

  const [interfaces, names] = await Promise.all([
    inContainer(
      one,
      'app',
      '/bin/busybox ip address show dev eth0; /bin/busybox ip route; cat /proc/sys/net/core/somaxconn',
    ),
    inContainer(one, 'app', 'cat /etc/resolv.conf; echo; cat /etc/hosts /etc/hostname'),
  ])
  t.match(interfaces, new RegExp(`link/ether ${one.mac}`))
  t.match(interfaces, new RegExp(`inet ${one.address}/24`))
  t.match(interfaces, /default via 10\.77\.0\.1/)
  t.match(interfaces, /^777\s*$/m, 'a setting of the network that one container asked for')
  const own = '${ECS_CONTAINER_METADATA_URI_V4#http://169.254.170.2}/task'
  const metadata = await inContainer(one, 'app', `uri=${own}; ${asking('169.254.170.2', 80, '$uri')}`)
  t.match(metadata, new RegExp(`"TaskARN":\\s*"${one.arn}"`), 'it reads its own metadata')
  const hostname = `ip-${one.address.replaceAll('.', '-')}.home.lan`
  t.match(names, /^search home\.lan/m)
  t.match(names, new RegExp(`^${hostname}\\s*$`, 'm'))
  t.match(
    names,
    new RegExp(`^${one.address}\\s+${hostname}[^]*^169\\.254\\.`, 'm'),
    'its name stands for its address first',
  )
  const dns = (await inspect(one, pauseName)).HostConfig.Dns
  t.same(dns, ['10.77.0.1'])

  const described = (await lab.describe(one.arn))[0]
  t.equal(described?.attachments?.[0]?.status, 'ATTACHED')
  t.same(described?.containers?.map(({ name }) => name).toSorted(), ['app', 'sidecar'], 'nobody is told of the pause')
  t.equal(described?.containers?.[0]?.networkInterfaces?.[0]?.privateIpv4Address, one.address)
  t.same(described?.containers?.[0]?.networkBindings ?? [], [])
  await stop([one.arn, two.arn, other.arn])
})

await tap.test('a mesh of hosts carries addresses of its own, and a bridge those of one host', async (t) => {
  const [one, two, other] = three(await startOn([lab.host(1), lab.host(1), lab.host(2)], web, subnetOf.mesh))
  const [fromSame, fromOther, fromHost, toLan, size] = await Promise.all([
    inContainer(one, 'app', asking(two.address)),
    inContainer(other, 'app', asking(one.address)),
    onHost(lab.host(2), asking(one.address)),
    inContainer(other, 'app', asking('10.77.0.1', gatewayPort)),
    inContainer(one, 'app', '/bin/busybox ip link show dev eth0'),
  ])
  t.match(fromSame, /hello/, 'from a task of the same host')
  t.match(fromOther, /hello/, 'from a task of another host')
  t.match(fromHost, /hello/, 'from another host itself')
  t.match(await onHost(lab.host(1), asking(one.address)), /hello/, 'from its own host')
  t.match(toLan, /the gateway/, 'its host is its way out')
  t.match(size, /mtu 1450/)

  const [home] = await startOn([lab.host(3)], web, subnetOf.home)
  if (home === undefined) throw new Error('a task was started')
  t.match(await onHost(lab.host(3), asking(home.address)), /hello/)
  t.match(await inContainer(home, 'sidecar', asking('10.77.0.1', gatewayPort)), /the gateway/)
  await stop([one.arn, two.arn, other.arn, home.arn])
  await eventually(async () => (/gmv-|gvx-/.test(await hostLinks(lab.host(1))) ? undefined : true), 'nothing is left')
})

await tap.test('a task survives agent and engine, and not the end of what holds its network', async (t) => {
  const host = lab.host(1)
  const [kept, lost] = await startOn([host, host], web, subnetOf.lan)
  if (kept === undefined || lost === undefined) throw new Error('two tasks were started')
  const before = await whatRuns(kept)
  await host.restartEngine()
  await host.killAgent()
  // A new agent without a journal finds the tasks, and not what the host needs for them.
  rmSync(join(host.machine.disk, 'agent', 'journal.db'))
  await onHost(host, 'for link in $(ls /proc/sys/net/ipv4/conf | grep gmv-); do ip link delete $link; done')
  await host.startAgent()
  await eventually(
    async () => ((await onHost(host, asking(kept.address))).includes('hello') ? true : undefined),
    'the host has its own interface again',
  )
  t.match(await textAt(`http://${kept.address}/`), /hello/)
  t.same(await whatRuns(kept), before, 'nothing of it was started again')

  const pause = (await host.containers(lost.arn)).find(({ name }) => name === pauseName)
  await askEngine('POST', `/containers/${pause?.id}/kill?signal=KILL`, undefined, host.engine.host)
  const [ended] = await lab.reach([lost.arn], 'STOPPED')
  t.match(ended?.stoppedReason, /container that holds the task's network ended \(exit code 137\)/)
  t.match(await textAt(`http://${kept.address}/`), /hello/, 'the other task is as it was')

  // An engine that keeps no containers ends those that it finds, and ends its own with itself.
  await host.restartEngine({ liveRestore: false })
  await lab.reach([kept.arn], 'STOPPED')
  const [brief] = await startOn([host], web, subnetOf.lan)
  await host.restartEngine()
  await lab.reach([brief?.arn ?? ''], 'STOPPED')
  const [again] = await startOn([host], web, subnetOf.lan)
  t.match(await textAt(`http://${again?.address}/`), /hello/, 'the engine that came back has its networks')
  await stop([again?.arn ?? ''])
})

await tap.test('an address that somebody else has is not taken, and he is named', async (t) => {
  const contested = '10.77.0.130'
  // One is the host's own, the first that it has there; the other is the task's.
  await rest('PATCH', `/v1/subnets/${subnetOf.lan}`, { ranges: ['10.77.0.129-10.77.0.130'] })
  ip('address', 'add', `${contested}/24`, 'dev', bridge)
  const networkConfiguration = { awsvpcConfiguration: { subnets: [subnetOf.lan] } }
  const start = { taskDefinition: web, containerInstances: [lab.host(3).instanceArn], networkConfiguration }
  const { tasks = [], failures } = await lab.client.send(new StartTaskCommand(start))
  t.same(failures ?? [], [])
  const [stopped] = await lab.reach([tasks[0]?.taskArn ?? ''], 'STOPPED')
  t.match(stopped?.stoppedReason, /address 10\.77\.0\.130 is in use on eth0 by [0-9a-f:]{17}/)
  ip('address', 'delete', `${contested}/24`, 'dev', bridge)
})

await tap.test('twice as many starts as addresses: none is used twice, and the rest wait', async (t) => {
  const subnet = await makeSubnet({
    cidr: '10.66.0.0/24',
    ranges: ['10.66.0.10-10.66.0.18'],
    attachment: { kind: 'vxlan', networkId: 66, multicastGroup: '239.77.0.2', parent: 'eth0' },
  })
  const quiet = await lab.define({
    networkMode: 'awsvpc',
    containers: [{ name: 'app', memory: 16, command: waiting('true') }],
  })
  const networkConfiguration = { awsvpcConfiguration: { subnets: [subnet] } }
  const service = { serviceName: 'crowd', taskDefinition: quiet, desiredCount: 18, networkConfiguration }
  await lab.client.send(new CreateServiceCommand(service))
  const own = 9 - 3
  await eventually(async () => ((await addressesOnWire('10.66.')).length >= own ? true : undefined), 'all are used')
  const used = await addressesOnWire('10.66.')
  t.same([used.length, new Set(used).size], [own, own], 'each once, by what the engines run')
  const { services = [] } = await lab.client.send(new DescribeServicesCommand({ services: ['crowd'] }))
  const events = services[0]?.events?.map(({ message }) => message).join('\n')
  t.match(events, /ENI/, 'the others wait, and the service says for what')
  await lab.client.send(new UpdateServiceCommand({ service: 'crowd', desiredCount: 0 }))
  await eventually(async () => ((await addressesOnWire('10.66.')).length === 0 ? true : undefined), 'all are free')
})
