/** What leaves the host beside reports: shipped logs, and the streams that the controller asks for. */
import type { Frame } from '../proto/acs.ts'
import type { EngineStreams } from './engine-streams.ts'
import { startLogs } from './logs.ts'
import type { LogsOptions } from './logs.ts'
import { startStreams } from './streams.ts'

export interface OutputOptions extends LogsOptions {
  readonly engine: EngineStreams
  readonly dataDirectory: string
}

export interface Output {
  /** True where the frame was a request for a stream. */
  onFrame(frame: Frame): boolean
  close(): Promise<void>
}

export function startOutput(options: OutputOptions): Output {
  const logs = startLogs(options)
  const streams = startStreams(options)
  return {
    onFrame: (frame) => streams.onFrame(frame),
    async close() {
      logs.close()
      await streams.close()
    },
  }
}
