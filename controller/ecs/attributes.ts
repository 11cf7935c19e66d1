/**
 * PutAttributes, DeleteAttributes and ListAttributes: what operators say of container instances, for placement to go by.
 * Source: the ECS API reference (Attribute, PutAttributes, DeleteAttributes, ListAttributes) and ECS's service quotas.
 */
import { isArn } from '../../proto/arn.ts'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Attribute, Input, Output } from '../../proto/model/types.ts'
import { attributeName, attributesOf, deleteAttributes, putAttributes } from '../decide/operator-changes.ts'
import type { ClusterRow, InstanceRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { type Handlers, read, write } from './handler.ts'
import { customAttributesMax, isCustomAttribute } from './instance-facts.ts'
import { findInstance } from './instance-lookup.ts'
import { page } from './paging.ts'

/** Attributes in one PutAttributes or DeleteAttributes. */
const attributesPerCallMax = 10
const namePattern = /^[\p{L}\p{N}_./\\-]{1,128}$/u
const valuePattern = /^[\p{L}\p{N}_.@/\\: -]{1,128}$/u

export const attributeHandlers = {
  PutAttributes: write<'PutAttributes'>((tx, input) => putAll(tx, input)),
  DeleteAttributes: write<'DeleteAttributes'>((tx, input) => deleteAll(tx, input)),
  ListAttributes: read<'ListAttributes'>((reader, input) => listAttributes(reader, input)),
} satisfies Handlers

/** One attribute of a call, on the instance that it names. */
interface Targeted {
  readonly instance: InstanceRow
  readonly name: string
  readonly value: string | undefined
}

/** All or none: an attribute that can't be put leaves the others of its call undone too. */
function putAll(tx: Transaction, input: Input<'PutAttributes'>): Output<'PutAttributes'> {
  const targeted = readTargets(tx, input)
  for (const { name, value } of targeted) checkValue(name, value)
  for (const [instance, attributes] of byInstance(targeted)) {
    const next = putAttributes(
      instance,
      attributes.map(({ name, value }) => (value === undefined ? { name } : { name, value })),
    )
    const custom = attributesOf(next).filter((attribute) => isCustomAttribute(attributeName(attribute))).length
    if (custom > customAttributesMax) {
      throw new ApiError(
        'AttributeLimitExceededException',
        `You can apply up to ${customAttributesMax} custom attributes for each resource, and ` +
          `${instance.containerInstanceArn} would have ${custom}. Remove some with DeleteAttributes.`,
      )
    }
    if (next !== instance) tx.put('instance', instance.instanceId, next)
  }
  return { attributes: targeted.map(({ instance, name, value }) => shown(instance, { name, value })) }
}

/** Answers what was there and is gone; a name that the instance does not have is no error, so a repeat changes nothing. */
function deleteAll(tx: Transaction, input: Input<'DeleteAttributes'>): Output<'DeleteAttributes'> {
  const gone: Attribute[] = []
  for (const [instance, targeted] of byInstance(readTargets(tx, input))) {
    const there = attributesOf(instance).filter((attribute) => {
      return targeted.some((each) => isMeant(attribute, each))
    })
    if (there.length === 0) continue
    tx.put('instance', instance.instanceId, deleteAttributes(instance, there.map(attributeName)))
    gone.push(...there.map((attribute) => shown(instance, attribute)))
  }
  return { attributes: gone }
}

/** By its name. Who gives a value too, as in an attribute that ListAttributes answered, means no other value. */
function isMeant(attribute: Attribute, { name, value }: Targeted): boolean {
  if (attribute.name !== name) return false
  if (value === undefined || value === attribute.value) return true
  throw invalidParameter(
    `Attribute ${name} has the value '${attribute.value ?? ''}', not '${value.slice(0, 128)}'. Leave the value out to ` +
      'delete it whatever its value.',
  )
}

function listAttributes(reader: Reader, input: Input<'ListAttributes'>): Output<'ListAttributes'> {
  const cluster = requireCluster(reader, input.cluster)
  const { attributeName: name, attributeValue: value } = input
  if (value !== undefined && name === undefined) {
    throw invalidParameter('attributeValue takes an attributeName beside it.')
  }
  const all = reader
    .find('instance', 'byCluster', cluster.clusterName)
    .filter((instance) => instance.status !== 'INACTIVE')
    .flatMap((instance) =>
      attributesOf(instance)
        .filter((attribute) => name === undefined || attribute.name === name)
        .filter((attribute) => value === undefined || attribute.value === value)
        .map((attribute) => ({ key: `${instance.instanceId}/${attributeName(attribute)}`, instance, attribute })),
    )
    .sort((left, right) => (left.key < right.key ? -1 : 1))
  const { items, nextToken } = page(all, ({ key }) => key, input, { defaultSize: 100, maxSize: 100 })
  return { attributes: items.map(({ instance, attribute }) => shown(instance, attribute)), nextToken }
}

/** As ECS's own answers have it: the target by its ARN, which needs no targetType beside it. */
function shown(instance: InstanceRow, { name, value }: { name: string | undefined; value?: string | undefined }) {
  return { name, ...(value !== undefined && { value }), targetId: instance.containerInstanceArn }
}

function readTargets(reader: Reader, input: Input<'PutAttributes'>): readonly Targeted[] {
  const cluster = requireCluster(reader, input.cluster)
  const attributes = input.attributes ?? []
  if (attributes.length === 0) throw invalidParameter('attributes can not be empty.')
  if (attributes.length > attributesPerCallMax) {
    throw invalidParameter(
      `attributes can hold at most ${attributesPerCallMax} attributes in a single call, and holds ${attributes.length}.`,
    )
  }
  const targeted = attributes.map((attribute) => readTarget(reader, cluster, attribute))
  const seen = new Set<string>()
  for (const { instance, name } of targeted) {
    const key = `${instance.instanceId}/${name}`
    if (seen.has(key)) throw invalidParameter(`Attribute ${name} is given twice for ${instance.containerInstanceArn}.`)
    seen.add(key)
  }
  return targeted
}

function readTarget(reader: Reader, cluster: ClusterRow, attribute: Attribute): Targeted {
  const { name, value, targetId, targetType } = attribute
  if (name === undefined || !namePattern.test(name)) {
    throw invalidParameter(
      `Attribute name '${(name ?? '').slice(0, 128)}' must be 1 to 128 letters, digits, hyphens, underscores, slashes, ` +
        'back slashes and periods.',
    )
  }
  if (!isCustomAttribute(name)) {
    throw invalidParameter(
      `Attribute ${name} is the agent's to give: names that begin with ecs., com.amazonaws. or gantry. are reserved.`,
    )
  }
  if (targetId === undefined || targetId === '') throw invalidParameter(`Attribute ${name} names no targetId.`)
  if (targetType === undefined && !isArn(targetId)) {
    throw invalidParameter(
      `Attribute ${name} needs a targetType: it is required where targetId is a short id and not a full ARN.`,
    )
  }
  return { instance: requireTarget(reader, cluster, targetId), name, value }
}

function requireTarget(reader: Reader, cluster: ClusterRow, targetId: string): InstanceRow {
  const instance = findInstance(reader, cluster, targetId)
  if (instance !== undefined && instance.status !== 'INACTIVE') return instance
  throw new ApiError(
    'TargetNotFoundException',
    `The specified target wasn't found: ${targetId.slice(0, 256)} is no container instance of cluster ` +
      `${cluster.clusterName}. ListContainerInstances shows them.`,
  )
}

function checkValue(name: string, value: string | undefined): void {
  if (value === undefined || (valuePattern.test(value) && value.trim() === value)) return
  throw invalidParameter(
    `The value of attribute ${name} must be 1 to 128 letters, digits, spaces and _ . @ / \\ : -, without a space at ` +
      `either end, and is '${value.slice(0, 128)}'.`,
  )
}

function byInstance(targeted: readonly Targeted[]): ReadonlyMap<InstanceRow, readonly Targeted[]> {
  return Map.groupBy(targeted, ({ instance }) => instance)
}
