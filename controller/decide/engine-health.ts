/**
 * Whether an instance's Docker Engine answers: ECS's CONTAINER_RUNTIME health, which Gantry's agent tells by its host
 * report and the official one by its telemetry. Where nobody has told, the engine counts as well.
 */
import type { InstanceRow } from '../state/tables.ts'

/** True once its agent has said that the engine does not answer, until it says otherwise. */
export function isEngineSilent(instance: InstanceRow): boolean {
  return runtimeOf(instance)?.status === 'IMPAIRED'
}

/** Since when the engine does not answer, epoch milliseconds; undefined where it does, or where that is not known. */
export function engineSilentSince(instance: InstanceRow): number | undefined {
  const runtime = runtimeOf(instance)
  return runtime?.status === 'IMPAIRED' ? runtime.lastStatusChange : undefined
}

/** The instance after its agent said that the engine has not answered for so long, 0 where it answers. */
export function withEngineSilence(instance: InstanceRow, silentForMs: number, now: number): InstanceRow {
  const status = silentForMs > 0 ? 'IMPAIRED' : 'OK'
  // A new connection repeats what is known: that is no change, and the first time stands.
  if (runtimeOf(instance)?.status === status) return instance
  const lastStatusChange = Math.max(0, Math.round(now - silentForMs))
  const runtime = { type: 'CONTAINER_RUNTIME', status, lastUpdated: now, lastStatusChange } as const
  return { ...instance, healthStatus: { overallStatus: status, details: [runtime] } }
}

function runtimeOf({ healthStatus }: InstanceRow) {
  return healthStatus?.details?.find(({ type }) => type === 'CONTAINER_RUNTIME')
}
