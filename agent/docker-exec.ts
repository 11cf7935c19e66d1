/** The engine's lasting streams: a container's log with its times, and commands in a container. */
import type Docker from 'dockerode'
import type { Readable } from 'node:stream'
import { absent } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import type { EngineLimits } from './docker-limits.ts'
import type { EngineStreams } from './engine-streams.ts'

export function streamCalls(call: Call, limits: EngineLimits): EngineStreams {
  return {
    async openLogs(containerId, { follow, tail, since }) {
      const { Config, State } = await call(
        `inspect container ${containerId}`,
        limits.inspectMs,
        async (docker, abortSignal) => docker.getContainer(containerId).inspect({ abortSignal } as object),
      )
      const options = {
        stdout: true,
        stderr: true,
        timestamps: true,
        follow,
        ...(tail !== undefined && { tail }),
        ...(since !== undefined && { since: (since / 1000).toFixed(3) }),
      }
      const stream = await call(`read the logs of ${containerId}`, limits.logsMs, async (docker) =>
        dialLogs(docker, containerId, options),
      )
      return { stream, tty: Config.Tty, running: State.Running }
    },

    async startExec(containerId, { command, tty, columns, rows }, onCreated) {
      const exec = await call(`make a command in ${containerId}`, limits.createMs, async (docker, abortSignal) =>
        docker.getContainer(containerId).exec({
          Cmd: [...command],
          AttachStdin: true,
          AttachStdout: true,
          AttachStderr: true,
          Tty: tty,
          // From API 1.42 on the terminal has its size when the command starts; below it gets it a moment later.
          ...(tty && columns !== undefined && rows !== undefined && { ConsoleSize: [rows, columns] }),
          abortSignal,
        }),
      )
      onCreated(exec.id)
      const stream = await call(`start a command in ${containerId}`, limits.startMs, async () =>
        exec.start({ hijack: true, stdin: true, Tty: tty, Detach: false }),
      )
      return { id: exec.id, stream }
    },

    async resizeExec(execId, columns, rows) {
      await call('resize a terminal', limits.pingMs, async (docker, abortSignal) =>
        docker.getExec(execId).resize({ h: rows, w: columns, abortSignal }),
      )
    },

    async inspectExec(execId) {
      const inspected = await absent(
        call('inspect a command', limits.inspectMs, async (docker, abortSignal) =>
          docker.getExec(execId).inspect({ abortSignal }),
        ),
      )
      if (inspected === undefined) return undefined
      const { Running, ExitCode, Pid, ContainerID } = inspected
      return { running: Running, exitCode: ExitCode ?? undefined, pid: Pid, containerId: ContainerID }
    },
  }
}

/** Not through dockerode's own method, which would take a log that looks like JSON for an object. */
async function dialLogs(docker: Docker, containerId: string, options: object): Promise<Readable> {
  const statusCodes = { 200: true, 404: 'no such container', 500: 'server error', 501: 'not implemented' }
  return new Promise((resolve, reject) => {
    docker.modem.dial(
      {
        path: `/containers/${encodeURIComponent(containerId)}/logs?`,
        method: 'GET',
        isStream: true,
        statusCodes,
        options,
      },
      (error: unknown, data: unknown) =>
        error === null || error === undefined ? resolve(data as Readable) : reject(error),
    )
  })
}
