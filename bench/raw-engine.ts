/** The raw baseline: create, start, stop and remove by plain HTTP to the engine, with nothing of Gantry in between. */
import { Agent, request } from 'node:http'

export interface RawEngine {
  /** Creates and starts one container; its id. */
  run(name: string, body: object): Promise<string>
  stop(id: string, timeoutSeconds: number): Promise<void>
  remove(id: string): Promise<void>
  inspect(id: string): Promise<RawInspect>
  /** One call of its API; the answer's text. Throws where the status is 400 or more. */
  ask(method: string, path: string, body?: object, headers?: Readonly<Record<string, string>>): Promise<string>
  /** Ids of all containers with this label, in every state. */
  withLabel(label: string): Promise<readonly string[]>
  close(): void
}

export interface RawInspect {
  readonly Config: { readonly Labels: Readonly<Record<string, string>> } & Readonly<Record<string, unknown>>
  readonly HostConfig: Readonly<Record<string, unknown>>
  readonly State: { readonly Running: boolean; readonly Pid: number }
}

export function rawEngine(dockerHost: string): RawEngine {
  const agent = new Agent({ keepAlive: true, maxSockets: 128 })
  const place = dockerHost.startsWith('unix://')
    ? { socketPath: dockerHost.slice('unix://'.length) }
    : { hostname: new URL(dockerHost).hostname, port: new URL(dockerHost).port }
  const ask: RawEngine['ask'] = (method, path, body, further = {}) =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body)
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...further }
      const outgoing = request({ ...place, agent, method, path, headers }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () => {
          const said = Buffer.concat(chunks).toString('utf8')
          if ((answer.statusCode ?? 0) < 400) resolve(said)
          else reject(new Error(`the engine answered ${answer.statusCode} to ${method} ${path}: ${said}`))
        })
      })
      outgoing.on('error', reject)
      outgoing.end(text)
    })
  return {
    ask,
    async run(name, body) {
      const { Id } = JSON.parse(await ask('POST', `/containers/create?name=${name}`, body)) as { Id: string }
      await ask('POST', `/containers/${Id}/start`)
      return Id
    },
    stop: async (id, timeoutSeconds) => void (await ask('POST', `/containers/${id}/stop?t=${timeoutSeconds}`)),
    remove: async (id) => void (await ask('DELETE', `/containers/${id}?force=1&v=1`)),
    inspect: async (id) => JSON.parse(await ask('GET', `/containers/${id}/json`)) as RawInspect,
    async withLabel(label) {
      const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
      const listed = JSON.parse(await ask('GET', `/containers/json?all=1&filters=${filters}`)) as { Id: string }[]
      return listed.map(({ Id }) => Id)
    },
    close: () => agent.destroy(),
  }
}

/** Does `work` for each item, at most `parallelism` at a time; answers in the items' order. */
export async function inParallel<Item, Answer>(
  items: readonly Item[],
  parallelism: number,
  work: (item: Item) => Promise<Answer>,
): Promise<readonly Answer[]> {
  const answers: Answer[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) answers[at] = await work(items[at] as Item)
  }
  await Promise.all(Array.from({ length: Math.min(parallelism, items.length) }, worker))
  return answers
}
