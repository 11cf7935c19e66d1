/** `/v1/tasks/{task}/logs`: what a container wrote, at once or as it comes. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { LogEvent } from '../../proto/logs.ts'
import { findTaskDefinition } from '../ecs/task-definitions.ts'
import type { TaskContainer, TaskRow } from '../state/tables.ts'
import { openTaskLogs } from '../task-logs.ts'
import type { TaskLogs } from '../task-logs.ts'
import { requireStill, trailOf } from './rest-caller.ts'
import { errorResponses, paramsOf, text } from './rest-schema.ts'
import { requireTask } from './rest-tasks.ts'
import type { ServerServices } from './services.ts'

interface LogsQuery {
  readonly container?: string
  readonly tail?: number
  readonly since?: string
  readonly follow?: boolean
}

/** Where neither a number of lines nor a time is given. */
const tailDefault = 100
const tailMax = 10_000
/** At once, of all callers: each may hold a channel to a host, or looks into the store every second. */
const readersMax = 200
/** Of an answer in one piece; who wants more follows, or asks from a later time. */
const answerCharactersMax = 8 * 1024 * 1024
/** An empty line, so that a proxy or a reader knows that the stream lives. */
const keepAliveMs = 15_000
/** How often it is looked whether who follows still may. */
const recheckMs = 5000

const eventSchema = { type: 'object', properties: { time: { type: 'string', format: 'date-time' }, text } } as const

const logsSchema = {
  type: 'object',
  required: ['taskArn', 'container', 'source', 'events'],
  properties: {
    taskArn: text,
    container: text,
    source: {
      type: 'string',
      enum: ['store', 'host', 'report'],
      description:
        "`store`: shipped logs of the log driver awslogs. `host`: the container's own log, read on its host just now. " +
        "`report`: the last lines that came with the container's end, where its host has no more",
    },
    logGroup: text,
    logStream: text,
    note: text,
    events: { type: 'array', items: eventSchema },
  },
} as const

export function registerRestLogs(rest: FastifyInstance, services: ServerServices): void {
  // A server that closes waits for its answers, and one that follows has no end.
  const closing = new AbortController()
  let readers = 0
  rest.addHook('preClose', async () => closing.abort())
  rest.get<{ Params: { readonly task: string }; Querystring: LogsQuery }>(
    '/tasks/:task/logs',
    {
      config: { action: 'gantry:GetTaskLogs' },
      schema: {
        summary: 'What a container of the task wrote, oldest first; with follow as application/x-ndjson, as it comes',
        params: paramsOf('task', 'Id or ARN'),
        querystring: {
          type: 'object',
          properties: {
            container: { type: 'string', description: 'Its name; may be left out where the task has one' },
            tail: {
              type: 'integer',
              minimum: 0,
              maximum: tailMax,
              description: `Lines from the end; without it ${tailDefault}, or all since the time that is given`,
            },
            since: { type: 'string', description: 'Not before: ISO 8601 with a zone, or epoch milliseconds' },
            follow: { type: 'boolean', default: false },
          },
        },
        response: { 200: { description: 'The lines', ...logsSchema }, ...errorResponses },
      },
    },
    async (request, reply) => {
      const { follow = false } = request.query
      const tail = request.query.tail ?? (request.query.since === undefined ? tailDefault : undefined)
      const task = requireTask(services.turn.reader, request.params.task)
      const container = containerOf(task, request.query.container)
      if (readers >= readersMax) {
        throw new ApiError(
          'ThrottlingException',
          `${readersMax} logs are being read: end one of them, or try again soon.`,
        )
      }
      readers += 1
      const gone = new AbortController()
      // Of this answer: its socket lives on for others.
      reply.raw.once('close', () => {
        readers -= 1
        gone.abort()
      })
      const signal = AbortSignal.any([gone.signal, closing.signal])
      const wanted = { tail, since: readSince(request.query.since), follow }
      const logs = await openTaskLogs(services, task, container, isShipped(services, task, container), wanted, signal)
      if (follow) return sendAsItComes(reply, logs, gone)
      const { source, logGroup, logStream } = logs
      const { events, note } = await gathered(logs)
      return {
        taskArn: task.taskArn,
        container: container.name,
        source,
        logGroup,
        logStream,
        note,
        events: tail === undefined ? events : events.slice(Math.max(0, events.length - tail)),
      }
    },
  )
}

