/**
 * The Docker Engine that tests use, seen without our own code: its address from DOCKER_HOST (the test runner sees to it
 * that there is one), plain HTTP calls to look behind the agent's back, and an image made from the host's busybox.
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, copyFile, rm, symlink } from 'node:fs/promises'
import { request } from 'node:http'
import type { RequestOptions } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** `unix:///...` or `tcp://...`. */
export function engineHost(): string {
  const host = process.env['DOCKER_HOST']
  if (host === undefined || host === '') {
    throw new Error('No Docker Engine to test on: DOCKER_HOST is not set. Run `npm test`, or set it.')
  }
  return host
}

export interface EngineAnswer {
  readonly status: number
  readonly text: string
}

/** One call to the engine's HTTP API. */
export async function askEngine(
  method: string,
  path: string,
  body?: Buffer | object,
  host: string = engineHost(),
): Promise<EngineAnswer> {
  const to: RequestOptions = host.startsWith('unix://')
    ? { socketPath: host.slice('unix://'.length) }
    : { host: new URL(host).hostname, port: new URL(host).port }
  const bytes = Buffer.isBuffer(body) ? body : body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  return new Promise((resolve, reject) => {
    const headers =
      bytes === undefined ? {} : { 'content-type': Buffer.isBuffer(body) ? 'application/x-tar' : 'application/json' }
    const call = request({ ...to, method, path, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
      response.on('error', reject)
    })
    call.on('error', reject)
    call.end(bytes)
  })
}

/** Each test process has its own, so that it can be removed without a look at what others do. */
const busyboxName = `gantry-test/busybox:${process.pid}`

/** An image of the host's static busybox with links for some of its applets; `removeBusyboxImage` ends it. */
export async function busyboxImage(host: string = engineHost()): Promise<string> {
  const found = await askEngine('GET', `/images/${busyboxName}/json`, undefined, host)
  if (found.status === 200) return busyboxName
  const root = await mkdtemp(join(tmpdir(), 'gantry-busybox-'))
  try {
    await Promise.all(['bin', 'tmp', 'www'].map(async (name) => mkdir(join(root, name))))
    await copyFile('/bin/busybox', join(root, 'bin/busybox'))
    for (const applet of [
      'sh',
      'sleep',
      'echo',
      'cat',
      'httpd',
      'nc',
      'true',
      'false',
      'seq',
      'env',
      'kill',
      'touch',
    ]) {
      await symlink('busybox', join(root, 'bin', applet))
    }
    const { stdout } = await run('tar', ['-C', root, '-c', '.'], { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 })
    const [repo, tag] = busyboxName.split(':')
    const path = `/images/create?fromSrc=-&repo=${repo}&tag=${tag}&changes=${encodeURIComponent('ENV PATH=/bin')}`
    const made = await askEngine('POST', path, stdout, host)
    if (made.status !== 200) throw new Error(`The engine did not import busybox: ${made.text}`)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
  return busyboxName
}

/** To be called when no container is left that was made from it. */
export async function removeBusyboxImage(host: string = engineHost()): Promise<void> {
  await askEngine('DELETE', `/images/${busyboxName}?force=1`, undefined, host)
}

/** Docker's own inspect document, or undefined where there is no such container. */
export async function inspectRaw(
  idOrName: string,
  host: string = engineHost(),
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const answer = await askEngine('GET', `/containers/${idOrName}/json`, undefined, host)
  return answer.status === 200 ? (JSON.parse(answer.text) as Readonly<Record<string, unknown>>) : undefined
}

/** Ids of all containers, in every state, with this label (`name` or `name=value`). */
export async function containersWithLabel(label: string, host: string = engineHost()): Promise<readonly string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
  const answer = await askEngine('GET', `/containers/json?all=1&filters=${filters}`, undefined, host)
  return (JSON.parse(answer.text) as { Id: string }[]).map(({ Id }) => Id)
}

/** Kills and removes all containers with this label. */
export async function removeContainersWithLabel(label: string, host: string = engineHost()): Promise<void> {
  const ids = await containersWithLabel(label, host)
  await Promise.all(ids.map(async (id) => askEngine('DELETE', `/containers/${id}?force=1&v=1`, undefined, host)))
}
