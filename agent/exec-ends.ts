/**
 * Ends commands that nobody is attached to any more. Docker has no call for that: the process is killed on the host, once
 * it is certain that it belongs to the container. Which commands this agent started is kept in files, so that an agent
 * that was killed ends them at its next start.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineStreams } from './engine-streams.ts'
import type { Log } from './log.ts'
import type { Timers } from './timers.ts'

export interface ExecEnds {
  /** A command is about to be started. */
  begun(execId: string): void
  /** It has ended by itself. */
  ended(execId: string): void
  /** Hangs up, and kills what is left after a moment. */
  end(execId: string): Promise<void>
}

/** From SIGHUP to SIGKILL. */
const hangUpMs = 1000
/** Docker's own id of a command. */
const execIdPattern = /^[0-9a-f]{16,64}$/

/** Also ends what an agent before this one has left. */
export function openExecEnds(
  dataDirectory: string,
  engine: Pick<EngineStreams, 'inspectExec'>,
  timers: Timers,
  log: Log,
): ExecEnds {
  const directory = join(dataDirectory, 'commands')
  const ended = (execId: string): void => rmSync(join(directory, execId), { force: true })
  const end = async (execId: string): Promise<void> => {
    try {
      const state = await engine.inspectExec(execId)
      if (state?.running === true) await kill(state.pid, state.containerId, timers)
      ended(execId)
    } catch (error) {
      log.warn({ command: execId, err: error }, 'A command that nobody is attached to could not be ended.')
    }
  }
  for (const execId of entriesOf(directory, log)) if (execIdPattern.test(execId)) void end(execId)
  return {
    begun(execId) {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      writeFileSync(join(directory, execId), '')
    },
    ended,
    end,
  }
}

/** An agent has to start on a full disk as well; then no command is begun, and there is none to end. */
function entriesOf(directory: string, log: Log): readonly string[] {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    return readdirSync(directory)
  } catch (error) {
    log.warn({ err: error }, `The directory ${directory} can't be used: until it can, no command is run in containers.`)
    return []
  }
}

async function kill(pid: number, containerId: string, timers: Timers): Promise<void> {
  if (!isOf(pid, containerId)) return
  signal(pid, 'SIGHUP')
  await new Promise<void>((resolve) => timers.after(hangUpMs, resolve))
  if (isOf(pid, containerId)) signal(pid, 'SIGKILL')
}

/** A command is the leader of a session of its own, so its group is all that it started without job control. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name)
  } catch {
    try {
      process.kill(pid, name)
    } catch {
      // It has ended in between.
    }
  }
}

/** A number alone could be another process by now, and is another one where the agent does not see the host's. */
function isOf(pid: number, containerId: string): boolean {
  if (!(pid > 1)) return false
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(containerId)
  } catch {
    return false
  }
}
