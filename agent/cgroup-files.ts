/**
 * Where the kernel counts what a container uses, and how those files are read: control groups of version 1 and 2, and
 * the network counters of its process. Reads are synchronous: such a file is no disk's, and a read of it takes some
 * microseconds, a fifth of what handing it to another thread would.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'

/** The controllers whose files are read; in version 2 all are in one directory. */
export type Controller = 'cpuacct' | 'cpu' | 'memory' | 'blkio' | 'pids'

export interface CgroupPlace {
  readonly version: 1 | 2
  readonly directories: Readonly<Record<Controller, string>>
}

export interface CgroupLayout {
  /** Where the host's cgroups are mounted, `/sys/fs/cgroup`. */
  readonly root: string
  readonly version: 1 | 2
  /** The host's processes: `/proc`. */
  readonly procRoot: string
}

const controllers: readonly Controller[] = ['cpuacct', 'cpu', 'memory', 'blkio', 'pids']

/**
 * The cgroup of a container's process; undefined where neither the kernel nor Docker's usual layout shows one, as after
 * the container's end.
 */
export function placeOf(layout: CgroupLayout, container: ContainerProcess): CgroupPlace | undefined {
  const paths = pathsOf(layout, container.pid)
  const directories = Object.fromEntries(
    controllers.flatMap((controller): [string, string][] => {
      const known = layout.version === 2 ? paths.get('') : paths.get(controller)
      const candidates = [known, ...usualPaths(container)]
      for (const path of candidates) {
        // What lies outside of our own cgroup namespace is shown as /.. and leads nowhere.
        if (path === undefined || path === '/' || path.startsWith('/..')) continue
        const directory = directoryOf(layout, controller, path)
        if (directory !== undefined) return [[controller, directory]]
      }
      return []
    }),
  )
  const found = directories as Partial<Record<Controller, string>>
  if (found.memory === undefined || found.cpuacct === undefined) return undefined
  const { cpuacct, cpu = cpuacct, memory, blkio = memory, pids = memory } = found
  return { version: layout.version, directories: { cpuacct, cpu, memory, blkio, pids } }
}

export interface ContainerProcess {
  readonly dockerId: string
  readonly pid: number
  /** Docker's `CgroupParent`, where the container has one. */
  readonly cgroupParent?: string | undefined
}

/** By controller; version 2 has one line, whose list of controllers is empty. */
function pathsOf({ procRoot }: CgroupLayout, pid: number): ReadonlyMap<string, string> {
  const paths = new Map<string, string>()
  const text = pid === 0 ? undefined : readText(join(procRoot, String(pid), 'cgroup'))
  for (const line of (text ?? '').split('\n')) {
    const [, listed = '', path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (path === undefined) continue
    for (const controller of listed.split(',')) paths.set(controller, path)
  }
  return paths
}

/** Docker's own: under `/docker` or the parent with its cgroupfs driver, in a slice with its systemd driver. */
function usualPaths({ dockerId, cgroupParent }: ContainerProcess): readonly string[] {
  const scope = `docker-${dockerId}.scope`
  if (cgroupParent === undefined || cgroupParent === '') return [`/docker/${dockerId}`, `/system.slice/${scope}`]
  return [join('/', cgroupParent, dockerId), join('/', cgroupParent, scope)]
}

function directoryOf({ root, version }: CgroupLayout, controller: Controller, path: string): string | undefined {
  const bases = version === 2 ? [root] : [join(root, controller), join(root, joinedNames[controller] ?? controller)]
  return bases.map((base) => join(base, path)).find((directory) => existsSync(directory))
}

/** Where a distribution mounts two controllers together and has no link under the one's own name. */
const joinedNames: Partial<Record<Controller, string>> = { cpu: 'cpu,cpuacct', cpuacct: 'cpu,cpuacct' }

const buffer = Buffer.allocUnsafe(64 * 1024)

/** The text of a kernel's file, its first 64 KiB at most; undefined where there is none, or none any more. */
export function readText(path: string): string | undefined {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    return undefined
  }
  try {
    let length = 0
    // A file of many records, such as /proc/net/dev, is given out by the page.
    for (let read = 1; read > 0 && length < buffer.length; length += read) {
      read = readSync(file, buffer, length, buffer.length - length, null)
    }
    return buffer.toString('latin1', 0, length)
  } catch {
    // ENODEV: the cgroup was removed after the file was opened.
    return undefined
  } finally {
    closeSync(file)
  }
}

