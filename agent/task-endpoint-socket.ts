/**
 * A listening socket at 169.254.170.2:80 that containers of every network mode reach, without a rule of a firewall and
 * without taking port 80 from anybody: it is in a network namespace of its own, which hangs by a pair of interfaces on
 * Docker's default bridge.
 *
 * - A container in bridge mode sends to its default gateway, the host, whose route leads back into that bridge: nothing
 *   is translated, so the agent sees the container's own address.
 * - The host, and so a container in host mode, has the same route.
 * - A task with an address of its own has a second interface in the network `gantry-task-endpoints`, and that is joined
 *   to the namespace by a second pair.
 *
 * Nothing of it outlives the agent: when its last socket is closed the kernel ends the namespace, and the interfaces with
 * it. As long as an agent has it the name of the interface is taken, so that there is one for each host.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { Server } from 'node:net'
import { fileURLToPath } from 'node:url'
import { readText } from './cgroup-files.ts'

export const taskEndpointAddress = '169.254.170.2'
const port = 80
const listener = fileURLToPath(new URL('task-endpoint-listener.ts', import.meta.url))
const bridgeSide = 'gantry-tasks'
const taskNetworkSide = 'gantry-tasks-v'
/** Always the same, so that who has talked to the agent before finds the next one: by Docker's rule, from the address. */
const hardwareAddress = '02:42:a9:fe:aa:02'
const childTimeoutMs = 10_000

/** A bridge of this host's, with the addresses that are behind it. */
export interface HostBridge {
  readonly name: string
  /** `172.17.0.0/16` */
  readonly cidr: string
  /** True where the engine drops what its containers send to each other (`icc=false`). */
  readonly isSplit?: boolean | undefined
}

export interface EndpointSocket {
  /** Listens already. */
  readonly server: Server
  /** True while the host's way to it is there. */
  isReachable(): boolean
  /** Lays the host's way to it anew, as after an engine that made its bridge anew. */
  restore(bridge: HostBridge): Promise<void>
  /** True while the tasks with addresses of their own have a way to it. */
  isJoined(): boolean
  /** Joins it to the bridge of their second network. */
  join(bridge: HostBridge): Promise<void>
  close(): Promise<void>
}

/** Another agent of this host has it, or one that ended a moment ago. */
export class EndpointTaken extends Error {}

/** Fails with an Error that says what this host lacks; with EndpointTaken where another agent has it. */
export async function openEndpointSocket(bridge: HostBridge): Promise<EndpointSocket> {
  // Asked first, since making a namespace only to find this out costs a tenth of a second of CPU.
  if (hasInterface(bridgeSide)) throw new EndpointTaken(`the interface ${bridgeSide} is there already`)
  const child = spawn('unshare', ['--net', process.execPath, listener, taskEndpointAddress, String(port)], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    timeout: childTimeoutMs,
  })
  let namespace: number | undefined
  try {
    await messageOf(child, 'ready')
    namespace = openSync(`/proc/${child.pid}/ns/net`, 'r')
    await connect(namespace, bridge)
    const listening = messageOf(child, 'listening')
    child.send({ listen: true })
    const server = await listening
    if (!(server instanceof Server))
      throw new Error('The task endpoint was listened on, and its socket did not arrive.')
    return endpointSocket(server, namespace)
  } catch (error) {
    if (namespace !== undefined) closeSync(namespace)
    child.kill('SIGKILL')
    throw error
  }
}

