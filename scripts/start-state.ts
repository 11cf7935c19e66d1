/** What a start notes for `npm run stop`, in `state.json`: its programs and its engine. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { Home } from './home.ts'
import { commandLineOf, endProcess, isRunning } from './processes.ts'
import { say } from './report.ts'

export interface StartState {
  readonly supervisorPid: number
  readonly dockerHost: string
  /** The controller and the agent, each in a session of its own, so that they can outlive a killed supervisor. */
  readonly programs: Readonly<Record<string, number | undefined>>
}

export function readState(home: Home): StartState | undefined {
  return existsSync(home.state) ? (JSON.parse(readFileSync(home.state, 'utf8')) as StartState) : undefined
}

/** Written beside and moved into place: a kill in between leaves the former one. */
export function writeState(home: Home, state: StartState): void {
  writeFileSync(`${home.state}.new`, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
  renameSync(`${home.state}.new`, home.state)
}

/** A pid that a former boot used may be anyone's now, so the arguments decide whose process it is. */
function runsOurs(pid: number, file: string): boolean {
  return isRunning(pid) && commandLineOf(pid).includes(file)
}

/** The supervisor that runs, if one does. */
export function runningSupervisor(home: Home): number | undefined {
  const pid = readState(home)?.supervisorPid
  return pid !== undefined && runsOurs(pid, 'scripts/start.ts') ? pid : undefined
}

/** Ends a controller or an agent whose supervisor was killed; gives how many there were. */
export async function endOrphans(home: Home): Promise<number> {
  let ended = 0
  for (const [name, pid] of Object.entries(readState(home)?.programs ?? {})) {
    if (pid === undefined || !runsOurs(pid, `${name}/main.ts`)) continue
    say(`ending the ${name} (pid ${pid}) that a killed supervisor left behind`)
    await endProcess(pid, 15_000)
    ended += 1
  }
  return ended
}
