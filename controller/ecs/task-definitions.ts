/**
 * Task definitions: the six operations of the ECS API, and how every other handler finds its task definition.
 * A revision passes through ACTIVE, INACTIVE and DELETE_IN_PROGRESS; its number is never given out again.
 */
import { isArn, parseTaskDefinitionName, taskDefinitionArn } from '../../proto/arn.ts'
import { clientError, invalidParameter } from '../../proto/errors.ts'
import type { Attribute, Input, Output, Tag, TaskDefinition } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { compatibilities } from '../decide/compatibilities.ts'
import { fileSystemAttributes } from '../decide/payload-file-systems.ts'
import { requiresAttributes } from '../decide/requires-attributes.ts'
import type { TaskDefinitionRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import type { Call, Handlers } from './handler.ts'
import { read, write } from './handler.ts'
import { checkFileSystems } from './file-system-rules.ts'
import { page } from './paging.ts'
import { checkPassRole } from './passed-roles.ts'
import { checkTags } from './tags.ts'
import { withDefaults } from './task-definition-defaults.ts'
import { checkTaskDefinition } from './task-definition-rules.ts'

const deletedMax = 10
const pageLimits = { defaultSize: 100, maxSize: 100 }

/**
 * The task definition that a request names by `family` (its newest ACTIVE revision), `family:revision` or ARN. One that
 * does not exist is ClientException. It may be INACTIVE: what runs goes on with it, and only a new task refuses it.
 */
export function requireTaskDefinition(reader: Reader, nameOrArn: string | undefined): TaskDefinitionRow {
  const row = findTaskDefinition(reader, nameOrArn)
  if (row === undefined) throw clientError('TaskDefinition not found.')
  return row
}

export const taskDefinitionHandlers = {
  RegisterTaskDefinition: write<'RegisterTaskDefinition'>(registerTaskDefinition),
  DeregisterTaskDefinition: write<'DeregisterTaskDefinition'>((tx, input, call) => {
    return { taskDefinition: describeRow(deregister(tx, input.taskDefinition, call.now)) }
  }),
  DescribeTaskDefinition: read<'DescribeTaskDefinition'>((reader, input) => {
    const row = findTaskDefinition(reader, input.taskDefinition)
    if (row === undefined) throw clientError('Unable to describe task definition.')
    return { taskDefinition: describeRow(row), ...(input.include?.includes('TAGS') === true && { tags: row.tags }) }
  }),
  ListTaskDefinitions: read<'ListTaskDefinitions'>(listTaskDefinitions),
  ListTaskDefinitionFamilies: read<'ListTaskDefinitionFamilies'>(listFamilies),
  DeleteTaskDefinitions: write<'DeleteTaskDefinitions'>(deleteTaskDefinitions),
} satisfies Handlers

function registerTaskDefinition(
  tx: Transaction,
  input: Input<'RegisterTaskDefinition'>,
  call: Call,
  world: World,
): Output<'RegisterTaskDefinition'> {
  const { tags, ...given } = input
  const checkedTags = checkTags(tags)
  const definition = withDefaults(given)
  checkTaskDefinition(definition)
  checkPassRole(tx, definition, call, world)
  checkFileSystems(tx, definition)
  const family = given.family ?? ''
  const revision = (tx.get('family', family)?.latestRevision ?? 0) + 1
  const row: TaskDefinitionRow = {
    ...definition,
    containerDefinitions: definition.containerDefinitions ?? [],
    taskDefinitionArn: taskDefinitionArn(world, family, revision),
    family,
    revision,
    status: 'ACTIVE',
    compatibilities: compatibilities(definition),
    requiresAttributes: withFileSystems(requiresAttributes(definition), fileSystemAttributes(tx, definition)),
    registeredAt: call.now,
    registeredBy: call.principalArn,
    tags: checkedTags,
  }
  tx.put('family', family, { family, latestRevision: revision })
  tx.put('taskDefinition', keyOf(row), row)
  return { taskDefinition: describeRow(row), ...(tags !== undefined && { tags: checkedTags }) }
}

function withFileSystems(attributes: readonly Attribute[], names: readonly string[]): Attribute[] {
  const more = names.filter((name) => !attributes.some((attribute) => attribute.name === name))
  return [...attributes, ...more.map((name) => ({ name }))]
}

/** Deregistering twice changes nothing, and keeps the first instant. */
function deregister(tx: Transaction, nameOrArn: string | undefined, now: number): TaskDefinitionRow {
  const row = findRevision(tx, nameOrArn)
  if (row === undefined) throw clientError('The specified task definition does not exist.')
  if (row.status !== 'ACTIVE') return row
  const inactive: TaskDefinitionRow = { ...row, status: 'INACTIVE', deregisteredAt: now }
  tx.put('taskDefinition', keyOf(row), inactive)
  return inactive
}

/** Marks each; the task definition decider removes it, once no live task uses it. */
function deleteTaskDefinitions(
  tx: Transaction,
  input: Input<'DeleteTaskDefinitions'>,
  call: Call,
  world: World,
): Output<'DeleteTaskDefinitions'> {
  const names = input.taskDefinitions ?? []
  if (names.length === 0 || names.length > deletedMax) {
    throw invalidParameter(`taskDefinitions must name 1 to ${deletedMax} task definitions, and names ${names.length}.`)
  }
  const taskDefinitions: TaskDefinition[] = []
  const failures: { arn: string; reason: string }[] = []
  for (const nameOrArn of names) {
    const row = findRevision(tx, nameOrArn)
    if (row === undefined || row.status === 'ACTIVE') {
      failures.push({ arn: arnOf(nameOrArn, world), reason: row === undefined ? unknownReason : activeReason })
      continue
    }
    const marked: TaskDefinitionRow = {
      ...row,
      status: 'DELETE_IN_PROGRESS',
      deleteRequestedAt: row.deleteRequestedAt ?? call.now,
    }
    tx.put('taskDefinition', keyOf(row), marked)
    taskDefinitions.push(describeRow(marked))
  }
  return { taskDefinitions, failures }
}

const unknownReason =
  'The specified task definition does not exist. Specify a valid account, family, revision and try again.'
const activeReason =
  'The specified task definition is still in ACTIVE status. Please deregister the target and try again.'

/** By family, then by revision as a number; `familyPrefix` is the whole name of a family. */
function listTaskDefinitions(reader: Reader, input: Input<'ListTaskDefinitions'>): Output<'ListTaskDefinitions'> {
  const status = input.status ?? 'ACTIVE'
  const rows =
    input.familyPrefix === undefined
      ? reader.all('taskDefinition')
      : reader.find('taskDefinition', 'byFamily', input.familyPrefix)
  const descending = input.sort === 'DESC'
  const sorted = rows
    .filter((row) => row.status === status)
    .toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1) * (descending ? -1 : 1))
  const { items, nextToken } = page(sorted, orderOf, input, { ...pageLimits, descending })
  return { taskDefinitionArns: items.map((row) => row.taskDefinitionArn), nextToken }
}

