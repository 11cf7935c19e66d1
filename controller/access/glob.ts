/**
 * IAM's wildcards: `*` is any run of characters, `?` is any one. Matched without regular expressions and without going
 * back over a `*`: the text between two of them is looked for once, leftmost first, which is always enough. So a match
 * takes at most one comparison for each pair of a character of the text and one of the pattern, whatever the pattern is.
 */

export const anyRun = Symbol('*')
export const anyOne = Symbol('?')

/** A piece of a pattern: text that stands for itself, or a wildcard. */
export type GlobPiece = string | typeof anyRun | typeof anyOne

/** Text between two `*`: its characters, of which undefined ones are `?`; `literal` where there is no `?`. */
interface Run {
  readonly literal: string | undefined
  readonly characters: readonly (string | undefined)[]
}

export interface Glob {
  /** What the pattern is where it has no wildcard at all: then a match is an equality. */
  readonly exact: string | undefined
  /** One more than there are `*`. */
  readonly runs: readonly Run[]
}

/** `*` and `?` of the text are wildcards. */
export function globOf(pattern: string): Glob {
  return compileGlob(globPieces(pattern))
}

export function globPieces(pattern: string): readonly GlobPiece[] {
  const pieces = pattern.split(/([*?])/).filter((piece) => piece !== '')
  return pieces.map((piece) => (piece === '*' ? anyRun : piece === '?' ? anyOne : piece))
}

export function compileGlob(pieces: readonly GlobPiece[]): Glob {
  if (pieces.every((piece) => typeof piece === 'string')) return { exact: pieces.join(''), runs: [] }
  const runs: (string | undefined)[][] = [[]]
  for (const piece of pieces) {
    if (piece === anyRun) runs.push([])
    else if (piece === anyOne) runs.at(-1)?.push(undefined)
    // By UTF-16 units as everything else here: a `?` on a text outside of the plane takes two.
    else for (let at = 0; at < piece.length; at += 1) runs.at(-1)?.push(piece[at])
  }
  return { exact: undefined, runs: runs.map(compileRun) }
}

export function matchesGlob({ exact, runs }: Glob, text: string): boolean {
  if (exact !== undefined) return exact === text
  const first = runs[0]
  const last = runs[runs.length - 1]
  if (first === undefined || last === undefined || !runStandsAt(first, text, 0)) return false
  if (runs.length === 1) return first.characters.length === text.length
  let at = first.characters.length
  const lastAt = text.length - last.characters.length
  for (let index = 1; index < runs.length - 1; index += 1) {
    const run = runs[index]
    if (run === undefined) return false
    const found = findRun(run, text, at)
    if (found < 0) return false
    at = found + run.characters.length
  }
  return lastAt >= at && runStandsAt(last, text, lastAt)
}

function compileRun(characters: readonly (string | undefined)[]): Run {
  return { characters, literal: characters.includes(undefined) ? undefined : characters.join('') }
}

function runStandsAt({ literal, characters }: Run, text: string, at: number): boolean {
  if (at + characters.length > text.length) return false
  if (literal !== undefined) return text.startsWith(literal, at)
  for (let index = 0; index < characters.length; index += 1) {
    const character = characters[index]
    if (character !== undefined && character !== text[at + index]) return false
  }
  return true
}

function findRun(run: Run, text: string, from: number): number {
  if (run.literal !== undefined) return text.indexOf(run.literal, from)
  for (let at = from; at + run.characters.length <= text.length; at += 1) if (runStandsAt(run, text, at)) return at
  return -1
}
