/**
 * Patterns as automata. A pattern becomes a program of bounded size, and a value is matched by walking all of the
 * program's threads at once, each instruction at most once per character: the time is the value's length times the
 * program's size, whatever the pattern is.
 *
 * Source: Ken Thompson, "Regular Expression Search Algorithm" (1968), in the form of Rob Pike's virtual machine.
 */
import { type CharSet, includes, isWordCharacter, lineEnds } from './char-set.ts'
import { type Assertion, parsePattern, PatternError, type PatternNode } from './pattern-syntax.ts'

export { PatternError } from './pattern-syntax.ts'

type Instruction =
  | { readonly op: 'set'; readonly set: CharSet }
  | { readonly op: 'assert'; readonly assertion: Assertion }
  | { readonly op: 'split'; first: number; second: number }
  | { readonly op: 'jump'; to: number }
  | { readonly op: 'match' }

export interface Pattern {
  readonly program: readonly Instruction[]
}

/** How many instructions a pattern may become, its repetitions written out. */
export const programLengthMax = 1000

/** Throws PatternError, whose offset is 0-based in the text. */
export function compilePattern(text: string): Pattern {
  const node = parsePattern(text)
  checkLength(node)
  const program: Instruction[] = []
  emit(program, node)
  program.push({ op: 'match' })
  return { program }
}

/** True where the whole value is what the pattern says, as Java's `matches`. */
export function matchesPattern(pattern: Pattern, value: string): boolean {
  return runPattern(pattern, value).isMatch
}

/** How the match went, with the number of instructions that were walked. */
export function runPattern({ program }: Pattern, value: string): { readonly isMatch: boolean; readonly steps: number } {
  const codes = Array.from(value, (character) => character.codePointAt(0) ?? 0)
  const walk: Walk = { program, codes, seenAt: new Int32Array(program.length).fill(-1), steps: 0 }
  let threads = follow(walk, [0], 0)
  for (let at = 0; at < codes.length && threads.length > 0; at += 1) {
    const code = codes[at] ?? 0
    const next: number[] = []
    for (const thread of threads) {
      walk.steps += 1
      const instruction = program[thread]
      if (instruction?.op === 'set' && includes(instruction.set, code)) next.push(thread + 1)
    }
    threads = follow(walk, next, at + 1)
  }
  return { isMatch: threads.some((thread) => program[thread]?.op === 'match'), steps: walk.steps }
}

interface Walk {
  readonly program: readonly Instruction[]
  readonly codes: readonly number[]
  /** At which place of the value an instruction was last reached. */
  readonly seenAt: Int32Array
  steps: number
}

/** The instructions that take a character, or end, that are reached from these without taking one. */
function follow(walk: Walk, from: readonly number[], at: number): readonly number[] {
  const { program, seenAt } = walk
  const reached: number[] = []
  const waiting = [...from]
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    if (seenAt[index] === at) continue
    seenAt[index] = at
    walk.steps += 1
    const instruction = program[index]
    if (instruction === undefined) throw new Error(`A pattern's program has no instruction ${index}.`)
    if (instruction.op === 'split') waiting.push(instruction.first, instruction.second)
    else if (instruction.op === 'jump') waiting.push(instruction.to)
    else if (instruction.op !== 'assert') reached.push(index)
    else if (holds(instruction.assertion, walk.codes, at)) waiting.push(index + 1)
  }
  return reached
}

function holds(assertion: Assertion, codes: readonly number[], at: number): boolean {
  switch (assertion) {
    case 'start':
      return at === 0
    case 'end':
      return at === codes.length
    case 'endOrNewline':
      return at === codes.length || isLastLineEnd(codes, at)
    case 'boundary':
      return isWordCharacter(codes[at - 1]) !== isWordCharacter(codes[at])
    default:
      return isWordCharacter(codes[at - 1]) === isWordCharacter(codes[at])
  }
}

/** Java's `$` also stands before a line end that is the value's last. */
function isLastLineEnd(codes: readonly number[], at: number): boolean {
  const left = codes.length - at
  if (left === 2) return codes[at] === 0x0d && codes[at + 1] === 0x0a
  return left === 1 && includes(lineEnds, codes[at] ?? 0) && !(codes[at] === 0x0a && codes[at - 1] === 0x0d)
}

/** Refuses before anything is written out, as repetitions of repetitions multiply. */
function checkLength(node: PatternNode): void {
  if (lengthOf(node) < programLengthMax) return
  throw new PatternError(
    longestRepeat(node)?.offset ?? 0,
    `the pattern is too large: with its repetitions written out it may have ${programLengthMax} parts. Repeat less.`,
  )
}

function lengthOf(node: PatternNode): number {
  switch (node.kind) {
    case 'set':
    case 'assert':
      return 1
    case 'sequence':
      return sum(node.parts)
    case 'choice':
      return sum(node.parts) + 2 * (node.parts.length - 1)
    default: {
      // Even what is empty counts, so that repetitions of nothing can't be written out without end.
      const each = Math.max(1, lengthOf(node.part))
      if (!Number.isFinite(node.max)) return Math.max(node.min, 1) * each + 2
      return node.min * each + (node.max - node.min) * (each + 1)
    }
  }
}

function sum(nodes: readonly PatternNode[]): number {
  return nodes.reduce((total, node) => total + lengthOf(node), 0)
}

/** The repetition that is written out longest. */
function longestRepeat(node: PatternNode): Extract<PatternNode, { kind: 'repeat' }> | undefined {
  if (node.kind === 'repeat') return node
  if (node.kind !== 'sequence' && node.kind !== 'choice') return undefined
  const repeats = node.parts.map(longestRepeat).filter((repeat) => repeat !== undefined)
  return repeats.sort((left, right) => lengthOf(right) - lengthOf(left))[0]
}

function emit(program: Instruction[], node: PatternNode): void {
  switch (node.kind) {
    case 'set':
      program.push({ op: 'set', set: node.set })
      return
    case 'assert':
      program.push({ op: 'assert', assertion: node.assertion })
      return
    case 'sequence':
      for (const part of node.parts) emit(program, part)
      return
    case 'choice':
      emitChoice(program, node.parts)
      return
    case 'repeat':
      emitRepeat(program, node)
  }
}

function emitChoice(program: Instruction[], parts: readonly PatternNode[]): void {
  const jumps: { to: number }[] = []
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1) {
      emit(program, part)
      break
    }
    const split = { op: 'split' as const, first: program.length + 1, second: 0 }
    program.push(split)
    emit(program, part)
    const jump = { op: 'jump' as const, to: 0 }
    program.push(jump)
    jumps.push(jump)
    split.second = program.length
  }
  for (const jump of jumps) jump.to = program.length
}

function emitRepeat(program: Instruction[], node: Extract<PatternNode, { kind: 'repeat' }>): void {
  for (let times = 0; times < node.min; times += 1) emit(program, node.part)
  const splits: { second: number }[] = []
  const optional = Number.isFinite(node.max) ? node.max - node.min : 1
  for (let times = 0; times < optional; times += 1) {
    const at = program.length
    const split = { op: 'split' as const, first: at + 1, second: 0 }
    program.push(split)
    splits.push(split)
    emit(program, node.part)
    if (!Number.isFinite(node.max)) program.push({ op: 'jump', to: at })
  }
  for (const split of splits) split.second = program.length
}
