/** What the scripts say: short plain lines on the screen, with the seconds that a long step took. */

/** A failure that is the operator's to mend: its message says what, why and what to do; no stack is shown. */
export class ScriptError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ScriptError'
  }
}

let isResultOnStandardOutput = false

/** For a script whose standard output is its result alone: from now on `say` speaks on standard error. */
export function keepStandardOutputForResults(): void {
  isResultOnStandardOutput = true
}

export function say(message: string): void {
  const stream = isResultOnStandardOutput ? process.stderr : process.stdout
  stream.write(`gantry: ${message}\n`)
}

export function seconds(sinceMs: number): string {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`
}

/** The last lines of a program's output, for a message about its failure. */
export function lastLines(text: string, count: number): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines
    .slice(-count)
    .map((line) => `  ${line}`)
    .join('\n')
}

/** Runs a script's main function; a ScriptError ends the process with its message alone, anything else with its stack. */
export async function runScript(main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main()
  } catch (error) {
    const text = error instanceof ScriptError ? error.message : error instanceof Error ? error.stack : String(error)
    process.stderr.write(`gantry: ${text}\n`)
    process.exitCode = 1
  }
}
