/**
 * The operators of a policy's Condition: what each compares, and which are the opposite of another.
 *
 * Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators".
 */
import { compileGlob, type Glob, type GlobPiece, matchesGlob } from './glob.ts'
import { isInRange, parseIpAddress, parseIpRange } from './ip-range.ts'
import { type KeyReader, resolveGlob, resolvePieces, resolveText, type Template } from './policy-template.ts'

/**
 * Whether a value of the request is what the policy's value asks for. Undefined where the policy's value has a variable
 * that the request has no value for.
 */
export type ValueTest = (value: string, read: KeyReader) => boolean | undefined

export interface Operator {
  /** Holds where no value of the policy fits. Then it holds for a request without the key, too. */
  readonly isNegated: boolean
  /** AWS puts values for variables into texts and ARNs only. */
  readonly takesVariables: boolean
  /** What the policy's value has to be, or undefined where it isn't that. */
  readonly compile: (template: Template, text: string) => ValueTest | undefined
  /** For the message about a value that isn't. */
  readonly takes: string
}

/** In whatever case the name is written, as AWS takes it (`arnLike`). */
export function operatorOf(name: string): Operator | undefined {
  return byLoweredName.get(name.toLowerCase())
}

const stringEquals = comparedText((value, wanted) => value === wanted)
const stringEqualsIgnoreCase = comparedText((value, wanted) => value.toLowerCase() === wanted.toLowerCase())
const stringLike: Operator['compile'] = (template) => (value, read) => {
  const glob = resolveGlob(template, read)
  return glob === undefined ? undefined : matchesGlob(glob, value)
}

const operators: ReadonlyMap<string, Operator> = new Map([
  ...both('StringEquals', 'StringNotEquals', { takesVariables: true, compile: stringEquals, takes: 'a text' }),
  ...both('StringEqualsIgnoreCase', 'StringNotEqualsIgnoreCase', {
    takesVariables: true,
    compile: stringEqualsIgnoreCase,
    takes: 'a text',
  }),
  ...both('StringLike', 'StringNotLike', { takesVariables: true, compile: stringLike, takes: 'a text' }),
  ...both('ArnEquals', 'ArnNotEquals', { takesVariables: true, compile: arn, takes: 'an ARN' }),
  ...both('ArnLike', 'ArnNotLike', { takesVariables: true, compile: arn, takes: 'an ARN' }),
  ...both(
    'NumericEquals',
    'NumericNotEquals',
    numeric((value, wanted) => value === wanted),
  ),
  one(
    'NumericLessThan',
    numeric((value, wanted) => value < wanted),
  ),
  one(
    'NumericLessThanEquals',
    numeric((value, wanted) => value <= wanted),
  ),
  one(
    'NumericGreaterThan',
    numeric((value, wanted) => value > wanted),
  ),
  one(
    'NumericGreaterThanEquals',
    numeric((value, wanted) => value >= wanted),
  ),
  ...both(
    'DateEquals',
    'DateNotEquals',
    date((value, wanted) => value === wanted),
  ),
  one(
    'DateLessThan',
    date((value, wanted) => value < wanted),
  ),
  one(
    'DateLessThanEquals',
    date((value, wanted) => value <= wanted),
  ),
  one(
    'DateGreaterThan',
    date((value, wanted) => value > wanted),
  ),
  one(
    'DateGreaterThanEquals',
    date((value, wanted) => value >= wanted),
  ),
  one('Bool', { takesVariables: false, compile: bool, takes: 'true or false' }),
  one('BinaryEquals', { takesVariables: false, compile: binary, takes: 'base64' }),
  ...both('IpAddress', 'NotIpAddress', {
    takesVariables: false,
    compile: ip,
    takes: 'an address or a range in CIDR form (192.0.2.0/24)',
  }),
])

const byLoweredName: ReadonlyMap<string, Operator> = new Map(
  [...operators].map(([name, operator]) => [name.toLowerCase(), operator]),
)

/** For the text that refuses an unknown one. */
export const operatorNames: readonly string[] = [...operators.keys(), 'Null']

function one(name: string, operator: Omit<Operator, 'isNegated'>): readonly [string, Operator] {
  return [name, { ...operator, isNegated: false }]
}

function both(
  name: string,
  opposite: string,
  operator: Omit<Operator, 'isNegated'>,
): readonly (readonly [string, Operator])[] {
  return [one(name, operator), [opposite, { ...operator, isNegated: true }]]
}

function comparedText(compare: (value: string, wanted: string) => boolean): Operator['compile'] {
  return (template) => (value, read) => {
    const wanted = resolveText(template, read)
    return wanted === undefined ? undefined : compare(value, wanted)
  }
}

function numeric(compare: (value: number, wanted: number) => boolean): Omit<Operator, 'isNegated'> {
  return compared('a number', parseNumber, compare)
}

