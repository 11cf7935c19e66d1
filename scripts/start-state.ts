/** What a start notes for `npm run stop`, in `state.json`: its programs and its engine. */
import type { Home } from './home.ts'
import { type ProcessIdentity, endProcess, isSameProcess } from './processes.ts'
import { readRecord, writeRecord } from './record.ts'
import { say } from './report.ts'

export interface StartState {
  readonly supervisor: ProcessIdentity | undefined
  readonly dockerHost: string
  /** The controller and the agent, each in a session of its own, so that they can outlive a killed supervisor. */
  readonly programs: Readonly<Record<string, ProcessIdentity | undefined>>
}

export function readState(home: Home): StartState | undefined {
  return readRecord(home.state) as StartState | undefined
}

export function writeState(home: Home, state: StartState): void {
  writeRecord(home.state, state)
}

/** The pid of the supervisor that runs, if one does. */
export function runningSupervisor(home: Home): number | undefined {
  const supervisor = readState(home)?.supervisor
  return supervisor !== undefined && isSameProcess(supervisor) ? supervisor.pid : undefined
}

/** Ends a controller or an agent whose supervisor was killed; gives how many there were. */
export async function endOrphans(home: Home): Promise<number> {
  let ended = 0
  for (const [name, program] of Object.entries(readState(home)?.programs ?? {})) {
    if (program === undefined || !isSameProcess(program)) continue
    say(`ending the ${name} (pid ${program.pid}) that a killed supervisor left behind`)
    await endProcess(program.pid, 15_000)
    ended += 1
  }
  return ended
}
