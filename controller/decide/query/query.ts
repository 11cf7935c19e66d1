/**
 * The cluster query language of ECS as a tree, and the words of its grammar.
 * Source: the ECS developer guide, "Create expressions to define container instances for Amazon ECS tasks".
 */

export type Query = SimpleQuery | NotQuery | CompoundQuery

export interface SimpleQuery {
  readonly kind: 'simple'
  readonly subject: QuerySubject
  readonly operator: QueryOperator
  /** None for exists, any number for in, else one. As they were written, without quotes. */
  readonly values: readonly string[]
}

export interface NotQuery {
  readonly kind: 'not'
  readonly part: Query
}

/** Two parts at least. */
export interface CompoundQuery {
  readonly kind: 'and' | 'or'
  readonly parts: readonly Query[]
}

export type QuerySubjectKind =
  | 'agentConnected'
  | 'agentVersion'
  | 'attribute'
  | 'ec2InstanceId'
  | 'registeredAt'
  | 'runningTasksCount'
  | 'task:group'

export interface QuerySubject {
  readonly kind: QuerySubjectKind
  /** The attribute's name; empty for every other kind. */
  readonly attribute: string
}

export type QueryOperator =
  | 'equals'
  | 'not_equals'
  | 'greater_than'
  | 'greater_than_equal'
  | 'less_than'
  | 'less_than_equal'
  | 'exists'
  | 'not_exists'
  | 'in'
  | 'not_in'
  | 'matches'
  | 'not_matches'

/** Each operator as a sign. The word forms are the operators' own names. */
export const operatorSigns: Readonly<Record<QueryOperator, string>> = {
  equals: '==',
  not_equals: '!=',
  greater_than: '>',
  greater_than_equal: '>=',
  less_than: '<',
  less_than_equal: '<=',
  exists: 'exists',
  not_exists: '!exists',
  in: 'in',
  not_in: '!in',
  matches: '=~',
  not_matches: '!~',
}

export const queryOperators = Object.keys(operatorSigns) as readonly QueryOperator[]

const ordering: readonly QueryOperator[] = [
  'equals',
  'not_equals',
  'greater_than',
  'greater_than_equal',
  'less_than',
  'less_than_equal',
]
const choosing: readonly QueryOperator[] = ['equals', 'not_equals', 'in', 'not_in', 'matches', 'not_matches']

/** Which operators a subject takes, by the guide's own lists. */
export const operatorsOf: Readonly<Record<QuerySubjectKind, readonly QueryOperator[]>> = {
  agentConnected: choosing,
  agentVersion: ordering,
  attribute: queryOperators,
  ec2InstanceId: choosing,
  registeredAt: ordering,
  runningTasksCount: ordering,
  'task:group': queryOperators,
}

export function subjectText({ kind, attribute }: QuerySubject): string {
  return kind === 'attribute' ? `attribute:${attribute}` : kind
}
