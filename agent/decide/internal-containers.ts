/**
 * Containers that the agent adds to a task itself, such as the one that holds a task's network. Each is a container like
 * any other to the engine of tasks: it is started first, since all the others depend on it, stops last, is adopted and
 * cleaned up with them; and a task that is STOPPED has none of it left. Nobody outside is told of them.
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'

/** The names are the official agent's; no container definition can have one, for its alphabet has no `~`. */
export const internalNames = {
  CNI_PAUSE: '~internal~ecs~pause',
  NAMESPACE_PAUSE: '~internal~ecs~pause~namespace',
} as const satisfies Record<NonNullable<PayloadContainer['internal']>, string>

/** Which of them has this name, as an adopted container's label says it; undefined for one of a definition's. */
export function internalKindOf(name: string): PayloadContainer['internal'] {
  if (name === internalNames.CNI_PAUSE) return 'CNI_PAUSE'
  return name === internalNames.NAMESPACE_PAUSE ? 'NAMESPACE_PAUSE' : undefined
}

/** The task with `added` in front, and every other container waiting for each of them to start. */
export function withInternalContainers(payload: PayloadTask, added: readonly PayloadContainer[]): PayloadTask {
  if (added.length === 0) return payload
  const dependencies = added.map(({ name }) => ({ containerName: name, condition: 'START' as const }))
  const others = payload.containers.map((container) => ({
    ...container,
    dependsOn: [...dependencies, ...(container.dependsOn ?? [])],
  }))
  return { ...payload, containers: [...added, ...others] }
}

/** The containers that the task definition names: what reports, metadata and introspection show. */
export function definedContainers(payload: PayloadTask): readonly PayloadContainer[] {
  return payload.containers.filter(({ internal }) => internal === undefined)
}
