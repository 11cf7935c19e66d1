/** The volumes of a task: made before the containers that mount them, and removed with the task where they are its own. */
import type { PayloadVolume } from '../../proto/acs.ts'
import { labels } from '../engine.ts'
import { orWait, retryWait } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { TaskResource } from './task-resource.ts'
import type { TaskView } from './view.ts'

export const volumes: TaskResource = {
  name: 'volumes',

  prepare: (view, now) => view.payload.volumes.flatMap((volume) => volumeSteps(view, volume, now)),

  holds(view, container) {
    const missing = container.mountPoints.find(
      ({ sourceVolume }) => view.facts.volumes[sourceVolume]?.created === false,
    )
    return missing === undefined ? undefined : `waits for volume ${missing.sourceVolume} to be created`
  },

  release(view, now) {
    return Object.entries(view.facts.volumes).flatMap(([volume, facts]): Step[] => {
      if (!facts.ours || !facts.created || facts.removed === true) return []
      const again = retryWait(facts.retry, now, `volume ${volume} to be removed`)
      const remove = { step: 'removeVolume', args: { volume, dockerName: facts.dockerName } } as const
      return again === undefined ? orWait(view, remove, `waits for volume ${volume} to be removed`) : [again]
    })
  },
}

function volumeSteps(view: TaskView, volume: PayloadVolume, now: number): Step[] {
  const facts = view.facts.volumes[volume.name]
  if (facts === undefined || facts.created) return []
  const retry = retryWait(facts.retry, now, `volume ${volume.name} to be created`)
  if (retry !== undefined) return [retry]
  const docker = volume.dockerVolumeConfiguration
  const args = {
    volume: volume.name,
    dockerName: facts.dockerName,
    driver: docker?.driver ?? 'local',
    options: docker?.driverOpts ?? {},
    labels: { ...docker?.labels, ...(facts.ours ? { [labels.taskArn]: view.payload.arn } : {}) },
    mustExist: docker?.scope === 'shared' && docker.autoprovision !== true,
  }
  return orWait(view, { step: 'createVolume', args }, `waits for volume ${volume.name} to be created`)
}
