/** The `ip` of iproute2: each call an array of arguments, with a deadline; its answers read as JSON. */
import { execFile } from 'node:child_process'
import { EngineError } from './engine.ts'

/** Answers what `ip` wrote. Fails with an EngineError that has its words: `refused`, or `deadline`. */
export type RunIp = (args: readonly string[]) => Promise<string>

const timeoutMs = 5_000
const outputBytesMax = 16 * 1024 * 1024
/** A service has a path without them now and then. */
const systemDirectories = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']

export function openIp(): RunIp {
  return async (args) =>
    new Promise((resolve, reject) => {
      const options = { timeout: timeoutMs, maxBuffer: outputBytesMax, env: { PATH: systemDirectories.join(':') } }
      execFile('ip', [...args], options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(ipError(args, error, stderr))
      })
    })
}

/** A network interface, as `ip -json -details link show` tells it. */
export interface HostLink {
  readonly ifname: string
  /** The name of the interface that it is a child of; absent also where that one is in another namespace. */
  readonly link?: string | undefined
  readonly master?: string | undefined
  readonly mtu: number
  readonly link_type: string
  readonly flags: readonly string[]
  readonly address?: string | undefined
  readonly ifalias?: string | undefined
  readonly linkinfo?:
    | {
        readonly info_kind?: string | undefined
        readonly info_data?: Readonly<Record<string, unknown>> | undefined
      }
    | undefined
}

export async function showLinks(ip: RunIp): Promise<readonly HostLink[]> {
  return parsed(await ip(['-json', '-details', 'link', 'show'])) as readonly HostLink[]
}

/** Undefined where there is no interface of that name. */
export async function showLink(ip: RunIp, name: string): Promise<HostLink | undefined> {
  try {
    return parsed(await ip(['-json', '-details', 'link', 'show', 'dev', name]))[0] as HostLink | undefined
  } catch (error) {
    if (error instanceof EngineError && /does not exist|Cannot find device/.test(error.message)) return undefined
    throw error
  }
}

/** The IPv4 addresses of an interface, each with its prefix length: `10.0.0.9/32`. */
export async function showAddresses(ip: RunIp, name: string): Promise<readonly string[]> {
  const [shown] = parsed(await ip(['-json', '-4', 'address', 'show', 'dev', name])) as readonly {
    readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number }[]
  }[]
  return (shown?.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`)
}

/** Every interface's IPv4 addresses, each with its prefix length. */
export async function showHostAddresses(ip: RunIp): Promise<readonly { ifname: string; address: string }[]> {
  const shown = parsed(await ip(['-json', '-4', 'address', 'show'])) as readonly {
    readonly ifname?: string
    readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number }[]
  }[]
  return shown.flatMap(({ ifname = '', addr_info: addresses = [] }) =>
    addresses.map(({ local, prefixlen }) => ({ ifname, address: `${local}/${prefixlen}` })),
  )
}

/** The destinations of the routes over an interface: `10.0.0.17` for one address. */
export async function showRoutes(ip: RunIp, name: string): Promise<readonly string[]> {
  const routes = parsed(await ip(['-json', '-4', 'route', 'show', 'dev', name])) as readonly { readonly dst: string }[]
  return routes.map(({ dst }) => dst)
}

/** The MAC address that answered for an address on this interface; undefined where none did. */
export async function showNeighbour(ip: RunIp, name: string, address: string): Promise<string | undefined> {
  const args = ['-json', '-4', 'neighbour', 'show', 'to', address, 'dev', name]
  const [shown] = parsed(await ip(args)) as readonly { readonly lladdr?: string }[]
  return shown?.lladdr
}

/** `ip` writes nothing at all where it has nothing to show; older ones show deleted objects as empty. */
function parsed(text: string): readonly unknown[] {
  if (text.trim() === '') return []
  const value: unknown = JSON.parse(text)
  return Array.isArray(value) ? value : []
}

function ipError(
  args: readonly string[],
  error: Error & { code?: unknown; killed?: boolean },
  stderr: string,
): EngineError {
  const command = `ip ${args.join(' ')}`
  if (error.code === 'ENOENT') {
    return new EngineError(
      'refused',
      'The command `ip` is missing on this host. Install iproute2 (on Debian: apt-get install iproute2).',
    )
  }
  if (error.killed === true) return new EngineError('deadline', `${command} did not end within ${timeoutMs / 1000} s`)
  return new EngineError('refused', `${command}: ${stderr.trim() || error.message}`)
}
