/** What the agent needs of a container engine that goes on for a while: a container's log, and commands run in it. */
import type { Duplex, Readable } from 'node:stream'

export interface LogsWanted {
  /** Goes on while the container runs. */
  readonly follow: boolean
  /** Lines from the end; absent for all. */
  readonly tail?: number | undefined
  /** Epoch milliseconds. */
  readonly since?: number | undefined
}

export interface OpenLogs {
  readonly stream: Readable
  /** With a terminal the stream is plain bytes, else it comes in frames (log-messages.ts). */
  readonly tty: boolean
  /** As it was just before the log was opened. */
  readonly running: boolean
}

export interface ExecWanted {
  readonly command: readonly string[]
  readonly tty: boolean
  readonly columns?: number | undefined
  readonly rows?: number | undefined
}

export interface RunningExec {
  readonly id: string
  /** Both ways; what comes is plain bytes with a terminal, frames without one. Ending it closes the command's input. */
  readonly stream: Duplex
}

export interface ExecState {
  readonly running: boolean
  readonly exitCode: number | undefined
  /** In the engine's own PID namespace; 0 where it never ran. */
  readonly pid: number
  readonly containerId: string
}

/** Each fails with an EngineError: a container that is not there or not running, a log driver that can't be read. */
export interface EngineStreams {
  openLogs(containerId: string, wanted: LogsWanted): Promise<OpenLogs>
  startExec(containerId: string, wanted: ExecWanted, onCreated: (execId: string) => void): Promise<RunningExec>
  resizeExec(execId: string, columns: number, rows: number): Promise<void>
  inspectExec(execId: string): Promise<ExecState | undefined>
}
