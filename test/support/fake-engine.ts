/**
 * A container engine in memory, true to the contract of `agent/engine.ts`: states, names, ports, exit codes, events,
 * and the ways in which a real one fails: no answer, a late answer, an answer lost after the deed.
 */
import { EngineError, labels } from '../../agent/engine.ts'
import type {
  CreateBody,
  Engine,
  EngineErrorKind,
  EngineEvent,
  NetworkSpec,
  ObservedContainer,
  ObservedNetwork,
  ObservedVolume,
  PathKind,
} from '../../agent/engine.ts'
import type { Timers } from '../../agent/timers.ts'
import type { Clock } from '../../proto/world.ts'

export interface FakeImage {
  readonly digest?: string
  /** What its containers do: run on, or end by themselves. */
  readonly exitsAfterMs?: number
  readonly exitCode?: number
  /** Only SIGKILL ends it. */
  readonly ignoresTerm?: boolean
  /** The engine refuses to start it, with these words. */
  readonly startError?: string
  readonly health?: 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN'
  /** Its health is UNKNOWN until then. */
  readonly healthKnownAfterMs?: number
  readonly output?: readonly string[]
}

type Call = Exclude<keyof Engine, 'watch'>

interface Fault {
  readonly call: Call
  readonly kind: EngineErrorKind
  /** True where the deed is done and only its answer is lost. */
  readonly afterDeed: boolean
  left: number
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
export type FakeContainer = Mutable<ObservedContainer> & { readonly body: CreateBody; starts: number }

export interface FakeEngine extends Engine {
  /** Images on this host, and images that the registry has. */
  readonly local: Map<string, FakeImage>
  readonly registry: Map<string, FakeImage>
  readonly containers: Map<string, FakeContainer>
  readonly volumes: Map<string, ObservedVolume>
  /** What lies at paths of containers, beside the directories on which their volumes are mounted. */
  readonly paths: Map<string, PathKind>
  readonly networks: Map<string, NetworkSpec>
  /** Names of all containers ever created, in order; and ids of all starts that went through. */
  readonly created: string[]
  readonly started: string[]
  readonly pulled: string[]
  /** Host ports that other programs hold. */
  readonly busyPorts: Set<number>
  /** Ids of containers that are listed, and whose own state is not to be had. */
  readonly hung: Set<string>
  latencyMs: number
  down: boolean
  fail(call: Call, kind: EngineErrorKind, options?: { times?: number; afterDeed?: boolean }): void
  /** The container of that name in the task definition ends by itself. */
  exit(containerName: string, exitCode: number, oomKilled?: boolean): void
  /** The engine stops and comes back; without live-restore its containers end. */
  restart(): void
  find(containerName: string): FakeContainer
}

export function fakeEngine(time: Clock & Timers): FakeEngine {
  const state = newState(time)
  const { containers, local, registry, volumes, networks } = state
  const call = async <T>(name: Call, deed: () => T, delayMs = engine.latencyMs): Promise<T> =>
    answer(state, engine, name, deed, delayMs)
  const engine: FakeEngine = {
    ...state,
    hung: new Set(),
    paths: new Map(),
    latencyMs: 5,
    down: false,
    fail: (name, kind, { times = 1, afterDeed = false } = {}) =>
      void state.faults.push({ call: name, kind, afterDeed, left: times }),
    exit: (name, exitCode, oomKilled = false) => end(state, engine.find(name), exitCode, oomKilled),
    restart() {
      for (const container of containers.values()) {
        if (container.status === 'running') end(state, container, 137, false)
      }
      for (const watcher of state.watchers) watcher.end()
    },
    find: (name) => findByLabel(containers, name),
    info: async () => call('info', () => engineInfo),
    ping: async () => call('ping', () => undefined),
    listContainers: async () =>
      call('listContainers', () => {
        const all = [...containers.values()].map(shownOf)
        return {
          shown: all.filter(({ id }) => !engine.hung.has(id)),
          unshown: all.filter(({ id }) => engine.hung.has(id)),
        }
      }),
    inspectContainer: async (idOrName) =>
      call('inspectContainer', () => {
        const found = lookUp(containers, idOrName)
        if (engine.hung.has(found?.id ?? '')) throw new EngineError('deadline', 'the container does not show itself')
        return found === undefined ? undefined : shownOf(found)
      }),
    createContainer: async (name, body) => call('createContainer', () => create(state, name, body)),
    startContainer: async (id) => call('startContainer', () => start(state, engine, id)),
    async stopContainer(id, stopTimeoutSeconds) {
      const found = lookUp(containers, id)
      const image = imageIn(local, found?.image ?? '')
      const delayMs = image?.ignoresTerm && found?.status === 'running' ? stopTimeoutSeconds * 1000 : engine.latencyMs
      return call('stopContainer', () => stop(state, id, image?.ignoresTerm ? 137 : 143), delayMs)
    },
    removeContainer: async (id) => call('removeContainer', () => remove(state, id)),
    lastLogLines: async (id, lines) =>
      call('lastLogLines', () => (imageIn(local, lookUp(containers, id)?.image ?? '')?.output ?? []).slice(-lines)),
    inspectImage: async (image) =>
      call('inspectImage', () => {
        const found = imageIn(local, image)
        if (found === undefined) return undefined
        return { id: `sha256:${image}`, repoDigests: found.digest ? [`${repositoryOf(image)}@${found.digest}`] : [] }
      }),
    listImages: async () =>
      call('listImages', () =>
        [...local].map(([tag, { digest }]) => ({
          id: `sha256:${tag}`,
          tags: [tag],
          digests: digest === undefined ? [] : [`${repositoryOf(tag)}@${digest}`],
          sizeBytes: 1_000_000,
          createdAt: 0,
        })),
      ),
    imagesInUse: async () =>
      call('imagesInUse', () => new Set([...containers.values()].map(({ image }) => `sha256:${image}`))),
    loadImage: async (name) => call('loadImage', () => void local.set(name, {})),
    removeImage: async (nameOrId) => call('removeImage', () => removeImage(state, nameOrId.replace(/^sha256:/, ''))),
    resolveDigest: async (image) => call('resolveDigest', () => inRegistry(registry, image).digest ?? 'sha256:0'),
    pullImage: async (image) =>
      call('pullImage', () => {
        local.set(image, inRegistry(registry, image))
        state.pulled.push(image)
      }),
    createVolume: async (name, driver, options, volumeLabels) =>
      call('createVolume', () => {
        // Docker answers with the volume that is there.
        if (!volumes.has(name)) volumes.set(name, { name, driver, options, labels: volumeLabels })
      }),
    inspectVolume: async (name) => call('inspectVolume', () => volumes.get(name)),
    listVolumes: async (label) =>
      call('listVolumes', () => {
        const [name = '', value] = label.split('=')
        const isLabelled = (given: string | undefined) =>
          given !== undefined && (value === undefined || given === value)
        return [...volumes.values()].filter((volume) => isLabelled(volume.labels[name]))
      }),
    removeVolume: async (name) => call('removeVolume', () => void volumes.delete(name)),
    pathInContainer: async (id, path) =>
      call('pathInContainer', () => {
        const { Mounts = [] } = present(containers, id).body['HostConfig'] as { Mounts?: { Target: string }[] }
        return engine.paths.get(path) ?? (Mounts.some(({ Target }) => Target === path) ? 'directory' : undefined)
      }),
    unpackInContainer: async (id, path, tar) =>
      call('unpackInContainer', () => {
        present(containers, id)
        // The name of the one entry that the agent ever puts into an archive; none in an empty one.
        const name = tar.subarray(0, 100).toString().replaceAll('\0', '')
        if (name !== '') engine.paths.set(`${path}/${name}`, 'directory')
      }),
    createNetwork: async (network) => call('createNetwork', () => createNetwork(state, network)),
    inspectNetwork: async (name) => call('inspectNetwork', () => shownNetwork(state, name)),
    listNetworks: async (label) =>
      call('listNetworks', () =>
        [...networks.values()]
          .filter((one) => label in one.labels)
          .flatMap(({ name }) => shownNetwork(state, name) ?? []),
      ),
    removeNetwork: async (name) => call('removeNetwork', () => removeNetwork(state, name)),
    disconnectNetwork: async (name, containerId) =>
      call('disconnectNetwork', () => void state.connections.delete(`${name} ${containerId}`)),
    connectNetwork: async (name, containerId) => call('connectNetwork', () => connectNetwork(state, name, containerId)),
    watch: async (onEvent, signal) => watch(state, engine, onEvent, signal),
  }
  return engine
}

interface Watcher {
  readonly onEvent: (event: EngineEvent) => void
  readonly end: () => void
}

interface State {
  readonly time: Clock & Timers
  readonly containers: Map<string, FakeContainer>
  readonly local: Map<string, FakeImage>
  readonly registry: Map<string, FakeImage>
  readonly volumes: Map<string, ObservedVolume>
  readonly networks: Map<string, NetworkSpec>
  /** `network container id`, for each interface beside a container's first. */
  readonly connections: Set<string>
  readonly created: string[]
  readonly started: string[]
  readonly pulled: string[]
  readonly busyPorts: Set<number>
  readonly faults: Fault[]
  readonly watchers: Set<Watcher>
}

function newState(time: Clock & Timers): State {
  return {
    time,
    containers: new Map(),
    local: new Map([['busybox:1', {}]]),
    registry: new Map(),
    volumes: new Map(),
    networks: new Map(),
    connections: new Set(),
    created: [],
    started: [],
    pulled: [],
    busyPorts: new Set(),
    faults: [],
    watchers: new Set(),
  }
}

function removeImage({ local, containers }: State, name: string): void {
  const container = [...containers.values()].find(({ image }) => image === name)
  if (container !== undefined) throw new EngineError('conflict', `image ${name} is used by container ${container.id}`)
  local.delete(name)
}

function createNetwork({ networks }: State, network: NetworkSpec): void {
  if (networks.has(network.name)) throw new EngineError('conflict', `network with name ${network.name} already exists`)
  networks.set(network.name, network)
}

function shownNetwork(state: State, name: string): ObservedNetwork | undefined {
  const network = state.networks.get(name)
  if (network === undefined) return undefined
  const containerIds = [...state.containers.values()]
    .filter(({ id, networkMode }) => networkMode === name || state.connections.has(`${name} ${id}`))
    .filter(({ status }) => status === 'running')
    .map(({ id }) => id)
  return { ...network, id: name, containerIds }
}

function removeNetwork(state: State, name: string): void {
  const inUse = (shownNetwork(state, name)?.containerIds.length ?? 0) > 0
  if (inUse) throw new EngineError('refused', `network ${name} has active endpoints`)
  state.networks.delete(name)
}

function connectNetwork(state: State, name: string, containerId: string): void {
  if (!state.networks.has(name)) throw new EngineError('notFound', `network ${name} not found`)
  state.connections.add(`${name} ${present(state.containers, containerId).id}`)
}

const engineInfo = {
  engineVersion: '20.10.24',
  apiVersion: '1.41',
  loggingDrivers: ['json-file'],
  volumePlugins: ['local'],
  securityOptions: [],
  cgroupDriver: 'cgroupfs',
  cgroupVersion: '1',
  storageDriver: 'overlay2',
  backingFileSystem: 'extfs',
  rootDirectory: '/var/lib/docker',
}

async function answer<T>(
  state: State,
  engine: { readonly down: boolean },
  name: Call,
  deed: () => T,
  delayMs: number,
): Promise<T> {
  await new Promise<void>((resolve) => void state.time.after(delayMs, resolve))
  if (engine.down) throw new EngineError('unreachable', 'Cannot connect to the Docker daemon')
  const fault = state.faults.find((one) => one.call === name && one.left > 0)
  if (fault === undefined) return deed()
  fault.left -= 1
  if (fault.afterDeed) deed()
  throw new EngineError(fault.kind, `${name} failed as planned`)
}

function create(state: State, name: string, body: CreateBody): string {
  if (lookUp(state.containers, name) !== undefined) throw new EngineError('conflict', `The name ${name} is in use`)
  const image = String(body['Image'])
  if (imageIn(state.local, image) === undefined) throw new EngineError('notFound', `No such image: ${image}`)
  const id = (state.created.length + 1).toString(16).padStart(64, '0')
  state.created.push(name)
  const hostConfig = body['HostConfig'] as { NetworkMode: string }
  state.containers.set(id, {
    id,
    name,
    image,
    imageId: `sha256:${image}`,
    labels: body['Labels'] as Readonly<Record<string, string>>,
    status: 'created',
    exitCode: undefined,
    createdAt: state.time.now(),
    startedAt: undefined,
    finishedAt: undefined,
    oomKilled: false,
    error: '',
    health: undefined,
    ports: [],
    networkMode: hostConfig.NetworkMode,
    body,
    starts: 0,
  })
  emit(state, id, 'create')
  return id
}

function start(state: State, engine: { readonly latencyMs: number }, id: string): void {
  const container = present(state.containers, id)
  if (container.status === 'running') return
  const image = imageIn(state.local, container.image) ?? {}
  if (image.startError !== undefined) {
    container.error = image.startError
    throw new EngineError('refused', `Error response from daemon: ${image.startError}`)
  }
  const ports = portsOf(container)
  const taken = new Set([...state.busyPorts, ...runningPorts(state)])
  const clash = ports.find(({ hostPort }) => taken.has(hostPort))
  if (clash !== undefined) {
    const words = `Bind for 0.0.0.0:${clash.hostPort} failed: port is already allocated`
    throw new EngineError('refused', `Error response from daemon: ${words}`)
  }
  const starts = container.starts + 1
  const isKnownLater = image.healthKnownAfterMs !== undefined
  const health = image.health === undefined ? undefined : { status: image.health, output: '' }
  Object.assign(container, {
    status: 'running',
    startedAt: state.time.now(),
    exitCode: undefined,
    ports,
    starts,
    health: isKnownLater ? { status: 'UNKNOWN', output: '' } : health,
  })
  state.started.push(id)
  emit(state, id, 'start')
  if (isKnownLater) {
    state.time.after(image.healthKnownAfterMs, () => {
      if (container.status !== 'running' || container.starts !== starts) return
      container.health = health
      emit(state, id, 'health_status')
    })
  }
  if (image.exitsAfterMs === undefined) return
  state.time.after(image.exitsAfterMs + engine.latencyMs, () => {
    if (container.status === 'running' && container.starts === starts) end(state, container, image.exitCode ?? 0, false)
  })
}

function stop(state: State, id: string, exitCode: number): void {
  const container = present(state.containers, id)
  if (container.status === 'running') end(state, container, exitCode, false)
}

function end(state: State, container: FakeContainer, exitCode: number, oomKilled: boolean): void {
  // As Docker does, which keeps the flag from a child that was killed earlier.
  container.oomKilled ||= oomKilled
  Object.assign(container, { status: 'exited', exitCode, finishedAt: state.time.now(), ports: [] })
  emit(state, container.id, 'die')
}

function remove(state: State, id: string): void {
  const container = lookUp(state.containers, id)
  if (container?.status === 'running') throw new EngineError('conflict', 'You cannot remove a running container')
  if (container !== undefined && state.containers.delete(container.id)) emit(state, id, 'destroy')
}

async function watch(
  state: State,
  engine: { readonly down: boolean },
  onEvent: (event: EngineEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  if (engine.down) throw new EngineError('unreachable', 'Cannot connect to the Docker daemon')
  await new Promise<void>((resolve) => {
    const watcher = { onEvent, end: resolve }
    state.watchers.add(watcher)
    signal.addEventListener('abort', () => {
      state.watchers.delete(watcher)
      resolve()
    })
  })
}

function emit(state: State, containerId: string, action: string): void {
  for (const { onEvent } of state.watchers) onEvent({ containerId, action })
}

function portsOf(container: FakeContainer): ObservedContainer['ports'] {
  const { PortBindings = {} } = container.body['HostConfig'] as {
    PortBindings?: Readonly<Record<string, readonly { readonly HostPort: string }[]>>
  }
  return Object.entries(PortBindings).flatMap(([key, bindings]) => {
    const [containerPort, protocol] = key.split('/')
    return bindings.map(({ HostPort }) => ({
      containerPort: Number(containerPort),
      protocol: protocol === 'udp' ? ('udp' as const) : ('tcp' as const),
      hostIp: '0.0.0.0',
      hostPort: Number(HostPort),
    }))
  })
}

function runningPorts(state: State): readonly number[] {
  return [...state.containers.values()].flatMap(({ ports }) => ports.map(({ hostPort }) => hostPort))
}

/** By its name, or by `repository@digest`. */
function imageIn(images: ReadonlyMap<string, FakeImage>, image: string): FakeImage | undefined {
  const [repository, digest] = image.split('@')
  if (digest === undefined) return images.get(image)
  const named = images.get(image)
  const tagged = [...images].find(([name, each]) => repositoryOf(name) === repository && each.digest === digest)
  return named ?? tagged?.[1]
}

function repositoryOf(image: string): string {
  return image.split(/[:@]/)[0] ?? ''
}

function inRegistry(registry: ReadonlyMap<string, FakeImage>, image: string): FakeImage {
  const found = imageIn(registry, image)
  if (found === undefined) throw new EngineError('notFound', `manifest for ${image} not found: manifest unknown`)
  return found
}

function shownOf({ body: _body, starts: _starts, ...shown }: FakeContainer): ObservedContainer {
  return shown
}

function lookUp(containers: ReadonlyMap<string, FakeContainer>, idOrName: string): FakeContainer | undefined {
  return containers.get(idOrName) ?? [...containers.values()].find(({ name }) => name === idOrName)
}

function present(containers: ReadonlyMap<string, FakeContainer>, id: string): FakeContainer {
  const found = lookUp(containers, id)
  if (found === undefined) throw new EngineError('notFound', `No such container: ${id}`)
  return found
}

function findByLabel(containers: ReadonlyMap<string, FakeContainer>, name: string): FakeContainer {
  const found = [...containers.values()].find((container) => container.labels[labels.containerName] === name)
  if (found === undefined) throw new Error(`No container of this engine is called ${name}.`)
  return found
}
