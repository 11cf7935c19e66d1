/**
 * The volumes of a task: made before the containers that mount them, and removed with the task where they are its own. A
 * shared file system is tried first, so that one that can't be had ends its task with a reason and hangs no container.
 */
import type { PayloadContainer, PayloadFileSystem, PayloadTask, PayloadVolume } from '../../proto/acs.ts'
import { labels } from '../engine.ts'
import { factsOf, startGate } from './lifecycle.ts'
import { orWait, retryWait } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { TaskResource } from './task-resource.ts'
import type { HostView, TaskView, VolumeFacts } from './view.ts'

/** A container that starts later than this after the last look has its file systems looked at again. */
const checkedForMs = 60_000

export const volumes: TaskResource = {
  name: 'volumes',

  prepare: (view, now, host) => view.payload.volumes.flatMap((volume) => volumeSteps(view, volume, now, host)),

  holds(view, container, _host, now) {
    for (const { sourceVolume } of container.mountPoints) {
      const facts = view.facts.volumes[sourceVolume]
      const isFileSystem = facts?.isFileSystem === true
      if (facts?.created === false) {
        return `waits for volume ${sourceVolume} to be ${isFileSystem ? 'mounted' : 'created'}`
      }
      if (isFileSystem && isOld(facts, now)) return `waits to see whether volume ${sourceVolume} is still mounted`
    }
    return undefined
  },

  release(view, now) {
    return Object.entries(view.facts.volumes).flatMap(([volume, facts]): Step[] => {
      if (facts.removed === true || !(facts.ours || facts.isFileSystem === true)) return []
      const again = retryWait(facts.retry, now, `volume ${volume} to be removed`)
      if (again !== undefined) return [again]
      const { dockerName, ours } = facts
      const step: Step =
        facts.isFileSystem === true
          ? { step: 'releaseFileSystem', args: { volume, dockerName, ours } }
          : { step: 'removeVolume', args: { volume, dockerName } }
      return orWait(view, step, `waits for volume ${volume} to be removed`)
    })
  },
}

/** The file system that a volume is of; undefined for every other volume. */
export function fileSystemOf(payload: PayloadTask, volume: PayloadVolume): PayloadFileSystem | undefined {
  return volume.type === 'efs' ? payload.gantry?.fileSystems?.[volume.name] : undefined
}

/** Facts of a task's volumes, before anything is done. `nameFor` chooses the Docker name of one that is the task's own. */
export function freshVolumes(
  payload: PayloadTask,
  nameFor: (volume: string) => string,
): Readonly<Record<string, VolumeFacts>> {
  const facts = payload.volumes.flatMap((volume): [string, VolumeFacts][] => {
    const { name } = volume
    const fileSystem = fileSystemOf(payload, volume)
    if (fileSystem !== undefined) {
      const ours = fileSystem.mount.kind === 'volume' && fileSystem.mount.name === undefined
      return [[name, { dockerName: nameFor(name), created: false, ours, isFileSystem: true }]]
    }
    if (volume.host?.sourcePath) return []
    const isShared = volume.dockerVolumeConfiguration?.scope === 'shared'
    return [[name, { dockerName: isShared ? name : nameFor(name), created: false, ours: !isShared }]]
  })
  return Object.fromEntries(facts)
}

/** How a container's mount points stand in Docker's host config. */
export function dockerMounts(
  task: PayloadTask,
  container: PayloadContainer,
  volumeFacts: Readonly<Record<string, VolumeFacts>>,
): { readonly Binds: readonly string[]; readonly Mounts?: readonly object[] } {
  const binds: string[] = []
  const mounts: object[] = []
  for (const { sourceVolume, containerPath, readOnly } of container.mountPoints) {
    const volume = task.volumes.find(({ name }) => name === sourceVolume)
    const fileSystem = volume === undefined ? undefined : fileSystemOf(task, volume)
    const dockerName = volumeFacts[sourceVolume]?.dockerName ?? sourceVolume
    if (fileSystem === undefined) {
      binds.push(`${volume?.host?.sourcePath || dockerName}:${containerPath}${readOnly ? ':ro' : ''}`)
    } else if (fileSystem.mount.kind === 'path') {
      // A bind would make a directory that is missing, and so hide that the file system is not there.
      const Source = `${fileSystem.mount.path}${fileSystem.rootDirectory === '/' ? '' : fileSystem.rootDirectory}`
      mounts.push({ Type: 'bind', Source, Target: containerPath, ReadOnly: readOnly })
    } else {
      // Docker would copy what the image has at that path into an empty volume, and give its root the image's owner.
      binds.push(`${fileSystem.mount.name ?? dockerName}:${containerPath}:${readOnly ? 'ro,' : ''}nocopy`)
    }
  }
  return { Binds: binds, ...(mounts.length > 0 && { Mounts: mounts }) }
}

