/**
 * The Docker Engine of one of the lab's machines. Containers go on while it is away, as `--live-restore` promises, unless it
 * was started without.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { labels } from '../../agent/engine.ts'
import { chooseIptables } from '../../scripts/engine-network.ts'
import { askEngine, busyboxImage } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'
import { controlGroupOf } from './leftovers.ts'
import { labNetwork, type Machine, type Program, systemPath } from './machine.ts'

/** A container as its engine tells it. */
export interface LabContainer {
  readonly id: string
  readonly taskArn: string
  readonly name: string
  readonly isRunning: boolean
  readonly startedAt: string
  /** By the machine's own count. */
  readonly pid: number
}

interface Inspected {
  readonly Id: string
  readonly Config: { readonly Labels: Readonly<Record<string, string>> | null }
  readonly State: { readonly Running: boolean; readonly StartedAt: string; readonly Pid: number }
}

const startTimeoutMs = 90_000

export class Engine {
  readonly host: string
  readonly #machine: Machine
  readonly #subnet: string
  #program: Program | undefined

  constructor(machine: Machine, number: number) {
    this.#machine = machine
    this.#subnet = `172.${20 + number}.0.1/16`
    this.host = `unix://${join(machine.disk, 'docker.sock')}`
  }

  async start(options: { readonly liveRestore?: boolean } = {}): Promise<void> {
    const { disk } = this.#machine
    const config = join(disk, 'daemon.json')
    // A registry of the lab speaks no TLS.
    writeFileSync(config, JSON.stringify({ 'insecure-registries': [labNetwork] }))
    const group = controlGroupOf(disk)
    const places = ['--data-root', join(disk, 'data'), '--exec-root', join(disk, 'exec')]
    const files = ['--pidfile', join(disk, 'dockerd.pid'), '--config-file', config, '-H', this.host]
    const groups = ['--cgroup-parent', group, '--exec-opt', 'native.cgroupdriver=cgroupfs']
    const command = ['dockerd', ...places, ...files, ...groups, '--bip', this.#subnet]
    if (options.liveRestore ?? true) command.push('--live-restore')
    const path = `${await chooseIptables(disk)}:${systemPath()}`
    const program = await this.#machine.run(command, { PATH: path })
    this.#program = program
    await eventually(
      async () => {
        if (program.hasEnded()) throw new Error(`dockerd of ${this.#machine.name} ended:\n${program.output()}`)
        const answer = await askEngine('GET', '/_ping', undefined, this.host).catch(() => undefined)
        return answer?.status === 200 ? true : undefined
      },
      `the engine of ${this.#machine.name} answers`,
      startTimeoutMs,
    )
  }

  async stop(): Promise<void> {
    await this.#program?.terminate()
  }

  async kill9(): Promise<void> {
    await this.#program?.kill9()
  }

  /** What does not outlive a boot: a real machine keeps it in /run. */
  forgetBoot(): void {
    const { disk } = this.#machine
    for (const name of ['exec', 'dockerd.pid', 'docker.sock'])
      rmSync(join(disk, name), { recursive: true, force: true })
    mkdirSync(join(disk, 'exec'), { recursive: true })
  }

  /** Makes the image of tests known to this engine, and gives its name. */
  async importBusybox(): Promise<string> {
    return busyboxImage(this.host)
  }

  /** All containers of tasks, in every state. */
  async containers(): Promise<readonly LabContainer[]> {
    const filters = encodeURIComponent(JSON.stringify({ label: [labels.taskArn] }))
    const listed = await askEngine('GET', `/containers/json?all=1&filters=${filters}`, undefined, this.host)
    if (listed.status !== 200) throw new Error(`the engine of ${this.#machine.name} does not list: ${listed.text}`)
    const ids = (JSON.parse(listed.text) as { Id: string }[]).map(({ Id }) => Id)
    const inspected = await Promise.all(
      ids.map(async (id) => askEngine('GET', `/containers/${id}/json`, undefined, this.host)),
    )
    return inspected
      .filter(({ status }) => status === 200)
      .map(({ text }) => JSON.parse(text) as Inspected)
      .map(({ Id, Config, State }) => ({
        id: Id,
        taskArn: Config.Labels?.[labels.taskArn] ?? '',
        name: Config.Labels?.[labels.containerName] ?? '',
        isRunning: State.Running,
        startedAt: State.StartedAt,
        pid: State.Pid,
      }))
  }

  /** Tells each start of a task's container, as the engine tells it, until it is closed. */
  async watchStarts(onStart: (taskArn: string, containerName: string) => void): Promise<{ close(): void }> {
    const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['start'] }))
    const call = request({ socketPath: this.host.slice('unix://'.length), path: `/events?filters=${filters}` })
    let text = ''
    const take = (chunk: Buffer): void => {
      const lines = (text + chunk.toString()).split('\n')
      text = lines.pop() ?? ''
      for (const line of lines.filter((one) => one !== '')) {
        const { Actor } = JSON.parse(line) as { Actor: { Attributes: Readonly<Record<string, string>> } }
        const taskArn = Actor.Attributes[labels.taskArn]
        if (taskArn !== undefined) onStart(taskArn, Actor.Attributes[labels.containerName] ?? '')
      }
    }
    await new Promise<void>((resolve, reject) => {
      call.once('error', reject)
      call.once('response', (response) => {
        // The engine is killed with its machine, at the end.
        response.on('error', () => undefined)
        response.on('data', take)
        resolve()
      })
      call.end()
    })
    call.on('error', () => undefined)
    return { close: () => call.destroy() }
  }
}
