/**
 * The Docker Engine behind our narrow interface: the only file that knows dockerode. Each call has a deadline, each
 * failure is an EngineError, and the API version is agreed on with the engine before the first call.
 */
import Docker from 'dockerode'
import { EngineError, labels } from './engine.ts'
import type { ContainerList, Engine, EngineEvent, EngineInfo, ImageFacts, RegistryAuth } from './engine.ts'
import { engineErrorOf, pullErrorOf } from './docker-errors.ts'
import type { ErrorOrigin } from './docker-errors.ts'
import { defaultEngineLimits, within } from './docker-limits.ts'
import type { EngineLimits } from './docker-limits.ts'
import { showEach } from './docker-list.ts'
import { nameOf, observedContainer } from './docker-observed.ts'
import type { InspectedContainer } from './docker-observed.ts'
import { jsonLines, logLines } from './docker-streams.ts'
import { agreedApiVersion } from './docker-version.ts'

/**
 * Changes worth another look; a health check's own `exec_*` events are not among them, and neither is `create`: who
 * asked for it has its answer, and a look would hold up the start.
 */
const watchedActions = ['start', 'die', 'oom', 'destroy', 'pause', 'unpause', 'restart', 'health_status']

/** Makes one call within its deadline. `origin` says for whom the engine speaks when it refuses. */
type Call = <T>(
  doing: string,
  timeoutMs: number,
  call: (docker: Docker, abortSignal: AbortSignal) => Promise<T>,
  origin?: ErrorOrigin,
) => Promise<T>

/** `dockerHost`: `unix:///path` or `tcp://host:port`. Opens nothing by itself; throws where the address can't be read. */
export function openDocker(dockerHost: string, limits: EngineLimits = defaultEngineLimits): Engine {
  const call = makeCall(dockerOptions(dockerHost), limits)
  return {
    ...engineCalls(call, limits),
    ...containerCalls(call, limits),
    ...imageCalls(call, limits),
    ...volumeCalls(call, limits),
  }
}

function dockerOptions(dockerHost: string): Docker.DockerOptions {
  if (dockerHost.startsWith('unix://')) return { socketPath: dockerHost.slice('unix://'.length), protocol: 'http' }
  const tcp = /^(?:tcp|http):\/\/(\[[^\]]+\]|[^:/]+):(\d+)\/?$/.exec(dockerHost)
  if (tcp === null) {
    throw new Error(
      `DOCKER_HOST is "${dockerHost}", which is no address of a Docker Engine. ` +
        'Give unix:///path/to/docker.sock or tcp://host:port.',
    )
  }
  return { host: (tcp[1] ?? '').replace(/^\[|\]$/g, ''), port: Number(tcp[2]), protocol: 'http' }
}

function makeCall(options: Docker.DockerOptions, limits: EngineLimits): Call {
  let agreed: Promise<Docker> | undefined
  const agree = async (): Promise<Docker> => {
    const doing = 'tell its version'
    const version = await within(doing, limits.versionMs, (abortSignal) =>
      abortable(new Docker(options)).version({ abortSignal }),
    )
    return new Docker({ ...options, version: `v${agreedApiVersion(version.ApiVersion, version.MinAPIVersion)}` })
  }
  return async (doing, timeoutMs, work, origin) => {
    agreed ??= agree()
    const mine = agreed
    try {
      const docker = await mine
      return await within(doing, timeoutMs, (abortSignal) => work(docker, abortSignal), origin)
    } catch (error) {
      // An engine that comes back may be another version: agree anew.
      const failure = engineErrorOf(error, doing, origin)
      if (failure.kind === 'unreachable' || (await mine.catch(() => undefined)) === undefined) {
        if (agreed === mine) agreed = undefined
      }
      throw failure
    }
  }
}

function engineCalls(call: Call, limits: EngineLimits): Pick<Engine, 'info' | 'ping' | 'watch'> {
  return {
    async info(): Promise<EngineInfo> {
      return call('describe itself', limits.inspectMs, async (docker, abortSignal) => {
        const info = await abortable(docker).info({ abortSignal })
        return {
          engineVersion: info.ServerVersion,
          apiVersion: versionOf(docker),
          loggingDrivers: info.Plugins.Log ?? [],
          volumePlugins: info.Plugins.Volume ?? [],
          securityOptions: info.SecurityOptions ?? [],
          cgroupDriver: info.CgroupDriver ?? '',
          cgroupVersion: info.CgroupVersion ?? '1',
        }
      })
    },

    async ping() {
      await call('answer a ping', limits.pingMs, (docker, abortSignal) => abortable(docker).ping({ abortSignal }))
    },

    async watch(onEvent, signal) {
      const filters = { type: ['container'], label: [labels.taskArn], event: watchedActions }
      // The subscription has a deadline; the stream that it yields has none.
      const stream = await call('stream its events', limits.inspectMs, (docker) =>
        abortable(docker).getEvents({ filters: JSON.stringify(filters), abortSignal: signal }),
      )
      await drained(
        stream,
        jsonLines((value) => {
          const event = eventOf(value)
          if (event !== undefined) onEvent(event)
        }),
      )
    },
  }
}