/** A family without any revision left, all of them deleted, is not listed, though its numbers go on from where they were. */
function listFamilies(
  reader: Reader,
  input: Input<'ListTaskDefinitionFamilies'>,
): Output<'ListTaskDefinitionFamilies'> {
  const status = input.status ?? 'ALL'
  const isListed = (family: string): boolean => {
    if (!family.startsWith(input.familyPrefix ?? '')) return false
    const revisions = reader.find('taskDefinition', 'byFamily', family)
    const isActive = revisions.some((row) => row.status === 'ACTIVE')
    return revisions.length > 0 && (status === 'ALL' || isActive === (status === 'ACTIVE'))
  }
  const families = reader
    .all('family')
    .map((row) => row.family)
    .filter(isListed)
  const { items, nextToken } = page(families, (family) => family, input, pageLimits)
  return { families: items, nextToken }
}

export function findTaskDefinition(reader: Reader, nameOrArn: string | undefined): TaskDefinitionRow | undefined {
  const name = parseTaskDefinitionName(nameOrArn ?? '')
  if (name === undefined || nameOrArn === undefined) return undefined
  if (name.revision !== undefined) return findRevision(reader, nameOrArn)
  return reader
    .find('taskDefinition', 'byFamily', name.family)
    .filter(
      (row) =>
        row.status === 'ACTIVE' && (!isArn(nameOrArn) || row.taskDefinitionArn === `${nameOrArn}:${row.revision}`),
    )
    .reduce<TaskDefinitionRow | undefined>(
      (newest, row) => (newest === undefined || row.revision > newest.revision ? row : newest),
      undefined,
    )
}

/** One named revision, by `family:revision` or ARN; a name without a revision is InvalidParameterException. */
function findRevision(reader: Reader, nameOrArn: string | undefined): TaskDefinitionRow | undefined {
  const name = parseTaskDefinitionName(nameOrArn ?? '')
  if (name === undefined || nameOrArn === undefined) {
    throw invalidParameter(
      `Invalid task definition '${(nameOrArn ?? '').slice(0, 300)}': give family:revision or an ARN.`,
    )
  }
  if (name.revision === undefined) throw invalidParameter('Revision is missing.')
  const row = reader.get('taskDefinition', `${name.family}:${name.revision}`)
  return row !== undefined && isArn(nameOrArn) && row.taskDefinitionArn !== nameOrArn ? undefined : row
}

function arnOf(nameOrArn: string, world: World): string {
  const name = parseTaskDefinitionName(nameOrArn)
  if (isArn(nameOrArn) || name?.revision === undefined) return nameOrArn
  return taskDefinitionArn(world, name.family, name.revision)
}

function keyOf(row: TaskDefinitionRow): string {
  return `${row.family}:${row.revision}`
}

/** A space sorts before every character of a name, so `web` and its revisions come before `web-1`. */
function orderOf(row: TaskDefinitionRow): string {
  return `${row.family} ${String(row.revision).padStart(10, '0')}`
}

/** The shape of the model: tags stand beside it, never in it. */
function describeRow(row: TaskDefinitionRow): TaskDefinition {
  const { tags: _beside, ...definition } = row satisfies { tags: readonly Tag[] }
  return definition
}
