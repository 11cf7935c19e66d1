/**
 * The tokens of the cluster query language, read where they are wanted: what a character means depends on the place,
 * since a pattern after `=~` may hold signs that are operators elsewhere.
 */
import { QueryError } from './query-error.ts'

export interface Token {
  readonly kind: 'word' | 'string' | 'sign' | 'end'
  /** A word or a sign as it stands; what is between a string's quotes. */
  readonly text: string
  /** Where it begins and where the next begins, 0-based. */
  readonly start: number
  readonly end: number
}

const space = /\s*/y
/** What isn't a sign of the grammar. Attribute names, values, versions, dates and groups are all made of it. */
const word = /[^\s()[\],'"=!<>~&|]+/y
const sign = /==|!=|>=|<=|=~|!~|&&|\|\||[()[\],=!<>~&|]/y
/** A pattern without quotes ends at a space, a parenthesis, a quote, `&&` or `||`. */
const pattern = /(?:[^\s()'"&|]|&(?!&)|\|(?!\|))+/y

export function tokenAt(text: string, offset: number): Token {
  const start = afterSpace(text, offset)
  if (start === text.length) return { kind: 'end', text: '', start, end: start }
  const quote = text[start]
  if (quote === "'" || quote === '"') return stringAt(text, start, quote)
  const plain = stickyMatch(word, text, start)
  if (plain !== undefined) return { kind: 'word', text: plain, start, end: start + plain.length }
  const found = stickyMatch(sign, text, start)
  if (found === undefined) throw new Error(`No token begins at ${start} of: ${text}`)
  return { kind: 'sign', text: found, start, end: start + found.length }
}

/** The argument of `=~` and `!~`: a string, or as much as reads as one pattern. */
export function patternAt(text: string, offset: number): Token {
  const start = afterSpace(text, offset)
  const found = stickyMatch(pattern, text, start)
  return found === undefined ? tokenAt(text, start) : { kind: 'word', text: found, start, end: start + found.length }
}

/** True where the text can stand without quotes. */
export function isPlainWord(text: string): boolean {
  return stickyMatch(word, text, 0) === text
}

export function isPlainPattern(text: string): boolean {
  return stickyMatch(pattern, text, 0) === text
}

/** As a message names it. */
export function nameOf(token: Token): string {
  if (token.kind === 'end') return 'the end'
  return token.kind === 'string' ? `the string '${cut(token.text)}'` : `'${cut(token.text)}'`
}

/** A backslash is an ordinary character, as values and patterns have it; so a string can't hold its own quote. */
function stringAt(text: string, start: number, quote: string): Token {
  const close = text.indexOf(quote, start + 1)
  if (close < 0) throw new QueryError(text, start, `the string that begins here has no closing ${quote}.`)
  return { kind: 'string', text: text.slice(start + 1, close), start, end: close + 1 }
}

function afterSpace(text: string, offset: number): number {
  return offset + (stickyMatch(space, text, offset)?.length ?? 0)
}

function stickyMatch(expression: RegExp, text: string, offset: number): string | undefined {
  expression.lastIndex = offset
  return expression.exec(text)?.[0]
}

function cut(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}...`
}
