/** What a bench found: rows of figures, as a table or as JSON. Ratios come first: they mean more than any one figure. */
import type { Machine } from './machine.ts'
import { type Summary, summarize } from './statistics.ts'

export type Unit = 'ms' | 's' | '/s' | 'MB' | 'µs' | 'KB'

export interface Row {
  readonly figure: string
  /** This by what it stands beside, from the same run. */
  readonly ratio?: number | undefined
  readonly unit: Unit
  readonly measured: Summary
  /** What it is compared with. */
  readonly beside?: { readonly what: string; readonly measured: Summary } | undefined
  readonly aim?: Aim | undefined
}

export interface Aim {
  /** Such as `at most 50 ms above raw`. */
  readonly text: string
  /** What is held against the aim, where it is not the measured median itself. */
  readonly seen?: string | undefined
  readonly isMet: boolean
}

export interface BenchResult {
  readonly bench: string
  readonly machine: Machine
  readonly rows: readonly Row[]
  /** How it was measured, and what a reader should know. */
  readonly notes: readonly string[]
}

/** A row of what was measured once. */
export function figureOf(figure: string, unit: Unit, value: number, aim?: Aim): Row {
  return { figure, unit, measured: summarize([value]), aim }
}

export function writeJson(result: BenchResult): string {
  return JSON.stringify(result, undefined, 2)
}

export function writeTable({ bench, machine, rows, notes }: BenchResult): string {
  const { cores, model, memoryMiB, kernel, docker, node, commit, loadBefore } = machine
  const place = [
    `${cores} cores (${model})`,
    `${memoryMiB} MiB`,
    `Linux ${kernel}`,
    docker ?? 'no Docker',
    `Node ${node}`,
  ]
  const head = ['figure', 'ratio', 'median', 'spread', 'rounds', 'beside', 'aim', '']
  const cells = rows.map(cellsOf)
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((line) => line[column]?.length ?? 0)))
  const line = (values: readonly string[]) =>
    values
      .map((value, column) => value.padEnd(widths[column] ?? 0))
      .join(' | ')
      .trimEnd()
  const rule = widths.map((width) => '-'.repeat(width)).join('-|-')
  return [
    `bench ${bench}: ${place.join(', ')}, commit ${commit}, load before ${loadBefore}`,
    '',
    line(head),
    rule,
    ...cells.map(line),
    '',
    ...notes.map((note) => `- ${note}`),
  ].join('\n')
}

function cellsOf({ figure, ratio, unit, measured, beside, aim }: Row): readonly string[] {
  return [
    figure,
    ratio === undefined ? '' : `${digits(ratio)} x`,
    `${digits(measured.median)} ${unit}`,
    measured.rounds === 1 ? '' : `${digits(measured.lowest)} to ${digits(measured.highest)}`,
    String(measured.rounds),
    beside === undefined ? '' : `${digits(beside.measured.median)} ${unit} ${beside.what}`,
    aim === undefined ? '' : `${aim.text}${aim.seen === undefined ? '' : `: ${aim.seen}`}`,
    aim === undefined ? '' : aim.isMet ? 'met' : 'MISSED',
  ]
}

/** Three significant digits are more than a noisy machine gives. */
export function digits(value: number): string {
  const size = Math.abs(value)
  if (size >= 1000) return Math.round(value).toLocaleString('en-US')
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)
}
