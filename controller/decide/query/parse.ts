/**
 * Reads an expression of the cluster query language:
 *
 *     expression := and (('||' | 'or') and)*
 *     and        := not (('&&' | 'and') not)*
 *     not        := ('!' | 'not') not | '(' expression ')' | simple
 *     simple     := subject operator [argument]
 *
 * Every refusal is a QueryError that names the column, what was expected there and what was found.
 */
import { isPlainPattern, isPlainWord, nameOf, patternAt, type Token, tokenAt } from './lexer.ts'
import { compilePattern, PatternError } from './pattern.ts'
import { readOperator, readSubject } from './parse-words.ts'
import { operatorSigns, type Query, type QueryOperator, type QuerySubject, subjectText } from './query.ts'
import { QueryError } from './query-error.ts'
import { instantForms, readCount, readInstant, readVersion } from './values.ts'

/** ECS's limit for the expression of a placement constraint. */
export const expressionLengthMax = 2000
const depthMax = 64

interface Cursor {
  readonly text: string
  offset: number
  depth: number
}

/** Throws QueryError and nothing else, whatever the text is. */
export function parseQuery(text: string): Query {
  if (text.length > expressionLengthMax) {
    throw new QueryError(
      text,
      expressionLengthMax,
      `an expression has at most ${expressionLengthMax} characters, and this one has ${text.length}.`,
    )
  }
  const cursor: Cursor = { text, offset: 0, depth: 0 }
  const query = parseCompound(cursor, 'or')
  const rest = peek(cursor)
  if (rest.kind !== 'end') throw strayToken(cursor, rest, "'and', 'or' or the end")
  return query
}

/** The same query as text: parsing it gives the same tree. */
export function printQuery(query: Query): string {
  if (query.kind === 'not') return `not (${printQuery(query.part)})`
  if (query.kind !== 'simple') {
    return query.parts
      .map((part) => (isCompound(part) ? `(${printQuery(part)})` : printQuery(part)))
      .join(` ${query.kind} `)
  }
  const { subject, operator, values } = query
  const start = `${subjectText(subject)} ${operatorSigns[operator]}`
  if (operator === 'in' || operator === 'not_in') return `${start} [${values.map(quoted).join(', ')}]`
  const [value] = values
  if (value === undefined) return start
  const isPattern = operator === 'matches' || operator === 'not_matches'
  return `${start} ${isPattern && isPlainPattern(value) ? value : quoted(value)}`
}

function isCompound(query: Query): boolean {
  return query.kind === 'and' || query.kind === 'or'
}

function quoted(value: string): string {
  if (isPlainWord(value)) return value
  return value.includes("'") ? `"${value}"` : `'${value}'`
}

function parseCompound(cursor: Cursor, kind: 'or' | 'and'): Query {
  const parseBelow = (): Query => (kind === 'or' ? parseCompound(cursor, 'and') : parseNot(cursor))
  const first = parseBelow()
  const parts = [first]
  while (takeJoint(cursor, kind)) parts.push(parseBelow())
  return parts.length === 1 ? first : { kind, parts }
}

function takeJoint(cursor: Cursor, kind: 'or' | 'and'): boolean {
  const token = peek(cursor)
  if (token.kind === 'word' ? token.text !== kind : token.text !== (kind === 'or' ? '||' : '&&')) return false
  if (token.kind === 'string') return false
  take(cursor, token)
  return true
}

function parseNot(cursor: Cursor): Query {
  const token = peek(cursor)
  const isNot = (token.kind === 'sign' && token.text === '!') || (token.kind === 'word' && token.text === 'not')
  const isOpening = token.kind === 'sign' && token.text === '('
  if (!isNot && !isOpening) return parseSimple(cursor)
  cursor.depth += 1
  if (cursor.depth > depthMax) {
    throw new QueryError(cursor.text, token.start, `parentheses and nots can be nested ${depthMax} deep at most.`)
  }
  take(cursor, token)
  const query: Query = isNot ? { kind: 'not', part: parseNot(cursor) } : parseInside(cursor, token)
  cursor.depth -= 1
  return query
}

function parseInside(cursor: Cursor, opening: Token): Query {
  const query = parseCompound(cursor, 'or')
  const closing = peek(cursor)
  if (!isSign(closing, ')')) {
    throw strayToken(cursor, closing, `'and', 'or' or the ')' for the '(' at column ${opening.start + 1}`)
  }
  take(cursor, closing)
  return query
}

