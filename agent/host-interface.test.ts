/** A host's own place in its subnets, and whether it has one at all, with an `ip` that is played. */
import { test } from 'tap'
import type { PayloadNetwork } from '../proto/acs.ts'
import { EngineError } from './engine.ts'
import { bridgeNameOf, createHostInterfaces, hostInterfaceNameOf, parentCandidates } from './host-interface.ts'
import type { HostLink, RunIp } from './ip-command.ts'
import { networkAttributes } from './network-abilities.ts'
import { openLog } from './log.ts'

const quiet = openLog('crit')
const subnet: PayloadNetwork = {
  subnetId: 'subnet-0a',
  cidr: '10.0.0.0/24',
  gateway: '10.0.0.1',
  attachment: { kind: 'macvlan', parent: 'eth0' },
  hostAddress: '10.0.0.8',
  hostMacAddress: '0a:00:0a:00:00:08',
}
const name = hostInterfaceNameOf(subnet.subnetId)
const link = (ifname: string, over: Partial<HostLink> = {}): HostLink => {
  return { ifname, mtu: 1500, link_type: 'ether', flags: ['UP'], ...over }
}

interface Played {
  readonly ip: RunIp
  /** What was to be changed, in order. */
  readonly changes: string[]
}

/** Plays a host with these interfaces, the address on our own, and routes over it. */
function play(
  links: readonly HostLink[],
  routes: readonly string[] = [],
  refuse?: (command: string) => string | undefined,
): Played {
  const changes: string[] = []
  const ip: RunIp = async (args) => {
    const command = args.join(' ')
    const refusal = refuse?.(command)
    if (refusal !== undefined) throw new EngineError('refused', refusal)
    if (command.startsWith('-Version')) return 'ip utility, iproute2-6.1.0'
    if (!args.includes('show')) {
      changes.push(command)
      return ''
    }
    if (args.includes('address')) return JSON.stringify([{ addr_info: [{ local: '10.0.0.8', prefixlen: 32 }] }])
    if (args.includes('route')) return JSON.stringify(routes.map((dst) => ({ dst })))
    if (!args.includes('dev')) return JSON.stringify(links)
    const found = links.find(({ ifname }) => ifname === args.at(-1))
    if (found === undefined) throw new EngineError('refused', `Device "${args.at(-1)}" does not exist.`)
    return JSON.stringify([found])
  }
  return { ip, changes }
}

const own = link(name, {
  link: 'eth0',
  address: '0a:00:0a:00:00:08',
  ifalias: 'gantry me',
  linkinfo: { info_kind: 'macvlan', info_data: { mode: 'bridge' } },
})

async function check(links: readonly HostLink[]): Promise<unknown> {
  const { ip } = play(links)
  const host = createHostInterfaces({ ip, containerInstanceArn: 'me', log: { warn: () => undefined } })
  return host.check(subnet).catch((error: unknown) => error)
}

await test('what is as it should be is left alone; routes to others than the tasks go', async (t) => {
  const { ip, changes } = play([link('eth0'), own], ['10.0.0.20', '10.0.0.21'])
  const host = createHostInterfaces({ ip, containerInstanceArn: 'me', log: { warn: () => undefined } })
  await host.keep(subnet, () => ['10.0.0.21', '10.0.0.22'])
  t.same(changes, [
    `route replace 10.0.0.22/32 dev ${name} scope link src 10.0.0.8`,
    `route delete 10.0.0.20 dev ${name}`,
  ])
})

await test('what hangs on another parent is made anew, and so is what is missing', async (t) => {
  for (const links of [[link('eth0')], [link('eth0'), link('eth1'), { ...own, link: 'eth1' }]]) {
    const { ip, changes } = play(links)
    const host = createHostInterfaces({ ip, containerInstanceArn: 'me', log: { warn: () => undefined } })
    await host.attach(subnet, '10.0.0.21')
    const made = `link add name ${name} link eth0 address 0a:00:0a:00:00:08 type macvlan mode bridge`
    t.ok(changes.includes(made), changes.join('\n'))
    t.equal(changes.includes(`link delete dev ${name}`), links.length === 3)
    t.ok(changes.includes(`link set dev ${name} alias gantry me`))
    t.equal(changes.at(-1), `route replace 10.0.0.21/32 dev ${name} scope link src 10.0.0.8`)
  }
})

await test('only what this agent made is removed, and only where no task needs it', async (t) => {
  const others = [link('gmv-00000001', { ifalias: 'gantry you' }), link('gmv-mine', { ifalias: 'gantry me' })]
  const idle = link('gvx-00000002', { ifalias: 'gantry me' })
  const { ip, changes } = play([link('eth0'), own, ...others, idle])
  const host = createHostInterfaces({ ip, containerInstanceArn: 'me', log: { warn: () => undefined } })
  await host.retain(() => new Set([subnet.subnetId]))
  t.same(changes, ['link delete dev gvx-00000002'])
})

