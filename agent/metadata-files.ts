/**
 * The metadata file of a container (ECS_ENABLE_CONTAINER_METADATA): written before the container is made, completed once
 * it runs, and removed with it. It stands between the agent's turn and the engine, so that it is there before anything
 * of the container runs.
 *
 * Source: amazon-ecs-agent 1.105, `agent/containermetadata`; AWS documentation, "Amazon ECS container metadata file".
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { metadataFileName } from './decide/endpoint-environment.ts'
import { labels } from './engine.ts'
import type { CreateBody, Engine, ObservedContainer } from './engine.ts'
import type { Log } from './log.ts'

export interface MetadataFileOptions<E extends Engine> {
  readonly engine: E
  /** undefined where containers get none: the engine is given back as it is. */
  readonly directory: string | undefined
  readonly availabilityZone: string | undefined
  /** The host's own address in its network. */
  readonly hostAddress: () => string | undefined
  readonly log: Pick<Log, 'warn'>
}

export function withMetadataFiles<E extends Engine>(options: MetadataFileOptions<E>): E {
  const { engine, directory, log } = options
  if (directory === undefined) return engine
  /** By container name: the run for which its file is complete. */
  const complete = new Map<string, string>()
  const attempt = (work: () => void): void => {
    try {
      work()
    } catch (error) {
      log.warn({ err: error }, `A container's metadata file can't be kept in ${directory}: is its disk full?`)
    }
  }
  const see = (shown: ObservedContainer): void => {
    const run = `${shown.id} ${shown.startedAt}`
    if (shown.status !== 'running' || complete.get(shown.name) === run || !wantsFile(directory, shown)) return
    attempt(() => {
      write(directory, shown.name, completeContent(options, shown))
      complete.set(shown.name, run)
    })
  }
  const forget = (name: string): void => {
    complete.delete(name)
    attempt(() => rmSync(join(directory, name), { recursive: true, force: true }))
  }
  let isTidied = false
  return {
    ...engine,
    async createContainer(name, body) {
      if (hasVariable(body)) attempt(() => write(directory, name, firstContent(options, name, body)))
      return engine.createContainer(name, body)
    },
    async inspectContainer(idOrName) {
      const shown = await engine.inspectContainer(idOrName)
      if (shown !== undefined) see(shown)
      return shown
    },
    async listContainers() {
      const list = await engine.listContainers()
      for (const shown of list.shown) see(shown)
      if (!isTidied) {
        isTidied = true
        const there = new Set([...list.shown, ...list.unshown].map(({ name }) => name))
        for (const name of namesIn(directory)) if (!there.has(name)) forget(name)
      }
      return list
    },
    async removeContainer(id) {
      const shown = await engine.inspectContainer(id).catch(() => undefined)
      await engine.removeContainer(id)
      if (shown !== undefined) forget(shown.name)
    },
  }
}

function write(directory: string, name: string, content: object): void {
  const place = join(directory, name)
  mkdirSync(place, { recursive: true, mode: 0o755 })
  // Renamed into place, so that a program in the container never reads half of it.
  const path = join(place, metadataFileName)
  writeFileSync(`${path}.new`, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o644 })
  renameSync(`${path}.new`, path)
}

function wantsFile(directory: string, shown: ObservedContainer): boolean {
  return (shown.details?.mounts ?? []).some(({ source }) => source === join(directory, shown.name))
}

function hasVariable(body: CreateBody): boolean {
  const environment: unknown = body['Env']
  return Array.isArray(environment) && environment.some((one) => String(one).startsWith('ECS_CONTAINER_METADATA_FILE='))
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/** What is known before Docker has made it. */
function firstContent({ availabilityZone }: Facts, name: string, body: CreateBody): object {
  const its = body['Labels'] as Readonly<Record<string, string>>
  return { ...ofLabels(its), DockerContainerName: name, ImageName: body['Image'], AvailabilityZone: availabilityZone }
}

type Facts = Pick<MetadataFileOptions<Engine>, 'availabilityZone' | 'hostAddress'>

function completeContent({ availabilityZone, hostAddress }: Facts, shown: ObservedContainer): object {
  const networks = shown.details?.networks ?? []
  return {
    ...ofLabels(shown.labels),
    ContainerID: shown.id,
    DockerContainerName: shown.name,
    ImageID: shown.imageId,
    ImageName: shown.image,
    PortMappings: shown.ports.map(({ containerPort, hostPort, hostIp, protocol }) => ({
      ContainerPort: containerPort,
      HostPort: hostPort,
      BindIp: hostIp,
      Protocol: protocol,
    })),
    Networks: networks.map(({ network, ipv4 }) => ({
      NetworkMode: network,
      IPv4Addresses: ipv4 === '' ? [] : [ipv4],
    })),
    MetadataFileStatus: 'READY',
    AvailabilityZone: availabilityZone,
    HostPrivateIPv4Address: hostAddress(),
  }
}

function ofLabels(its: Readonly<Record<string, string>>): object {
  return {
    Cluster: its[labels.cluster],
    ContainerInstanceARN: its[labels.instanceArn],
    TaskARN: its[labels.taskArn],
    TaskDefinitionFamily: its[labels.family],
    TaskDefinitionRevision: its[labels.version],
    ContainerName: its[labels.containerName],
  }
}
