/**
 * Reads TypeScript well enough for the house rules, without a compiler: which text is code and which is comment or
 * string, what a file imports and exports, and where its functions begin and end.
 */

export interface Import {
  /** As written, such as `./arn.ts`. */
  readonly from: string
  /** Nothing of it is left at run time. */
  readonly isTypeOnly: boolean
  /** `export ... from`. */
  readonly isReExport: boolean
}

export interface SourceFunction {
  readonly firstLine: number
  readonly lines: number
}

export interface Source {
  /** Relative to the root of the repository, with forward slashes. */
  readonly path: string
  readonly text: string
  /** The text with the inside of comments, strings and regular expressions blanked; every offset is kept. */
  readonly code: string
  /** All comments, each on lines of its own. */
  readonly comments: string
  readonly imports: readonly Import[]
  readonly functions: readonly SourceFunction[]
}

export function readSource(path: string, text: string): Source {
  const { code, comments } = separate(text)
  return { path, text, code, comments, imports: findImports(text, code), functions: findFunctions(code) }
}

interface Separated {
  readonly code: string
  readonly comments: string
}

/** A slash begins a regular expression after an operator, an opening bracket or such a word; else it divides. */
const beforeRegex = /(?:^|[=(,:[!&|?{};+\-*%<>~^])\s*$|\b(?:return|typeof|case|in|of|void|throw|yield|await)\s*$/

/** Walks the text once. `open` holds, for each template literal around us, the braces open in its `${...}`. */
function separate(text: string): Separated {
  const kept = text.split('')
  const comments: string[] = []
  const open: number[] = []
  let at = 0
  const blank = (from: number, to: number) => {
    for (let index = from; index < to; index += 1) if (kept[index] !== '\n') kept[index] = ' '
  }
  const skipTemplate = () => {
    const end = endOfTemplate(text, at)
    blank(at, end.at)
    if (end.isHole) open.push(0)
    at = end.at + (end.isHole ? 2 : 1)
  }
  while (at < text.length) {
    const char = text[at] ?? ''
    const pair = text.slice(at, at + 2)
    if (pair === '//' || pair === '/*') {
      const end = endOfComment(text, at)
      comments.push(text.slice(at, end))
      blank(at, end)
      at = end
    } else if (char === "'" || char === '"') {
      const end = endOfQuoted(text, at, char)
      blank(at + 1, end)
      at = end + 1
    } else if (char === '/' && beforeRegex.test(kept.slice(Math.max(0, at - 40), at).join(''))) {
      const end = endOfRegex(text, at)
      blank(at + 1, end)
      at = end + 1
    } else if (char === '`') {
      at += 1
      skipTemplate()
    } else if (char === '}' && open.at(-1) === 0) {
      open.pop()
      at += 1
      skipTemplate()
    } else {
      const depth = open.at(-1)
      if (depth !== undefined && char === '{') open[open.length - 1] = depth + 1
      if (depth !== undefined && char === '}') open[open.length - 1] = depth - 1
      at += 1
    }
  }
  return { code: kept.join(''), comments: comments.join('\n') }
}

function endOfComment(text: string, at: number): number {
  const isLine = text[at + 1] === '/'
  const end = text.indexOf(isLine ? '\n' : '*/', at + 2)
  if (end === -1) return text.length
  return isLine ? end : end + 2
}

function endOfQuoted(text: string, at: number, quote: string): number {
  let index = at + 1
  while (index < text.length && text[index] !== quote && text[index] !== '\n') index += text[index] === '\\' ? 2 : 1
  return index
}

/** Past the flags' slash; a slash in a character class doesn't end it. */
function endOfRegex(text: string, at: number): number {
  let isInClass = false
  let index = at + 1
  while (index < text.length && text[index] !== '\n') {
    const char = text[index]
    if (char === '\\') index += 1
    else if (char === '[') isInClass = true
    else if (char === ']') isInClass = false
    else if (char === '/' && !isInClass) return index
    index += 1
  }
  return index
}

function endOfTemplate(text: string, from: number): { at: number; isHole: boolean } {
  let index = from
  while (index < text.length && text[index] !== '`') {
    if (text[index] === '\\') index += 1
    else if (text[index] === '$' && text[index + 1] === '{') return { at: index, isHole: true }
    index += 1
  }
  return { at: index, isHole: false }
}

function findImports(text: string, code: string): readonly Import[] {
  const found: Import[] = []
  const statement = /^[ \t]*(import|export)\b([^'"`;=()]*?)\bfrom\s*(['"])( *)\3/gm
  for (const match of code.matchAll(statement)) {
    const [whole, word, clause = '', , blanks = ''] = match
    found.push({
      from: specifier(text, match.index + whole.length, blanks),
      isTypeOnly: isTypeOnly(clause),
      isReExport: word === 'export',
    })
  }
  for (const match of code.matchAll(/\bimport\s*\(?\s*(['"])( *)\1/g)) {
    const from = specifier(text, match.index + match[0].length, match[2] ?? '')
    found.push({ from, isTypeOnly: false, isReExport: false })
  }
  return found
}

/** The string before this offset: its inside is blank in the code, and as long as in the text. */
function specifier(text: string, end: number, blanks: string): string {
  return text.slice(end - 1 - blanks.length, end - 1)
}

function isTypeOnly(clause: string): boolean {
  if (/^\s*type\b/.test(clause)) return true
  const named = /^\s*\{([^}]*)\}\s*$/.exec(clause)?.[1]
  if (named === undefined) return false
  const names = named.split(',').filter((name) => name.trim() !== '')
  return names.length > 0 && names.every((name) => /^\s*type\s/.test(name))
}

const notAFunction = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'return', 'await', 'super'])

/** Functions with a body in braces: declarations, methods and arrows. */
function findFunctions(code: string): readonly SourceFunction[] {
  const found: SourceFunction[] = []
  const add = (start: number, brace: number) => {
    const firstLine = lineAt(code, start)
    found.push({ firstLine, lines: lineAt(code, matching(code, brace)) - firstLine + 1 })
  }
  for (const match of code.matchAll(/=>\s*\{/g)) add(match.index, match.index + match[0].length - 1)
  for (const match of code.matchAll(/([A-Za-z_$][\w$]*)?\s*(?:<[^(){}=]*>)?\(/g)) {
    if (notAFunction.has(match[1] ?? '')) continue
    const brace = bodyAfter(code, matching(code, match.index + match[0].length - 1) + 1)
    if (brace !== undefined) add(match.index, brace)
  }
  return found
}

/** The brace of the body that follows a parameter list, past a return type (which may hold braces of its own). */
function bodyAfter(code: string, from: number): number | undefined {
  let at = skipSpace(code, from)
  if (code[at] === '{') return at
  if (code[at] !== ':') return undefined
  at += 1
  let before = ':'
  while (at < code.length) {
    at = skipSpace(code, at)
    const char = code[at] ?? ''
    if (char === '{' && !/[:|&<,(]/.test(before)) return at
    if (char === '{' || char === '(' || char === '[') at = matching(code, at)
    else if (/[;,)\n}=?]/.test(char)) return undefined
    before = code[at] ?? ''
    at += 1
  }
  return undefined
}

function skipSpace(code: string, from: number): number {
  let at = from
  while (/\s/.test(code[at] ?? '')) at += 1
  return at
}

/** The offset of the bracket that closes the one at this offset. */
function matching(code: string, from: number): number {
  const opening = code[from] ?? ''
  const closing = { '{': '}', '(': ')', '[': ']' }[opening] ?? ''
  let depth = 0
  for (let at = from; at < code.length; at += 1) {
    if (code[at] === opening) depth += 1
    if (code[at] === closing) depth -= 1
    if (depth === 0) return at
  }
  return code.length
}

function lineAt(code: string, offset: number): number {
  let line = 1
  for (let at = code.indexOf('\n'); at !== -1 && at < offset; at = code.indexOf('\n', at + 1)) line += 1
  return line
}
