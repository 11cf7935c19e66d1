/**
 * Counts what a TAP stream truly says: leaf assertions, never the summary line of a subtest besides. A file that
 * crashed, ran into its time limit or held no test at all counts as one failure, as does a subtest that failed without
 * any failed assertion in it.
 */

export interface TestFileResult {
  readonly file: string
  readonly passed: number
  readonly failed: number
  readonly skipped: readonly string[]
  readonly time: string
  /** The file's own TAP, for the screen when something failed. */
  readonly lines: readonly string[]
}

export interface TapCounter {
  /** Takes one line without its end. */
  take(line: string): void
}

interface Block {
  passed: number
  failed: number
  points: number
}

interface TestPoint {
  readonly depth: number
  readonly isOk: boolean
  readonly name: string
  readonly isSkipped: boolean
  readonly time: string
}

const indentWidth = 4

function readPoint(line: string): TestPoint | undefined {
  const match = /^( *)(not ok|ok)\b(?: \d+)?(?: - )?(.*)$/.exec(line)
  if (match === null) return undefined
  const [, indent = '', verdict, rest = ''] = match
  if (indent.length % indentWidth !== 0) return undefined
  return {
    depth: indent.length / indentWidth,
    isOk: verdict === 'ok',
    name: rest.replace(/ # .*$/, ''),
    isSkipped: / # (SKIP|TODO)\b/i.test(rest),
    time: / # time=([\d.]+m?s)/.exec(rest)?.[1] ?? '',
  }
}

/** Calls `onFile` for each finished test file, in the order of the stream. */
export function countTap(onFile: (result: TestFileResult) => void): TapCounter {
  let blocks: Block[] = []
  let skipped: string[] = []
  let lines: string[] = []
  let isInDiagnostics = false

  const blockAt = (depth: number): Block => {
    const block = blocks[depth] ?? { passed: 0, failed: 0, points: 0 }
    blocks[depth] = block
    return block
  }

  const finishFile = (point: TestPoint, inner: Block | undefined): void => {
    const { passed, failed, points } = inner ?? { passed: 0, failed: 0, points: 0 }
    const isEmpty = points === 0
    const isFailure = !point.isOk || isEmpty
    onFile({
      file: point.name,
      passed,
      failed: failed === 0 && isFailure ? 1 : failed,
      skipped,
      time: point.time,
      lines: isEmpty && point.isOk ? [...lines, '  this file holds no test'] : lines,
    })
    blocks = []
    skipped = []
    lines = []
  }

  const takePoint = (point: TestPoint): void => {
    const inner = blocks[point.depth + 1]
    if (point.depth === 0) return finishFile(point, inner)
    blocks.length = Math.min(blocks.length, point.depth + 1)
    const block = blockAt(point.depth)
    block.points += 1
    if (inner === undefined || inner.points === 0) {
      if (point.isSkipped) skipped.push(point.name)
      else if (point.isOk) block.passed += 1
      else block.failed += 1
      return
    }
    block.passed += inner.passed
    block.failed += inner.failed === 0 && !point.isOk ? 1 : inner.failed
  }

  return {
    take(line) {
      lines.push(line)
      // A diagnostic block is YAML and may quote anything, even lines that look like test points.
      if (/^ *---$/.test(line)) isInDiagnostics = true
      if (!isInDiagnostics) {
        const point = readPoint(line)
        if (point !== undefined) takePoint(point)
      }
      if (/^ *\.\.\.$/.test(line)) isInDiagnostics = false
    },
  }
}
