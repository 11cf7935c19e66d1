/**
 * Why an instance can't take a task. Each filter has three methods: it takes the task (and says what it wants, or that
 * it has nothing to judge), judges an instance, and explains the instances that failed, in numbers.
 *
 * An instance counts for the first filter that it fails, so that the counts of a refusal add up to the instances.
 */
import { gantryProtocolAttribute } from '../../proto/acs.ts'
import type { Attribute } from '../../proto/model/types.ts'
import type { InstanceRow } from '../state/tables.ts'
import { adviceOn } from './attribute-advice.ts'
import { isEngineSilent } from './engine-health.ts'
import { gpuFilters } from './placement-gpu-filters.ts'
import { type PlacementRequest, tasksOfGroup } from './placement-candidates.ts'
import { memberOf } from './placement-member-filter.ts'
import { networkFilters } from './placement-network-filters.ts'
import { portFilters } from './placement-port-filters.ts'
import { tasksMax } from './placement-tasks-max-filter.ts'
import {
  type ArmedFilter,
  count,
  definePlacementFilter,
  listed,
  type PlacementFilter,
  shareOf,
} from './placement-filter.ts'
import { taskDemand } from './resources.ts'

/** The filters that have something to say on this task, in the order in which they judge. */
export function armFilters(request: PlacementRequest): readonly ArmedFilter[] {
  return filters.map((filter) => filter(request)).filter((armed) => armed !== undefined)
}

const status = definePlacementFilter({
  name: 'status',
  reason: 'INACTIVE',
  isOfRow: true,
  take: () => true,
  judge: (_want, { instance }) => instance.status === 'ACTIVE',
  explain: (_want, failed) => {
    const draining = failed.filter(({ instance }) => instance.status === 'DRAINING').length
    const gone = failed.length - draining
    const parts: string[] = []
    if (draining > 0) parts.push(count(draining, 'is draining', 'are draining'))
    if (gone > 0) parts.push(count(gone, 'is deregistered', 'are deregistered'))
    return parts.join(', ')
  },
})

const agentConnected = definePlacementFilter({
  name: 'agentConnected',
  reason: 'AGENT',
  isOfRow: true,
  take: ({ group }) => ({ isOfService: group.startsWith('service:') }),
  // On an instance that has just come back a service's task may still run: it is not to be started there anew.
  judge: ({ isOfService }, { instance }) =>
    instance.agentConnected && !(isOfService && instance.lostSince !== undefined),
  explain: (_want, failed) => {
    const returning = failed.filter(({ instance }) => instance.agentConnected).length
    const away = failed.length - returning
    const parts: string[] = []
    if (away > 0) parts.push(count(away, 'has a disconnected agent', 'have disconnected agents'))
    if (returning > 0) parts.push(count(returning, 'has just come back', 'have just come back'))
    return parts.join(', ')
  },
})

const engineAnswers = definePlacementFilter({
  name: 'engineAnswers',
  reason: 'AGENT',
  isOfRow: true,
  take: () => true,
  judge: (_want, { instance }) => !isEngineSilent(instance),
  explain: (_want, failed) =>
    count(failed.length, 'has a Docker Engine that does not answer', 'have Docker Engines that do not answer'),
})

const launchType = definePlacementFilter({
  name: 'launchType',
  reason: 'ATTRIBUTE',
  isOfRow: true,
  take: (request) => wantedLaunchTypes(request),
  judge: (want, { instance }) => want.includes(instance.launchType),
  explain: (want, failed) => {
    const found = [...new Set(failed.map(({ instance }) => instance.launchType))].sort()
    const kinds = `of launch type ${found.join(' or ')} (want ${want.join(' or ')})`
    return count(failed.length, `is ${kinds}`, `are ${kinds}`)
  },
})

const platform = definePlacementFilter({
  name: 'platform',
  reason: 'ATTRIBUTE',
  isOfRow: true,
  take: ({ definition }) => wantedPlatform(definition.runtimePlatform),
  judge: (want, { instance }) => {
    const has = platformOf(instance)
    return agrees(want.osFamily, has.osFamily) && agrees(want.architecture, has.architecture)
  },
  explain: (want, failed) => {
    const found = [...new Set(failed.map(({ instance }) => platformText(platformOf(instance))))].sort()
    const kinds = `another platform (want ${platformText(want)}, found ${listed(found)})`
    return count(failed.length, `runs ${kinds}`, `run ${kinds}`)
  },
})

const attributes = definePlacementFilter({
  name: 'attributes',
  reason: 'ATTRIBUTE',
  isOfRow: true,
  take: (request) => nonEmpty(requiredAttributes(request)),
  judge: (want, { instance }) => want.every((required) => hasAttribute(instance, required)),
  explain: (want, failed) => {
    const missing = want.filter((required) => failed.some(({ instance }) => !hasAttribute(instance, required)))
    const names = missing.map(attributeText)
    const noun = names.length === 1 ? 'attribute' : 'attributes'
    const what = `${noun} ${listed(names)}${adviceOn(names)}`
    return count(failed.length, `lacks ${what}`, `lack ${what}`)
  },
})

