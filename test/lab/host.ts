/** A host of the lab: a machine with a Docker Engine and a real agent, and what can happen to them. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { JoinLine } from '../../proto/joining.ts'
import { eventually } from '../support/lab.ts'
import { Engine, type LabContainer } from './engine.ts'
import { controlGroupOf } from './leftovers.ts'
import { Machine, type Program } from './machine.ts'

const repository = resolve(import.meta.dirname, '../..')
const readyTimeoutMs = 90_000

export interface HostOptions {
  /** The lab's directory. */
  readonly directory: string
  /** From 1. */
  readonly number: number
  /** Further variables of the agent. */
  readonly environment?: Readonly<Record<string, string>> | undefined
}

export class Host {
  readonly number: number
  readonly name: string
  readonly machine: Machine
  readonly engine: Engine
  readonly #options: HostOptions
  /** Where the agent's program is: this repository, or what it was upgraded to. */
  #source = repository
  #agent: Program | undefined
  #instanceArn: string | undefined

  constructor(options: HostOptions) {
    this.number = options.number
    this.name = `host${options.number}`
    this.machine = new Machine(options.directory, options.number, this.name)
    this.engine = new Engine(this.machine, options.number)
    this.#options = options
  }

  get address(): string {
    return this.machine.address
  }

  /** The ARN under which its agent registered. */
  get instanceArn(): string {
    if (this.#instanceArn === undefined) throw new Error(`The agent of ${this.name} has not registered yet.`)
    return this.#instanceArn
  }

  /** What the agent that runs now has logged. */
  log(): string {
    return this.#agent?.output() ?? ''
  }

  /** Boots the machine, its engine, and its agent; resolves once the agent is connected. */
  async powerOn(): Promise<void> {
    await this.boot()
    await this.startAgent()
  }

  /** Boots the machine and its engine alone. */
  async boot(): Promise<void> {
    await this.machine.powerOn()
    this.engine.forgetBoot()
    await this.engine.start()
  }

  /** All of it is gone at one instant: agent, engine, containers, network. Its disk is kept. */
  async powerOff(): Promise<void> {
    await this.machine.powerOff()
    await this.#agent?.ended
  }

  /** The network cable is out, for all that the host runs. */
  cut(): void {
    this.machine.cut()
  }

  heal(): void {
    this.machine.heal()
  }

  /** As a package upgrade of the engine does: SIGTERM, and a new one on the same data. */
  async restartEngine(options: { readonly liveRestore?: boolean } = {}): Promise<void> {
    await this.engine.stop()
    await this.engine.start(options)
  }

  async killAgent(): Promise<void> {
    await this.#agent?.kill9()
  }

  /** `kill -9`, and another agent in the same directory. */
  async restartAgent(): Promise<void> {
    await this.killAgent()
    await this.startAgent()
  }

  /** Ends the agent as a service manager does, and starts that other version in the same directory. */
  async upgradeAgent(version: string): Promise<void> {
    this.#source = this.#versionOf(version)
    await this.#agent?.terminate()
    await this.startAgent()
  }

  /** Joins by the real command, with what the controller's line says; gives what the command wrote. */
  async join(line: JoinLine, ...more: readonly string[]): Promise<string> {
    const { controllerUrl, caFingerprint = '', token } = line
    const command = [process.execPath, join(this.#source, 'agent/join/main.ts'), controllerUrl, '--ca', caFingerprint]
    const program = await this.machine.run([...command, ...more], { ECS_DATADIR: this.agentDirectory }, `${token}\n`)
    const code = await program.ended
    if (code !== 0) throw new Error(`${this.name} did not join (exit ${code}):\n${program.output()}`)
    return program.output()
  }

  /** Where its agent keeps who it is. */
  get agentDirectory(): string {
    return join(this.machine.disk, 'agent')
  }

  /** Starts the agent and waits until it says that it is connected. */
  async startAgent(): Promise<void> {
    await this.launchAgent()
    await this.agentReady()
  }

  /** Waits until the agent that was started says that it is connected. */
  async agentReady(): Promise<void> {
    const agent = this.#agent
    if (agent === undefined) throw new Error(`No agent was started on ${this.name}.`)
    const line = await eventually(
      async () => {
        if (agent.hasEnded()) throw new Error(`the agent of ${this.name} ended:\n${agent.output().slice(-4000)}`)
        return agent
          .output()
          .split('\n')
          .find((one) => one.includes('Gantry agent ready') && one.endsWith('}'))
      },
      `the agent of ${this.name} is ready`,
      readyTimeoutMs,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${agent.output().slice(-4000)}`, { cause: error })
    })
    this.#instanceArn = (JSON.parse(line) as { containerInstanceArn: string }).containerInstanceArn
  }

  /** Starts the agent, ready or not. */
  async launchAgent(): Promise<Program> {
    const { environment } = this.#options
    const command = [process.execPath, join(this.#source, 'agent/main.ts')]
    this.#agent = await this.machine.run(command, {
      NODE_COMPILE_CACHE: join(repository, 'node_modules/.cache/gantry-tests'),
      ECS_DATADIR: this.agentDirectory,
      ECS_LOGLEVEL: 'debug',
      // With what the engine makes: both go with the lab.
      GANTRY_CGROUP_PARENT: `${controlGroupOf(this.machine.disk)}/ecs`,
      ECS_CONTAINER_STOP_TIMEOUT: '1s',
      DOCKER_HOST: this.engine.host,
      GANTRY_AGENT_CONFIG_FILE: '/dev/null',
      ...environment,
    })
    return this.#agent
  }

  /** The containers of tasks on this host, in every state, or those of one task. */
  async containers(taskArn?: string): Promise<readonly LabContainer[]> {
    const all = await this.engine.containers()
    return taskArn === undefined ? all : all.filter((container) => container.taskArn === taskArn)
  }

  /** The agent's source with another version in its package.json, in a place of its own. */
  #versionOf(version: string): string {
    const source = join(this.machine.disk, `gantry-${version}`)
    mkdirSync(source)
    for (const room of ['agent', 'proto']) cpSync(join(repository, room), join(source, room), { recursive: true })
    symlinkSync(join(repository, 'node_modules'), join(source, 'node_modules'))
    const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as object
    writeFileSync(join(source, 'package.json'), JSON.stringify({ ...manifest, version }))
    return source
  }
}
