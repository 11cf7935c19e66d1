/**
 * Texts of a policy with variables in them: `${aws:username}`, `${aws:PrincipalTag/team, 'none'}` with a default, and
 * `${*}`, `${?}`, `${$}` for these characters themselves. What a variable stands for is text, never a wildcard: a tag
 * with the value `*` does not open a policy.
 *
 * Source: AWS IAM User Guide, "IAM policy elements: Variables and tags".
 */
import { anyOne, anyRun, compileGlob, type Glob, type GlobPiece, globPieces } from './glob.ts'

/** Looks up a condition key by its name in lower case. Undefined where the request has none. */
export type KeyReader = (key: string) => string | readonly string[] | undefined

interface Variable {
  /** In lower case. */
  readonly key: string
  readonly fallback: string | undefined
}

type TemplatePiece = GlobPiece | Variable

export interface Template {
  readonly pieces: readonly TemplatePiece[]
  /** The pattern and the text where nothing has to be looked up. */
  readonly fixed: { readonly glob: Glob; readonly text: string } | undefined
}

/** A text with a `${` that is no variable, or one of an unknown key. */
export interface TemplateProblem {
  readonly problem: string
}

const variableForm = /^([A-Za-z0-9-]+:[^,'{}$]{1,256}?)\s*(?:,\s*'([^'{}$]*)')?$/

/** `hasVariables` is false for policies of Version 2008-10-17, where `${` is text like any other. */
export function parseTemplate(text: string, hasVariables: boolean): Template | TemplateProblem {
  const pieces: TemplatePiece[] = []
  let at = 0
  for (;;) {
    const start = hasVariables ? text.indexOf('${', at) : -1
    pieces.push(...globPieces(text.slice(at, start < 0 ? undefined : start)))
    if (start < 0) break
    const end = text.indexOf('}', start)
    if (end < 0) return { problem: `"${text}" opens a policy variable with \${ and does not close it` }
    const variable = parseVariable(text.slice(start + 2, end))
    if (variable === undefined) return { problem: `${text.slice(start, end + 1)} is not a policy variable` }
    pieces.push(variable)
    at = end + 1
  }
  return { pieces, fixed: fixedOf(pieces) }
}

export function variablesOf({ pieces }: Template): readonly string[] {
  return pieces.flatMap((piece) => (isVariable(piece) ? [piece.key] : []))
}

/** The pattern with its variables' values, or undefined where one has none: then it matches nothing. */
export function resolveGlob(template: Template, read: KeyReader): Glob | undefined {
  if (template.fixed !== undefined) return template.fixed.glob
  const pieces = resolvePieces(template, read)
  return pieces === undefined ? undefined : compileGlob(pieces)
}

/** The text with its variables' values; `*` and `?` are characters like any other. */
export function resolveText(template: Template, read: KeyReader): string | undefined {
  if (template.fixed !== undefined) return template.fixed.text
  return resolvePieces(template, read)?.map(textOf).join('')
}

/** A pattern's pieces up to each colon, as ARNs are compared. */
export function resolvePieces(template: Template, read: KeyReader): readonly GlobPiece[] | undefined {
  const resolved: GlobPiece[] = []
  for (const piece of template.pieces) {
    if (!isVariable(piece)) resolved.push(piece)
    else {
      const value = read(piece.key) ?? piece.fallback
      // A key with several values stands for no single text.
      if (typeof value !== 'string') return undefined
      resolved.push(value)
    }
  }
  return resolved
}

function parseVariable(inner: string): TemplatePiece | undefined {
  if (inner === '*' || inner === '?' || inner === '$') return inner
  const [, key, fallback] = variableForm.exec(inner.trim()) ?? []
  return key === undefined ? undefined : { key: key.toLowerCase(), fallback }
}

function fixedOf(pieces: readonly TemplatePiece[]): Template['fixed'] {
  const fixed = pieces.flatMap((piece): readonly GlobPiece[] => (isVariable(piece) ? [] : [piece]))
  return fixed.length < pieces.length ? undefined : { glob: compileGlob(fixed), text: fixed.map(textOf).join('') }
}

function textOf(piece: GlobPiece): string {
  return piece === anyRun ? '*' : piece === anyOne ? '?' : piece
}

function isVariable(piece: TemplatePiece): piece is Variable {
  return typeof piece === 'object'
}
