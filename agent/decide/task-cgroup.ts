/**
 * The cgroup around all containers of a task: what the task's own `cpu` and `memory` mean. It is made before the first
 * container, stays while the task does, and is made anew where a host has lost it (a reboot forgets every cgroup).
 *
 * Source: amazon-ecs-agent 1.105.1, `agent/api/task/task_linux.go` (BuildLinuxResourceSpec, BuildCgroupRoot).
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { cpuShares } from './container-limits.ts'
import { orWait, retryWait } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { TaskResource } from './task-resource.ts'
import type { HostView, TaskView } from './view.ts'

/** How this host keeps cgroups for tasks. */
export interface TaskCgroupSettings {
  /** Docker's own driver: who makes cgroups decides how they are named. */
  readonly driver: 'cgroupfs' | 'systemd'
  /** GANTRY_CGROUP_PARENT: below which they are, with the driver cgroupfs. */
  readonly parent: string
  /** ECS_CGROUP_CPU_PERIOD. */
  readonly cpuPeriodUs: number
  /** ECS_TASK_PIDS_LIMIT. */
  readonly pidsLimit?: number | undefined
  /** Another one with each life of the host and of the agent: then each cgroup is seen to once more. */
  readonly epoch: string
}

export interface CgroupLimits {
  /** Microseconds of CPU in each period; absent where the task names no `cpu`. */
  readonly cpuQuota?: { readonly quotaUs: number; readonly periodUs: number } | undefined
  /** The weight against other tasks, as CPU shares (2 to 262,144). */
  readonly cpuShares?: number | undefined
  readonly memoryBytes?: number | undefined
  readonly pids?: number | undefined
}

const bytesPerMiB = 1024 * 1024

/** What the kernel holds the task to. Without a `cpu` of its own its containers' shares are its weight, and no more. */
export function cgroupLimits(task: PayloadTask, settings: TaskCgroupSettings): CgroupLimits {
  const { cpu, memory } = task
  const { cpuPeriodUs, pidsLimit } = settings
  const shares = task.containers.reduce((sum, container) => sum + cpuShares(container.cpu), 0)
  return {
    ...(cpu !== undefined && cpu > 0
      ? { cpuQuota: { quotaUs: Math.round(cpu * cpuPeriodUs), periodUs: cpuPeriodUs } }
      : { cpuShares: cpuShares(shares) }),
    ...(memory !== undefined && memory > 0 ? { memoryBytes: memory * bytesPerMiB } : {}),
    ...(pidsLimit === undefined ? {} : { pids: pidsLimit }),
  }
}

/** Docker's `CgroupParent` of the task's containers: `/ecs/<task id>`, or the slice `ecstasks-<task id>.slice`. */
export function cgroupParent(
  taskArn: string,
  { driver, parent }: Pick<TaskCgroupSettings, 'driver' | 'parent'>,
): string {
  const taskId = taskArn.slice(taskArn.lastIndexOf('/') + 1)
  return driver === 'systemd' ? `ecstasks-${taskId}.slice` : `${parent}/${taskId}`
}

/** True for what is such a name, whatever the settings are now. */
export function isCgroupOf(taskArn: string, parent: string): boolean {
  const taskId = taskArn.slice(taskArn.lastIndexOf('/') + 1)
  return parent === `ecstasks-${taskId}.slice` || (parent.startsWith('/') && parent.endsWith(`/${taskId}`))
}

export const taskCgroup: TaskResource = {
  name: 'cgroup',

  prepare(view, now, { taskCgroups }) {
    if (taskCgroups === undefined || isReady(view, taskCgroups)) return []
    const again = retryWait(view.facts.cgroup?.retry, now, "the task's cgroup to be made")
    if (again !== undefined) return [again]
    const cgroup = cgroupParent(view.payload.arn, taskCgroups)
    const args = { cgroup, limits: cgroupLimits(view.payload, taskCgroups), epoch: taskCgroups.epoch }
    return orWait(view, { step: 'createCgroup', args }, "waits for the task's cgroup to be made")
  },

  holds(view, _container: PayloadContainer, host?: HostView) {
    const settings = host?.taskCgroups
    if (settings === undefined || isReady(view, settings)) return undefined
    return "waits for the task's cgroup to be made"
  },

  release(view, now): Step[] {
    const { cgroup } = view.facts
    if (cgroup === undefined || cgroup.removed === true) return []
    const again = retryWait(cgroup.retry, now, "the task's cgroup to be removed")
    if (again !== undefined) return [again]
    const remove = { step: 'removeCgroup', args: { cgroup: cgroup.parent } } as const
    return orWait(view, remove, "waits for the task's cgroup to be removed")
  },
}

function isReady(view: TaskView, settings: TaskCgroupSettings): boolean {
  return view.facts.cgroup?.epoch === settings.epoch
}