function parseSimple(cursor: Cursor): Query {
  const subjectToken = peek(cursor)
  const subject = readSubject(cursor.text, subjectToken)
  take(cursor, subjectToken)
  const { operator, end } = readOperator(cursor.text, peek(cursor), subject)
  cursor.offset = end
  return { kind: 'simple', subject, operator, values: parseArgument(cursor, subject, operator) }
}

function parseArgument(cursor: Cursor, subject: QuerySubject, operator: QueryOperator): readonly string[] {
  switch (operator) {
    case 'exists':
    case 'not_exists':
      return []
    case 'in':
    case 'not_in':
      return parseList(cursor, subject, operator)
    case 'matches':
    case 'not_matches':
      return [parsePattern(cursor, operator)]
    default:
      return [parseValue(cursor, subject, `a value after ${operatorSigns[operator]}`)]
  }
}

function parseList(cursor: Cursor, subject: QuerySubject, operator: QueryOperator): readonly string[] {
  const opening = peek(cursor)
  if (!isSign(opening, '[')) {
    const form = `${subjectText(subject)} ${operatorSigns[operator]} [first, second]`
    throw expected(cursor, opening, `a list such as ${form}`)
  }
  take(cursor, opening)
  const values: string[] = []
  for (;;) {
    values.push(parseValue(cursor, subject, 'a value of the list'))
    const next = peek(cursor)
    if (!isSign(next, ',') && !isSign(next, ']')) {
      throw expected(cursor, next, `',' or the ']' of the list that begins at column ${opening.start + 1}`)
    }
    take(cursor, next)
    if (next.text === ']') return values
  }
}

function parseValue(cursor: Cursor, subject: QuerySubject, what: string): string {
  const token = peek(cursor)
  if (token.kind !== 'word' && token.kind !== 'string') {
    throw expected(cursor, token, what, isSign(token, '[') ? ' A list is for in and !in' : '')
  }
  const wanted = wantedForm(subject, token.text)
  if (wanted !== undefined) throw expected(cursor, token, wanted)
  take(cursor, token)
  return token.text
}

/** What a value of this subject looks like, where the text doesn't. */
function wantedForm({ kind }: QuerySubject, text: string): string | undefined {
  if (kind === 'agentConnected' && text !== 'true' && text !== 'false') return 'true or false'
  if (kind === 'agentVersion' && readVersion(text) === undefined) return 'a version such as 1.14.5'
  if (kind === 'registeredAt' && readInstant(text) === undefined) return `a date such as ${instantForms}`
  if (kind === 'runningTasksCount' && readCount(text) === undefined) return 'a whole number of 0 or more'
  return undefined
}

function parsePattern(cursor: Cursor, operator: QueryOperator): string {
  const token = patternAt(cursor.text, cursor.offset)
  const next = tokenAt(cursor.text, token.end)
  const isCut = token.kind === 'word' && next.start === token.end && (isSign(next, '(') || next.kind === 'string')
  if (isCut || isSign(token, '(')) {
    throw expected(cursor, isCut ? next : token, 'a pattern with parentheses or quotes inside quotes')
  }
  if (token.kind !== 'word' && token.kind !== 'string') {
    throw expected(cursor, token, `a pattern after ${operatorSigns[operator]}`)
  }
  try {
    compilePattern(token.text)
  } catch (error) {
    if (!(error instanceof PatternError)) throw error
    const inside = token.start + (token.kind === 'string' ? 1 : 0)
    throw new QueryError(cursor.text, inside + error.offset, error.message)
  }
  take(cursor, token)
  return token.text
}

/** What stands where an expression is complete. */
function strayToken(cursor: Cursor, token: Token, wanted: string): QueryError {
  const small = token.kind === 'word' ? token.text.toLowerCase() : ''
  const isJoint = small === 'and' || small === 'or'
  let hint = ''
  if (isJoint) hint = ` Write '${small}' in small letters`
  else if (token.kind === 'sign' && (token.text === '&' || token.text === '|')) hint = ` Write it twice`
  else if (token.kind === 'sign' && token.text === ')') hint = ' No parenthesis is open'
  else if (token.kind === 'word' || token.kind === 'string') hint = ' A value with spaces is written in quotes'
  return expected(cursor, token, wanted, hint)
}

function expected(cursor: Cursor, found: Token, what: string, hint = ''): QueryError {
  return new QueryError(
    cursor.text,
    found.start,
    `expected ${what}, found ${nameOf(found)}.${hint === '' ? '' : `${hint}.`}`,
  )
}

function isSign(token: Token, text: string): boolean {
  return token.kind === 'sign' && token.text === text
}

function peek(cursor: Cursor): Token {
  return tokenAt(cursor.text, cursor.offset)
}

function take(cursor: Cursor, token: Token): void {
  cursor.offset = token.end
}
