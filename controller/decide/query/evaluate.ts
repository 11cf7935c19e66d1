/**
 * Queries as functions over an instance. A query is compiled once for a request and then asked of every instance of the
 * cluster, so the compiled form holds everything that doesn't depend on the instance.
 *
 * A condition holds where some value of its subject meets it, so a subject without a value meets none but `!exists`:
 * `attribute:x != v` is an instance that has x with another value, and `not (attribute:x == v)` any other instance.
 */
import { attributesOf } from '../operator-changes.ts'
import { type HeldTask, isMeantToStay } from '../placement-candidates.ts'
import type { InstanceRow } from '../../state/tables.ts'
import { compilePattern, matchesPattern } from './pattern.ts'
import type { Query, QueryOperator, QuerySubject, SimpleQuery } from './query.ts'
import { compareVersions, readCount, readInstant, readVersion } from './values.ts'

/** What a query is asked of. A placement's candidate is one. */
export interface QueryTarget {
  readonly instance: InstanceRow
  /** The instance's tasks that are not STOPPED. */
  readonly tasks: readonly HeldTask[]
}

/** Which tasks `runningTasksCount` counts. */
export type CountedTasks = 'held' | 'running'

/** A query ready to be asked, and its parts in the same form, for explanations. */
export interface CompiledQuery {
  readonly query: Query
  readonly parts: readonly CompiledQuery[]
  /** True where the instance's row alone decides, and its tasks don't matter. */
  readonly isOfInstance: boolean
  holds(target: QueryTarget): boolean
}

/**
 * `held` counts every task that is not STOPPED: in a placement a cap has to hold for tasks that are still to start.
 * `running` counts those that are RUNNING, as DescribeContainerInstances does.
 */
export function compileQuery(query: Query, counted: CountedTasks): CompiledQuery {
  const compiled = compile(query, counted)
  return compiled.isOfInstance ? remembering(compiled) : compiled
}

function compile(query: Query, counted: CountedTasks): CompiledQuery {
  if (query.kind === 'simple') {
    const { kind } = query.subject
    const isOfInstance = kind !== 'runningTasksCount' && kind !== 'task:group'
    return { query, parts: [], isOfInstance, holds: compileSimple(query, counted) }
  }
  const below = (query.kind === 'not' ? [query.part] : query.parts).map((part) => compile(part, counted))
  const isOfInstance = below.every((part) => part.isOfInstance)
  const parts = isOfInstance ? below : below.map((part) => (part.isOfInstance ? remembering(part) : part))
  if (query.kind === 'and')
    return { query, parts, isOfInstance, holds: (target) => parts.every((part) => part.holds(target)) }
  if (query.kind === 'or')
    return { query, parts, isOfInstance, holds: (target) => parts.some((part) => part.holds(target)) }
  return { query, parts, isOfInstance, holds: (target) => !parts.some((part) => part.holds(target)) }
}

/** Asks each row once: rows are never changed in place, and placements ask the same rows again and again. */
function remembering(compiled: CompiledQuery): CompiledQuery {
  const known = new WeakMap<InstanceRow, boolean>()
  return {
    ...compiled,
    holds: (target) => {
      const before = known.get(target.instance)
      if (before !== undefined) return before
      const isHeld = compiled.holds(target)
      known.set(target.instance, isHeld)
      return isHeld
    },
  }
}

/** True where the query holds for the instance. For one question alone; for many, compile it. */
export function evaluateQuery(query: Query, target: QueryTarget, counted: CountedTasks = 'held'): boolean {
  return compileQuery(query, counted).holds(target)
}

/** The subject's values on an instance, as text: none where it has no value, several for the groups of its tasks. */
export function valuesOf(subject: QuerySubject, target: QueryTarget, counted: CountedTasks): readonly string[] {
  const { instance } = target
  switch (subject.kind) {
    case 'agentConnected':
      return [String(instance.agentConnected)]
    case 'agentVersion':
      return someText(instance.versionInfo?.agentVersion)
    case 'attribute':
      return someText(attributeOf(instance, subject.attribute))
    case 'ec2InstanceId':
      return someText(instance.ec2InstanceId)
    case 'registeredAt':
      return [new Date(secondOf(instance)).toISOString().replace('.000Z', 'Z')]
    case 'runningTasksCount':
      return [String(countTasks(target, counted))]
    default:
      return groupsOf(target)
  }
}

type Holds = (target: QueryTarget) => boolean
type Compare = (difference: number) => boolean

function compileSimple(query: SimpleQuery, counted: CountedTasks): Holds {
  const { subject } = query
  switch (subject.kind) {
    case 'agentVersion':
      return compileVersion(query)
    case 'registeredAt':
      return compileInstant(query)
    case 'runningTasksCount':
      return compileCount(query, counted)
    case 'task:group':
      return compileGroup(query)
    default: {
      const test = compileText(query)
      const textOf = textReader(subject)
      return ({ instance }) => test(textOf(instance))
    }
  }
}

