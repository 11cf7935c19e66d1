/**
 * A task's containers made by hand on the same engine: the bodies are those of the containers that the agent made, in the
 * order in which it started them, with what belongs to one task alone (names, volumes, addresses) chosen anew each time.
 */
import { labels } from '../agent/engine.ts'
import type { RawEngine, RawInspect } from './raw-engine.ts'

const rawLabel = 'gantry.bench.raw'

export interface RawTwin {
  /** Creates and starts all that one task has, one after the other as a task would; milliseconds are the caller's. */
  run(): Promise<readonly string[]>
}

interface Recorded extends RawInspect {
  readonly Id: string
  readonly Created: string
  readonly NetworkSettings: {
    readonly Networks?: Readonly<Record<string, { readonly IPAddress: string; readonly GlobalIPv6Address?: string }>>
  }
}

/** `endsByItself`: containers that are waited for before the next one is begun. */
export async function recordTwin(
  engine: RawEngine,
  taskArn: string,
  options: { readonly endsByItself: ReadonlySet<string>; readonly freeAddress: () => string },
): Promise<RawTwin> {
  const ids = await engine.withLabel(`${labels.taskArn}=${taskArn}`)
  const all = await Promise.all(ids.map(async (id) => (await engine.inspect(id)) as Recorded))
  const recorded = all.toSorted((a, b) => (a.Created < b.Created ? -1 : 1))
  let runs = 0
  return {
    async run() {
      runs += 1
      const run = `${taskArn.slice(-8)}-${runs}`
      const made = new Map<string, string>()
      for (const one of recorded) made.set(one.Id, await runOne(engine, one, made, run, options))
      return [...made.values()]
    },
  }
}

async function runOne(
  engine: RawEngine,
  recorded: Recorded,
  made: ReadonlyMap<string, string>,
  run: string,
  { endsByItself, freeAddress }: { readonly endsByItself: ReadonlySet<string>; readonly freeAddress: () => string },
): Promise<string> {
  const { Config, HostConfig, NetworkSettings } = recorded
  const { Hostname: _own, Labels, MacAddress: _mac, ...config } = Config
  const container = Labels[labels.containerName] ?? ''
  const mode = String(HostConfig['NetworkMode'])
  const shared = /^container:(.+)$/.exec(mode)?.[1]
  const binds = (HostConfig['Binds'] ?? []) as readonly string[]
  const volumes = binds.map((bind) => renamedVolume(bind, run))
  for (const { volume } of volumes) {
    if (volume !== undefined) await engine.ask('POST', '/volumes/create', { Name: volume })
  }
  const addressed = Object.keys(NetworkSettings.Networks ?? {}).includes(mode) && mode.startsWith('gantry-')
  const body = {
    ...config,
    Labels: { [rawLabel]: '1' },
    HostConfig: {
      ...HostConfig,
      // A task's own cgroup is Gantry's doing, and not Docker's.
      CgroupParent: '',
      Binds: volumes.map(({ bind }) => bind),
      NetworkMode: shared === undefined ? mode : `container:${made.get(shared) ?? shared}`,
    },
    ...(addressed
      ? { NetworkingConfig: { EndpointsConfig: { [mode]: { IPAMConfig: { IPv4Address: freeAddress() } } } } }
      : {}),
  }
  const name = `gantry-bench-${run}-${container.replaceAll(/[^A-Za-z0-9-]/g, '')}`
  const id = await engine.run(name, body)
  if (endsByItself.has(container)) await engine.ask('POST', `/containers/${id}/wait`)
  return id
}

function renamedVolume(bind: string, run: string): { readonly bind: string; readonly volume?: string } {
  const [source = '', ...rest] = bind.split(':')
  if (source.startsWith('/')) return { bind }
  const volume = `gantry-bench-${run}-${source.slice(-12)}`
  return { bind: [volume, ...rest].join(':'), volume }
}

/** Every container and volume of twins, gone. */
export async function removeTwins(engine: RawEngine): Promise<void> {
  for (const id of await engine.withLabel(rawLabel)) await engine.remove(id)
  const { Volumes } = JSON.parse(await engine.ask('GET', '/volumes')) as { Volumes: readonly { Name: string }[] | null }
  for (const { Name } of Volumes ?? []) {
    if (Name.startsWith('gantry-bench-')) await engine.ask('DELETE', `/volumes/${Name}?force=1`)
  }
}
