/**
 * Attributes and tags of a container instance: its agent gives them when it registers, which it does at each of its
 * starts, and operators change them at any time. What an operator said last stands, whatever the agent sends later.
 */
import type { Attribute, Tag } from '../../proto/model/types.ts'
import { sameRow } from '../state/equal.ts'
import type { InstanceRow, OperatorChanges } from '../state/tables.ts'

/** The attributes that placement and every answer go by. */
export function attributesOf(instance: InstanceRow): readonly Attribute[] {
  return withChanges(instance.attributes, instance.attributeChanges, attributeName)
}

export function tagsOf(instance: InstanceRow): readonly Tag[] {
  return withChanges(instance.tags, instance.tagChanges, tagKey)
}

/** The instance after the change, its version one higher; the very same row where the change was made before. */
export function putAttributes(instance: InstanceRow, put: readonly Attribute[]): InstanceRow {
  const { attributeChanges = none } = instance
  return changed(instance, { attributeChanges: putOver(attributeChanges, put, attributeName) })
}

export function deleteAttributes(instance: InstanceRow, names: readonly string[]): InstanceRow {
  const { attributes, attributeChanges = none } = instance
  return changed(instance, { attributeChanges: deleteFrom(attributes, attributeChanges, names, attributeName) })
}

export function putTags(instance: InstanceRow, put: readonly Tag[]): InstanceRow {
  const { tagChanges = none } = instance
  return changed(instance, { tagChanges: putOver(tagChanges, put, tagKey) })
}

export function deleteTags(instance: InstanceRow, keys: readonly string[]): InstanceRow {
  const { tags, tagChanges = none } = instance
  return changed(instance, { tagChanges: deleteFrom(tags, tagChanges, keys, tagKey) })
}

/** `items` with each of `put` in the place of the one of its name, or at the end. */
export function putAmong<T>(items: readonly T[], put: readonly T[], nameOf: (item: T) => string): readonly T[] {
  const newest = new Map(put.map((item) => [nameOf(item), item]))
  const names = new Set(items.map(nameOf))
  return [
    ...items.map((item) => newest.get(nameOf(item)) ?? item),
    ...[...newest].flatMap(([name, item]) => (names.has(name) ? [] : [item])),
  ]
}

export function attributeName(attribute: Attribute): string {
  return attribute.name ?? ''
}

export function tagKey(tag: Tag): string {
  return tag.key ?? ''
}

const none: OperatorChanges<never> = { put: [], deleted: [] }

function changed(
  instance: InstanceRow,
  changes: Pick<InstanceRow, 'attributeChanges'> | Pick<InstanceRow, 'tagChanges'>,
): InstanceRow {
  const before = { attributeChanges: none, tagChanges: none, ...instance }
  if (sameRow({ ...before, ...changes }, before)) return instance
  return { ...instance, ...changes, version: instance.version + 1 }
}

function withChanges<T>(
  given: readonly T[],
  changes: OperatorChanges<T> | undefined,
  nameOf: (item: T) => string,
): readonly T[] {
  if (changes === undefined) return given
  const kept = given.filter((item) => !changes.deleted.includes(nameOf(item)))
  return putAmong(kept, changes.put, nameOf)
}

function putOver<T>(changes: OperatorChanges<T>, put: readonly T[], nameOf: (item: T) => string): OperatorChanges<T> {
  const names = new Set(put.map(nameOf))
  return {
    put: putAmong(changes.put, put, nameOf),
    deleted: changes.deleted.filter((name) => !names.has(name)),
  }
}

/** Of what the agent gave, a deletion is remembered; what an operator put is simply gone. So the record can't grow. */
function deleteFrom<T>(
  given: readonly T[],
  changes: OperatorChanges<T>,
  names: readonly string[],
  nameOf: (item: T) => string,
): OperatorChanges<T> {
  const gone = new Set([...changes.deleted, ...names])
  return {
    put: changes.put.filter((item) => !names.includes(nameOf(item))),
    deleted: given.map(nameOf).filter((name) => gone.has(name)),
  }
}
