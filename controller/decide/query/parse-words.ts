/** Subjects and operators of the cluster query language from their words, with a hint for the forms people mistake. */
import { nameOf, type Token, tokenAt } from './lexer.ts'
import {
  operatorSigns,
  operatorsOf,
  type QueryOperator,
  queryOperators,
  type QuerySubject,
  type QuerySubjectKind,
  subjectText,
} from './query.ts'
import { QueryError } from './query-error.ts'

const plainSubjects: readonly Exclude<QuerySubjectKind, 'attribute'>[] = [
  'agentConnected',
  'agentVersion',
  'ec2InstanceId',
  'registeredAt',
  'runningTasksCount',
  'task:group',
]
const subjectForms =
  'a subject (agentConnected, agentVersion, attribute:NAME, ec2InstanceId, registeredAt, runningTasksCount or task:group)'
/** ECS's rule for the names of attributes. */
const attributeName = /^[\p{L}\p{N}_./\\-]{1,128}$/u
const isSubjectText = (text: string): text is Exclude<QuerySubjectKind, 'attribute'> =>
  (plainSubjects as readonly string[]).includes(text)

export function readSubject(text: string, token: Token): QuerySubject {
  if (token.kind !== 'word')
    throw new QueryError(text, token.start, `expected ${subjectForms}, found ${nameOf(token)}.`)
  const found = token.text
  if (isSubjectText(found)) return { kind: found, attribute: '' }
  if (found.startsWith('attribute:')) {
    const attribute = found.slice('attribute:'.length)
    if (attributeName.test(attribute)) return { kind: 'attribute', attribute }
    const rule = '1 to 128 letters, digits and _ . / \\ - directly after the colon'
    const where = token.start + 'attribute:'.length
    throw new QueryError(text, where, `expected the name of an attribute (${rule}), found ${quotedOr(attribute)}.`)
  }
  const meant = meantSubject(found)
  const hint = meant === undefined ? '' : ` Write ${meant}.`
  throw new QueryError(text, token.start, `expected ${subjectForms}, found ${nameOf(token)}.${hint}`)
}

/** The right form of a subject that is nearly one. */
function meantSubject(found: string): string | undefined {
  const small = found.toLowerCase()
  const plain = plainSubjects.find((subject) => subject.toLowerCase() === small)
  if (plain !== undefined) return plain
  const name = /^(?:instance)?attributes?[:.](.+)$/i.exec(found)?.[1]
  if (name !== undefined && attributeName.test(name)) return `attribute:${name}`
  if (/^(tasks?:?|tasks:group|group|task[.]group|taskgroup)$/.test(small)) return 'task:group'
  if (/^(instanceid|ec2instance|instance-id)$/.test(small)) return 'ec2InstanceId'
  if (/^(runningtasks?|taskscount|runningtaskcount)$/.test(small)) return 'runningTasksCount'
  // The names of ECS's own attributes are taken for subjects.
  return /^ecs[.]/.test(small) && attributeName.test(found) ? `attribute:${found}` : undefined
}

/** The operator that begins at `token`, and where it ends. */
export function readOperator(
  text: string,
  token: Token,
  subject: QuerySubject,
): { readonly operator: QueryOperator; readonly end: number } {
  const found = operatorAt(text, token)
  const allowed = operatorsOf[subject.kind]
  if (found !== undefined && allowed.includes(found.operator)) return found
  const forms = allowed.map((operator) => operatorSigns[operator]).join(' ')
  const what = `expected an operator of ${subjectText(subject)} (${forms})`
  if (found !== undefined) {
    throw new QueryError(text, token.start, `${what}, found '${text.slice(token.start, found.end)}'.`)
  }
  throw new QueryError(text, token.start, `${what}, found ${nameOf(token)}.${operatorHint(token)}`)
}

function operatorAt(
  text: string,
  token: Token,
): { readonly operator: QueryOperator; readonly end: number } | undefined {
  if (token.kind !== 'word' && token.kind !== 'sign') return undefined
  if (token.text === '!') {
    const next = tokenAt(text, token.end)
    if (next.kind !== 'word' || (next.text !== 'in' && next.text !== 'exists')) return undefined
    return { operator: next.text === 'in' ? 'not_in' : 'not_exists', end: next.end }
  }
  const operator = queryOperators.find((name) => name === token.text || operatorSigns[name] === token.text)
  return operator === undefined ? undefined : { operator, end: token.end }
}

function operatorHint(token: Token): string {
  if (token.kind === 'sign' && token.text === '=') return ' Equality is written ==.'
  if (token.kind === 'sign' && token.text === '~') return ' A match is written =~.'
  if (token.kind === 'word' && token.text === 'not')
    return ' Write !in, not_in, !exists or not_exists; a whole expression is negated in front of its subject.'
  const small = token.text.toLowerCase()
  const operator = queryOperators.find((name) => name.replaceAll('_', '') === small.replaceAll(/[-_]/g, ''))
  return token.kind === 'word' && operator !== undefined ? ` Write ${operator}.` : ''
}

function quotedOr(text: string): string {
  return text === '' ? 'nothing' : `'${text.slice(0, 40)}'`
}
