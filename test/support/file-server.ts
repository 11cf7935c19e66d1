/**
 * A real file server for tests, without a kernel module: sftp-server of OpenSSH behind a TCP port, and sshfs, a FUSE file
 * system, as its client. What it serves is a directory of the test's own.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './lab.ts'

const sftpServer = '/usr/lib/openssh/sftp-server'

export interface FileServer {
  readonly port: number
  /** What it serves, as the test sees it. */
  readonly directory: string
  /** It goes on listening, and answers nothing. */
  hang(): void
  wake(): void
  /** Connections break, and no new one is taken. */
  die(): void
  close(): Promise<void>
}

export async function startFileServer(address = '127.0.0.1'): Promise<FileServer> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-files-'))
  const servers = new Set<ChildProcess>()
  const sockets = new Set<Socket>()
  let isHung = false
  const listener = createServer((socket) => {
    const server = spawn(sftpServer, [], { stdio: ['pipe', 'pipe', 'ignore'] })
    if (isHung) server.kill('SIGSTOP')
    servers.add(server)
    sockets.add(socket)
    socket.pipe(server.stdin)
    server.stdout.pipe(socket)
    for (const stream of [socket, server.stdin, server.stdout]) stream.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      server.kill('SIGKILL')
    })
    server.on('exit', () => {
      servers.delete(server)
      socket.destroy()
    })
  })
  await new Promise<void>((resolve) => void listener.listen(0, address, resolve))
  const signal = (name: NodeJS.Signals): void => servers.forEach((server) => void server.kill(name))
  const die = (): void => {
    listener.close()
    for (const socket of sockets) socket.destroy()
    signal('SIGKILL')
  }
  return {
    port: (listener.address() as AddressInfo).port,
    directory,
    hang() {
      isHung = true
      signal('SIGSTOP')
    },
    wake() {
      isHung = false
      signal('SIGCONT')
    },
    die,
    async close() {
      die()
      await new Promise((resolve) => setTimeout(resolve, 50))
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** The command that mounts a directory of the server and stays until it is unmounted or killed. */
export function sshfsCommand(server: FileServer, mountPoint: string, address = '127.0.0.1', below = ''): string[] {
  const options = `directport=${server.port},allow_other,default_permissions,attr_timeout=0,entry_timeout=0`
  return ['sshfs', '-f', '-o', options, `${address}:${server.directory}${below}`, mountPoint]
}

export interface Mounted {
  readonly path: string
  unmount(): void
}

/** Mounts what the server serves on a directory of its own; resolves once it is mounted. */
export async function mountFiles(server: FileServer, path: string, below = ''): Promise<Mounted> {
  mkdirSync(path, { recursive: true })
  const [program = '', ...args] = sshfsCommand(server, path, '127.0.0.1', below)
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const unmount = (): void => {
    child.kill('SIGKILL')
    if (isMounted(path)) execFileSync('umount', ['-l', path])
  }
  await eventually(
    async () => {
      if (child.exitCode !== null) throw new Error(`sshfs ended: ${output}`)
      return isMounted(path) ? true : undefined
    },
    `${path} is mounted`,
    10_000,
  ).catch((error: unknown) => {
    unmount()
    throw error
  })
  return { path, unmount }
}

/** A directory of which programs with mounts of their own see what is mounted below it later. */
export function sharedDirectory(name: string): Mounted {
  const path = mkdtempSync(join(tmpdir(), name))
  execFileSync('mount', ['--bind', path, path])
  execFileSync('mount', ['--make-shared', path])
  return {
    path,
    unmount() {
      execFileSync('umount', ['-l', path])
      rmSync(path, { recursive: true, force: true })
    },
  }
}

function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === path)
}