function endpointSocket(server: Server, namespace: number): EndpointSocket {
  let joinedTo: string | undefined
  return {
    server,
    isReachable: () => hasInterface(bridgeSide) && hasRoute(),
    async restore({ name }) {
      await ip([`link set ${bridgeSide} master ${name} up`, `route replace ${taskEndpointAddress}/32 dev ${name}`])
    },
    // A network that was removed, as `docker network prune` does, took its bridge along.
    isJoined: () => joinedTo !== undefined && hasInterface(joinedTo) && hasInterface(taskNetworkSide),
    async join({ name, cidr }) {
      joinedTo = name
      if (hasInterface(taskNetworkSide)) return ip([`link set ${taskNetworkSide} master ${name} up`])
      await ip(
        [
          `link add ${taskNetworkSide} type veth peer name eth1 address ${hardwareAddress} netns /proc/self/fd/3`,
          `link set ${taskNetworkSide} master ${name} up`,
        ],
        namespace,
      )
      await ip(['link set eth1 up', `route add ${cidr} dev eth1 src ${taskEndpointAddress}`], namespace, true)
    },
    async close() {
      // What is sent there from now on is refused at once and not waited for. The next agent can't have laid its own yet.
      await ip([`route del ${taskEndpointAddress}/32`]).catch(() => undefined)
      server.close()
      closeSync(namespace)
    },
  }
}

async function connect(namespace: number, { name, cidr }: HostBridge): Promise<void> {
  await ip(
    [`link add ${bridgeSide} type veth peer name eth0 address ${hardwareAddress} netns /proc/self/fd/3`],
    namespace,
  ).catch((error: unknown) => {
    if (error instanceof Error && error.message.includes('File exists')) throw new EndpointTaken(error.message)
    throw error
  })
  await Promise.all([
    ip([`link set ${bridgeSide} master ${name} up`, `route replace ${taskEndpointAddress}/32 dev ${name}`]),
    ip(
      [
        'link set lo up',
        `addr add ${taskEndpointAddress}/32 dev lo`,
        'link set eth0 up',
        `route add ${cidr} dev eth0 src ${taskEndpointAddress}`,
      ],
      namespace,
      true,
    ),
  ])
}

/** The handle that came with the child's message; fails where it ends first, with what it said. */
async function messageOf(child: ChildProcess, kind: 'ready' | 'listening'): Promise<unknown> {
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-1000)))
  return new Promise((resolve, reject) => {
    // One that ran and is gone, also because its time was over, can't be sent anything either.
    const slow = `unshare ended too early, or took longer than ${childTimeoutMs / 1000} s`
    child.once('error', (error) =>
      reject(new Error(`${child.pid === undefined ? 'unshare could not be run' : slow}: ${error.message}`)),
    )
    child.once('close', (code) => {
      const why = said.trim() || (code === null ? slow : `code ${code}`)
      reject(new Error(`No network namespace could be made for the task endpoint: ${why}`))
    })
    child.on('message', (message: object, handle: unknown) => {
      if ('problem' in message) reject(new Error(`Listening failed: ${String(message.problem)}`))
      if (kind in message) resolve(handle)
    })
  })
}

/** Runs `ip` with these commands, one after the other; file 3 is the namespace, and `inside` runs it there. */
async function ip(commands: readonly string[], namespace?: number, inside = false): Promise<void> {
  const [program, ...args] = [...(inside ? ['nsenter', '--net=/proc/self/fd/3'] : []), 'ip', '-batch', '-']
  await new Promise<void>((resolve, reject) => {
    const child = spawn(program ?? 'ip', args, {
      stdio: ['pipe', 'ignore', 'pipe', namespace ?? 'ignore'],
      timeout: childTimeoutMs,
    })
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-1000)))
    child.once('error', (error) => reject(new Error(`${program} could not be run: ${error.message}`)))
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`ip ${commands.join('; ip ')}: ${said.trim() || `code ${code}`}`)),
    )
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(`${commands.join('\n')}\n`)
  })
}

/** Asked of the kernel by /proc, which shows our own namespace; /sys may be that of another. */
function hasInterface(name: string): boolean {
  return new RegExp(`^ *${name}:`, 'm').test(readText('/proc/self/net/dev') ?? '')
}

/** The table has addresses as hexadecimal digits, the last byte first. */
function hasRoute(): boolean {
  const digits = taskEndpointAddress
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0').toUpperCase())
    .toReversed()
    .join('')
  return (readText('/proc/self/net/route') ?? '').includes(`\t${digits}\t`)
}