await test('a parent that cannot be one is named, with what could be', async (t) => {
  t.equal(await check([link('eth0')]), undefined)
  t.match(await check([link('enp3s0')]), { message: /no network interface eth0.*could hang on: enp3s0/ })
  t.match(await check([link('eth0', { master: 'br0' }), link('br0')]), {
    message: /port of br0.*Hang the subnet on br0/,
  })
  const passthru = { info_kind: 'macvlan', info_data: { mode: 'passthru' } }
  const vm = link('vm0', { link: 'eth0', linkinfo: passthru })
  t.match(await check([link('eth0'), vm]), { message: /passthru mode already \(vm0\)/ })
  t.match(await check([link('eth0'), link('ipvl', { link: 'eth0', linkinfo: { info_kind: 'ipvlan' } })]), {
    message: /an ipvlan interface already/,
  })
  const all = ['lo', 'eth0', 'bond0', 'docker0', 'br-0123456789ab', 'gbr-01234567', name].map((ifname) =>
    link(ifname, ifname === 'lo' ? { link_type: 'loopback' } : ifname === name ? own : {}),
  )
  t.same(parentCandidates(all), ['eth0', 'bond0'], 'what others made for their containers is no parent')
})

await test('no bridge gets the block of a network that the host itself is in', async (t) => {
  const addresses = [
    { ifname: 'lo', addr_info: [{ local: '127.0.0.1', prefixlen: 8 }] },
    { ifname: 'eth0', addr_info: [{ local: '192.168.1.5', prefixlen: 24 }] },
    { ifname: bridgeNameOf('subnet-0b'), addr_info: [{ local: '10.9.0.1', prefixlen: 24 }] },
    { ifname: 'unnumbered' },
  ]
  const ip: RunIp = async () => JSON.stringify(addresses)
  const host = createHostInterfaces({ ip, containerInstanceArn: 'me', log: { warn: () => undefined } })
  const says = async (cidr: string, over: Partial<PayloadNetwork> = {}): Promise<unknown> =>
    host
      .checkBlock({ subnetId: 'subnet-0b', cidr, attachment: { kind: 'bridge' }, ...over })
      .catch((error: unknown) => error)
  const refused = { kind: 'refused', message: /itself is in the network.*by eth0 \(192\.168\.1\.5\/24\).*macvlan/ }
  for (const cidr of ['192.168.1.0/24', '192.168.0.0/16', '192.168.1.128/28']) t.match(await says(cidr), refused, cidr)
  t.equal(await says('192.168.2.0/24'), undefined)
  t.equal(await says('10.9.0.0/24'), undefined, 'its own bridge is in no way of it')
  t.match(await says('10.9.0.0/24', { subnetId: 'subnet-0c' }), { kind: 'refused' })
  const vxlan = { kind: 'vxlan', networkId: 88, multicastGroup: '239.88.0.1' } as const
  t.match(await says('192.168.1.0/24', { attachment: vxlan }), refused)
  t.equal(await says('192.168.1.0/24', { attachment: { kind: 'macvlan', parent: 'eth0' } }), undefined)
})

await test('a host says that it takes such tasks only where it can', async (t) => {
  const config = { taskEniMax: 7, dockerHost: 'unix:///var/run/docker.sock' }
  const onLo = /link lo type macvlan/
  const says = async (refuse: (command: string) => string | undefined, over: object = {}): Promise<unknown> => {
    const { ip } = play([link('eth0'), link('wlp', { master: 'br0' }), link('eth1')], [], refuse)
    const engine = { inspectNetwork: async () => undefined }
    return networkAttributes({ config, engine, ip, pauseImage: 'gantry-pause:1', log: quiet, ...over })
  }
  const refusing = (words: string) => (command: string) => (onLo.test(command) ? words : undefined)
  const able = [
    { name: 'ecs.capability.task-eni' },
    { name: 'gantry.network-interfaces', value: 'eth0,eth1' },
    { name: 'gantry.task-eni-max', value: '7' },
  ]
  t.same(await says(refusing('RTNETLINK answers: Invalid argument')), able)
  const noMacvlan = (await says(refusing('Error: Unknown device type.'))) as { value?: string }[]
  t.equal(noMacvlan[1]?.value, 'none', 'bridges and meshes work, macvlan does not')
  t.same(await says(refusing('RTNETLINK answers: Operation not permitted')), [], 'without CAP_NET_ADMIN')
  t.same(await says((command) => (command === '-Version' ? 'The command `ip` is missing' : undefined)), [])
  t.same(await says(() => undefined, { pauseImage: undefined }), [])
  t.same(await says(() => undefined, { config: { ...config, dockerHost: 'tcp://10.0.0.1:2375' } }), [])
  const elsewhere = { inspectNetwork: async () => ({ options: { 'com.docker.network.bridge.name': 'docker0' } }) }
  t.same(await says(() => undefined, { engine: elsewhere }), [], 'the engine is in another network namespace')
})
