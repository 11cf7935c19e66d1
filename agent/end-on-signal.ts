/** How the agent's process ends when it is told to. */
import type { Log } from './log.ts'

/** Ends the process, with this exit code. */
export type Exit = (code: number) => never

/** Containers go on; the next agent in this directory takes them up again. */
export function endOnSignal(ends: readonly (() => unknown)[], drain: () => Promise<void>, log: Log, exit: Exit): void {
  const end = once((signal: string) => {
    log.info({ signal }, 'Gantry agent ends; the containers go on.')
    // What hangs is left behind: the journal is durable at every instant.
    setTimeout(() => exit(0), 2_000)
    endAll(ends).then(
      () => exit(0),
      () => exit(0),
    )
  })
  const drainFirst = once((signal: string) => void drain().finally(() => end(signal)))
  let signals = 0
  // The second signal means it: whoever gives it does not wait for the tasks to leave.
  const onSignal = (signal: string): void => {
    signals += 1
    if (signals === 1) drainFirst(signal)
    else end(signal)
  }
  process.on('SIGTERM', () => onSignal('SIGTERM'))
  process.on('SIGINT', () => onSignal('SIGINT'))
}

async function endAll(ends: readonly (() => unknown)[]): Promise<void> {
  for (const end of ends) await end()
}

function once<Arguments extends readonly unknown[]>(
  work: (...given: Arguments) => void,
): (...given: Arguments) => void {
  let done = false
  return (...given) => {
    if (done) return
    done = true
    work(...given)
  }
}
