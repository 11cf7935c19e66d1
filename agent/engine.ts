/**
 * What the agent needs of a container engine, and nothing more: the narrow interface behind which Docker stands
 * (`docker.ts`) and, in the simulation, a fake. Every call has a deadline and fails with an EngineError.
 */

import type { MemoryUse } from './decide/out-of-memory.ts'

/** The labels that make a container findable again, even by an agent that lost its journal. */
export const labels = {
  taskArn: 'com.amazonaws.ecs.task-arn',
  containerName: 'com.amazonaws.ecs.container-name',
  family: 'com.amazonaws.ecs.task-definition-family',
  version: 'com.amazonaws.ecs.task-definition-version',
  cluster: 'com.amazonaws.ecs.cluster',
  /** Gantry's: the ARN of the instance whose agent made the container. */
  instanceArn: 'gantry.container-instance-arn',
  /** Gantry's, on what looks at a file system for a task: the task's ARN. It is none of the task's containers. */
  probeOf: 'gantry.file-system-probe-of',
  /** Gantry's: by what the container asks the task endpoint. It is for the container and its agent alone. */
  endpointId: 'gantry.endpoint-id',
  /** Gantry's: a digest of what the container was made from. */
  specHash: 'gantry.spec-hash',
} as const

export interface ObservedContainer {
  readonly id: string
  readonly name: string
  readonly image: string
  readonly imageId: string
  readonly labels: Readonly<Record<string, string>>
  readonly status: 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead'
  readonly exitCode: number | undefined
  /** Epoch milliseconds by Docker's clock; undefined where it has not happened. */
  readonly createdAt: number | undefined
  readonly startedAt: number | undefined
  readonly finishedAt: number | undefined
  /** Something in it was killed for memory; behind `withMemoryTruth`: its main process was, and so it ended. */
  readonly oomKilled: boolean
  /** 0 is no limit of its own. */
  readonly memoryLimitBytes?: number | undefined
  /** Where it was killed for memory: what it might use. */
  readonly memoryUse?: MemoryUse | undefined
  /** Docker's `State.Error`: why the last start failed. */
  readonly error: string
  readonly health: { readonly status: 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN'; readonly output: string } | undefined
  readonly ports: readonly ObservedPort[]
  readonly networkMode: string
  readonly details?: ContainerDetails | undefined
}

/** What a container and its host's operator are told of it; nothing is decided by it. */
export interface ContainerDetails {
  /** Of its first process, as the engine's host counts; 0 while it does not run. */
  readonly pid: number
  readonly cgroupParent: string
  readonly networks: readonly ObservedAddress[]
  readonly mounts: readonly ObservedMount[]
  readonly logDriver: string
  readonly logOptions: Readonly<Record<string, string>>
  /** The last run of its health check: when it ended, epoch milliseconds, and with which code. */
  readonly healthCheckedAt?: number | undefined
  readonly healthExitCode?: number | undefined
}

export interface ObservedAddress {
  /** The network's name. */
  readonly network: string
  /** Empty where it has none. */
  readonly ipv4: string
  readonly ipv6: string
  readonly mac: string
}

export interface ObservedMount {
  /** The Docker volume's; empty for a directory of the host. */
  readonly name: string
  readonly source: string
  readonly destination: string
}

export interface ObservedPort {
  readonly containerPort: number
  readonly protocol: 'tcp' | 'udp'
  readonly hostIp: string
  readonly hostPort: number
}

/** A container as the list names it, before anything is known of its state. */
export type ListedContainer = Pick<ObservedContainer, 'id' | 'name' | 'labels'>

export interface ContainerList {
  readonly shown: readonly ObservedContainer[]
  /** These are there, and their state is not to be had now: a start that hangs holds its container's lock in Docker. */
  readonly unshown: readonly ListedContainer[]
}

export interface EngineInfo {
  readonly engineVersion: string
  readonly apiVersion: string
  readonly loggingDrivers: readonly string[]
  readonly volumePlugins: readonly string[]
  readonly securityOptions: readonly string[]
  readonly cgroupDriver: string
  readonly cgroupVersion: string
  readonly storageDriver: string
  /** What the storage driver keeps its files on, such as `xfs`; empty where the engine does not say. */
  readonly backingFileSystem: string
  /** Where the engine keeps images and containers. */
  readonly rootDirectory: string
}

export interface RegistryAuth {
  readonly username: string
  readonly password: string
  readonly serveraddress: string
  readonly email?: string
}

export interface ImageFacts {
  readonly id: string
  /** `repo@sha256:...` for each registry it came from; empty for an image that exists only here. */
  readonly repoDigests: readonly string[]
}

/** One image of the host, with all that refers to it. */
export interface ListedImage {
  readonly id: string
  /** `busybox:1.36`; none where a newer image took the name over. */
  readonly tags: readonly string[]
  /** `busybox@sha256:...` */
  readonly digests: readonly string[]
  readonly sizeBytes: number
  /** When the image was made, epoch milliseconds. */
  readonly createdAt: number
}

/** A network as it is asked for, and as the engine shows it. */
export interface NetworkSpec {
  readonly name: string
  readonly driver: 'bridge' | 'macvlan'
  /** Without a way out of the host. */
  readonly internal: boolean
  /** `10.0.0.0/24` */
  readonly cidr: string
  /** Where the default route of its containers goes; on a bridge also the address of the bridge itself. */
  readonly gateway?: string | undefined
  /** Addresses that the engine gives to no container, each under a name. */
  readonly reserved?: Readonly<Record<string, string>> | undefined
  /** The driver's own. */
  readonly options: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

export interface ObservedNetwork extends Omit<NetworkSpec, 'driver'> {
  readonly id: string
  readonly driver: string
  /** Ids of the running containers in it. */
  readonly containerIds: readonly string[]
}

export interface ObservedVolume {
  readonly name: string
  readonly driver: string
  readonly options: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

/** What lies at a path. A link is not followed. */
export type PathKind = 'directory' | 'link' | 'other'

/** A container event is a hint to look again at what it names; it never carries truth. */
export interface EngineEvent {
  readonly containerId: string
  readonly action: string
}

/** Docker's create body, as JSON: made in decide/container.ts, passed through untouched. */
export type CreateBody = Readonly<Record<string, unknown>>

export interface Engine {
  info(): Promise<EngineInfo>
  ping(): Promise<void>
  /** All containers, in every state, that carry the task ARN label. */
  listContainers(): Promise<ContainerList>
  inspectContainer(idOrName: string): Promise<ObservedContainer | undefined>
  createContainer(name: string, body: CreateBody): Promise<string>
  startContainer(id: string): Promise<void>
  /** SIGTERM, then SIGKILL after the given seconds. Already stopped is success. */
  stopContainer(id: string, stopTimeoutSeconds: number): Promise<void>
  /** With its anonymous volumes. Already gone is success. */
  removeContainer(id: string): Promise<void>
  /** The last lines of both streams, oldest first. */
  lastLogLines(id: string, lines: number): Promise<readonly string[]>
  inspectImage(image: string): Promise<ImageFacts | undefined>
  listImages(): Promise<readonly ListedImage[]>
  /** Ids of the images that containers are made from, everybody's and in every state. */
  imagesInUse(): Promise<ReadonlySet<string>>
  /** Takes in an image as `docker save` writes it; fails where none of that name came of it. */
  loadImage(name: string, tar: Buffer): Promise<void>
  /** Takes a name off an image, and the image with its last one. In use is `conflict`; already gone is success. */
  removeImage(nameOrId: string): Promise<void>
  /** The digest that a registry holds for this name now. */
  resolveDigest(image: string, auth: RegistryAuth | undefined): Promise<string>
  /** Fails with `inactive` when nothing arrives for `inactivityMs`, with `deadline` after `timeoutMs`. */
  pullImage(
    image: string,
    auth: RegistryAuth | undefined,
    limits: { readonly timeoutMs: number; readonly inactivityMs: number },
  ): Promise<void>
  createVolume(
    name: string,
    driver: string,
    options: Readonly<Record<string, string>>,
    labels: Readonly<Record<string, string>>,
  ): Promise<void>
  inspectVolume(name: string): Promise<ObservedVolume | undefined>
  /** All volumes that carry this label, `name` or `name=value`. */
  listVolumes(label: string): Promise<readonly ObservedVolume[]>
  removeVolume(name: string): Promise<void>
  /**
   * What lies at a path of a container that need not run; undefined where nothing does. The engine mounts its volumes for
   * the look, so a file system that can't be mounted is `refused`, and one that does not answer `deadline`.
   */
  pathInContainer(id: string, path: string): Promise<PathKind | undefined>
  /** Unpacks a tar archive into a directory of a container, with its volumes mounted; owners and modes are the archive's. */
  unpackInContainer(id: string, path: string, tar: Buffer): Promise<void>
  /** A name that is taken is `conflict`. */
  createNetwork(network: NetworkSpec): Promise<void>
  inspectNetwork(name: string): Promise<ObservedNetwork | undefined>
  /** All networks that carry this label. */
  listNetworks(label: string): Promise<readonly ObservedNetwork[]>
  /** One with running containers is `refused`; already gone is success. */
  removeNetwork(nameOrId: string): Promise<void>
  /** Adds an interface to a container, which need not run; the engine chooses its address. Already there is success. */
  connectNetwork(name: string, containerId: string): Promise<void>
  /** Not there, or no such network, is success. */
  disconnectNetwork(name: string, containerId: string): Promise<void>
  /** Calls back per event until the stream ends (for any reason) or the signal aborts; then resolves. */
  watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void>
}

/**
 * What went wrong, by what the caller can do:
 * - `notFound`: the thing is not there; a definite answer.
 * - `denied`: a registry wants credentials or refuses these.
 * - `conflict`: the name or state is taken; look again.
 * - `refused`: the engine says no to this very request (a bad entry point, a taken port); retrying does not help.
 * - `deadline`, `inactive`: no answer in time; the thing may have happened.
 * - `unreachable`: no engine, or it went away mid-call; retry when it is back.
 */
export type EngineErrorKind = 'notFound' | 'denied' | 'conflict' | 'refused' | 'deadline' | 'inactive' | 'unreachable'

export class EngineError extends Error {
  readonly kind: EngineErrorKind

  constructor(kind: EngineErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'EngineError'
    this.kind = kind
  }

  get retryable(): boolean {
    return this.kind === 'deadline' || this.kind === 'inactive' || this.kind === 'unreachable'
  }
}