/** Why the task ends that needs this file system, with what an operator may do. */
export function mountFailure(fileSystem: PayloadFileSystem, volume: string, message: string): string {
  const { fileSystemId, described, rootDirectory } = fileSystem
  const part = rootDirectory === '/' ? '' : `, directory ${rootDirectory}`
  const words = message.replace(/^Error response from daemon: /, '').replace(/\.$/, '')
  const then = adviceFor(words)
  return (
    `ResourceInitializationError: failed to mount file system ${fileSystemId} (${described}${part}) for volume ` +
    `${volume}: ${words}.${then === '' ? '' : ` ${then}`}`
  )
}

const advices: readonly (readonly [RegExp, string])[] = [
  [/is no mount point|not root alone|is not a credentials file/i, ''],
  [/no such device|unknown filesystem type/i, "This host's kernel has no module for it: install it, or run elsewhere."],
  [
    /did not|timed? ?out|connection refused|no route|unreachable|host is down|not connected|stale/i,
    'See that the server runs and that this host reaches it, then start the task again.',
  ],
  [/permission denied|access denied|not permitted/i, 'See what the server lets this host do, and as whom.'],
  [/no such file|does not exist/i, 'Make the directory, or use an access point with creationInfo, which makes it.'],
  [/plugin|driver/i, 'See on the host whether the volume driver runs: docker plugin ls.'],
]

function adviceFor(words: string): string {
  return advices.find(([pattern]) => pattern.test(words))?.[1] ?? ''
}

function volumeSteps(view: TaskView, volume: PayloadVolume, now: number, host: HostView): Step[] {
  const facts = view.facts.volumes[volume.name]
  if (facts === undefined) return []
  const fileSystem = fileSystemOf(view.payload, volume)
  if (fileSystem !== undefined) return fileSystemSteps(view, volume.name, facts, fileSystem, now, host)
  if (facts.created) return []
  const retry = retryWait(facts.retry, now, `volume ${volume.name} to be created`)
  if (retry !== undefined) return [retry]
  const docker = volume.dockerVolumeConfiguration
  const args = {
    volume: volume.name,
    dockerName: facts.dockerName,
    driver: docker?.driver ?? 'local',
    options: docker?.driverOpts ?? {},
    labels: { ...docker?.labels, ...(facts.ours ? ownLabels(view, host) : {}) },
    mustExist: docker?.scope === 'shared' && docker.autoprovision !== true,
    isShared: docker?.scope === 'shared',
  }
  return orWait(view, { step: 'createVolume', args }, `waits for volume ${volume.name} to be created`)
}

function fileSystemSteps(
  view: TaskView,
  volume: string,
  facts: VolumeFacts,
  fileSystem: PayloadFileSystem,
  now: number,
  host: HostView,
): Step[] {
  if (facts.created && !isStale(view, volume, facts, now)) return []
  const retry = retryWait(facts.retry, now, `volume ${volume} to be mounted`)
  if (retry !== undefined) return [retry]
  const args = { volume, dockerName: facts.dockerName, fileSystem, labels: ownLabels(view, host) }
  return orWait(view, { step: 'mountFileSystem', args }, `waits for volume ${volume} to be mounted`)
}

/** True where a container could start right now that relies on an old look: the host may have been rebooted since. */
function isStale(view: TaskView, volume: string, facts: VolumeFacts, now: number): boolean {
  if (!isOld(facts, now)) return false
  return view.payload.containers.some((container) => {
    const { knownStatus, imageReady } = factsOf(view.facts, container.name)
    const isNext = knownStatus === 'PENDING' && imageReady && startGate(view, container, now).gate === 'open'
    return isNext && container.mountPoints.some(({ sourceVolume }) => sourceVolume === volume)
  })
}

/** A clock that went back makes a look old as well. */
function isOld({ checkedAt = 0 }: VolumeFacts, now: number): boolean {
  return Math.abs(now - checkedAt) >= checkedForMs
}

function ownLabels(view: TaskView, host: HostView): Readonly<Record<string, string>> {
  return { [labels.taskArn]: view.payload.arn, [labels.instanceArn]: host.containerInstanceArn }
}