interface Gathered {
  readonly events: { time: string; text: string }[]
  readonly note: string | undefined
}

/** What has come until the end, or until it is enough. A host that is cut off meanwhile is the world's trouble, and noted. */
async function gathered({ source, events: parts, note }: TaskLogs): Promise<Gathered> {
  const events: Gathered['events'] = []
  let characters = 0
  try {
    for await (const part of parts) {
      for (const event of part) {
        characters += event.text.length
        events.push(shown(event))
      }
      if (characters > answerCharactersMax)
        return { events, note: 'There is more than one answer holds: ask with since.' }
    }
    return { events, note }
  } catch (error) {
    if (source !== 'host' || !(error instanceof Error)) throw error
    return { events, note: error.message }
  }
}

/** Lines of JSON, each an event; the last one may be a note. It stops what it reads once the caller may not have it any more. */
async function sendAsItComes(
  reply: FastifyReply,
  { events, note }: TaskLogs,
  stop: AbortController,
): Promise<FastifyReply> {
  // Its end may be hours away, and is often the caller's going.
  trailOf(reply.request)?.end('OK')
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, {
    'content-type': 'application/x-ndjson',
    'x-amzn-RequestId': reply.request.id,
    'cache-control': 'no-store',
    connection: 'close',
  })
  raw.flushHeaders()
  const timer = setInterval(() => raw.write('\n'), keepAliveMs)
  let refusal: string | undefined
  const watch = setInterval(() => {
    refusal ??= refusalOf(reply.request)
    if (refusal !== undefined) stop.abort()
  }, recheckMs)
  const write = async (lines: string): Promise<void> => {
    if (!raw.write(lines) && !raw.destroyed) await drained(raw)
  }
  try {
    for await (const part of events) {
      if (refusal !== undefined) break
      await write(part.map((event) => `${JSON.stringify(shown(event))}\n`).join(''))
      if (raw.destroyed) break
    }
    const last = refusal ?? note
    if (last !== undefined) await write(`${JSON.stringify({ note: last })}\n`)
  } catch (error) {
    await write(`${JSON.stringify({ note: error instanceof Error ? error.message : String(error) })}\n`)
  } finally {
    clearInterval(timer)
    clearInterval(watch)
    raw.end()
  }
  return reply
}

function refusalOf(request: FastifyRequest): string | undefined {
  try {
    requireStill(request)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Once there is room again, or nobody to write to. */
function drained(raw: FastifyReply['raw']): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      raw.off('drain', go)
      raw.off('close', go)
      resolve()
    }
    raw.on('drain', go)
    raw.on('close', go)
  })
}

function shown({ time, text: line }: LogEvent): { time: string; text: string } {
  return { time: new Date(time).toISOString(), text: line }
}

function containerOf({ containers }: TaskRow, name: string | undefined): TaskContainer {
  const names = containers.map((container) => container.name).join(', ')
  const [first, ...others] = containers
  if (name === undefined) {
    if (first !== undefined && others.length === 0) return first
    throw invalidParameter(`The task has ${containers.length} containers: name one of them as container (${names}).`)
  }
  const found = containers.find((container) => container.name === name)
  if (found !== undefined) return found
  throw invalidParameter(`The task has no container ${JSON.stringify(name.slice(0, 255))}; it has ${names}.`)
}

function isShipped({ turn }: ServerServices, { taskDefinitionArn }: TaskRow, { name }: TaskContainer): boolean {
  const definition = findTaskDefinition(turn.reader, taskDefinitionArn)
  const container = definition?.containerDefinitions.find((candidate) => candidate.name === name)
  return container?.logConfiguration?.logDriver === 'awslogs'
}

function readSince(given: string | undefined): number | undefined {
  if (given === undefined) return undefined
  const time = /^\d+$/.test(given) ? Number(given) : Date.parse(given)
  if (Number.isSafeInteger(time) && time >= 0) return time
  throw invalidParameter(
    `since is ${JSON.stringify(given.slice(0, 100))}: give 2026-01-31T12:00:00Z, or epoch milliseconds.`,
  )
}
