/**
 * The Docker Engine behind our narrow interface: the only file that opens dockerode. Each call has a deadline, each
 * failure is an EngineError, and the API version is agreed on with the engine before the first call. The calls themselves
 * are in the files beside it, by what they are about.
 */
// oxlint-disable-next-line import/no-unassigned-import -- its effect comes before dockerode is loaded.
import './lean-dockerode.ts'
import Docker from 'dockerode'
import type { Engine } from './engine.ts'
import type { EngineStreams } from './engine-streams.ts'
import { abortable } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import { containerCalls } from './docker-containers.ts'
import { engineErrorOf } from './docker-errors.ts'
import { streamCalls } from './docker-exec.ts'
import { engineCalls } from './docker-info.ts'
import { imageCalls } from './docker-images.ts'
import { networkCalls } from './docker-networks.ts'
import { defaultEngineLimits, within } from './docker-limits.ts'
import type { EngineLimits } from './docker-limits.ts'
import { agreedApiVersion } from './docker-version.ts'
import { volumeCalls } from './docker-volumes.ts'

/** `dockerHost`: `unix:///path` or `tcp://host:port`. Opens nothing by itself; throws where the address can't be read. */
export function openDocker(dockerHost: string, limits: EngineLimits = defaultEngineLimits): Engine & EngineStreams {
  const call = makeCall(dockerOptions(dockerHost), limits)
  return {
    ...engineCalls(call, limits),
    ...containerCalls(call, limits),
    ...imageCalls(call, limits),
    ...volumeCalls(call, limits),
    ...streamCalls(call, limits),
    ...networkCalls(call, limits),
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
