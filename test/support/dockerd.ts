/**
 * A Docker Engine of a test's own, which it may hang, kill and start again. It is in a network namespace of its own and
 * has no bridge: a dockerd that is told to have none removes the one that it finds, which may be another engine's.
 */
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { askEngine } from './engine.ts'
import { eventually } from './lab.ts'

export interface Dockerd {
  readonly host: string
  start(): Promise<void>
  /** SIGKILL, with what dockerd itself started left as it is. */
  kill9(): Promise<void>
  /** SIGTERM: with live-restore containers go on, without they are stopped. */
  terminate(): Promise<void>
  pause(): void
  resume(): void
  /** Ends all containers and the engine, and removes its directory. */
  remove(): Promise<void>
}

export interface DockerdOptions {
  readonly liveRestore: boolean
  /**
   * Where it looks for plugins, in place of the machine's directory for them: an engine that has met a plugin waits for it
   * at every call about volumes, also when the plugin is gone. What is mounted outside shows in this engine too.
   */
  readonly pluginDirectory?: string | undefined
}

export async function startDockerd(options: DockerdOptions): Promise<Dockerd> {
  // A socket's path must not be longer than 107 bytes.
  const directory = mkdtempSync(join(tmpdir(), 'gd-'))
  const host = `unix://${join(directory, 's')}`
  const places = ['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')]
  const network = ['-H', host, '--bridge=none', '--iptables=false', '--ip6tables=false']
  const fixed = [...places, '--pidfile', join(directory, 'pid'), ...network]
  let child: ChildProcess | undefined
  let output = ''
  const start = async (): Promise<void> => {
    const program = ['dockerd', ...fixed, ...(options.liveRestore ? ['--live-restore'] : [])]
    const started = spawn('unshare', ['--net', ...withPlugins(options.pluginDirectory), ...program], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    started.stderr?.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-20_000)))
    child = started
    await eventually(
      async () => {
        if (started.exitCode !== null) throw new Error(`dockerd ended:\n${output}`)
        const answer = await askEngine('GET', '/_ping', undefined, host).catch(() => undefined)
        return answer?.status === 200 ? true : undefined
      },
      'dockerd answers',
      60_000,
    )
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    const closed = new Promise((resolve) => ending.once('exit', resolve))
    ending.kill(signal)
    await closed
  }
  await start()
  return {
    host,
    start,
    kill9: async () => end('SIGKILL'),
    terminate: async () => end('SIGTERM'),
    pause: () => child?.kill('SIGSTOP'),
    resume: () => child?.kill('SIGCONT'),
    async remove() {
      child?.kill('SIGCONT')
      if (child?.exitCode !== null || child.signalCode !== null) await start()
      const listed = await askEngine('GET', '/containers/json?all=1', undefined, host)
      for (const { Id } of JSON.parse(listed.text) as { Id: string }[]) {
        await askEngine('DELETE', `/containers/${Id}?force=1&v=1`, undefined, host)
      }
      await end('SIGTERM')
      // A containerd that outlived a kill -9 is of this directory alone.
      for (const pid of processesUnder(directory)) process.kill(pid, 'SIGKILL')
      await new Promise((resolve) => setTimeout(resolve, 200))
      // With live-restore dockerd leaves mounts behind; those of this directory are nobody else's.
      for (const mount of mountsUnder(directory)) execFileSync('umount', ['-l', mount])
      rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
    },
  }
}

/** In mounts of its own, into which those of the machine go and out of which none comes. */
function withPlugins(directory: string | undefined): readonly string[] {
  if (directory === undefined) return []
  const script = 'mkdir -p /run/docker/plugins && mount --bind "$1" /run/docker/plugins && shift && exec "$@"'
  return ['--mount', '--propagation', 'slave', 'sh', '-c', script, 'sh', directory]
}

/** The innermost first. */
function mountsUnder(directory: string): readonly string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  const places = mounts.map((line) => line.split(' ')[1] ?? '')
  return places.filter((place) => place.startsWith(`${directory}/`)).reverse()
}

/** Processes whose command line names the directory. */
function processesUnder(directory: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => commandLine(pid).includes(`${directory}/`))
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
