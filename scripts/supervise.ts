/** Keeps one program running: started again with back-off when it ends, its output in a log file of bounded size. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, copyFileSync, existsSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { lastLines, say } from './report.ts'

export interface Program {
  readonly name: 'controller' | 'agent'
  /** The TypeScript file, as an absolute path. */
  readonly file: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly logFile: string
  /** Exit codes that mean: starting again would not help, a person has to look. */
  readonly finalExitCodes: readonly number[]
}

export interface Supervised {
  readonly name: string
  pid(): number | undefined
  /** Why it is not started again, in words; undefined while it is kept running. */
  gaveUp(): string | undefined
  /** Ends it and waits until it is gone: SIGTERM, then SIGKILL after 15 seconds. */
  stop(): Promise<void>
}

const firstBackoffMs = 1_000
const longestBackoffMs = 30_000
/** A program that has run this long has started well: its next failure begins the back-off anew. */
const steadyAfterMs = 60_000
const stopTimeoutMs = 15_000
const logBytesMax = 20 * 1024 * 1024
const logCheckMs = 60_000

/** `onChange` hears of every start and end, so that the processes can be noted for `npm run stop`. */
export function supervise(program: Program, onChange: () => void): Supervised {
  let child: ChildProcess | undefined
  let backoffMs = firstBackoffMs
  let again: NodeJS.Timeout | undefined
  let isStopping = false
  let gaveUp: string | undefined
  const rotation = setInterval(() => boundLog(program.logFile), logCheckMs)
  rotation.unref()

  const start = (): void => {
    const startedAt = Date.now()
    const started = spawnProgram(program)
    child = started
    onChange()
    started.on('exit', (code, signal) => {
      child = undefined
      onChange()
      if (isStopping) return
      const how = signal === null ? `with code ${code}` : `by ${signal}`
      if (code !== null && program.finalExitCodes.includes(code)) {
        gaveUp = `the ${program.name} ended ${how} and is not started again`
        say(`${gaveUp}: it needs a person. The end of ${program.logFile}:\n${endOfLog(program.logFile, startedAt)}`)
        return
      }
      if (Date.now() - startedAt >= steadyAfterMs) backoffMs = firstBackoffMs
      say(`the ${program.name} ended ${how}; starting it again in ${backoffMs / 1000} s (log: ${program.logFile})`)
      again = setTimeout(() => {
        start()
        say(`the ${program.name} runs again (pid ${child?.pid})`)
      }, backoffMs)
      backoffMs = Math.min(backoffMs * 2, longestBackoffMs)
    })
  }

  start()
  return {
    name: program.name,
    pid: () => child?.pid,
    gaveUp: () => gaveUp,
    async stop() {
      isStopping = true
      clearTimeout(again)
      clearInterval(rotation)
      if (child !== undefined) await stopChild(child)
    },
  }
}

/** In a session of its own: a Ctrl-C on the terminal is the supervisor's to handle, in order. */
function spawnProgram(program: Program): ChildProcess {
  const log = openSync(program.logFile, 'a', 0o600)
  const child = spawn(process.execPath, [program.file], {
    detached: true,
    stdio: ['ignore', log, log],
    env: program.env,
  })
  closeSync(log)
  child.on('error', (error) => say(`the ${program.name} could not be started: ${error.message}`))
  return child
}

function stopChild(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    const kill = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
    child.on('exit', () => {
      clearTimeout(kill)
      resolve()
    })
    child.kill('SIGTERM')
  })
}

/** The program holds the file open for appending, so it is copied and emptied rather than renamed. */
function boundLog(path: string): void {
  if (!existsSync(path) || statSync(path).size < logBytesMax) return
  copyFileSync(path, `${path}.1`)
  truncateSync(path)
}

/** The last messages since then (epoch ms) of a log of JSON lines, in words where a line has some. */
export function endOfLog(path: string, sinceMs: number): string {
  if (!existsSync(path)) return '  (empty)'
  const lines = readFileSync(path, 'utf8').trim().split('\n').map(readLine)
  // What an earlier start met would be taken for the cause of this one.
  const first = lines.findIndex(({ at }) => at >= sinceMs)
  if (first === -1) return '  (nothing since it was started)'
  const texts = lines.slice(first).map(({ text }) => text)
  return lastLines(texts.slice(-8).join('\n'), 8)
}

/** A line that is no JSON, such as a crash of Node's own, goes with those around it. */
function readLine(line: string): { readonly at: number; readonly text: string } {
  try {
    const { time = '', msg = line } = JSON.parse(line) as { time?: string; msg?: string }
    return { at: Date.parse(time), text: msg }
  } catch {
    return { at: NaN, text: line }
  }
}