function textReader({ kind, attribute }: QuerySubject): (instance: InstanceRow) => string | undefined {
  if (kind === 'attribute') return (instance) => attributeOf(instance, attribute)
  if (kind === 'ec2InstanceId') return (instance) => instance.ec2InstanceId
  return (instance) => String(instance.agentConnected)
}

/** A test of one value; undefined is a subject that has none. */
function compileText({ operator, values }: SimpleQuery): (value: string | undefined) => boolean {
  const [wanted = ''] = values
  const among = new Set(values)
  switch (operator) {
    case 'exists':
      return (value) => value !== undefined
    case 'not_exists':
      return (value) => value === undefined
    case 'equals':
      return (value) => value === wanted
    case 'not_equals':
      return (value) => value !== undefined && value !== wanted
    case 'in':
      return (value) => value !== undefined && among.has(value)
    case 'not_in':
      return (value) => value !== undefined && !among.has(value)
    case 'matches':
      return compileMatch(wanted, true)
    case 'not_matches':
      return compileMatch(wanted, false)
    default: {
      const compare = comparison(operator)
      return (value) => value !== undefined && compare(compareTexts(value, wanted))
    }
  }
}

/** Hosts share most of their attributes' values, so each is walked through the automaton once. */
const rememberedMax = 1000

function compileMatch(pattern: string, wanted: boolean): (value: string | undefined) => boolean {
  const compiled = compilePattern(pattern)
  const known = new Map<string, boolean>()
  return (value) => {
    if (value === undefined) return false
    const before = known.get(value)
    if (before !== undefined) return before === wanted
    const isMatch = matchesPattern(compiled, value)
    if (known.size < rememberedMax) known.set(value, isMatch)
    return isMatch === wanted
  }
}

function compileVersion({ operator, values }: SimpleQuery): Holds {
  const compare = comparison(operator)
  const wanted = readVersion(values[0] ?? '')
  return ({ instance }) => {
    const text = instance.versionInfo?.agentVersion
    if (text === undefined) return false
    const version = readVersion(text)
    // What is no version is neither older nor newer than one, but it is another one.
    if (version === undefined || wanted === undefined) return operator === 'not_equals'
    return compare(compareVersions(version, wanted))
  }
}

function compileInstant({ operator, values }: SimpleQuery): Holds {
  const compare = comparison(operator)
  const wanted = readInstant(values[0] ?? '') ?? Number.NaN
  return ({ instance }) => compare(secondOf(instance) - wanted)
}

function compileCount({ operator, values }: SimpleQuery, counted: CountedTasks): Holds {
  const compare = comparison(operator)
  const wanted = readCount(values[0] ?? '') ?? Number.NaN
  return (target) => compare(countTasks(target, counted) - wanted)
}

function compileGroup(query: SimpleQuery): Holds {
  const test = compileText(query)
  if (query.operator === 'not_exists') return ({ tasks }) => !tasks.some(isMeantToStay)
  return ({ tasks }) => {
    for (const task of tasks) if (test(task.group) && isMeantToStay(task)) return true
    return false
  }
}

function comparison(operator: QueryOperator): Compare {
  switch (operator) {
    case 'equals':
      return (difference) => difference === 0
    case 'not_equals':
      return (difference) => difference !== 0
    case 'greater_than':
      return (difference) => difference > 0
    case 'greater_than_equal':
      return (difference) => difference >= 0
    case 'less_than':
      return (difference) => difference < 0
    case 'less_than_equal':
      return (difference) => difference <= 0
    default:
      throw new Error(`The operator ${operator} compares nothing.`)
  }
}

/** By code units, so that the order is the same everywhere. */
function compareTexts(left: string, right: string): number {
  if (left === right) return 0
  return left < right ? -1 : 1
}

/** An attribute without a value, such as an agent's capability, has the empty one. */
function attributeOf(instance: InstanceRow, name: string): string | undefined {
  const attribute = attributesOf(instance).find((each) => each.name === name)
  return attribute === undefined ? undefined : (attribute.value ?? '')
}

/** Written dates have whole seconds; with the milliseconds no registration would ever equal one. */
function secondOf({ registeredAt }: InstanceRow): number {
  return Math.floor(registeredAt / 1000) * 1000
}

function countTasks({ tasks }: QueryTarget, counted: CountedTasks): number {
  if (counted === 'held') return tasks.length
  let number = 0
  for (const { lastStatus } of tasks) if (lastStatus === 'RUNNING') number += 1
  return number
}

function groupsOf({ tasks }: QueryTarget): readonly string[] {
  return [...new Set(tasks.filter(isMeantToStay).map(({ group }) => group))]
}

function someText(value: string | undefined): readonly string[] {
  return value === undefined ? [] : [value]
}
