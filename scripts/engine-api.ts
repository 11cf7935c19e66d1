/**
 * The few calls of the Docker Engine API that the scripts need, so that no docker CLI has to be there. Paths carry no
 * version: each engine then takes its own newest, and these calls are the same in all of them.
 */
import { request } from 'node:http'
import { ScriptError } from './report.ts'

export interface EngineVersion {
  readonly version: string
  readonly apiVersion: string
}

export interface EngineContainer {
  readonly Id: string
  readonly Names: readonly string[]
  readonly Labels: Readonly<Record<string, string>>
}

interface EngineAnswer {
  readonly status: number
  readonly text: string
}

function target(dockerHost: string): { socketPath: string } | { host: string; port: number } {
  if (dockerHost.startsWith('unix://')) return { socketPath: dockerHost.slice('unix://'.length) }
  const url = new URL(dockerHost)
  if (url.protocol === 'tcp:' || url.protocol === 'http:') return { host: url.hostname, port: Number(url.port || 2375) }
  throw new ScriptError(`DOCKER_HOST=${dockerHost} can't be used here: unix:///path and tcp://host:port can.`)
}

function call(
  dockerHost: string,
  method: string,
  path: string,
  body?: Buffer,
  timeoutMs = 30_000,
): Promise<EngineAnswer> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Type': 'application/x-tar', 'Content-Length': body.length }
    const outgoing = request({ ...target(dockerHost), method, path, headers, timeout: timeoutMs }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
      answer.on('error', reject)
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer to ${method} ${path} in ${timeoutMs} ms`)))
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function callOk(dockerHost: string, method: string, path: string, body?: Buffer): Promise<string> {
  const { status, text } = await call(dockerHost, method, path, body)
  if (status >= 200 && status < 300) return text
  throw new ScriptError(`the Docker Engine at ${dockerHost} answered ${status} to ${method} ${path}: ${text.trim()}`)
}

/** An engine asks containerd and runc for their versions first, which takes seconds on a host that is busy. */
const versionTimeoutMs = 15_000

/** Undefined where nothing answers as an engine does within fifteen seconds; at once where nothing listens. */
export async function askVersion(dockerHost: string): Promise<EngineVersion | undefined> {
  try {
    const { status, text } = await call(dockerHost, 'GET', '/version', undefined, versionTimeoutMs)
    if (status !== 200) return undefined
    const answer = JSON.parse(text) as { Version?: string; ApiVersion?: string }
    if (answer.Version === undefined || answer.ApiVersion === undefined) return undefined
    return { version: answer.Version, apiVersion: answer.ApiVersion }
  } catch (error) {
    if (error instanceof ScriptError) throw error
    return undefined
  }
}

/** All containers, stopped ones too; with a label (`name` or `name=value`) only those that carry it. */
export async function listContainers(dockerHost: string, label?: string): Promise<readonly EngineContainer[]> {
  const filter = label === undefined ? '' : `&filters=${encodeURIComponent(JSON.stringify({ label: [label] }))}`
  return JSON.parse(await callOk(dockerHost, 'GET', `/containers/json?all=1${filter}`)) as EngineContainer[]
}

/** Kills and removes a container with its anonymous volumes; one that is gone already is no error. */
export async function removeContainer(dockerHost: string, id: string): Promise<void> {
  const path = `/containers/${encodeURIComponent(id)}?force=1&v=1`
  const { status, text } = await call(dockerHost, 'DELETE', path)
  if (status < 300 || status === 404) return
  throw new ScriptError(`container ${id} could not be removed: the engine answered ${status}: ${text.trim()}`)
}

/** Removes the networks that carry a label whose name begins so, and gives their names; one that is in use stays. */
export async function removeNetworks(dockerHost: string, labelPrefix: string): Promise<readonly string[]> {
  const networks = JSON.parse(await callOk(dockerHost, 'GET', '/networks')) as {
    Id: string
    Name: string
    Labels: Record<string, string> | null
  }[]
  const ours = networks.filter(({ Labels }) => Object.keys(Labels ?? {}).some((name) => name.startsWith(labelPrefix)))
  const removed: string[] = []
  for (const { Id, Name } of ours) {
    const { status } = await call(dockerHost, 'DELETE', `/networks/${Id}`)
    if (status < 300) removed.push(Name)
  }
  return removed
}

/** The image's id, or undefined where the engine has no such image. */
export async function findImage(dockerHost: string, name: string): Promise<string | undefined> {
  const { status, text } = await call(dockerHost, 'GET', `/images/${encodeURIComponent(name)}/json`)
  return status === 200 ? (JSON.parse(text) as { Id: string }).Id : undefined
}

/** True when there was such an image. */
export async function removeImage(dockerHost: string, name: string): Promise<boolean> {
  const { status } = await call(dockerHost, 'DELETE', `/images/${encodeURIComponent(name)}?force=1`)
  return status === 200
}

/** Makes a one-layer image from a tar of a root file system. `changes` are Dockerfile lines such as `CMD [...]`. */
export async function importImage(dockerHost: string, name: string, tar: Buffer, changes: readonly string[]) {
  const [repo = name, tag = 'latest'] = name.split(':')
  const query = new URLSearchParams([
    ['fromSrc', '-'],
    ['repo', repo],
    ['tag', tag],
  ])
  for (const change of changes) query.append('changes', change)
  const text = await callOk(dockerHost, 'POST', `/images/create?${query.toString()}`, tar)
  if (text.includes('"error"')) throw new ScriptError(`the engine could not import ${name}: ${text.trim()}`)
}