const distinctInstance = definePlacementFilter({
  name: 'distinctInstance',
  reason: 'DistinctInstance placement constraint unsatisfied.',
  take: ({ constraints, group }) =>
    constraints.some((constraint) => constraint.type === 'distinctInstance') ? group : undefined,
  judge: (group, candidate) => tasksOfGroup(candidate, group) === 0,
  explain: (group, failed) =>
    count(
      failed.length,
      `already runs a task of group ${group} (distinctInstance)`,
      `already run a task of group ${group} (distinctInstance)`,
    ),
})

const cpu = definePlacementFilter({
  name: 'cpu',
  reason: 'RESOURCE:CPU',
  take: ({ definition, overrides }) => nonZero(taskDemand(definition, overrides).cpuUnits),
  judge: (want, { resources }) => want <= resources.remaining.cpuUnits,
  explain: (want, failed) => {
    const most = Math.max(...failed.map(({ resources }) => resources.remaining.cpuUnits))
    const numbers = `(want ${want} units, most free ${Math.max(0, most)})`
    return count(failed.length, `lacks CPU ${numbers}`, `lack CPU ${numbers}`)
  },
  shortfall: (want, { resources }) => shareOf(want, resources.remaining.cpuUnits),
})

const memory = definePlacementFilter({
  name: 'memory',
  reason: 'RESOURCE:MEMORY',
  take: ({ definition, overrides }) => nonZero(taskDemand(definition, overrides).memoryMiB),
  judge: (want, { resources }) => want <= resources.remaining.memoryMiB,
  explain: (want, failed) => {
    const most = Math.max(...failed.map(({ resources }) => resources.remaining.memoryMiB))
    const numbers = `(want ${want} MiB, most free ${Math.max(0, most)})`
    return count(failed.length, `lacks memory ${numbers}`, `lack memory ${numbers}`)
  },
  shortfall: (want, { resources }) => shareOf(want, resources.remaining.memoryMiB),
})

const filters: readonly PlacementFilter[] = [
  status,
  agentConnected,
  engineAnswers,
  launchType,
  platform,
  attributes,
  memberOf,
  distinctInstance,
  tasksMax,
  ...gpuFilters,
  cpu,
  memory,
  ...portFilters,
  ...networkFilters,
]

function wantedLaunchTypes(request: PlacementRequest): readonly string[] | undefined {
  if (request.launchType !== undefined) return [request.launchType]
  const onInstances = (request.definition.compatibilities ?? []).filter((type) => type === 'EC2' || type === 'EXTERNAL')
  return nonEmpty(onInstances)
}

interface Platform {
  readonly osFamily: string | undefined
  readonly architecture: string | undefined
}

function wantedPlatform(wanted: PlacementRequest['definition']['runtimePlatform']): Platform | undefined {
  const osFamily = wanted?.operatingSystemFamily?.toUpperCase()
  const architecture = wanted?.cpuArchitecture?.toUpperCase()
  return osFamily === undefined && architecture === undefined ? undefined : { osFamily, architecture }
}

function platformOf(instance: InstanceRow): Platform {
  const valueOf = (name: string): string | undefined =>
    instance.attributes.find((attribute) => attribute.name === name)?.value?.toUpperCase()
  return { osFamily: valueOf('ecs.os-family') ?? valueOf('ecs.os-type'), architecture: valueOf('ecs.cpu-architecture') }
}

/** An instance that doesn't say what it runs is not held against a task: ECS fills these attributes in, agents may not. */
function agrees(want: string | undefined, has: string | undefined): boolean {
  return want === undefined || has === undefined || want === has
}

function platformText({ osFamily, architecture }: Platform): string {
  return [osFamily, architecture].filter((part) => part !== undefined).join('/')
}

/** The definition's, and what the call's own overrides ask of an agent beyond it. */
function requiredAttributes({ definition, overrides, enableExecuteCommand }: PlacementRequest): readonly Attribute[] {
  const required = [...(definition.requiresAttributes ?? [])]
  const add = (name: string): void => {
    if (!required.some((attribute) => attribute.name === name)) required.push({ name })
  }
  if (overrides?.taskRoleArn !== undefined) {
    const onHost = definition.networkMode === 'host'
    add(`com.amazonaws.ecs.capability.task-iam-role${onHost ? '-network-host' : ''}`)
  }
  // The official agent makes its interfaces by Amazon EC2, so that it can't take an address from a subnet here.
  if (definition.networkMode === 'awsvpc') add(gantryProtocolAttribute)
  if (enableExecuteCommand === true) add('ecs.capability.execute-command')
  if ((overrides?.containerOverrides ?? []).some((container) => (container.environmentFiles ?? []).length > 0)) {
    add('ecs.capability.env-files.s3')
  }
  return required
}

function hasAttribute(instance: InstanceRow, required: Attribute): boolean {
  return instance.attributes.some(
    (attribute) =>
      attribute.name === required.name && (required.value === undefined || attribute.value === required.value),
  )
}

function attributeText(attribute: Attribute): string {
  return attribute.value === undefined ? (attribute.name ?? '') : `${attribute.name}=${attribute.value}`
}

function nonEmpty<T>(items: readonly T[]): readonly T[] | undefined {
  return items.length === 0 ? undefined : items
}

function nonZero(value: number): number | undefined {
  return value === 0 ? undefined : value
}
