/**
 * The health of an instance as ECS shows it (`healthStatus`): whether its Docker Engine answers (CONTAINER_RUNTIME, told
 * by Gantry's agent in its host report and by the official one in its telemetry), and, which ECS doesn't know, whether
 * its disk is nearly full. Where nobody has told, the engine counts as well.
 */
import type { GantryDiskUse } from '../../proto/acs.ts'
import type { InstanceRow } from '../state/tables.ts'

const diskCheck = 'STORAGE'

type HealthDetail = NonNullable<NonNullable<InstanceRow['healthStatus']>['details']>[number]

/** True once its agent has said that the engine does not answer, until it says otherwise. */
export function isEngineSilent(instance: InstanceRow): boolean {
  return detailOf(instance, 'CONTAINER_RUNTIME')?.status === 'IMPAIRED'
}

/** Since when the engine does not answer, epoch milliseconds; undefined where it does, or where that is not known. */
export function engineSilentSince(instance: InstanceRow): number | undefined {
  const runtime = detailOf(instance, 'CONTAINER_RUNTIME')
  return runtime?.status === 'IMPAIRED' ? runtime.lastStatusChange : undefined
}

/** The instance after its agent said that the engine has not answered for so long, 0 where it answers. */
export function withEngineSilence(instance: InstanceRow, silentForMs: number, now: number): InstanceRow {
  const status = silentForMs > 0 ? 'IMPAIRED' : 'OK'
  // A new connection repeats what is known: that is no change, and the first time stands.
  if (detailOf(instance, 'CONTAINER_RUNTIME')?.status === status) return instance
  const lastStatusChange = Math.max(0, Math.round(now - silentForMs))
  return withDetail(instance, { type: 'CONTAINER_RUNTIME', status, lastUpdated: now, lastStatusChange })
}

/** The instance after its agent said how full its disk is. It takes tasks all the same: an image may be there already. */
export function withDiskUse(instance: InstanceRow, disk: GantryDiskUse, now: number): InstanceRow {
  const status = disk.isPressed ? 'IMPAIRED' : 'OK'
  const before = detailOf(instance, diskCheck)
  if (before?.status === status) return instance
  const statusReason = `${disk.path} is ${disk.usedPercent} % full, ${disk.freeMiB} MiB are free`
  // ECS's enumeration has no name for it, and clients take names that they don't know as they are.
  const detail = { type: diskCheck, status, statusReason, lastUpdated: now, lastStatusChange: now }
  return withDetail(instance, detail as unknown as HealthDetail)
}

function withDetail(instance: InstanceRow, detail: HealthDetail): InstanceRow {
  const others = (instance.healthStatus?.details ?? []).filter(({ type }) => type !== detail.type)
  const details = [...others, detail].toSorted((a, b) => ((a.type ?? '') < (b.type ?? '') ? -1 : 1))
  const isImpaired = details.some(({ status }) => status === 'IMPAIRED')
  return { ...instance, healthStatus: { overallStatus: isImpaired ? 'IMPAIRED' : 'OK', details } }
}

function detailOf({ healthStatus }: InstanceRow, type: string): HealthDetail | undefined {
  return healthStatus?.details?.find((detail) => detail.type === type)
}
