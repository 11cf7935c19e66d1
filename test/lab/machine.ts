/**
 * One machine of the lab: network, processes, mounts and a host name of its own, joined to the lab's bridge by a cable.
 * Its first process holds it: when that is killed, the kernel kills everything on the machine at the same instant, as a
 * power cut would. The kernel also kills it when the test ends, however the test ends.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandLineOf, identify } from '../../scripts/processes.ts'
import { eventually } from '../support/lab.ts'
import { ip } from './own-network.ts'

export const bridge = 'lab0'
export const bridgeAddress = '10.77.0.1'
export const labNetwork = '10.77.0.0/24'

/** A program on a machine. */
export interface Program {
  /** Its pid as the test sees it. */
  readonly pid: number
  /** The exit code; null after a signal. */
  readonly ended: Promise<number | null>
  hasEnded(): boolean
  /** What it wrote so far, the last half a megabyte of it. */
  output(): string
  /** SIGKILL; resolves once it is gone. */
  kill9(): Promise<void>
  /** SIGTERM, and the exit code. */
  terminate(): Promise<number | null>
}

const outputMax = 512 * 1024

export class Machine {
  readonly name: string
  readonly address: string
  /** What the machine keeps when its power goes. */
  readonly disk: string
  readonly #cable: string
  #holder: ChildProcess | undefined
  #init = 0
  #isCut = false

  constructor(directory: string, number: number, name: string) {
    this.name = name
    this.address = `10.77.0.${10 + number}`
    this.disk = join(directory, String(number))
    this.#cable = `cable${number}`
    mkdirSync(this.disk, { recursive: true, mode: 0o700 })
  }

  get isOn(): boolean {
    return this.#holder !== undefined
  }

  /** On, and its cable is in. */
  get isReachable(): boolean {
    return this.isOn && !this.#isCut
  }

  async powerOn(): Promise<void> {
    if (this.#holder !== undefined) throw new Error(`${this.name} is on already.`)
    const own = ['--net', '--pid', '--mount', '--uts', '--fork', '--kill-child', '--mount-proc']
    // The first process of a machine inherits the orphans; who ignores SIGCHLD need not wait for their ends.
    const first = ['env', '--ignore-signal=CHLD', 'sleep', 'infinity']
    const holder = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'unshare', ...own, '--', ...first], {
      stdio: 'ignore',
      env: { PATH: systemPath() },
    })
    this.#holder = holder
    this.#init = await eventually(async () => {
      if (holder.exitCode !== null) throw new Error(`${this.name} did not come up: unshare ended (${holder.exitCode}).`)
      const pid = childOf(holder.pid ?? 0)
      return pid !== undefined && commandLineOf(pid).startsWith('sleep\0') ? pid : undefined
    }, `${this.name} comes up`)
    writeFileSync(join(this.disk, 'machine.json'), JSON.stringify(identify(this.#init)))
    ip('link', 'add', this.#cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(this.#init))
    ip('link', 'set', this.#cable, 'master', bridge, 'up')
    this.#isCut = false
    const setUp = ['ip link set lo up', `ip address add ${this.address}/24 dev eth0`, 'ip link set eth0 up']
    // What programs keep in /run is of one boot and of one machine.
    const script = ['mount -t tmpfs run /run', `hostname ${this.name}`, ...setUp].join(' && ')
    execFileSync('nsenter', [`--target=${this.#init}`, '--net', '--uts', '--mount', '--', 'sh', '-c', script], {
      env: { PATH: systemPath() },
    })
  }

  /** Everything on the machine is killed at once; what is on its disk stays. */
  async powerOff(): Promise<void> {
    const holder = this.#holder
    if (holder === undefined) return
    const gone = new Promise((resolve) => holder.once('exit', resolve))
    if (holder.exitCode === null && holder.signalCode === null) {
      process.kill(this.#init, 'SIGKILL')
      await gone
    }
    this.#holder = undefined
    unplug(this.#cable)
  }

  /** The cable is out: what is sent is lost, in both directions, and nobody is told. */
  cut(): void {
    ip('link', 'set', this.#cable, 'down')
    this.#isCut = true
  }

  heal(): void {
    ip('link', 'set', this.#cable, 'up')
    this.#isCut = false
  }

  /** Starts a program here, with this environment and no other; `input` is what it reads from standard input. */
  async run(
    command: readonly string[],
    environment: Readonly<Record<string, string>>,
    input?: string,
  ): Promise<Program> {
    const inside = [`--target=${this.#init}`, '--net', '--pid', '--mount', '--uts', '--']
    const entry = spawn('nsenter', [...inside, ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { PATH: systemPath(), ...environment },
    })
    // A program that ends without reading it is no failure of ours.
    entry.stdin.on('error', () => undefined)
    entry.stdin.end(input ?? '')
    let output = ''
    const take = (chunk: Buffer) => (output = (output + chunk.toString()).slice(-outputMax))
    for (const stream of [entry.stdout, entry.stderr]) stream.on('data', take)
    let hasEnded = false
    const ended = new Promise<number | null>((resolve) => {
      entry.once('exit', (code) => {
        hasEnded = true
        resolve(code)
      })
    })
    const pid = await eventually(async () => {
      if (hasEnded) throw new Error(`${this.name} could not run ${command.join(' ')}:\n${output}`)
      return childOf(entry.pid ?? 0)
    }, `${command[0]} starts on ${this.name}`)
    const end = async (signal: NodeJS.Signals): Promise<number | null> => {
      if (!hasEnded) sendSignal(pid, signal)
      return ended
    }
    return {
      pid,
      ended,
      hasEnded: () => hasEnded,
      output: () => output,
      kill9: async () => void (await end('SIGKILL')),
      terminate: async () => end('SIGTERM'),
    }
  }
}

/** The kernel takes the cable away with the machine's network, but not at once. */
function unplug(cable: string): void {
  try {
    ip('link', 'delete', cable)
  } catch {
    // It is gone already.
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended in between.
  }
}

/** The one child of unshare or nsenter: the first process in the new pid namespace. */
function childOf(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    return child === undefined || child === '' ? undefined : Number(child)
  } catch {
    return undefined
  }
}

export function systemPath(): string {
  return [process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin'].join(':')
}
