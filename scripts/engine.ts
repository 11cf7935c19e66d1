/**
 * Where the scripts get a Docker Engine: the machine's own where one answers; else one of the project's own, from
 * Debian's packages, started by hand in a directory that holds everything it makes.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type EngineVersion, askVersion, listContainers, removeContainer, removeNetworks } from './engine-api.ts'
import {
  type Bridge,
  type HostNetworkBefore,
  chooseIptables,
  makeBridge,
  noteHostNetwork,
  removeHostNetwork,
} from './engine-network.ts'
import { absentTraces, isDockerd, removeTraces } from './engine-traces.ts'
import { enginePackages, findProgram, installPackages } from './packages.ts'
import { bootId, commandLineOf, endProcess, isRunning, processIds } from './processes.ts'
import { readRecord, writeRecord } from './record.ts'
import { ScriptError, lastLines, say, seconds } from './report.ts'
import { runCommand } from './run-command.ts'

export interface FoundEngine {
  readonly dockerHost: string
  readonly version: EngineVersion
}

/** What the directory of an engine of ours remembers, in `engine.json`. */
interface EngineRecord {
  readonly pid: number
  /** The machine's boot that it was started in; absent in records of earlier versions. */
  readonly boot?: string | undefined
  /** The host's bridge that it uses; absent when the engine has a network namespace of its own. */
  readonly bridge?: Bridge | undefined
  readonly networkBefore?: HostNetworkBefore | undefined
  /** Paths elsewhere that weren't there before its first start. */
  readonly absentBefore?: readonly string[] | undefined
}

const systemSocket = 'unix:///var/run/docker.sock'
const startTimeoutMs = 90_000
const stopTimeoutMs = 30_000
/** A Unix socket's path has at most 107 bytes, and containerd's is the longest under an engine's directory. */
const longestDirectory = 107 - '/exec/containerd/containerd.sock.ttrpc'.length

export function socketOf(directory: string): string {
  return `unix://${join(directory, 'docker.sock')}`
}

/** The machine's own engine: at DOCKER_HOST, else at Docker's usual socket. Undefined where none answers. */
export async function findEngine(): Promise<FoundEngine | undefined> {
  const wanted = process.env['DOCKER_HOST']
  for (const dockerHost of wanted === undefined || wanted === '' ? [systemSocket] : [wanted, systemSocket]) {
    const version = await askVersion(dockerHost)
    if (version !== undefined) return { dockerHost, version }
    if (dockerHost === wanted) say(`DOCKER_HOST=${wanted} does not answer; looking elsewhere`)
  }
  return undefined
}

/**
 * An engine for `npm start`: the one of this directory if it was made before, else the machine's own, else a new one in
 * this directory. It outlives the caller.
 */
export async function ensureEngine(directory: string): Promise<FoundEngine> {
  if (!existsSync(join(directory, 'engine.json'))) {
    const found = await findEngine()
    if (found !== undefined) return found
    say('no Docker Engine answers at DOCKER_HOST or /var/run/docker.sock: bringing one of its own')
  }
  const version = await askVersion(socketOf(directory))
  if (version !== undefined) return { dockerHost: socketOf(directory), version }
  return startEngine(directory, { isolated: false })
}

export interface EngineOptions {
  /** In a network namespace of its own (loopback only), so that nothing of the host's is touched: what tests want. */
  readonly isolated: boolean
  /** False: containers end with it. Swarm refuses an engine whose containers outlive it. */
  readonly liveRestore?: boolean | undefined
}