/** Calls that take an abort signal, which dockerode's types do not say. */
interface Abortable {
  version(options: object): Promise<{ readonly ApiVersion: string; readonly MinAPIVersion?: string }>
  info(options: object): Promise<DockerInfo>
  ping(options: object): Promise<unknown>
  getEvents(options: object): Promise<NodeJS.ReadableStream>
}

function abortable(docker: Docker): Abortable {
  return docker
}

interface DockerInfo {
  readonly ServerVersion: string
  readonly Plugins: { readonly Log?: readonly string[] | null; readonly Volume?: readonly string[] | null }
  readonly SecurityOptions?: readonly string[] | null
  readonly CgroupDriver?: string
  readonly CgroupVersion?: string
}

function versionOf(docker: Docker): string {
  return (docker.modem as unknown as { readonly version: string }).version.replace(/^v/, '')
}

function eventOf(value: Readonly<Record<string, unknown>>): EngineEvent | undefined {
  const { Action: action, Actor: actor } = value as { Action?: unknown; Actor?: { ID?: unknown } }
  if (typeof action !== 'string' || typeof actor?.ID !== 'string') return undefined
  return { containerId: actor.ID, action }
}

/** Resolves when the stream is over, by whichever of the ways in which Node tells it. */
async function drained(stream: NodeJS.ReadableStream, onChunk: (chunk: Buffer) => void): Promise<unknown> {
  return new Promise((resolve) => {
    stream.on('data', onChunk)
    for (const end of ['end', 'close', 'aborted'] as const) stream.on(end, () => resolve(undefined))
    stream.on('error', resolve)
  })
}

type ContainerCalls =
  | 'listContainers'
  | 'inspectContainer'
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'lastLogLines'

function containerCalls(call: Call, limits: EngineLimits): Pick<Engine, ContainerCalls> {
  const inspectContainer = async (
    idOrName: string,
    timeoutMs = limits.inspectMs,
  ): Promise<InspectedContainer | undefined> =>
    absent(
      call(
        `inspect container ${idOrName}`,
        timeoutMs,
        (docker, abortSignal) =>
          docker
            .getContainer(idOrName)
            .inspect({ abortSignal } as object) as Promise<unknown> as Promise<InspectedContainer>,
      ),
    )
  return {
    async listContainers(): Promise<ContainerList> {
      const listed = await call('list containers', limits.listMs, (docker, abortSignal) =>
        docker.listContainers({ all: true, filters: { label: [labels.taskArn] }, abortSignal }),
      )
      const named = listed.map(({ Id, Names, Labels }) => ({ id: Id, name: nameOf(Names[0] ?? ''), labels: Labels }))
      return showEach(named, async (id) => {
        const inspected = await inspectContainer(id, limits.listedInspectMs)
        return inspected === undefined ? undefined : observedContainer(inspected)
      })
    },

    async inspectContainer(idOrName) {
      const inspected = await inspectContainer(idOrName)
      return inspected === undefined ? undefined : observedContainer(inspected)
    },

    async createContainer(name, body) {
      const created = await call(`create container ${name}`, limits.createMs, (docker, abortSignal) =>
        docker.createContainer({ _query: { name }, _body: body, abortSignal } as object),
      )
      return created.id
    },

    async startContainer(id) {
      await already(
        call(`start container ${id}`, limits.startMs, (docker, abortSignal) =>
          docker.getContainer(id).start({ abortSignal }),
        ),
      )
    },

    async stopContainer(id, stopTimeoutSeconds) {
      const timeoutMs = stopTimeoutSeconds * 1000 + limits.stopMarginMs
      await already(
        call(`stop container ${id}`, timeoutMs, (docker, abortSignal) =>
          docker.getContainer(id).stop({ t: stopTimeoutSeconds, abortSignal }),
        ),
      )
    },

    async removeContainer(id) {
      await absent(
        call(`remove container ${id}`, limits.removeMs, (docker, abortSignal) =>
          docker.getContainer(id).remove({ v: true, abortSignal } as object),
        ),
      ).catch((error: unknown) => {
        // Two removals at once end in the same state.
        if (error instanceof EngineError && /removal of container .* is already in progress/.test(error.message)) return
        throw error
      })
    },

    async lastLogLines(id, lines) {
      const inspected = await inspectContainer(id)
      if (inspected === undefined) return []
      const read = call(`read the logs of ${id}`, limits.logsMs, (docker, abortSignal) =>
        readLogs(docker, id, lines, abortSignal),
      ).catch((error: unknown) => {
        // A log driver that sends the output elsewhere cannot give it back.
        if (error instanceof EngineError && /does not support reading/.test(error.message)) return Buffer.alloc(0)
        throw error
      })
      return logLines(await read, inspected.Config.Tty).slice(-lines)
    },
  }
}

