/**
 * What this agent knows, for whoever asks on the host: the official agent's introspection API. Reading only; it holds
 * no secret and no output of containers.
 *
 * Source: amazon-ecs-agent 1.105, handlers/introspection; `reference/ecs-agent.md` section 7.1.
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { PayloadContainer } from '../proto/acs.ts'
import { definedContainers } from './decide/internal-containers.ts'
import { instant, networksOf, restartCountOf, shownPorts, volumesOf } from './decide/task-metadata.ts'
import { createPipelineBound } from './pipeline-bound.ts'
import type { TurnTask } from './turn.ts'

const timeoutMs = 5_000
/** Docker's own short form of an id. */
const shortIdLength = 12

export interface IntrospectionOptions {
  readonly address: string
  readonly port: number
  /** The ARN is undefined until the host is registered for the first time. */
  readonly metadata: () => {
    readonly cluster: string
    readonly containerInstanceArn: string | undefined
    readonly version: string
  }
  readonly tasks: () => readonly TurnTask[]
}

export interface Introspection {
  readonly port: number
  close(): void
}

type Answer = { readonly status: number } & ({ readonly body: object } | { readonly text: string })

/** Listens; fails with an Error that names the port where it is taken. Port 0 takes any free one. */
export async function startIntrospection(options: IntrospectionOptions): Promise<Introspection> {
  const mayGoOn = createPipelineBound()
  const server = createServer((request, response) => {
    if (mayGoOn(request, response)) reply(request, response, options)
  })
  server.requestTimeout = timeoutMs
  server.headersTimeout = timeoutMs
  await listening(server, options)
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function listening(server: Server, { address, port }: IntrospectionOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new Error(
          `The introspection API can't listen on ${address}:${port}: ${error.message}. ` +
            'Another agent may run on this host; set GANTRY_INTROSPECTION_PORT to another port.',
          { cause: error },
        ),
      ),
    )
    server.listen(port, address, () => resolve())
  })
}

function reply(request: IncomingMessage, response: ServerResponse, options: IntrospectionOptions): void {
  const answer = answerTo(request, options)
  const [type, text] =
    'text' in answer ? ['text/plain; charset=utf-8', answer.text] : ['application/json', JSON.stringify(answer.body)]
  response.writeHead(answer.status, { 'content-type': type })
  response.end(request.method === 'HEAD' ? undefined : text)
}

function answerTo({ method, url: target }: IncomingMessage, options: IntrospectionOptions): Answer {
  if (method !== 'GET' && method !== 'HEAD')
    return { status: 405, body: { error: 'This API is for reading: use GET.' } }
  // Any program of the host may ask for what is no URL, such as `//`.
  const url = URL.parse(target ?? '/', 'http://agent')
  if (url === null) return { status: 400, body: { error: 'What was asked for is no URL; / lists what there is.' } }
  const path = url.pathname.replace(/(.)\/$/, '$1')
  if (path === '/') return { status: 200, body: { AvailableCommands: ['/v1/metadata', '/v1/tasks', '/license'] } }
  if (path === '/v1/metadata') {
    const { cluster, containerInstanceArn, version } = options.metadata()
    return {
      status: 200,
      body: {
        Cluster: cluster,
        ContainerInstanceArn: containerInstanceArn ?? null,
        Version: `Gantry Agent - v${version}`,
      },
    }
  }
  if (path === '/license') return { status: 200, text: license() }
  if (path === '/v1/tasks') return tasksAnswer(url.searchParams, options.tasks())
  return { status: 404, body: { error: `There is no ${path} here; / lists what there is.` } }
}

function tasksAnswer(query: URLSearchParams, tasks: readonly TurnTask[]): Answer {
  const taskArn = query.get('taskarn')
  const dockerId = query.get('dockerid')
  if (taskArn !== null && dockerId !== null) {
    return { status: 400, body: { error: 'Give either taskarn or dockerid, not both.' } }
  }
  if (taskArn !== null) return oneOf(tasks.filter(({ payload }) => payload.arn === taskArn))
  if (dockerId !== null) return oneOf(tasks.filter((task) => hasContainer(task, dockerId)))
  return { status: 200, body: { Tasks: tasks.map(shownTask) } }
}

function oneOf(found: readonly TurnTask[]): Answer {
  const [task, ...others] = found
  if (task === undefined) return { status: 404, body: { error: 'This agent has no such task.' } }
  if (others.length > 0) return { status: 400, body: { error: 'More than one task has a container of this id.' } }
  return { status: 200, body: shownTask(task) }
}

/** A whole id, or its first twelve digits and more. */
function hasContainer(task: TurnTask, dockerId: string): boolean {
  const ids = Object.values(task.facts.containers).map((container) => container.dockerId)
  return ids.some((id) => id === dockerId || (dockerId.length >= shortIdLength && id?.startsWith(dockerId) === true))
}

function shownTask(task: TurnTask): object {
  const { payload } = task
  return {
    Arn: payload.arn,
    DesiredStatus: task.desiredStatus,
    KnownStatus: task.knownStatus,
    Family: payload.family,
    Version: payload.version,
    Containers: definedContainers(payload).map((container) => shownContainer(task, container)),
  }
}

function shownContainer(task: TurnTask, container: PayloadContainer): object {
  const { name, image } = container
  const facts = task.facts.containers[name]
  const observed = task.observed.get(name)
  return {
    DockerId: facts?.dockerId ?? '',
    DockerName: facts?.dockerName ?? '',
    Name: name,
    Image: image,
    ImageID: observed?.imageId ?? '',
    CreatedAt: instant(observed?.createdAt),
    StartedAt: instant(facts?.startedAt ?? observed?.startedAt),
    Ports: shownPorts(observed?.ports ?? []),
    Networks: networksOf(task, container, 'v3'),
    Volumes: volumesOf(observed),
    RestartCount: restartCountOf(container, facts),
  }
}

function license(): string {
  try {
    return readFileSync(new URL('../LICENSE', import.meta.url), 'utf8')
  } catch {
    return 'Gantry is licensed as its repository says; the file LICENSE is not where this agent was installed.\n'
  }
}
