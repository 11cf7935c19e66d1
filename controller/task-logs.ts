/**
 * What a container of a task wrote, from wherever it is: shipped logs from the store, else the container's own log from
 * its host, else the last lines that came with its end.
 */
import type { LogEvent } from '../proto/logs.ts'
import { Bell } from './bell.ts'
import type { LogChannels } from './log-channels.ts'
import type { LogStore } from './log-store.ts'
import type { StoredLogStream } from './state/sqlite-logs.ts'
import type { TaskContainer, TaskRow } from './state/tables.ts'
import { openHostLogs } from './stream-logs.ts'
import type { Streams } from './streams.ts'

export interface TaskLogsServices {
  readonly logStore: LogStore
  readonly logChannels: Pick<LogChannels, 'watch'>
  readonly streams: Streams
}

export interface LogsWanted {
  /** Absent: all. */
  readonly tail: number | undefined
  /** Epoch milliseconds. */
  readonly since: number | undefined
  readonly follow: boolean
}

export interface TaskLogs {
  /** `store`: shipped by its agent; `host`: read there just now; `report`: what its last report brought. */
  readonly source: 'store' | 'host' | 'report'
  readonly logGroup?: string | undefined
  readonly logStream?: string | undefined
  /** What the reader has to know of it. */
  readonly note?: string | undefined
  /** Parts, in order; with `follow` it goes on until the signal or the container's end. */
  readonly events: AsyncIterable<readonly LogEvent[]>
}

const sliceEvents = 1000
/** A follower looks at least so often, so that a missed call costs no more than this. */
const followLookMs = 1000

/** Whether the definition asks for shipped logs: then the host is not asked for them. */
export async function openTaskLogs(
  services: TaskLogsServices,
  task: TaskRow,
  container: TaskContainer,
  isShipped: boolean,
  wanted: LogsWanted,
  signal: AbortSignal,
): Promise<TaskLogs> {
  const isOfContainer = (stream: StoredLogStream): boolean => stream.container === container.name
  const streams = (await services.logStore.ask('streams', { taskId: task.taskId })).filter(isOfContainer)
  const latest = streams.at(-1)
  if (latest !== undefined || isShipped) {
    const { logGroup, logStream } = latest ?? {}
    return {
      source: 'store',
      logGroup,
      logStream,
      events: readStore(services, task, container, streams, wanted, signal),
    }
  }
  const hostLogs = {
    instanceId: task.instanceId,
    taskArn: task.taskArn,
    container: container.name,
    request: { tail: wanted.tail, since: wanted.since, follow: wanted.follow },
  }
  try {
    return { source: 'host', events: await openHostLogs(services.streams, hostLogs, signal) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const lines = container.lastLogLines ?? []
    if (lines.length === 0) return { source: 'report', note: why, events: nothing() }
    const time = container.finishedAt ?? task.stoppedAt ?? task.createdAt
    const note = `${why} These are the last lines that its agent reported with the end of the container.`
    return { source: 'report', note, events: only(lines.map((text) => ({ time, text }))) }
  }
}

async function* readStore(
  { logStore, logChannels }: TaskLogsServices,
  { taskId }: TaskRow,
  { name }: TaskContainer,
  known: readonly StoredLogStream[],
  { tail, since, follow }: LogsWanted,
  signal: AbortSignal,
): AsyncGenerator<readonly LogEvent[], void, undefined> {
  const bell = new Bell()
  const ring = (): void => bell.ring()
  const unwatch = logChannels.watch(taskId, ring)
  signal.addEventListener('abort', ring)
  try {
    let streams = known
    const at = await startsOf(logStore, streams, tail, since)
    for (;;) {
      for (const { id } of streams) {
        for (let from = at.get(id) ?? 0; !signal.aborted; ) {
          const { events, next } = await logStore.ask('slice', { stream: id, from, events: sliceEvents })
          at.set(id, next)
          const shown = since === undefined ? events : events.filter(({ time }) => time >= since)
          if (shown.length > 0) yield shown
          // A slice without events is not the end: a batch may hold none that can be read.
          if (next === from) break
          from = next
        }
      }
      if (!follow || signal.aborted) return
      await bell.wait(followLookMs)
      streams = (await logStore.ask('streams', { taskId })).filter(({ container }) => container === name)
    }
  } finally {
    signal.removeEventListener('abort', ring)
    unwatch()
  }
}

/** Where each stream is to be read from, so that the last `tail` events of all of them are shown. */
async function startsOf(
  logStore: LogStore,
  streams: readonly StoredLogStream[],
  tail: number | undefined,
  since: number | undefined,
): Promise<Map<number, number>> {
  const starts = new Map<number, number>()
  let left = tail ?? Number.MAX_SAFE_INTEGER
  for (const { id, first, next } of streams.toReversed()) {
    const earliest = since === undefined ? first : await logStore.ask('since', { stream: id, time: since })
    const from = Math.max(earliest, next - left)
    starts.set(id, from)
    left = Math.max(0, left - (next - from))
  }
  return starts
}

async function* only<T>(value: T): AsyncGenerator<T> {
  yield value
}

async function* nothing(): AsyncGenerator<never> {}
