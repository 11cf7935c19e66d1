/**
 * What an agent says of its host when it registers: resources, attributes and devices, checked and brought into the form
 * in which they are stored.
 */
import { gantryProtocolAttribute, gantryProtocolVersion } from '../../proto/acs.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Attribute, Input, Resource } from '../../proto/model/types.ts'
import type { InstanceRow } from '../state/tables.ts'

/** Attributes of one instance, an agent's capabilities included; the official agent sends about 50. */
const attributesMax = 500
/** Attributes that an operator made up. Source: ECS service quotas, "custom attributes per container instance". */
export const customAttributesMax = 10
const attributeNamePattern = /^[\p{L}\p{N}_./\\-]{1,128}$/u
const attributeValueLengthMax = 128

export const externalAttribute = 'ecs.capability.external'
export const zoneAttribute = 'ecs.availability-zone'
export const instanceTypeAttribute = 'ecs.instance-type'
const dynamicPortsAttribute = 'gantry.dynamic-host-port-range'

/** Where an agent does not say: the Linux default of net.ipv4.ip_local_port_range, which Docker follows. */
const dynamicPortsDefault = { first: 32768, last: 60999 }

/**
 * The resources of a registration: CPU and MEMORY as positive integers, PORTS and PORTS_UDP as sets of port numbers.
 * GPUs, which come as devices, are kept as the resource under which ECS shows them. Throws InvalidParameterException.
 */
export function checkResources(input: Input<'RegisterContainerInstance'>): readonly Resource[] {
  const resources = input.totalResources ?? []
  const names = new Set<string>()
  for (const resource of resources) {
    const name = resource.name ?? ''
    if (name === '') throw invalidParameter('totalResources: a resource has no name.')
    if (names.has(name)) throw invalidParameter(`totalResources names ${name} twice.`)
    names.add(name)
    checkResource(name, resource)
  }
  for (const name of ['CPU', 'MEMORY']) {
    if (!names.has(name)) throw invalidParameter(`totalResources lacks ${name}, an INTEGER greater than 0.`)
  }
  const gpus = (input.platformDevices ?? []).flatMap(({ id, type }) => (type === 'GPU' && id !== undefined ? [id] : []))
  if (gpus.length === 0 || names.has('GPU')) return resources
  // One that is named twice is one, and no two containers get it.
  return [...resources, { name: 'GPU', type: 'STRINGSET', stringSetValue: [...new Set(gpus)] }]
}

function checkResource(name: string, resource: Resource): void {
  if (name === 'CPU' || name === 'MEMORY') {
    const value = resource.integerValue
    if (value === undefined || !Number.isSafeInteger(value) || value <= 0) {
      throw invalidParameter(`totalResources: ${name} must be an INTEGER greater than 0, and is ${String(value)}.`)
    }
  }
  if (name === 'PORTS' || name === 'PORTS_UDP') {
    for (const text of resource.stringSetValue ?? []) {
      const port = Number(text)
      if (Number.isInteger(port) && port >= 1 && port <= 65535) continue
      throw invalidParameter(`totalResources: ${name} takes ports from 1 to 65535, and holds '${text.slice(0, 32)}'.`)
    }
  }
}

/**
 * The attributes of an instance: those sent, each as it was sent (the official agent ends where one is missing from the
 * answer), a zone where none is named, and the custom ones of an earlier registration, which agents send only once.
 */
export function mergeAttributes(
  sent: readonly Attribute[],
  earlier: readonly Attribute[],
  region: string,
): readonly Attribute[] {
  const checked = sent.map(checkAttribute)
  if (checked.length > attributesMax) {
    throw invalidParameter(`An instance takes at most ${attributesMax} attributes, and ${checked.length} were sent.`)
  }
  const names = new Set(checked.map(({ name }) => name))
  if (names.size < checked.length) throw invalidParameter('Attribute names must be unique within one registration.')
  const kept = earlier.filter(({ name }) => name !== undefined && isCustomAttribute(name) && !names.has(name))
  const custom = checked.filter(({ name }) => isCustomAttribute(name)).length + kept.length
  if (custom > customAttributesMax) {
    throw invalidParameter(
      `An instance takes at most ${customAttributesMax} custom attributes, and would have ${custom}.`,
    )
  }
  const zone = names.has(zoneAttribute) ? [] : [{ name: zoneAttribute, value: `${region}a` }]
  return [...checked, ...zone, ...kept]
}

function checkAttribute(attribute: Attribute): { readonly name: string; readonly value?: string } {
  const { name, value } = attribute
  if (name === undefined || !attributeNamePattern.test(name)) {
    throw invalidParameter(
      `Attribute name '${(name ?? '').slice(0, 128)}' must be 1 to 128 letters, digits, hyphens, underscores, slashes ` +
        'and periods.',
    )
  }
  if (value === undefined) return { name }
  if (value.length > attributeValueLengthMax) {
    throw invalidParameter(`The value of attribute ${name} takes at most ${attributeValueLengthMax} characters.`)
  }
  return { name, value }
}

/** False for the names that say what a host is or can do: those come from its agent alone. */
export function isCustomAttribute(name: string): boolean {
  return !/^(ecs\.|com\.amazonaws\.|gantry\.)/.test(name)
}

export function attributeValue(attributes: readonly Attribute[], name: string): string | undefined {
  return attributes.find((attribute) => attribute.name === name)?.value
}

export function hasAttribute(attributes: readonly Attribute[], name: string): boolean {
  return attributes.some((attribute) => attribute.name === name)
}

/** What placement and the agent's channel read off the attributes. Throws InvalidParameterException for a bad range. */
export function factsOfAttributes(
  attributes: readonly Attribute[],
): Pick<InstanceRow, 'launchType' | 'gantryProtocol' | 'dynamicPorts'> {
  return {
    launchType: hasAttribute(attributes, externalAttribute) ? 'EXTERNAL' : 'EC2',
    gantryProtocol: attributeValue(attributes, gantryProtocolAttribute) === gantryProtocolVersion,
    dynamicPorts: parseDynamicPorts(attributeValue(attributes, dynamicPortsAttribute)),
  }
}

function parseDynamicPorts(text: string | undefined): InstanceRow['dynamicPorts'] {
  if (text === undefined) return dynamicPortsDefault
  const match = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(text)
  const first = Number(match?.[1])
  const last = Number(match?.[2])
  if (match !== null && first >= 1 && first <= last && last <= 65535) return { first, last }
  throw invalidParameter(`Attribute ${dynamicPortsAttribute} must be a range such as 32768-60999, and is '${text}'.`)
}

/** The parts of an EC2 identity document that ECS shows. Undefined where there is none, as on hosts outside of EC2. */
export function readIdentityDocument(
  text: string | undefined,
): { readonly instanceId: string; readonly instanceType?: string; readonly zone?: string } | undefined {
  if (text === undefined || text.trim() === '') return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw invalidParameter('instanceIdentityDocument is not JSON.')
  }
  if (typeof value !== 'object' || value === null) throw invalidParameter('instanceIdentityDocument is not an object.')
  const { instanceId, instanceType, availabilityZone } = value as Readonly<Record<string, unknown>>
  if (typeof instanceId !== 'string' || !/^m?i-[0-9a-f]{1,32}$/.test(instanceId)) return undefined
  return {
    instanceId,
    ...(typeof instanceType === 'string' && { instanceType }),
    ...(typeof availabilityZone === 'string' && { zone: availabilityZone }),
  }
}