/** Installs what lacks, starts dockerd detached and waits until it answers. */
export async function startEngine(directory: string, options: EngineOptions): Promise<FoundEngine> {
  if (directory.length > longestDirectory) {
    throw new ScriptError(
      `${directory} is too long a path for an engine: its sockets would pass the kernel's 107 bytes. ` +
        'Set GANTRY_HOME to a shorter one, such as /var/lib/gantry.',
    )
  }
  await installPackages(enginePackages)
  checkControlGroups()
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const startedAt = Date.now()
  say(`starting Docker Engine in ${directory} ...`)
  const path = [await chooseIptables(directory), process.env['PATH'] ?? '', '/usr/sbin', '/sbin'].join(':')
  const before = readEngineRecord(directory)
  const networkBefore = options.isolated ? undefined : (before?.networkBefore ?? (await noteHostNetwork()))
  const bridge = options.isolated
    ? undefined
    : { name: 'gantry0', address: await makeBridge('gantry0', before?.bridge?.address) }
  if (!options.isolated) warnOfOtherEngines(runningDockerd(directory))
  const absentBefore = before === undefined ? absentTraces() : before.absentBefore
  const pid =
    runningDockerd(directory) ??
    spawnDockerd(directory, { path, bridge: bridge?.name, liveRestore: options.liveRestore ?? true })
  const record: EngineRecord = { pid, boot: bootId(), bridge, networkBefore, absentBefore }
  writeRecord(join(directory, 'engine.json'), record)
  const version = await waitForAnswer(directory, pid)
  say(`  Docker Engine ${version.version} answers after ${seconds(startedAt)}`)
  return { dockerHost: socketOf(directory), version }
}

function checkControlGroups(): void {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
  if (/ \/sys\/fs\/cgroup\S* cgroup2? /.test(mounts)) return
  throw new ScriptError(
    'no control groups are mounted under /sys/fs/cgroup, and Docker needs them. ' +
      'Mount them first, e.g.: mount -t cgroup2 none /sys/fs/cgroup',
  )
}

function warnOfOtherEngines(ours: number | undefined): void {
  const other = processIds().find((pid) => isDockerd(commandLineOf(pid)) && pid !== ours)
  if (other === undefined) return
  say(
    `note: a dockerd that answers at neither address runs here (pid ${other}); to use it, set DOCKER_HOST to its socket`,
  )
}

/**
 * What a run before left that would mislead the next one. A pid noted in a former boot may be anyone's now: dockerd
 * would refuse to start for its own, and would take whoever has containerd's for it, and kill that when it is silent.
 */
function forgetFormerRun(directory: string): void {
  const boot = readEngineRecord(directory)?.boot
  // On other machines this directory is below /run, and so empty after a boot.
  if (boot !== undefined && boot !== bootId()) rmSync(join(directory, 'exec'), { recursive: true, force: true })
  for (const name of ['dockerd.pid', 'exec/containerd/containerd.pid']) {
    const file = join(directory, name)
    const pid = existsSync(file) ? Number(readFileSync(file, 'utf8')) : Number.NaN
    if (!isProcessOf(directory, pid)) rmSync(file, { force: true })
  }
}

function isProcessOf(directory: string, pid: number): boolean {
  return Number.isInteger(pid) && isRunning(pid) && commandLineOf(pid).includes(`${directory}/`)
}

interface DockerdStart {
  readonly path: string
  /** The host's bridge; absent for an engine with a network namespace of its own. */
  readonly bridge: string | undefined
  readonly liveRestore: boolean
}

function spawnDockerd(directory: string, { path, bridge, liveRestore }: DockerdStart): number {
  forgetFormerRun(directory)
  const dockerd = findProgram('dockerd') ?? 'dockerd'
  const args = ['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')]
  args.push('--pidfile', join(directory, 'dockerd.pid'), '-H', socketOf(directory))
  if (liveRestore) args.push('--live-restore')
  // The machine's /etc/docker/daemon.json is for the machine's engine: its hosts or data-root would clash with ours.
  const config = join(directory, 'daemon.json')
  writeFileSync(config, '{}')
  args.push('--config-file', config)
  if (bridge !== undefined) args.push('--bridge', bridge)
  const isolation = ['--net', '--', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', dockerd, ...args]
  const log = openSync(join(directory, 'dockerd.log'), 'a', 0o600)
  const [command, commandArgs] = bridge === undefined ? ['unshare', isolation] : [dockerd, args]
  const child = spawn(command, commandArgs, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, PATH: path },
  })
  child.on('error', () => undefined)
  child.unref()
  if (child.pid === undefined) throw new ScriptError(`${command} could not be started: is it installed and executable?`)
  return child.pid
}