/** A file that holds one number; `max` and what is absent are undefined. */
export function readNumber(path: string): number | undefined {
  const text = readText(path)?.trim()
  if (text === undefined || !/^\d+$/.test(text)) return undefined
  return Number(text)
}

/** One of the lines `name number` of a file's text; undefined where it has none of this name. */
export function numberOf(text: string, name: string): number | undefined {
  const start = text.startsWith(`${name} `) ? 0 : text.indexOf(`\n${name} `) + 1
  if (start === 0 && !text.startsWith(`${name} `)) return undefined
  return Number.parseInt(text.slice(start + name.length + 1, start + name.length + 24), 10)
}

/** All lines `name number` of a file's text. */
export function numbersOf(text: string): Readonly<Record<string, number>> {
  const numbers: Record<string, number> = {}
  for (const line of text.split('\n')) {
    const [name, number] = line.split(' ')
    if (name !== undefined && number !== undefined) numbers[name] = Number(number)
  }
  return numbers
}

/** What one device was asked to read and write, in bytes and in operations. */
export interface DeviceIo {
  readonly major: number
  readonly minor: number
  readonly readBytes: number
  readonly writeBytes: number
  readonly reads: number
  readonly writes: number
}

export function readIo({ version, directories }: CgroupPlace): readonly DeviceIo[] {
  if (version === 2) return unifiedIo(readText(join(directories.blkio, 'io.stat')) ?? '')
  const bytes = readText(join(directories.blkio, 'blkio.throttle.io_service_bytes')) ?? ''
  const operations = readText(join(directories.blkio, 'blkio.throttle.io_serviced')) ?? ''
  return treeIo(bytes, operations)
}

/** The sums over all devices, in bytes: what a sweep needs, and nothing more is read for it. */
export function readIoBytes(place: CgroupPlace): { readonly read: number; readonly write: number } {
  const { version, directories } = place
  const devices =
    version === 2
      ? unifiedIo(readText(join(directories.blkio, 'io.stat')) ?? '')
      : treeIo(readText(join(directories.blkio, 'blkio.throttle.io_service_bytes')) ?? '', '')
  let read = 0
  let write = 0
  for (const device of devices) {
    read += device.readBytes
    write += device.writeBytes
  }
  return { read, write }
}

function unifiedIo(text: string): readonly DeviceIo[] {
  return text.split('\n').flatMap((line) => {
    const [, major, minor] = /^(\d+):(\d+) /.exec(line) ?? []
    if (major === undefined) return []
    const value = (name: string): number => Number(new RegExp(`\\b${name}=(\\d+)`).exec(line)?.[1] ?? 0)
    return {
      major: Number(major),
      minor: Number(minor),
      readBytes: value('rbytes'),
      writeBytes: value('wbytes'),
      reads: value('rios'),
      writes: value('wios'),
    }
  })
}

function treeIo(bytes: string, operations: string): readonly DeviceIo[] {
  const devices = new Map<string, { readBytes: number; writeBytes: number; reads: number; writes: number }>()
  const take = (text: string, read: 'readBytes' | 'reads', write: 'writeBytes' | 'writes'): void => {
    for (const [, device = '', kind, count] of text.matchAll(/^(\d+:\d+) (Read|Write) (\d+)$/gm)) {
      const sums = devices.get(device) ?? { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 }
      sums[kind === 'Read' ? read : write] = Number(count)
      devices.set(device, sums)
    }
  }
  take(bytes, 'readBytes', 'writeBytes')
  take(operations, 'reads', 'writes')
  return [...devices].map(([device, sums]) => {
    const [major, minor] = device.split(':')
    return { major: Number(major), minor: Number(minor), ...sums }
  })
}

