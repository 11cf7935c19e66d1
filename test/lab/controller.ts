/** The lab's controller, on a machine of its own. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { parseSharedCredentials } from '../../controller/credentials.ts'
import type { JoinLine } from '../../proto/joining.ts'
import { callRest } from '../support/controller.ts'
import type { Key } from '../support/controller.ts'
import { eventually } from '../support/lab.ts'
import { Machine, type Program } from './machine.ts'

const repository = resolve(import.meta.dirname, '../..')
const port = 51_443
const readyTimeoutMs = 90_000

export class LabController {
  readonly machine: Machine
  readonly endpoint: string
  readonly dataDir: string
  readonly #environment: Readonly<Record<string, string>>
  #program: Program | undefined

  /** `environment` has further variables of the controller. */
  constructor(directory: string, environment: Readonly<Record<string, string>> = {}) {
    this.#environment = environment
    this.machine = new Machine(directory, 0, 'controller')
    this.endpoint = `https://${this.machine.address}:${port}`
    this.dataDir = join(this.machine.disk, 'controller')
    mkdirSync(this.dataDir, { mode: 0o700 })
  }

  get credentials(): Key {
    return parseSharedCredentials(readFileSync(join(this.dataDir, 'root-credentials'), 'utf8'), 'root-credentials')
  }

  /** The CA that it made, which hosts pin and whoever calls it trusts. */
  get caFile(): string {
    return join(this.dataDir, 'tls', 'ca.pem')
  }

  /** What the line for one more host says. `wish` is the body of `POST /v1/join-tokens`. */
  async invite(wish: object = {}): Promise<JoinLine> {
    const { status, text, json } = await callRest(
      this.endpoint,
      this.credentials,
      'POST',
      '/v1/join-tokens',
      JSON.stringify(wish),
    )
    if (status !== 200) throw new Error(`POST /v1/join-tokens answered ${status}: ${text}`)
    return json as unknown as JoinLine
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
      // Without TLS only the machine itself can talk to it, as anywhere.
      GANTRY_LISTEN: '127.0.0.1:51700',
      GANTRY_TLS_LISTEN: `${this.machine.address}:${port}`,
      ...this.#environment,
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
    // What AWS_CA_BUNDLE is for the aws CLI, for the clients in this process.
    setDefaultCACertificates([...getCACertificates('bundled'), readFileSync(this.caFile, 'utf8')])
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
