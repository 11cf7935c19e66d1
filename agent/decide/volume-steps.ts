/**
 * The volumes of a task: made before the containers that mount them, and removed with the task where they are its own. A
 * shared file system is tried first, so that one that can't be had ends its task with a reason and hangs no container.
 */
import type { PayloadFileSystem, PayloadVolume } from '../../proto/acs.ts'
import { labels } from '../engine.ts'
import { factsOf, startGate } from './lifecycle.ts'
import { orWait, retryWait } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { TaskResource } from './task-resource.ts'
import type { HostView, TaskView, VolumeFacts } from './view.ts'
import { fileSystemOf } from './volume-mounts.ts'

/** A container that starts later than this after the last look has its file systems looked at again. */
const checkedForMs = 60_000

export const volumes: TaskResource = {
  name: 'volumes',

  prepare(view, now, host) {
    // A task that was found running has what it needs, whatever has become of the server meanwhile.
    const isToCome = Object.values(view.facts.containers).some(
      ({ knownStatus, expected }) => knownStatus === 'PENDING' && expected !== true,
    )
    return isToCome ? view.payload.volumes.flatMap((volume) => volumeSteps(view, volume, now, host)) : []
  },

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
