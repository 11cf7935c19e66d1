/**
 * What an engine of our own needs of the host's network, and its removal: a bridge with a name and a subnet that no
 * one else has (docker0 may belong to another engine), iptables in the flavour that works here, and, afterwards, no rule
 * left behind.
 */
import { mkdirSync, readFileSync, symlinkSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from './packages.ts'
import { ScriptError, lastLines } from './report.ts'
import { runCommand } from './run-command.ts'

/** A bridge of the host with its address, such as `172.20.0.1/16`. */
export interface Bridge {
  readonly name: string
  readonly address: string
}

export interface HostNetworkBefore {
  readonly ipForward: string
  readonly forwardPolicy: string
}

const forwardSwitch = '/proc/sys/net/ipv4/ip_forward'

/**
 * A directory to put first on dockerd's PATH: empty where `iptables` works as it is; else with links that choose the
 * flavour (nft or legacy) that this kernel has. The machine's own choice is not changed.
 */
export async function chooseIptables(directory: string): Promise<string> {
  const binaries = join(directory, 'bin')
  mkdirSync(binaries, { recursive: true })
  const attempts: string[] = []
  for (const flavour of ['iptables', 'iptables-nft', 'iptables-legacy']) {
    const program = findProgram(flavour)
    if (program === undefined) continue
    const { code, output } = await runCommand(program, ['-t', 'nat', '-S'])
    if (code === 0) {
      if (flavour !== 'iptables') linkFlavour(binaries, program)
      return binaries
    }
    attempts.push(`${flavour}: ${output.trim().split('\n')[0] ?? ''}`)
  }
  throw new ScriptError(
    `iptables does not work on this machine, and Docker needs its nat table:\n  ${attempts.join('\n  ')}\n` +
      'gantry: is the kernel built with nf_tables or ip_tables, and is this shell allowed to change the network?',
  )
}

function linkFlavour(binaries: string, program: string): void {
  for (const suffix of ['', '-save', '-restore']) {
    const link = join(binaries, `iptables${suffix}`)
    if (!existsSync(link)) symlinkSync(`${program}${suffix}`, link)
  }
}

/** Makes the bridge, or takes it up where it still is. Gives its address, such as `172.20.0.1/16`. */
export async function makeBridge(bridge: string, addressBefore: string | undefined): Promise<string> {
  const address = addressBefore ?? freeSubnet(readFileSync('/proc/net/route', 'utf8'))
  if (await hasInterface(bridge)) return address
  await ip(['link', 'add', bridge, 'type', 'bridge'])
  await ip(['address', 'add', address, 'dev', bridge])
  await ip(['link', 'set', bridge, 'up'])
  return address
}

/** Asked of the kernel and not of /sys, which may show the interfaces of another network namespace. */
async function hasInterface(name: string): Promise<boolean> {
  return (await runCommand(findProgram('ip') ?? 'ip', ['link', 'show', 'dev', name])).code === 0
}

async function ip(args: readonly string[]): Promise<void> {
  const { code, output } = await runCommand(findProgram('ip') ?? 'ip', args)
  if (code !== 0) throw new ScriptError(`ip ${args.join(' ')} failed:\n${lastLines(output, 5)}`)
}

/** The first /16 of 172.17 to 172.31 that no route of the host touches. */
export function freeSubnet(routeTable: string): string {
  const routes = routeTable
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .map((fields) => ({ to: littleEndian(fields[1]), mask: littleEndian(fields[7]) }))
    .filter((route) => route.mask !== 0)
  for (let second = 17; second <= 31; second += 1) {
    const subnet = ((172 << 24) | (second << 16)) >>> 0
    const overlaps = routes.some((route) => {
      const common = (route.mask & 0xffff0000) >>> 0
      return (subnet & common) >>> 0 === (route.to & common) >>> 0
    })
    if (!overlaps) return `172.${second}.0.1/16`
  }
  throw new ScriptError('no free network of 172.17.0.0 to 172.31.0.0 was found for the containers: see `ip route`.')
}

function littleEndian(hex: string | undefined): number {
  return Buffer.from(hex ?? '00000000', 'hex').readUInt32LE(0)
}

/** What dockerd is about to change on the host, so that it can be put back when the engine is removed. */
export async function noteHostNetwork(): Promise<HostNetworkBefore> {
  const { output } = await runCommand(findProgram('iptables') ?? 'iptables', ['-S', 'FORWARD'])
  return {
    ipForward: readFileSync(forwardSwitch, 'utf8').trim(),
    forwardPolicy: /^-P FORWARD (\w+)/m.exec(output)?.[1] ?? 'ACCEPT',
  }
}

/**
 * Removes the bridge, the rules that name it and, unless another engine's bridge is there, Docker's own chains; then
 * puts back what `noteHostNetwork` found.
 */
export async function removeHostNetwork(bridge: Bridge, binaries: string, before: HostNetworkBefore): Promise<void> {
  await runCommand(findProgram('ip') ?? 'ip', ['link', 'delete', bridge.name])
  const env = { PATH: `${binaries}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
  const iptables = (args: readonly string[]) => runCommand('iptables', args, { env })
  const isAlone = !(await hasInterface('docker0'))
  for (const table of ['nat', 'filter']) {
    const { output } = await iptables(['-t', table, '-S'])
    const lines = output.split('\n')
    const rules = lines.filter((line) => line.startsWith('-A ') && isOurRule(line, bridge, isAlone))
    for (const rule of rules) await iptables(['-t', table, '-D', ...rule.slice(3).split(' ')])
    if (!isAlone) continue
    const chains = lines.filter((line) => line.startsWith('-N DOCKER')).map((line) => line.slice(3))
    for (const chain of chains) await iptables(['-t', table, '-F', chain])
    for (const chain of chains) await iptables(['-t', table, '-X', chain])
  }
  if (!isAlone) return
  await iptables(['-P', 'FORWARD', before.forwardPolicy])
  writeFileSync(forwardSwitch, before.ipForward)
}

/** A killed engine leaves rules of its containers' addresses, which name no bridge. */
function isOurRule(line: string, bridge: Bridge, isAlone: boolean): boolean {
  const [first, second] = bridge.address.split('.')
  const words = line.split(' ')
  const isOfOurNetwork = words.some((word) => word.startsWith(`${first}.${second}.`))
  return words.includes(bridge.name) || isOfOurNetwork || (isAlone && / -j DOCKER/.test(line))
}
