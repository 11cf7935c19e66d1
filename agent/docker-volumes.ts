/** What the agent asks of Docker Engine about volumes. */
import { absent } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import type { EngineLimits } from './docker-limits.ts'
import type { Engine } from './engine.ts'

export function volumeCalls(
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
