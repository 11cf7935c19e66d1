/**
 * What a task gives each of its containers' host configs as a whole: the cgroup around them, the namespaces that they
 * share, the size of their disks, and the GPUs that were given to one of them. Laid over all else.
 *
 * Source: amazon-ecs-agent 1.105.1, `agent/api/task/task.go` (dockerHostConfig and what follows it).
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { internalNames } from './internal-containers.ts'
import { cgroupParent } from './task-cgroup.ts'
import type { HostView, TaskFacts } from './view.ts'

type Members = Readonly<Record<string, unknown>>

export function taskHostConfig(
  task: PayloadTask,
  container: PayloadContainer,
  facts: TaskFacts,
  { taskCgroups }: Pick<HostView, 'taskCgroups'>,
): Members {
  const gpuIds = gpuIdsOf(task, container)
  const sizeGiB = task.gantry?.ephemeralStorageGiB
  return {
    ...(taskCgroups === undefined ? {} : { CgroupParent: cgroupParent(task.arn, taskCgroups) }),
    ...namespaceModes(task, container, facts),
    ...(sizeGiB === undefined || container.internal !== undefined ? {} : { StorageOpt: { size: `${sizeGiB}G` } }),
    ...(gpuIds.length === 0 ? {} : { DeviceRequests: [deviceRequest(gpuIds)] }),
  }
}

/** True where the task's containers see each other's processes, or share their memory, by a container that holds both. */
export function sharesNamespaces({ pidMode, ipcMode }: PayloadTask): boolean {
  return pidMode === 'task' || ipcMode === 'task'
}

function namespaceModes(task: PayloadTask, container: PayloadContainer, facts: TaskFacts): Members {
  const { pidMode, ipcMode } = task
  if (container.internal === 'NAMESPACE_PAUSE') return ipcMode === 'task' ? { IpcMode: 'shareable' } : {}
  // What holds the network needs none of the task's processes or memory.
  if (container.internal !== undefined) return {}
  const pause = internalNames.NAMESPACE_PAUSE
  const shared = `container:${facts.containers[pause]?.dockerId ?? facts.containers[pause]?.dockerName ?? pause}`
  return {
    ...(pidMode === 'host' ? { PidMode: 'host' } : {}),
    ...(pidMode === 'task' ? { PidMode: shared } : {}),
    ...(ipcMode === 'host' || ipcMode === 'none' ? { IpcMode: ipcMode } : {}),
    ...(ipcMode === 'task' ? { IpcMode: shared } : {}),
  }
}

function gpuIdsOf(task: PayloadTask, container: PayloadContainer): readonly string[] {
  return (task.associations ?? [])
    .filter(({ type, containers }) => type === 'gpu' && containers.includes(container.name))
    .map(({ content }) => content.value)
}

/** Docker finds the driver by the capability; which one it is depends on what the host has installed. */
function deviceRequest(gpuIds: readonly string[]): Members {
  return { Driver: '', DeviceIDs: gpuIds, Capabilities: [['gpu']] }
}
