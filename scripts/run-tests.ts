/** Runs test files by tap and tells, file by file, what passed and failed, counted from tap's own output. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { say, seconds } from './report.ts'
import { type TestFileResult, countTap } from './tap-count.ts'

export interface TestRun {
  readonly files: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Seconds that one file may take before tap ends it; it then counts as failed. */
  readonly fileTimeoutSeconds: number
  /** Test files that run at the same time. */
  readonly jobs: number
  /** A process whose network namespace the tests are to share; undefined: ours. */
  readonly networkOf?: number | undefined
  /** Polled while the run goes on; true ends it. */
  readonly isInterrupted: () => boolean
}

export interface TestRunResult {
  readonly passed: number
  readonly failed: number
}

const linesShownOfAFailure = 150
/** How long an interrupted tap has to end its tests. */
const tapEndsInMs = 3_000

/** A run that tells of no file, or of fewer than it was given, has failed, whatever its exit code says. */
export async function runTestFiles(run: TestRun): Promise<TestRunResult> {
  const startedAt = Date.now()
  const results: TestFileResult[] = []
  const counter = countTap((result) => {
    results.push(result)
    showResult(result)
  })
  const { code, errors } = await runTap(run, (line) => counter.take(line))
  const passed = results.reduce((sum, result) => sum + result.passed, 0)
  let failed = results.reduce((sum, result) => sum + result.failed, 0)
  if (results.length !== run.files.length || (code !== 0 && failed === 0)) {
    failed += Math.max(1, run.files.length - results.length)
    say(`tap ended with code ${code} after ${results.length} of ${run.files.length} files`)
  }
  if (failed > 0 && errors !== '') process.stdout.write(`${errors}\n`)
  say(`  ${passed} passed, ${failed} failed in ${seconds(startedAt)}`)
  return { passed, failed }
}

function showResult(result: TestFileResult): void {
  const counts = `${result.passed} passed${result.failed > 0 ? `, ${result.failed} failed` : ''}`
  say(
    `${result.failed === 0 ? 'ok    ' : 'FAILED'} ${result.file} (${[counts, result.time].filter(Boolean).join(', ')})`,
  )
  for (const name of result.skipped) say(`       skipped: ${name}`)
  if (result.failed === 0) return
  const lines = result.lines.filter((line) => !/^ *ok\b/.test(line) && line.trim() !== '')
  process.stdout.write(`${lines.slice(0, linesShownOfAFailure).join('\n')}\n`)
}

function runTap(run: TestRun, take: (line: string) => void): Promise<{ code: number; errors: string }> {
  const tap = join('node_modules', '.bin', 'tap')
  const options = ['--reporter=tap', `--jobs=${run.jobs}`, `--timeout=${run.fileTimeoutSeconds}`]
  options.push(`--node-arg=--import=${new URL('../test/support/fixed-seed.ts', import.meta.url).href}`)
  const command = [process.execPath, tap, ...options, ...run.files]
  if (run.networkOf !== undefined) command.unshift('nsenter', `--net=/proc/${run.networkOf}/ns/net`)
  const [program = process.execPath, ...args] = command
  return new Promise((resolve) => {
    const child = spawn(program, args, { env: { ...process.env, ...run.env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-20_000)
    })
    createInterface({ input: child.stdout }).on('line', take)
    let interruptedAt: number | undefined
    const watch = setInterval(() => {
      if (!run.isInterrupted()) return
      interruptedAt ??= Date.now()
      // tap waits half a minute for a test that is busy; what it leaves running is ended afterwards, by its mark.
      child.kill(Date.now() - interruptedAt < tapEndsInMs ? 'SIGTERM' : 'SIGKILL')
    }, 200)
    child.on('error', (error) => {
      errors += error.message
    })
    const end = (code: number | null) => {
      clearInterval(watch)
      resolve({ code: code ?? 128, errors: errors.trim() })
    }
    child.on('close', end)
    // What tap left may hold its output open, and nobody will read more of it.
    child.on('exit', (code) => run.isInterrupted() && end(code))
  })
}
