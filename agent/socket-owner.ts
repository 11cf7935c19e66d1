/**
 * Which program of the host is at the other end of a connection to the task endpoint. Containers in network mode host all
 * come from the host's own addresses: who asks is told apart by who holds the socket.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { createRateLimit } from './rate-limit.ts'
import type { Rate } from './rate-limit.ts'
import { taskEndpointAddress } from './task-endpoint-socket.ts'

/** A connection as the kernel lists it on the asker's side. */
export interface AskersSocket {
  readonly address: string
  readonly port: number
}

/** True where a process of one of these Docker containers holds the socket. */
export type IsHeldBy = (socket: AskersSocket, dockerIds: readonly string[]) => boolean

/** To look at every process of a busy host takes a tenth of a second, in which the agent does nothing else. */
const looksAtAll: Rate = { perSecond: 5, burst: 40 }
const askersMax = 1000
/** 80, as the kernel lists it. */
const httpPort = '0050'

/**
 * Who asked before is looked at first; at all processes only so often for each task. The table of connections is that of
 * the network namespace that the agent itself is in, the host's.
 */
export function createSocketOwners(now: () => number, procRoot = '/proc'): IsHeldBy {
  /** The process of each container that was found last, by Docker id; it is looked at anew each time. */
  const askers = new Map<string, string>()
  const mayLookAtAll = createRateLimit(looksAtAll)
  return (socket, dockerIds) => {
    const [first] = dockerIds
    const inode = inodeOf(socket, procRoot)
    if (inode === undefined || first === undefined) return false
    const holds = (pid: string): boolean => linksIn(join(procRoot, pid, 'fd')).includes(`socket:[${inode}]`)
    const isKnown = dockerIds.some((id) => {
      const pid = askers.get(id)
      return pid !== undefined && isIn(pid, id, procRoot) && holds(pid)
    })
    if (isKnown) return true
    if (!mayLookAtAll(first, now())) return false
    const pids = namesIn(procRoot).filter((name) => /^\d+$/.test(name))
    for (const pid of pids) {
      const id = dockerIds.find((one) => isIn(pid, one, procRoot))
      if (id === undefined || !holds(pid)) continue
      if (askers.size >= askersMax) askers.clear()
      askers.set(id, pid)
      return true
    }
    return false
  }
}

/** Source: proc(5), /proc/net/tcp: `sl local_address rem_address st ... uid timeout inode`. */
function inodeOf({ address, port }: AskersSocket, procRoot: string): string | undefined {
  const local = `${hexOf(address)}:${port.toString(16).toUpperCase().padStart(4, '0')}`
  // Another connection may have the same local end, such as one that a server of the task took.
  const remote = `${hexOf(taskEndpointAddress)}:${httpPort}`
  for (const table of ['tcp', 'tcp6']) {
    for (const line of textOf(join(procRoot, 'net', table))
      .split('\n')
      .slice(1)) {
      const fields = line.trim().split(/\s+/)
      const [, localAddress = '', remoteAddress = ''] = fields
      if (isEnd(localAddress, local) && isEnd(remoteAddress, remote)) return fields[9]
    }
  }
  return undefined
}

/** An IPv4 address in the table of IPv6 has twelve bytes before it. */
function isEnd(listed: string, wanted: string): boolean {
  return listed === wanted || listed.endsWith(`FFFF0000${wanted}`)
}

/** The kernel writes an IPv4 address as one number of the machine's own byte order, which is little-endian here. */
function hexOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).toUpperCase().padStart(2, '0'))
  return bytes.toReversed().join('')
}

function isIn(pid: string, dockerId: string, procRoot: string): boolean {
  return textOf(join(procRoot, pid, 'cgroup')).includes(dockerId)
}

function linksIn(directory: string): readonly string[] {
  return namesIn(directory).map((name) => {
    try {
      return readlinkSync(join(directory, name))
    } catch {
      // It was closed meanwhile.
      return ''
    }
  })
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