/** True while the dockerd that was started for this directory lives, whether it answers or not. */
export function isEngineRunning(directory: string): boolean {
  return runningDockerd(directory) !== undefined
}

function runningDockerd(directory: string): number | undefined {
  const pid = engineProcess(directory)
  return pid !== undefined && isProcessOf(directory, pid) ? pid : undefined
}

async function waitForAnswer(directory: string, pid: number): Promise<EngineVersion> {
  const giveUpAt = Date.now() + startTimeoutMs
  while (Date.now() < giveUpAt) {
    const version = await askVersion(socketOf(directory))
    if (version !== undefined) return version
    if (!isRunning(pid)) break
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  const log = join(directory, 'dockerd.log')
  const what = isRunning(pid) ? `did not answer within ${startTimeoutMs / 1000} s` : 'ended at once'
  if (isRunning(pid)) await endProcess(pid, stopTimeoutMs)
  throw new ScriptError(`dockerd ${what}. The end of its log, ${log}:\n${lastLines(readFileSync(log, 'utf8'), 15)}`)
}

function readEngineRecord(directory: string): EngineRecord | undefined {
  return readRecord(join(directory, 'engine.json')) as EngineRecord | undefined
}

/** The process whose network namespace an isolated engine lives in. */
export function engineProcess(directory: string): number | undefined {
  return readEngineRecord(directory)?.pid
}

/**
 * Removes an engine of ours with all that it holds: containers, networks, processes, mounts, the host's bridge and
 * rules, and the directory. Gives the number of containers; undefined where there is no such engine.
 */
export async function removeEngine(directory: string): Promise<number | undefined> {
  if (!existsSync(directory)) return undefined
  const record = readEngineRecord(directory)
  const containers = (await askVersion(socketOf(directory))) ? await listContainers(socketOf(directory)) : []
  for (const container of containers) await removeContainer(socketOf(directory), container.Id)
  // Their bridges and rules are the host's, and outlive the engine's end.
  if (await askVersion(socketOf(directory))) await removeNetworks(socketOf(directory), 'gantry.')
  if (record !== undefined && isEngineRunning(directory)) await endProcess(record.pid, stopTimeoutMs)
  await endLeftovers(directory)
  await unmountUnder(directory)
  if (record?.bridge !== undefined && record.networkBefore !== undefined) {
    await removeHostNetwork(record.bridge, join(directory, 'bin'), record.networkBefore)
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  removeTraces(record?.absentBefore ?? [])
  return containers.length
}

/** All of them name this directory's files in their arguments; a killed dockerd leaves containerd and shims running. */
async function endLeftovers(directory: string): Promise<void> {
  const marks = ['dockerd.pid', 'exec/', 'data/'].map((name) => `${directory}/${name}`)
  for (const pid of processIds()) {
    const line = commandLineOf(pid)
    if (pid !== process.pid && marks.some((mark) => line.includes(mark))) await endProcess(pid, 5_000)
  }
}

async function unmountUnder(directory: string): Promise<void> {
  const points = mountPoints(readFileSync('/proc/self/mounts', 'utf8'))
  const ours = points.filter((point) => point.startsWith(`${directory}/`))
  for (const point of ours.toReversed()) await runCommand('umount', ['--lazy', point])
}

/** The kernel writes a blank in a path as \040, and other signs likewise. */
export function mountPoints(mounts: string): string[] {
  const escaped = mounts.split('\n').map((line) => line.split(' ')[1] ?? '')
  return escaped.map((path) =>
    path.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
  )
}
