/**
 * ECS's rules for what one container asks of another: dependsOn, links and volumesFrom. Together they are the order in
 * which containers start, so a cycle through any of them could never start.
 */
import { clientError } from '../../proto/errors.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'

export function checkDependencies(
  containers: readonly ContainerDefinition[],
  networkMode: TaskDefinition['networkMode'],
): void {
  const byName = new Map(containers.map((container) => [container.name ?? '', container]))
  for (const container of containers) {
    checkDependsOn(container, byName)
    checkLinks(container, byName, networkMode)
    checkVolumesFrom(container, byName)
  }
  const cycle = findCycle(containers)
  if (cycle !== undefined) throw clientError(`Container dependencies cannot contain a cycle: ${cycle.join(' -> ')}.`)
}

type Containers = ReadonlyMap<string, ContainerDefinition>

function checkDependsOn(container: ContainerDefinition, byName: Containers): void {
  const seen = new Set<string>()
  for (const { containerName = '', condition } of container.dependsOn ?? []) {
    const dependency = byName.get(containerName)
    // The plus sign is ECS's own.
    if (dependency === undefined) {
      throw clientError(`Cannot depend on container + '${containerName}' because it does not exist`)
    }
    if (seen.has(containerName)) {
      throw clientError(`Container '${container.name ?? ''}' depends on container '${containerName}' more than once.`)
    }
    seen.add(containerName)
    if ((condition === 'SUCCESS' || condition === 'COMPLETE') && dependency.essential !== false) {
      throw clientError('A dependency container with SUCCESS or COMPLETE condition cannot be an essential container')
    }
    if (condition === 'HEALTHY' && dependency.healthCheck === undefined) {
      throw clientError('A dependency container with HEALTHY condition must have health check configured')
    }
  }
}

function checkLinks(
  container: ContainerDefinition,
  byName: Containers,
  networkMode: TaskDefinition['networkMode'],
): void {
  const links = container.links ?? []
  if (links.length > 0 && networkMode !== undefined && networkMode !== 'bridge') {
    throw clientError(`Links are not supported when networkMode=${networkMode}.`)
  }
  for (const link of links) {
    const { target, isWellFormed } = parseLink(link)
    if (!isWellFormed || !byName.has(target) || target === container.name) {
      throw clientError(
        `Invalid 'links' setting for container '${container.name ?? ''}'. '${link}' is not 'name' or 'name:alias' ` +
          'of another container of this task definition.',
      )
    }
  }
}

function parseLink(link: string): { target: string; isWellFormed: boolean } {
  const [target = '', alias, ...rest] = link.split(':')
  return { target, isWellFormed: rest.length === 0 && alias !== '' }
}

function checkVolumesFrom(container: ContainerDefinition, byName: Containers): void {
  for (const { sourceContainer = '' } of container.volumesFrom ?? []) {
    if (!byName.has(sourceContainer) || sourceContainer === container.name) {
      throw clientError(
        `Invalid 'volumesFrom' setting for container '${container.name ?? ''}'. Source container ` +
          `'${sourceContainer}' is not another container of this task definition.`,
      )
    }
  }
}

/** The names along one cycle, its first repeated at its end; undefined where there is none. */
function findCycle(containers: readonly ContainerDefinition[]): string[] | undefined {
  const needs = new Map(containers.map((container) => [container.name ?? '', neededBy(container)]))
  const finished = new Set<string>()
  const follow = (name: string, path: readonly string[]): string[] | undefined => {
    const start = path.indexOf(name)
    if (start !== -1) return [...path.slice(start), name]
    if (finished.has(name)) return undefined
    for (const needed of needs.get(name) ?? []) {
      const cycle = follow(needed, [...path, name])
      if (cycle !== undefined) return cycle
    }
    finished.add(name)
    return undefined
  }
  for (const name of needs.keys()) {
    const cycle = follow(name, [])
    if (cycle !== undefined) return cycle
  }
  return undefined
}

function neededBy(container: ContainerDefinition): string[] {
  return [
    ...(container.dependsOn ?? []).map((dependency) => dependency.containerName ?? ''),
    ...(container.links ?? []).map((link) => parseLink(link).target),
    ...(container.volumesFrom ?? []).map((volume) => volume.sourceContainer ?? ''),
  ]
}
