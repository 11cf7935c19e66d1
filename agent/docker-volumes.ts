/** What the agent asks of Docker Engine about volumes, and about what lies in them. */
import type Docker from 'dockerode'
import { absent } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import type { EngineLimits } from './docker-limits.ts'
import type { Engine, ObservedVolume, PathKind } from './engine.ts'

type VolumeCalls =
  | 'createVolume'
  | 'inspectVolume'
  | 'listVolumes'
  | 'removeVolume'
  | 'pathInContainer'
  | 'unpackInContainer'

/** Bits of Go's file mode. */
const goModeDirectory = 2 ** 31
const goModeLink = 2 ** 27

export function volumeCalls(call: Call, limits: EngineLimits): Pick<Engine, VolumeCalls> {
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
      return volume === undefined ? undefined : observedVolume(volume)
    },

    async listVolumes(label) {
      const { Volumes } = await call('list volumes', limits.volumeMs, (docker, abortSignal) =>
        docker.listVolumes({ filters: JSON.stringify({ label: [label] }), abortSignal }),
      )
      // Docker's own answer is null where there are none.
      return ((Volumes as typeof Volumes | null) ?? []).map(observedVolume)
    },

    async removeVolume(name) {
      await absent(
        call(`remove volume ${name}`, limits.volumeMs, (docker, abortSignal) =>
          docker.getVolume(name).remove({ abortSignal }),
        ),
      )
    },

    async pathInContainer(id, path) {
      const kind = await absent(
        call(`look at ${path} in container ${id}`, limits.archiveMs, async (docker, abortSignal) => {
          const answer = await dial(docker, 'HEAD', id, path, abortSignal)
          return pathKindOf(answer.headers?.['x-docker-container-path-stat'])
        }),
      )
      // An answer to HEAD has no words: whether it is the container that is not there has to be asked.
      if (kind !== undefined) return kind
      await call(`inspect container ${id}`, limits.inspectMs, (docker, abortSignal) =>
        docker.getContainer(id).inspect({ abortSignal } as object),
      )
      return undefined
    },

    async unpackInContainer(id, path, tar) {
      await call(`write to ${path} in container ${id}`, limits.archiveMs, (docker, abortSignal) =>
        dial(docker, 'PUT', id, path, abortSignal, tar),
      )
    },
  }
}

interface ArchiveAnswer extends NodeJS.ReadableStream {
  readonly headers?: Readonly<Record<string, string | undefined>>
}

/** Through the modem, since dockerode's own calls of the archive take no abort signal. */
async function dial(
  docker: Docker,
  method: 'HEAD' | 'PUT',
  id: string,
  path: string,
  abortSignal: AbortSignal,
  file?: Buffer,
): Promise<ArchiveAnswer> {
  const statusCodes = { 200: true, 400: 'bad parameter', 403: 'permission denied', 404: 'no such path' }
  return new Promise((resolve, reject) => {
    docker.modem.dial(
      {
        path: `/containers/${encodeURIComponent(id)}/archive?`,
        method,
        isStream: true,
        statusCodes: { ...statusCodes, 500: 'server error' },
        options: { path },
        ...(file === undefined ? {} : { file }),
        abortSignal,
      },
      (error: unknown, data: unknown) => {
        if (error !== null && error !== undefined) return reject(error)
        const answer = data as ArchiveAnswer
        answer.resume()
        return resolve(answer)
      },
    )
  })
}

function pathKindOf(header: string | undefined): PathKind {
  const { mode } = JSON.parse(Buffer.from(header ?? '', 'base64').toString() || '{}') as { mode?: number }
  const has = (bit: number): boolean => Math.floor((mode ?? 0) / bit) % 2 === 1
  if (has(goModeDirectory)) return 'directory'
  return has(goModeLink) ? 'link' : 'other'
}

interface RawVolume {
  readonly Name: string
  readonly Driver: string
  readonly Options?: Readonly<Record<string, string>> | null
  readonly Labels?: Readonly<Record<string, string>> | null
}

function observedVolume({ Name, Driver, Options, Labels }: RawVolume): ObservedVolume {
  return { name: Name, driver: Driver, options: Options ?? {}, labels: Labels ?? {} }
}
