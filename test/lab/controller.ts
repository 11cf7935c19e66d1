/** The lab's controller, on a machine of its own. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseSharedCredentials } from '../../controller/credentials.ts'
import type { Key } from '../support/controller.ts'
import { eventually } from '../support/lab.ts'
import { Machine, type Program } from './machine.ts'

const repository = resolve(import.meta.dirname, '../..')
const port = 51_700
const readyTimeoutMs = 90_000

export class LabController {
  readonly machine: Machine
  readonly endpoint: string
  readonly dataDir: string
  #program: Program | undefined

  constructor(directory: string) {
    this.machine = new Machine(directory, 0, 'controller')
    this.endpoint = `http://${this.machine.address}:${port}`
    this.dataDir = join(this.machine.disk, 'controller')
    mkdirSync(this.dataDir, { mode: 0o700 })
  }

  get credentials(): Key {
    return parseSharedCredentials(readFileSync(join(this.dataDir, 'root-credentials'), 'utf8'), 'root-credentials')
  }

  get agentCredentialsFile(): string {
    return join(this.dataDir, 'agent-credentials')
  }

  log(): string {
    return this.#program?.output() ?? ''
  }

  async powerOn(): Promise<void> {
    await this.machine.powerOn()
    await this.start()
  }

  async powerOff(): Promise<void> {
    await this.machine.powerOff()
  }

  /** Starts the controller, which recovers, and waits until it is ready. */
  async start(): Promise<void> {
    const program = await this.machine.run([process.execPath, join(repository, 'controller/main.ts')], {
      NODE_COMPILE_CACHE: join(repository, 'node_modules/.cache/gantry-tests'),
      GANTRY_DATA_DIR: this.dataDir,
      GANTRY_LISTEN: `${this.machine.address}:${port}`,
      GANTRY_ADVERTISE: this.endpoint,
    })
    this.#program = program
    await eventually(
      async () => {
        if (program.hasEnded()) throw new Error(`the controller ended:\n${program.output().slice(-4000)}`)
        return program.output().includes('"msg":"ready') ? true : undefined
      },
      'the controller is ready',
      readyTimeoutMs,
    )
  }

  /** Resolves once the process is gone; its data stay. */
  async kill9(): Promise<void> {
    await this.#program?.kill9()
  }

  /** As a service manager does: SIGTERM, and a new one on the same data. */
  async restart(): Promise<void> {
    await this.#program?.terminate()
    await this.start()
  }
}
