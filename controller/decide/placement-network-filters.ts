/**
 * The filters for tasks with an address of their own (network mode awsvpc): which hosts can be attached to one of the
 * subnets asked for, and where an address is free. A host passes where a single subnet meets all of it.
 */
import { taskEniMaxAttribute } from '../../proto/networking.ts'
import type { InstanceRow } from '../state/tables.ts'
import { hasParent, hasRoom, interfacesOf, isInZone, type OfferedSubnet, zoneOf } from './network-offer.ts'
import { attributesOf } from './operator-changes.ts'
import type { Candidate } from './placement-candidates.ts'
import { count, definePlacementFilter, listed, type PlacementFilter } from './placement-filter.ts'

const subnetZone = definePlacementFilter({
  name: 'subnetZone',
  reason: 'ATTRIBUTE',
  isOfRow: true,
  take: ({ network }) => network?.subnets,
  judge: (subnets, { instance }) => subnets.some((subnet) => isInZone(subnet, instance)),
  explain: (subnets, failed) => {
    const zones = [...new Set(subnets.flatMap(({ availabilityZone }) => availabilityZone ?? []))]
    const found = [...new Set(failed.map(({ instance }) => zoneOf(instance) ?? 'none'))].sort()
    const kinds = `in another availability zone than the subnets (want ${listed(zones)}, found ${listed(found)})`
    return count(failed.length, `is ${kinds}`, `are ${kinds}`)
  },
})

const networkInterface = definePlacementFilter({
  name: 'networkInterface',
  reason: 'ATTRIBUTE',
  isOfRow: true,
  take: ({ network }) => network?.subnets,
  judge: (subnets, { instance }) => subnets.some((subnet) => isAttachable(subnet, instance)),
  explain: (subnets, failed) => {
    const wanted = [...new Set(subnets.flatMap(({ parent }) => parent ?? []))]
    const found = [...new Set(failed.flatMap(({ instance }) => interfacesOf(instance) ?? []))].sort()
    const names = found.length === 0 ? 'none' : listed(found)
    const noun = wanted.length === 1 ? 'interface' : 'interfaces'
    const what = `the network ${noun} ${listed(wanted)} of the subnets (found ${names})`
    return count(failed.length, `lacks ${what}`, `lack ${what}`)
  },
})

const taskEniMax = definePlacementFilter({
  name: 'taskEniMax',
  reason: 'RESOURCE:ENI',
  take: ({ network }) => network,
  judge: (_network, { instance, resources }) => resources.networkInterfaces < capOf(instance),
  explain: (_network, failed) => {
    const caps = failed.map(({ instance }) => capOf(instance))
    const most = Math.max(...caps)
    const figures = Math.min(...caps) === most ? `${most}` : `${Math.min(...caps)} to ${most}`
    return count(
      failed.length,
      `holds as many tasks with an address as its agent allows (GANTRY_TASK_ENI_MAX is ${figures})`,
      `hold as many tasks with an address as their agents allow (GANTRY_TASK_ENI_MAX is ${figures})`,
    )
  },
})

const addresses = definePlacementFilter({
  name: 'addresses',
  reason: 'RESOURCE:ENI',
  take: ({ network }) => network?.subnets,
  judge: (subnets, { instance }) =>
    subnets.some((subnet) => isAttachable(subnet, instance) && hasRoom(subnet, instance)),
  explain: (subnets, failed) => {
    const texts = subnets
      .filter((subnet) => failed.some(({ instance }) => isAttachable(subnet, instance)))
      .map((subnet) => shortageText(subnet, failed))
    const why = `(${texts.join('; ')})`
    return count(failed.length, `finds no address for the task ${why}`, `find no address for the task ${why}`)
  },
})

export const networkFilters: readonly PlacementFilter[] = [subnetZone, networkInterface, taskEniMax, addresses]

function isAttachable(subnet: OfferedSubnet, instance: InstanceRow): boolean {
  return isInZone(subnet, instance) && hasParent(subnet, instance)
}

function shortageText({ subnetId, free, shortage }: OfferedSubnet, failed: readonly Candidate[]): string {
  const text = shortage ?? `subnet ${subnetId} has too few addresses free`
  if (free === 0) return text
  const hosts = failed.length === 1 ? 'this host needs' : 'these hosts need'
  return `${text}, and ${hosts} a first one there too`
}

/** Every placement asks every instance, and rows are never changed in place. */
const caps = new WeakMap<InstanceRow, number>()

/** Infinity where the agent gives none, or none that is a number: then nothing is capped. */
function capOf(instance: InstanceRow): number {
  const known = caps.get(instance)
  if (known !== undefined) return known
  const value = attributesOf(instance).find(({ name }) => name === taskEniMaxAttribute)?.value ?? ''
  const cap = /^\d{1,9}$/.test(value) ? Number(value) : Number.POSITIVE_INFINITY
  caps.set(instance, cap)
  return cap
}
