/** What the installer looks at on this machine. Nothing here changes anything. */
import { existsSync, readFileSync, readdirSync, readlinkSync, statfsSync } from 'node:fs'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { delimiter, dirname, join } from 'node:path'
import { type EngineVersion, askVersion } from '../engine-api.ts'
import { runCommand } from '../run-command.ts'

/** A busy controller on a small machine may take some seconds. */
const controllerTimeoutMs = 15_000

export interface PortHolder {
  readonly pid: number | undefined
  readonly name: string
  /** The systemd unit that it belongs to, as its control group says. */
  readonly unit: string | undefined
}

export interface ControllerAnswer {
  /** Why it could not be asked; undefined where it answered. */
  readonly error: string | undefined
  /** How far this machine's clock is ahead of the controller's, milliseconds; to the second, as HTTP's Date is. */
  readonly aheadMs: number | undefined
}

export type Program = 'dockerd' | 'apparmor_parser' | 'ip' | 'unshare' | 'nsenter' | 'busctl' | 'useradd'

export interface Machine {
  readonly isRoot: boolean
  readonly runsSystemd: boolean
  /** Undefined where there is no systemctl. */
  readonly systemdVersion: number | undefined
  readonly hasControlGroups: boolean
  /** Docker then loads a profile for each container, by apparmor_parser. */
  readonly hasAppArmor: boolean
  readonly programs: Readonly<Record<Program, boolean>>
  /** Free bytes where the versions and the data go. */
  readonly freeBytes: Readonly<Record<'versions' | 'data', number>>
  askEngine(dockerHost: string): Promise<EngineVersion | undefined>
  /** Who listens on a TCP port of this machine. */
  holderOf(port: number): PortHolder | undefined
  askController(origin: string): Promise<ControllerAnswer>
  /** The text of a file; undefined where it can't be read. */
  readText(path: string): string | undefined
}

export async function lookAtMachine(): Promise<Machine> {
  return {
    isRoot: process.getuid?.() === 0,
    runsSystemd: existsSync('/run/systemd/system'),
    systemdVersion: await systemdVersion(),
    hasControlGroups: / \/sys\/fs\/cgroup\S* cgroup2? /.test(readText('/proc/self/mounts') ?? ''),
    hasAppArmor: readText('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y',
    programs: {
      dockerd: has('dockerd'),
      apparmor_parser: has('apparmor_parser'),
      ip: has('ip'),
      unshare: has('unshare'),
      nsenter: has('nsenter'),
      busctl: has('busctl'),
      useradd: has('useradd'),
    },
    freeBytes: { versions: freeBytesAt('/opt/gantry/versions'), data: freeBytesAt('/var/lib/gantry') },
    askEngine: askVersion,
    holderOf,
    askController,
    readText,
  }
}

function has(program: string): boolean {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  return directories.some((directory) => existsSync(join(directory, program)))
}

async function systemdVersion(): Promise<number | undefined> {
  const { code, output } = await runCommand('systemctl', ['--version'])
  const [, version] = /^systemd (\d+)/.exec(output) ?? []
  return code === 0 && version !== undefined ? Number(version) : undefined
}

function freeBytesAt(path: string): number {
  let place = path
  while (!existsSync(place)) place = dirname(place)
  const { bavail, bsize } = statfsSync(place)
  return bavail * bsize
}

/** /proc/net/tcp names the socket's inode; the process that has it open is found by its descriptors. */
function holderOf(port: number): PortHolder | undefined {
  const inodes = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) => listeningInodes(readText(table) ?? '', port))
  if (inodes.length === 0) return undefined
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`))
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (!descriptorsOf(pid).some((link) => links.has(link))) continue
    const name = readText(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ').trim().slice(0, 100) ?? ''
    const [, unit] = /\/([^/]+\.service)(?:\/|$)/m.exec(readText(`/proc/${pid}/cgroup`) ?? '') ?? []
    return { pid: Number(pid), name, unit }
  }
  return { pid: undefined, name: 'a program of another user or container', unit: undefined }
}

/** Rows of /proc/net/tcp: local address in hex with the port, state 0A for LISTEN, inode as the tenth field. */
export function listeningInodes(table: string, port: number): readonly string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/))
  return rows.flatMap(([, local = '', , state, , , , , , inode = '']) =>
    state === '0A' && local.endsWith(`:${wanted}`) ? [inode] : [],
  )
}

function descriptorsOf(pid: string): readonly string[] {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory).map((name) => {
      try {
        return readlinkSync(join(directory, name))
      } catch {
        return ''
      }
    })
  } catch {
    // It ended meanwhile, or belongs to somebody else.
    return []
  }
}

async function askController(origin: string): Promise<ControllerAnswer> {
  const askedAt = Date.now()
  try {
    const { status, date: told } = await askHealth(`${origin}/healthz`)
    const date = Date.parse(told)
    const here = (askedAt + Date.now()) / 2
    // The header is cut to the second.
    const aheadMs = Number.isNaN(date) ? undefined : Math.round(here - date - 500)
    return { error: status === 200 ? undefined : `it answered ${status}`, aheadMs }
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined
    return { error: cause ?? (error instanceof Error ? error.message : String(error)), aheadMs: undefined }
  }
}

/** No certificate is checked: nothing is sent, and all that is believed is that something answers, and its clock. */
async function askHealth(url: string): Promise<{ readonly status: number; readonly date: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(controllerTimeoutMs)
    const take = (answer: IncomingMessage): void => {
      answer.resume()
      resolve({ status: answer.statusCode ?? 0, date: answer.headers.date ?? '' })
    }
    const call = url.startsWith('https:')
      ? httpsRequest(url, { signal, agent: false, rejectUnauthorized: false }, take)
      : httpRequest(url, { signal, agent: false }, take)
    call.on('error', reject)
    call.end()
  })
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
