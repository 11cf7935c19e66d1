/** What Docker Engine is, and what it says by itself. */
import type Docker from 'dockerode'
import { abortable, drained } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import type { EngineLimits } from './docker-limits.ts'
import { jsonLines } from './docker-streams.ts'
import { labels } from './engine.ts'
import type { Engine, EngineEvent, EngineInfo } from './engine.ts'

/**
 * Changes worth another look; a health check's own `exec_*` events are not among them, and neither is `create`: who
 * asked for it has its answer, and a look would hold up the start.
 */
const watchedActions = ['start', 'die', 'oom', 'destroy', 'pause', 'unpause', 'restart', 'health_status']

export function engineCalls(call: Call, limits: EngineLimits): Pick<Engine, 'info' | 'ping' | 'watch'> {
  return {
    async info(): Promise<EngineInfo> {
      return call('describe itself', limits.inspectMs, async (docker, abortSignal) => {
        const info = (await abortable(docker).info({ abortSignal })) as DockerInfo
        return {
          engineVersion: info.ServerVersion,
          apiVersion: versionOf(docker),
          loggingDrivers: info.Plugins.Log ?? [],
          volumePlugins: info.Plugins.Volume ?? [],
          securityOptions: info.SecurityOptions ?? [],
          cgroupDriver: info.CgroupDriver ?? '',
          cgroupVersion: info.CgroupVersion ?? '1',
          storageDriver: info.Driver ?? '',
          backingFileSystem: info.DriverStatus?.find(([name]) => name === 'Backing Filesystem')?.[1] ?? '',
          rootDirectory: info.DockerRootDir ?? '/var/lib/docker',
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

interface DockerInfo {
  readonly ServerVersion: string
  readonly Plugins: { readonly Log?: readonly string[] | null; readonly Volume?: readonly string[] | null }
  readonly SecurityOptions?: readonly string[] | null
  readonly CgroupDriver?: string
  readonly CgroupVersion?: string
  readonly Driver?: string
  readonly DriverStatus?: readonly (readonly [string, string])[] | null
  readonly DockerRootDir?: string
}

function versionOf(docker: Docker): string {
  return (docker.modem as unknown as { readonly version: string }).version.replace(/^v/, '')
}

function eventOf(value: Readonly<Record<string, unknown>>): EngineEvent | undefined {
  const { Action: action, Actor: actor } = value as { Action?: unknown; Actor?: { ID?: unknown } }
  if (typeof action !== 'string' || typeof actor?.ID !== 'string') return undefined
  return { containerId: actor.ID, action }
}