export interface InterfaceCounters {
  readonly name: string
  readonly rxBytes: number
  readonly rxPackets: number
  readonly rxErrors: number
  readonly rxDropped: number
  readonly txBytes: number
  readonly txPackets: number
  readonly txErrors: number
  readonly txDropped: number
}

/** The interfaces in the process's network namespace, without the loopback. */
export function readInterfaces(procRoot: string, pid: number): readonly InterfaceCounters[] {
  const text = readText(join(procRoot, String(pid), 'net/dev')) ?? ''
  return text.split('\n').flatMap((line) => {
    const colon = line.indexOf(':')
    if (colon === -1) return []
    const name = line.slice(0, colon).trim()
    if (name === 'lo') return []
    const counts = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number)
    const at = (index: number): number => counts[index] ?? 0
    return {
      name,
      rxBytes: at(0),
      rxPackets: at(1),
      rxErrors: at(2),
      rxDropped: at(3),
      txBytes: at(8),
      txPackets: at(9),
      txErrors: at(10),
      txDropped: at(11),
    }
  })
}

const ticksPerSecond = 100
const nsPerTick = 1_000_000_000 / ticksPerSecond

/** What all CPUs of the host did together, idle included, in nanoseconds. */
export function readSystemCpuNs(procRoot: string): number {
  const line = /^cpu +(.*)$/m.exec(readText(join(procRoot, 'stat')) ?? '')?.[1] ?? ''
  // The last two, of guests, are in the first ones already.
  const ticks = line.split(/\s+/).slice(0, 8).map(Number)
  return ticks.reduce((sum, tick) => sum + tick, 0) * nsPerTick
}

/** In bytes. */
export function readHostMemory(procRoot: string): number {
  const kibibytes = /^MemTotal:\s+(\d+) kB$/m.exec(readFileSync(join(procRoot, 'meminfo'), 'latin1'))?.[1]
  return Number(kibibytes ?? 0) * 1024
}

/** CPU time of a whole cgroup, in nanoseconds. */
export function readCpuNs({ version, directories }: CgroupPlace): number | undefined {
  if (version === 1) return readNumber(join(directories.cpuacct, 'cpuacct.usage'))
  const usec = numberOf(readText(join(directories.cpuacct, 'cpu.stat')) ?? '', 'usage_usec')
  return usec === undefined ? undefined : usec * 1000
}

/** User and kernel time, in nanoseconds; version 1 counts these in hundredths of a second. */
export function readCpuSplitNs({ version, directories }: CgroupPlace): {
  readonly user: number
  readonly kernel: number
} {
  if (version === 1) {
    const text = readText(join(directories.cpuacct, 'cpuacct.stat')) ?? ''
    return {
      user: (numberOf(text, 'user') ?? 0) * nsPerTick,
      kernel: (numberOf(text, 'system') ?? 0) * nsPerTick,
    }
  }
  const text = readText(join(directories.cpuacct, 'cpu.stat')) ?? ''
  return { user: (numberOf(text, 'user_usec') ?? 0) * 1000, kernel: (numberOf(text, 'system_usec') ?? 0) * 1000 }
}

/**
 * Memory that the container has for itself, in bytes: pages of files that the kernel takes back at once are not counted.
 * Source: amazon-ecs-agent 1.105, stats/utils_unix.go: without `inactive_file` on version 2, without `cache` on 1.
 */
export function readMemoryUsed(place: CgroupPlace): number | undefined {
  const { version, directories } = place
  const usage = readNumber(join(directories.memory, version === 1 ? 'memory.usage_in_bytes' : 'memory.current'))
  if (usage === undefined) return undefined
  const text = readText(join(directories.memory, 'memory.stat')) ?? ''
  return Math.max(0, usage - (numberOf(text, version === 1 ? 'cache' : 'inactive_file') ?? 0))
}
