/** An expression of the cluster query language that can't be read: where, what was expected there, and the text itself. */
export class QueryError extends Error {
  /** 1-based, in characters of the expression. */
  readonly column: number

  constructor(text: string, offset: number, problem: string) {
    super(`Invalid expression at column ${offset + 1}: ${problem} The expression is: ${around(text, offset)}`)
    this.name = 'QueryError'
    this.column = offset + 1
  }
}

const shownBefore = 120
const shownAfter = 80

/** The text, cut to what stands near the place. */
function around(text: string, offset: number): string {
  const start = text.length <= shownBefore + shownAfter ? 0 : Math.max(0, offset - shownBefore)
  const end = text.length <= shownBefore + shownAfter ? text.length : offset + shownAfter
  return `${start > 0 ? '...' : ''}${text.slice(start, end)}${end < text.length ? '...' : ''}`
}
