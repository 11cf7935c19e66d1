/** What the agent asks of Docker Engine about containers. */
import type Docker from 'dockerode'
import { absent, already, drained } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import type { EngineLimits } from './docker-limits.ts'
import { showEach } from './docker-list.ts'
import { nameOf, observedContainer } from './docker-observed.ts'
import type { InspectedContainer } from './docker-observed.ts'
import { logLines } from './docker-streams.ts'
import { EngineError, labels } from './engine.ts'
import type { ContainerList, Engine } from './engine.ts'

type ContainerCalls =
  | 'listContainers'
  | 'inspectContainer'
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'lastLogLines'

export function containerCalls(call: Call, limits: EngineLimits): Pick<Engine, ContainerCalls> {
  const inspectContainer = async (
    idOrName: string,
    timeoutMs = limits.inspectMs,
  ): Promise<InspectedContainer | undefined> =>
    absent(
      call(
        `inspect container ${idOrName}`,
        timeoutMs,
        (docker, abortSignal) =>
          docker
            .getContainer(idOrName)
            .inspect({ abortSignal } as object) as Promise<unknown> as Promise<InspectedContainer>,
      ),
    )
  return {
    async listContainers(): Promise<ContainerList> {
      const listed = await call('list containers', limits.listMs, (docker, abortSignal) =>
        docker.listContainers({ all: true, filters: { label: [labels.taskArn] }, abortSignal }),
      )
      const named = listed.map(({ Id, Names, Labels }) => ({ id: Id, name: nameOf(Names[0] ?? ''), labels: Labels }))
      return showEach(named, async (id) => {
        const inspected = await inspectContainer(id, limits.listedInspectMs)
        return inspected === undefined ? undefined : observedContainer(inspected)
      })
    },

    async inspectContainer(idOrName) {
      const inspected = await inspectContainer(idOrName)
      return inspected === undefined ? undefined : observedContainer(inspected)
    },

    async createContainer(name, body) {
      const created = await call(`create container ${name}`, limits.createMs, (docker, abortSignal) =>
        docker.createContainer({ _query: { name }, _body: body, abortSignal } as object),
      )
      return created.id
    },

    async startContainer(id) {
      await already(
        call(`start container ${id}`, limits.startMs, (docker, abortSignal) =>
          docker.getContainer(id).start({ abortSignal }),
        ),
      )
    },

    async stopContainer(id, stopTimeoutSeconds) {
      const timeoutMs = stopTimeoutSeconds * 1000 + limits.stopMarginMs
      await already(
        call(`stop container ${id}`, timeoutMs, (docker, abortSignal) =>
          docker.getContainer(id).stop({ t: stopTimeoutSeconds, abortSignal }),
        ),
      )
    },

    async removeContainer(id) {
      await absent(
        call(`remove container ${id}`, limits.removeMs, (docker, abortSignal) =>
          docker.getContainer(id).remove({ v: true, abortSignal } as object),
        ),
      ).catch((error: unknown) => {
        // Two removals at once end in the same state.
        if (error instanceof EngineError && /removal of container .* is already in progress/.test(error.message)) return
        throw error
      })
    },

    async lastLogLines(id, lines) {
      const inspected = await inspectContainer(id)
      if (inspected === undefined) return []
      const read = call(`read the logs of ${id}`, limits.logsMs, (docker, abortSignal) =>
        readLogs(docker, id, lines, abortSignal),
      ).catch((error: unknown) => {
        // A log driver that sends the output elsewhere cannot give it back.
        if (error instanceof EngineError && /does not support reading/.test(error.message)) return Buffer.alloc(0)
        throw error
      })
      return logLines(await read, inspected.Config.Tty).slice(-lines)
    },
  }
}

/** Asked for as a stream, since dockerode would otherwise take output that looks like JSON for an object. */
async function readLogs(docker: Docker, id: string, lines: number, abortSignal: AbortSignal): Promise<Buffer> {
  const statusCodes = { 200: true, 404: 'no such container', 500: 'server error', 501: 'not implemented' }
  const options = { stdout: true, stderr: true, tail: lines }
  const path = `/containers/${encodeURIComponent(id)}/logs?`
  const stream = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
    docker.modem.dial(
      { path, method: 'GET', isStream: true, statusCodes, options, abortSignal },
      (error: unknown, data: unknown) =>
        error === null || error === undefined ? resolve(data as NodeJS.ReadableStream) : reject(error),
    )
  })
  const chunks: Buffer[] = []
  await drained(stream, (chunk) => chunks.push(chunk))
  return Buffer.concat(chunks)
}