/** Asked for as a stream, since dockerode would otherwise take output that looks like JSON for an object. */
async function readLogs(docker: Docker, id: string, lines: number, abortSignal: AbortSignal): Promise<Buffer> {
  const statusCodes = { 200: true, 404: 'no such container', 500: 'server error', 501: 'not implemented' }
  const options = { stdout: true, stderr: true, tail: lines }
  const path = `/containers/${encodeURIComponent(id)}/logs?`
  const stream = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
    docker.modem.dial(
      { path, method: 'GET', isStream: true, statusCodes, options, abortSignal },
      (error: unknown, data: unknown) =>
        error === null || error === undefined ? resolve(data as NodeJS.ReadableStream) : reject(error),
    )
  })
  const chunks: Buffer[] = []
  await drained(stream, (chunk) => chunks.push(chunk))
  return Buffer.concat(chunks)
}

type ImageCalls = 'inspectImage' | 'resolveDigest' | 'pullImage'

function imageCalls(call: Call, limits: EngineLimits): Pick<Engine, ImageCalls> {
  return {
    async inspectImage(image): Promise<ImageFacts | undefined> {
      const inspected = await absent(
        call(`inspect image ${image}`, limits.inspectMs, (docker, abortSignal) =>
          docker.getImage(image).inspect({ abortSignal } as object),
        ),
      )
      return inspected === undefined ? undefined : { id: inspected.Id, repoDigests: inspected.RepoDigests ?? [] }
    },

    async resolveDigest(image, auth) {
      const found = (await call(
        `ask the registry of ${image}`,
        limits.digestMs,
        (docker, abortSignal) => docker.getImage(image).distribution({ ...withAuth(auth), abortSignal } as object),
        'registry',
      )) as { readonly Descriptor: { readonly digest: string } }
      return found.Descriptor.digest
    },

    async pullImage(image, auth, pull) {
      await call(
        `pull ${image}`,
        pull.timeoutMs,
        async (docker, abortSignal) => pullInTime(docker, image, auth, pull.inactivityMs, abortSignal),
        'registry',
      )
    },
  }
}

function withAuth(auth: RegistryAuth | undefined): object {
  return auth === undefined ? {} : { authconfig: auth }
}

async function pullInTime(
  docker: Docker,
  image: string,
  auth: RegistryAuth | undefined,
  inactivityMs: number,
  outer: AbortSignal,
): Promise<void> {
  const quiet = new AbortController()
  const { promise: inactive, reject } = Promise.withResolvers<never>()
  const giveUp = (): void => {
    const seconds = inactivityMs / 1000
    reject(new EngineError('inactive', `inactivity time exceeded timeout while pulling image (${seconds} s)`))
    quiet.abort()
  }
  let timer = setTimeout(giveUp, inactivityMs)
  const sawProgress = (): void => {
    clearTimeout(timer)
    timer = setTimeout(giveUp, inactivityMs)
  }
  const abortSignal = AbortSignal.any([outer, quiet.signal])
  try {
    await Promise.race([pullThrough(docker, image, { ...withAuth(auth), abortSignal }, sawProgress), inactive])
  } finally {
    clearTimeout(timer)
  }
}

async function pullThrough(docker: Docker, image: string, options: object, sawProgress: () => void): Promise<void> {
  const stream = await docker.pull(image, options)
  let refusal: EngineError | undefined
  const read = jsonLines((value) => {
    if (typeof value['error'] === 'string') refusal = pullErrorOf(value['error'])
  })
  const problem = await drained(stream, (chunk) => {
    sawProgress()
    read(chunk)
  })
  if (refusal !== undefined) throw refusal
  const { complete } = stream as { readonly complete?: boolean }
  if (problem !== undefined || complete === false) {
    throw new EngineError('unreachable', `The Docker daemon went away while it was to pull ${image}.`)
  }
}

function volumeCalls(
  call: Call,
  limits: EngineLimits,
): Pick<Engine, 'createVolume' | 'inspectVolume' | 'removeVolume'> {
  return {
    async createVolume(name, driver, options, volumeLabels) {
      await call(`create volume ${name}`, limits.volumeMs, (docker, abortSignal) =>
        docker.createVolume({ Name: name, Driver: driver, DriverOpts: options, Labels: volumeLabels, abortSignal }),
      )
    },

    async inspectVolume(name) {
      const volume = await absent(
        call(`inspect volume ${name}`, limits.volumeMs, (docker, abortSignal) =>
          docker.getVolume(name).inspect({ abortSignal }),
        ),
      )
      return volume === undefined ? undefined : { name: volume.Name, driver: volume.Driver }
    },

    async removeVolume(name) {
      await absent(
        call(`remove volume ${name}`, limits.volumeMs, (docker, abortSignal) =>
          docker.getVolume(name).remove({ abortSignal }),
        ),
      )
    },
  }
}

/** undefined where the engine says that the thing is not there. */
async function absent<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof EngineError && error.kind === 'notFound') return undefined
    throw error
  }
}

/** Docker answers 304 where a container is already as asked. */
async function already(call: Promise<unknown>): Promise<void> {
  try {
    await call
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    const { statusCode } = (error.cause ?? {}) as { statusCode?: number }
    if (statusCode !== 304) throw error
  }
}