function date(compare: (value: number, wanted: number) => boolean): Omit<Operator, 'isNegated'> {
  return compared('a date (2026-11-21T09:00:00Z) or seconds since 1970', parseDate, compare)
}

function compared(
  takes: string,
  parse: (text: string) => number | undefined,
  compare: (value: number, wanted: number) => boolean,
): Omit<Operator, 'isNegated'> {
  return {
    takesVariables: false,
    takes,
    compile(_, wantedText) {
      const wanted = parse(wantedText)
      if (wanted === undefined) return undefined
      return (valueText) => {
        const value = parse(valueText)
        return value !== undefined && compare(value, wanted)
      }
    },
  }
}

function bool(_: Template, wantedText: string): ValueTest | undefined {
  const wanted = wantedText.toLowerCase()
  return wanted === 'true' || wanted === 'false' ? (value) => value.toLowerCase() === wanted : undefined
}

function binary(_: Template, wanted: string): ValueTest | undefined {
  const isBase64 = wanted.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(wanted)
  return isBase64 ? (value) => value === wanted : undefined
}

function ip(_: Template, wanted: string): ValueTest | undefined {
  const range = parseIpRange(wanted)
  if (range === undefined) return undefined
  return (value) => {
    const address = parseIpAddress(value)
    return address !== undefined && isInRange(address, range)
  }
}

/** The six parts of an ARN are compared one by one, each with its own wildcards; the last holds its colons. */
function arn(template: Template, wanted: string): ValueTest | undefined {
  if (!isArnPattern(wanted)) return undefined
  const fixed = template.fixed === undefined ? undefined : arnPattern(resolvePieces(template, () => undefined) ?? [])
  return (value, read) => {
    if (fixed !== undefined) return matchesArn(fixed, value)
    const pieces = resolvePieces(template, read)
    return pieces === undefined ? undefined : matchesArn(arnPattern(pieces), value)
  }
}

interface ArnPattern {
  readonly parts: readonly Glob[]
  /** Ends early, in a wildcard: `arn:aws:ecs:*` and `*` stand for whatever follows. */
  readonly isOpen: boolean
}

function arnPattern(pieces: readonly GlobPiece[]): ArnPattern {
  const parts = splitAtColons(pieces)
  return { parts: parts.map(compileGlob), isOpen: parts.length < 6 && typeof parts.at(-1)?.at(-1) === 'symbol' }
}

function matchesArn({ parts: patterns, isOpen }: ArnPattern, value: string): boolean {
  const parts = arnParts(value)
  if (parts === undefined || (patterns.length !== 6 && !isOpen)) return false
  return patterns.every((pattern, index) => {
    const isRest = isOpen && index === patterns.length - 1
    return matchesGlob(pattern, isRest ? parts.slice(index).join(':') : (parts[index] ?? ''))
  })
}

/** `*`, a whole ARN with wildcards where one likes, one that ends early in `*`, or what a variable begins. */
export function isArnPattern(text: string): boolean {
  if (text === '*' || text.startsWith('${')) return true
  const parts = text.split(':')
  return parts[0] === 'arn' && (parts.length >= 6 || (parts.length >= 2 && text.endsWith('*')))
}

function arnParts(text: string): readonly string[] | undefined {
  const parts = text.split(':')
  if (parts.length < 6 || parts[0] !== 'arn') return undefined
  return [...parts.slice(0, 5), parts.slice(5).join(':')]
}

function splitAtColons(pieces: readonly GlobPiece[]): readonly (readonly GlobPiece[])[] {
  const parts: GlobPiece[][] = [[]]
  for (const piece of pieces) {
    if (typeof piece !== 'string') {
      parts.at(-1)?.push(piece)
      continue
    }
    const texts = piece.split(':')
    for (const [index, part] of texts.entries()) {
      // From the sixth part on, a colon belongs to the resource's own name.
      if (index > 0 && parts.length < 6) parts.push([])
      else if (index > 0) parts.at(-1)?.push(':')
      parts.at(-1)?.push(part)
    }
  }
  return parts
}

function parseNumber(text: string): number | undefined {
  return /^[+-]?\d{1,30}(?:\.\d{1,30})?$/.test(text) ? Number(text) : undefined
}

/** Epoch milliseconds. Only forms that mean one instant everywhere: a date alone is midnight UTC, as in AWS. */
function parseDate(text: string): number | undefined {
  if (/^\d{1,15}(?:\.\d{1,9})?$/.test(text)) {
    // Four digits alone are a year in ISO 8601.
    return text.length === 4 ? instant(`${text}-01-01T00:00:00Z`) : Number(text) * 1000
  }
  const form = /^\d{4}-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d))?)?$/
  return form.test(text) ? instant(text) : undefined
}

function instant(text: string): number | undefined {
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}
