/**
 * A task's cgroup as a slice of systemd's, for hosts whose Docker Engine leaves cgroups to systemd: there nobody else may
 * write below /sys/fs/cgroup. A transient slice holds the limits, is gone when it is stopped, and with a reboot.
 *
 * Source: org.freedesktop.systemd1(5), StartTransientUnit and SetUnitProperties; systemd.resource-control(5).
 */
import type { CgroupLimits } from './decide/task-cgroup.ts'
import { EngineError } from './engine.ts'
import { cpuWeight } from './decide/container-limits.ts'

/** Runs a program to its end; rejects with what it wrote to its error output. */
export type RunProgram = (program: string, args: readonly string[]) => Promise<string>

const managerCall = [
  'call',
  'org.freedesktop.systemd1',
  '/org/freedesktop/systemd1',
  'org.freedesktop.systemd1.Manager',
] as const

/** Name, type in D-Bus's letters, value. */
type Property = readonly [name: string, type: 'b' | 's' | 't', value: string]

/** `ecstasks-1f.slice` is below `ecstasks.slice`: a slice's name is its path. */
export function slicePath(slice: string): string {
  const names = slice.replace(/\.slice$/, '').split('-')
  return names.map((_, index) => `/${names.slice(0, index + 1).join('-')}.slice`).join('')
}

/** Starts the slice with these limits, or gives them to the one that is there. */
export async function makeSlice(run: RunProgram, slice: string, limits: CgroupLimits): Promise<void> {
  const properties = propertiesOf(limits)
  try {
    await run('busctl', [
      ...managerCall,
      'StartTransientUnit',
      'ssa(sv)a(sa(sv))',
      slice,
      'replace',
      ...asArguments([['Description', 's', 'Containers of an ECS task'], ...properties]),
      '0',
    ])
  } catch (error) {
    if (!/already (loaded|exists)|has a fragment file|UnitExists/i.test(messageOf(error))) throw refusal(slice, error)
    await run('busctl', [
      ...managerCall,
      'SetUnitProperties',
      'sba(sv)',
      slice,
      'true',
      ...asArguments(properties),
    ]).catch((again: unknown) => {
      throw refusal(slice, again)
    })
  }
}

/** Stops the slice; one that is not loaded is gone already. */
export async function removeSlice(run: RunProgram, slice: string): Promise<void> {
  await run('busctl', [...managerCall, 'StopUnit', 'ss', slice, 'replace']).catch((error: unknown) => {
    if (!/not loaded|NoSuchUnit/i.test(messageOf(error))) throw refusal(slice, error)
  })
}

/** Rejects, with what to do, where systemd does not answer. */
export async function askSystemd(run: RunProgram): Promise<void> {
  await run('busctl', ['get-property', ...managerCall.slice(1), 'Version']).catch((error: unknown) => {
    throw new EngineError(
      'refused',
      `systemd does not answer on the system bus: ${messageOf(error)}. Install dbus, and let the agent reach ` +
        '/run/dbus/system_bus_socket.',
      { cause: error },
    )
  })
}

/** Accounting stands for the counters of the kernel that are read later. */
function propertiesOf({ cpuQuota, cpuShares, memoryBytes, pids }: CgroupLimits): readonly Property[] {
  const properties: Property[] = [
    ['CPUAccounting', 'b', 'true'],
    ['MemoryAccounting', 'b', 'true'],
    ['TasksAccounting', 'b', 'true'],
  ]
  if (cpuQuota !== undefined) {
    const perSecondUs = Math.round((cpuQuota.quotaUs * 1_000_000) / cpuQuota.periodUs)
    properties.push(['CPUQuotaPerSecUSec', 't', String(perSecondUs)])
    properties.push(['CPUQuotaPeriodUSec', 't', String(cpuQuota.periodUs)])
  }
  if (cpuShares !== undefined) properties.push(['CPUWeight', 't', String(cpuWeight(cpuShares))])
  if (memoryBytes !== undefined) properties.push(['MemoryMax', 't', String(memoryBytes)])
  if (pids !== undefined) properties.push(['TasksMax', 't', String(pids)])
  return properties
}

/** As busctl takes an array: how many, then each. */
function asArguments(properties: readonly Property[]): readonly string[] {
  return [String(properties.length), ...properties.flat()]
}

function refusal(slice: string, error: unknown): EngineError {
  const advice = 'Look at `systemctl status` of it, or set ECS_ENABLE_TASK_CPU_MEM_LIMIT=false to do without.'
  return new EngineError('refused', `slice ${slice}: ${messageOf(error)}. ${advice}`, { cause: error })
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().replace(/\.$/, '')
}
