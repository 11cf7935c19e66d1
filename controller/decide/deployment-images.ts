/**
 * versionConsistency: all tasks of a deployment run the same images, whatever becomes of a tag meanwhile. The first agent
 * that reports an image's digest fixes it; tasks that begin later ask for `repository@digest`. Nothing waits for it.
 *
 * Source: AWS documentation, "Container image resolution". An image without a digest exists only on its host, and stays
 * as it is written.
 */
import type { ContainerDefinition, ContainerImage } from '../../proto/model/types.ts'
import type { DeploymentRow } from '../state/service-tables.ts'
import type { TaskDefinitionRow, TaskRow } from '../state/tables.ts'

/** The images of the deployment once `task` has told what it runs, or the same list where that is no news. */
export function imagesAfter(
  images: readonly ContainerImage[],
  task: TaskRow,
  definition: TaskDefinitionRow,
): readonly ContainerImage[] {
  const found = task.containers.flatMap(({ name, imageDigest }): ContainerImage[] => {
    const written = definition.containerDefinitions.find((container) => container.name === name)
    if (written === undefined || imageDigest === undefined || !isResolved(written)) return []
    if (images.some(({ containerName }) => containerName === name)) return []
    return [{ containerName: name, imageDigest, image: written.image }]
  })
  return found.length === 0 ? images : [...images, ...found]
}

/** The task with each container's image fixed as its deployment has it, or `task` itself where nothing is. */
export function withPinnedImages(task: TaskRow, deployment: DeploymentRow): TaskRow {
  if (deployment.images.length === 0) return task
  let isChanged = false
  const containers = task.containers.map((container) => {
    const fixed = deployment.images.find(({ containerName }) => containerName === container.name)
    if (fixed?.image === undefined || fixed.imageDigest === undefined) return container
    isChanged = true
    return { ...container, pinnedImage: pinned(fixed.image, fixed.imageDigest) }
  })
  return isChanged ? { ...task, containers } : task
}

function isResolved({ image, versionConsistency }: ContainerDefinition): boolean {
  return versionConsistency !== 'disabled' && image !== undefined && !image.includes('@')
}

/** `registry:5000/web@sha256:1f2e` for `registry:5000/web:1`. */
function pinned(image: string, digest: string): string {
  return `${image.replace(/:[^/:]*$/, '')}@${digest}`
}
