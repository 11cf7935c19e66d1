/**
 * The container that holds the processes and the memory that a task's containers share (`pidMode` and `ipcMode` `task`),
 * so that neither ends with any of them.
 *
 * Source: amazon-ecs-agent 1.105.1, `agent/api/task/task.go` (addNamespaceSharingProvisioningDependency).
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { mergedConfigs } from './container.ts'
import { internalNames } from './internal-containers.ts'
import { sharesNamespaces } from './task-host-config.ts'

/** Undefined where the task shares neither. `image` is the agent's own pause image. */
export function namespacePause(task: PayloadTask, image: string): PayloadContainer | undefined {
  if (!sharesNamespaces(task)) return undefined
  return {
    name: internalNames.NAMESPACE_PAUSE,
    internal: 'NAMESPACE_PAUSE',
    containerArn: '',
    image,
    essential: true,
    cpu: 0,
    memory: 0,
    environment: {},
    links: [],
    mountPoints: [],
    portMappings: [],
    volumesFrom: [],
    dockerConfig: {
      version: '',
      config: '{}',
      hostConfig: JSON.stringify({ NetworkMode: 'none', ...sharedMemory(task) }),
    },
    overrides: '{}',
  }
}

/** What is shared is as large as the largest that a container asks for; Docker's own size where none does. */
function sharedMemory(task: PayloadTask): { readonly ShmSize?: number } {
  const sizes = task.containers.flatMap((container) => {
    const size = mergedConfigs(container).hostConfig?.['ShmSize']
    return typeof size === 'number' ? [size] : []
  })
  return task.ipcMode === 'task' && sizes.length > 0 ? { ShmSize: Math.max(...sizes) } : {}
}
