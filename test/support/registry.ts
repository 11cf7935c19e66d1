/** Debian's docker-registry, by default on a free port of the loopback address, which engines trust without TLS. */
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { askEngine, engineHost } from './engine.ts'
import { eventually } from './lab.ts'

export interface Registry {
  readonly port: number
  /** Pushes the engine's `image` as `name` (`127.0.0.1:PORT/lab/app:1`), takes that name from the engine, answers the digest. */
  push(image: string, name: string): Promise<string>
  end(): Promise<void>
}

/** On another address than loopback, engines have to be told to trust it. */
export async function startRegistry(address = '127.0.0.1'): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-registry-'))
  const port = await freePort()
  const config = { version: 0.1, storage: { filesystem: { rootdirectory: join(directory, 'images') } } }
  writeFileSync(join(directory, 'config.yml'), JSON.stringify({ ...config, http: { addr: `${address}:${port}` } }))
  // It ends with the test, however that ends.
  const program = ['docker-registry', 'serve', join(directory, 'config.yml')]
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...program], { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('close', resolve))
  await eventually(async () => fetch(`http://${address}:${port}/v2/`).catch(() => undefined), 'the registry answers')
  return {
    port,
    push,
    async end() {
      child.kill('SIGTERM')
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function push(image: string, name: string): Promise<string> {
  const [repository = '', tag = ''] = name.split(/:(?=[^:/]*$)/)
  await askEngine('POST', `/images/${image}/tag?repo=${encodeURIComponent(repository)}&tag=${tag}`)
  // Docker's command sends the header that the API wants even where there are no credentials.
  const pushed = await promisify(execFile)('docker', ['-H', engineHost(), 'push', name])
  const digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed.stdout)?.[1]
  if (digest === undefined) throw new Error(`docker told no digest of ${name}: ${pushed.stdout}${pushed.stderr}`)
  await askEngine('DELETE', `/images/${name}`)
  return digest
}

/** A port that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
