/**
 * ECS's rules for placement constraints and strategies, the same for RunTask and services. Each refusal names what was
 * found and writes out the form that is right, for the malformed shapes that people copy around.
 * Source: the ECS API reference, PlacementConstraint and PlacementStrategy, and the developer guide on task placement.
 */
import { type ApiError, invalidParameter } from '../../proto/errors.ts'
import type { PlacementConstraint, PlacementStrategy } from '../../proto/model/types.ts'
import { parseQuery } from '../decide/query/parse.ts'
import type { Query } from '../decide/query/query.ts'
import { QueryError } from '../decide/query/query-error.ts'

const constraintsMax = 10
const strategiesMax = 5
const constraintForms = '{"type": "distinctInstance"} or {"type": "memberOf", "expression": "attribute:stack == prod"}'
const attributeForm = '{"type": "spread", "field": "attribute:ecs.availability-zone"}'

/**
 * The constraints that a task is placed by: those of its task definition, then the caller's own. Both are judged, as a
 * definition may be older than a rule. Throws InvalidParameterException.
 */
export function checkConstraints(
  ofDefinition: readonly PlacementConstraint[] | undefined,
  own: readonly PlacementConstraint[] | undefined,
): readonly PlacementConstraint[] {
  const constraints = [...(ofDefinition ?? []), ...(own ?? [])]
  if (constraints.length > constraintsMax) {
    throw invalidParameter(
      `A task can have at most ${constraintsMax} placement constraints, those of its task definition included; ` +
        `there are ${constraints.length}.`,
    )
  }
  for (const constraint of constraints) checkConstraint(constraint)
  if (constraints.filter(({ type }) => type === 'distinctInstance').length > 1) {
    throw invalidParameter('The placement constraint distinctInstance is given more than once. Give it once.')
  }
  return constraints
}

/** The strategies in their sequence. Throws InvalidParameterException. */
export function checkStrategies(strategies: readonly PlacementStrategy[] | undefined): readonly PlacementStrategy[] {
  const given = strategies ?? []
  if (given.length > strategiesMax) {
    throw invalidParameter(`At most ${strategiesMax} placement strategies can be given, and there are ${given.length}.`)
  }
  for (const strategy of given) checkStrategy(strategy)
  return given
}

function checkConstraint({ type, expression }: PlacementConstraint): void {
  if (type === 'distinctInstance') {
    // ECS refuses even the empty expression, in these words.
    if (expression === undefined) return
    throw invalidParameter(
      `distinctInstance expression should not be specified. It is '${cut(expression)}': write {"type": ` +
        '"distinctInstance"}, and put the expression into a constraint of its own, of type memberOf.',
    )
  }
  if (type === 'memberOf') return checkMemberOf(expression)
  throw invalidParameter(`Placement constraint type must be distinctInstance or memberOf. Write ${constraintForms}.`)
}

function checkMemberOf(expression: string | undefined): void {
  if (expression === undefined || expression.trim() === '') {
    throw invalidParameter(
      'A memberOf placement constraint needs an expression. Write ' +
        '{"type": "memberOf", "expression": "attribute:stack == prod"}.',
    )
  }
  checkExpression(expression, invalidParameter)
}

/** Throws what `refusal` makes of the message where the cluster query language can't read the expression. */
export function checkExpression(expression: string, refusal: (message: string) => ApiError): Query {
  try {
    return parseQuery(expression)
  } catch (error) {
    throw error instanceof QueryError ? refusal(error.message) : error
  }
}

function checkStrategy({ type, field }: PlacementStrategy): void {
  if (type === 'binpack') return checkBinpack(field ?? '')
  if (type === 'spread') return checkSpread(field ?? '')
  // What random is given as a field is not used, as in ECS.
  if (type === 'random') return
  throw invalidParameter(
    'Placement strategy type must be random, spread or binpack. Write {"type": "binpack", "field": "memory"}, ' +
      `${attributeForm} or {"type": "random"}.`,
  )
}

function checkBinpack(field: string): void {
  if (/^(cpu|memory)$/i.test(field)) return
  throw invalidParameter(
    `Placement strategy binpack takes the field cpu or memory, and ${found(field)}. Write ` +
      '{"type": "binpack", "field": "memory"}.',
  )
}

function checkSpread(field: string): void {
  if (/^(instanceId|host)$/.test(field) || /^attribute:[\p{L}\p{N}_./\\-]{1,128}$/u.test(field)) return
  throw invalidParameter(
    `Placement strategy spread takes the field instanceId, host or attribute:NAME, and ${found(field)}. Write ` +
      `${spreadForm(field)}.`,
  )
}

/** The right form of what was probably meant. */
function spreadForm(field: string): string {
  const name = /^(?:attributes?[:.=])?\s*([\p{L}\p{N}_./\\-]{1,128})$/iu.exec(field.trim())?.[1]
  if (name === undefined || /^attributes?$/i.test(name)) return attributeForm
  if (/^(instance-?id|instance|host)$/i.test(name)) return '{"type": "spread", "field": "instanceId"}'
  if (/^(availability-?zone|az|zone)$/i.test(name)) return attributeForm
  if (/^(cpu|memory)$/i.test(name)) return `{"type": "binpack", "field": "${name.toLowerCase()}"}`
  return `{"type": "spread", "field": "attribute:${name}"}`
}

function found(field: string): string {
  return field === '' ? 'has no field' : `has '${cut(field)}'`
}

function cut(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 80)}...`
}
