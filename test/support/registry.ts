/** Debian's docker-registry, by default on a free port of the loopback address, which engines trust without TLS. */
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
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

export interface RegistryLogin {
  readonly username: string
  readonly password: string
}

/** On another address than loopback, engines have to be told to trust it. With a login it is private. */
export async function startRegistry(address = '127.0.0.1', login?: RegistryLogin): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-registry-'))
  const port = await freePort()
  const config = { version: 0.1, storage: { filesystem: { rootdirectory: join(directory, 'images') } } }
  const auth = login === undefined ? {} : { auth: { htpasswd: await htpasswd(directory, login) } }
  const whole = { ...config, ...auth, http: { addr: `${address}:${port}` } }
  writeFileSync(join(directory, 'config.yml'), JSON.stringify(whole))
  // It ends with the test, however that ends.
  const program = ['docker-registry', 'serve', join(directory, 'config.yml')]
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...program], { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('close', resolve))
  await eventually(async () => fetch(`http://${address}:${port}/v2/`).catch(() => undefined), 'the registry answers')
  return {
    port,
    push: async (image, name) => push(image, name, login === undefined ? [] : loggedIn(directory, name, login)),
    async end() {
      child.kill('SIGTERM')
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** The registry takes bcrypt alone. Every Debian has perl, whose crypt() makes such a hash; apache2-utils need not be there. */
async function htpasswd(directory: string, { username, password }: RegistryLogin): Promise<object> {
  const path = join(directory, 'htpasswd')
  const script = 'print crypt(<STDIN>, "\\$2y\\$05\\$abcdefghijklmnopqrstuu")'
  const perl = promisify(execFile)('perl', ['-e', script])
  perl.child.stdin?.end(password)
  const { stdout: hash } = await perl
  writeFileSync(path, `${username}:${hash}\n`, { mode: 0o600 })
  return { realm: 'lab', path }
}

/** Docker's command with the login in a configuration of its own. */
function loggedIn(directory: string, name: string, { username, password }: RegistryLogin): readonly string[] {
  const auth = Buffer.from(`${username}:${password}`).toString('base64')
  const auths = { [name.split('/')[0] ?? '']: { auth } }
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ auths }), { mode: 0o600 })
  return ['--config', directory]
}

async function push(image: string, name: string, settings: readonly string[]): Promise<string> {
  const [repository = '', tag = ''] = name.split(/:(?=[^:/]*$)/)
  await askEngine('POST', `/images/${image}/tag?repo=${encodeURIComponent(repository)}&tag=${tag}`)
  // Docker's command sends the header that the API wants even where there are no credentials.
  const pushed = await promisify(execFile)('docker', [...settings, '-H', engineHost(), 'push', name])
  const digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed.stdout)?.[1]
  if (digest === undefined) throw new Error(`docker told no digest of ${name}: ${pushed.stdout}${pushed.stderr}`)
  await askEngine('DELETE', `/images/${name}`)
  return digest
}

/**
 * A port that nobody listened on a moment ago. It is none of those that the kernel gives to connections and to servers
 * that want any (from 32768 on): by the time it is used, one of these may be somebody's.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '0.0.0.0', () => resolve(true))
    })
    if (!isFree) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}
