/**
 * Which program of the host is at the other end of a connection to the task endpoint. Containers in network mode host all
 * come from the host's own addresses: who asks is told apart by who holds the socket.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** A connection as the kernel lists it on the asker's side. */
export interface AskersSocket {
  readonly address: string
  readonly port: number
}

/**
 * True where a process of one of these Docker containers holds the socket. The table of connections is that of the
 * network namespace that the agent itself is in, the host's.
 */
export function isHeldBy(socket: AskersSocket, dockerIds: readonly string[], procRoot = '/proc'): boolean {
  const inode = inodeOf(socket, procRoot)
  if (inode === undefined || dockerIds.length === 0) return false
  const target = `socket:[${inode}]`
  return processesIn(dockerIds, procRoot).some((pid) => linksIn(join(procRoot, pid, 'fd')).includes(target))
}

/** Source: proc(5), /proc/net/tcp: `sl local_address rem_address st ... uid timeout inode`. */
function inodeOf({ address, port }: AskersSocket, procRoot: string): string | undefined {
  const local = `${hexOf(address)}:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const table of ['tcp', 'tcp6']) {
    for (const line of textOf(join(procRoot, 'net', table))
      .split('\n')
      .slice(1)) {
      const fields = line.trim().split(/\s+/)
      const [, localAddress = ''] = fields
      // An IPv4 address in the table of IPv6 has twelve bytes before it.
      if (localAddress === local || localAddress.endsWith(`FFFF0000${local}`)) return fields[9]
    }
  }
  return undefined
}

/** The kernel writes an IPv4 address as one number of the machine's own byte order, which is little-endian here. */
function hexOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).toUpperCase().padStart(2, '0'))
  return bytes.toReversed().join('')
}

function processesIn(dockerIds: readonly string[], procRoot: string): readonly string[] {
  const all = namesIn(procRoot).filter((name) => /^\d+$/.test(name))
  return all.filter((pid) => {
    const groups = textOf(join(procRoot, pid, 'cgroup'))
    return dockerIds.some((id) => groups.includes(id))
  })
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
