/**
 * The store of shipped logs, as a worker thread: one SQLite file of its own, so that neither a turn nor the cluster's state
 * ever waits for a container's output. A batch is one row, compressed, in the order in which it came; a stream's row says
 * what is next and after which place in the container's log.
 */
import { renameSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { readLogEvents } from '../../proto/logs.ts'
import type { LogEvent, LogPosition } from '../../proto/logs.ts'
import { openDatabase } from './sqlite-schema.ts'

export interface LogStreamKey {
  readonly taskId: string
  readonly container: string
  readonly dockerId: string
  readonly logGroup: string
  readonly logStream: string
}

export interface OpenedLogStream {
  readonly id: number
  readonly sequence: number
  readonly position: LogPosition | undefined
}

export interface LogBatch {
  readonly stream: number
  readonly sequence: number
  readonly count: number
  readonly firstTime: number
  readonly lastTime: number
  readonly position: LogPosition
  readonly body: Uint8Array
}

export interface StoredLogStream {
  readonly id: number
  readonly container: string
  readonly logGroup: string
  readonly logStream: string
  /** The oldest event that is still there; the same as `next` where none is. */
  readonly first: number
  readonly next: number
}

export interface LogSlice {
  readonly events: readonly LogEvent[]
  readonly next: number
}

export interface LogRequests {
  open: { readonly args: { readonly key: LogStreamKey; readonly now: number }; readonly answer: OpenedLogStream }
  /** For each batch whether it follows on; one that is there already counts as that. */
  append: {
    readonly args: { readonly batches: readonly LogBatch[]; readonly now: number }
    readonly answer: readonly boolean[]
  }
  streams: { readonly args: { readonly taskId: string }; readonly answer: readonly StoredLogStream[] }
  /** From this event on, up to a bound of events and of bytes. */
  slice: {
    readonly args: { readonly stream: number; readonly from: number; readonly events: number }
    readonly answer: LogSlice
  }
  /** The number of the first event of the first batch that may hold one of this time or later. */
  since: { readonly args: { readonly stream: number; readonly time: number }; readonly answer: number }
  size: { readonly args: object; readonly answer: number }
}

export interface LogLimits {
  readonly path: string
  /** Stored bytes of all streams; the oldest batches go first. */
  readonly bytesMax: number
  /** Of one stream, so that one that floods leaves room for the others. */
  readonly streamBytesMax: number
  readonly keepMs: number
}

/** A quiet container's place in its log is remembered far longer than what it said. */
const streamsKeptMs = 90 * 24 * 3600 * 1000
const sliceBytesMax = 512 * 1024
/** Rows that one prune drops, so that an append waits for milliseconds only. */
const prunedMax = 64
/** Below this a compressed batch is not smaller. */
const compressedFromBytes = 512
const jsonStart = 0x5b
const pruneByAgeEveryMs = 60_000

const schema = `
  create table if not exists streams (
    id integer primary key, task text not null, container text not null, docker text not null, log_group text not null,
    log_stream text not null, created integer not null, seen integer not null, next integer not null default 0,
    position text, bytes integer not null default 0, unique (task, container, docker));
  create table if not exists batches (
    id integer primary key, stream integer not null, sequence integer not null, count integer not null,
    first_time integer not null, last_time integer not null, ingested integer not null, bytes integer not null,
    body blob not null);
  create index if not exists batches_by_stream on batches (stream, sequence);
`

export class LogTables {
  readonly #database: DatabaseSync
  readonly #limits: LogLimits
  #bytes: number
  #prunedAt = 0

  constructor(limits: LogLimits) {
    this.#limits = limits
    this.#database = openOrReplace(limits.path)
    this.#bytes = Number(this.#database.prepare('select coalesce(sum(bytes), 0) as n from batches').get()?.['n'] ?? 0)
  }

  open({ key, now }: LogRequests['open']['args']): OpenedLogStream {
    const { taskId, container, dockerId, logGroup, logStream } = key
    const row = this.#database
      .prepare(
        `insert into streams (task, container, docker, log_group, log_stream, created, seen) values (?, ?, ?, ?, ?, ?, ?)
         on conflict (task, container, docker) do update set seen = excluded.seen returning id, next, position`,
      )
      .get(taskId, container, dockerId, logGroup, logStream, now, now)
    const { id, next, position } = row ?? {}
    return {
      id: Number(id),
      sequence: Number(next),
      position: typeof position === 'string' ? (JSON.parse(position) as LogPosition) : undefined,
    }
  }

  append({ batches, now }: LogRequests['append']['args']): readonly boolean[] {
    const next = this.#database.prepare('select next from streams where id = ?')
    const insert = this.#database.prepare(
      'insert into batches (stream, sequence, count, first_time, last_time, ingested, bytes, body) values (?, ?, ?, ?, ?, ?, ?, ?)',
    )
    const advance = this.#database.prepare(
      'update streams set next = ?, position = ?, bytes = bytes + ?, seen = ? where id = ?',
    )
    const before = this.#bytes
    this.#database.exec('begin immediate')
    try {
      const taken = batches.map(({ stream, sequence, count, firstTime, lastTime, position, body }) => {
        const expected = Number(next.get(stream)?.['next'] ?? -1)
        if (sequence + count <= expected) return true
        if (sequence !== expected) return false
        const stored = packed(body)
        insert.run(stream, sequence, count, firstTime, lastTime, now, stored.length, stored)
        advance.run(sequence + count, JSON.stringify(position), stored.length, now, stream)
        this.#bytes += stored.length
        return true
      })
      for (const stream of new Set(batches.map((batch) => batch.stream))) this.#pruneStream(stream)
      this.#prune(now)
      this.#database.exec('commit')
      return taken
    } catch (error) {
      this.#bytes = before
      if (this.#database.isTransaction) this.#database.exec('rollback')
      throw error
    }
  }

  streams({ taskId }: LogRequests['streams']['args']): readonly StoredLogStream[] {
    const rows = this.#database
      .prepare(
        `select id, container, log_group, log_stream, next,
           coalesce((select min(sequence) from batches where stream = streams.id), next) as first
         from streams where task = ? order by id`,
      )
      .all(taskId)
    return rows.map((row) => ({
      id: Number(row['id']),
      container: String(row['container']),
      logGroup: String(row['log_group']),
      logStream: String(row['log_stream']),
      first: Number(row['first']),
      next: Number(row['next']),
    }))
  }

  slice({ stream, from, events: eventsMax }: LogRequests['slice']['args']): LogSlice {
    const events: LogEvent[] = []
    let [next, bytes] = [from, 0]
    const rows = this.#database
      .prepare('select sequence, count, body from batches where stream = ? and sequence + count > ? order by sequence')
      .iterate(stream, from)
    for (const row of rows) {
      const [sequence, count] = [Number(row['sequence']), Number(row['count'])]
      const body = unpacked(row['body'] as Uint8Array)
      const found = readLogEvents(body).slice(Math.max(0, next - sequence))
      const taken = found.slice(0, eventsMax - events.length)
      events.push(...taken)
      bytes += body.length
      next = taken.length < found.length ? Math.max(next, sequence) + taken.length : sequence + count
      if (events.length >= eventsMax || bytes >= sliceBytesMax) break
    }
    return { events, next }
  }

  since({ stream, time }: LogRequests['since']['args']): number {
    const row = this.#database
      .prepare(
        `select coalesce((select min(sequence) from batches where stream = ?1 and last_time >= ?2),
           (select next from streams where id = ?1)) as first`,
      )
      .get(stream, time)
    return Number(row?.['first'] ?? 0)
  }

  size(): number {
    return this.#bytes
  }

  close(): void {
    this.#database.close()
  }

  #pruneStream(stream: number): void {
    const { streamBytesMax } = this.#limits
    const held = this.#database.prepare('select bytes from streams where id = ?')
    while (Number(held.get(stream)?.['bytes'] ?? 0) > streamBytesMax) {
      this.#drop(`stream = ${stream}`)
    }
  }

  #prune(now: number): void {
    const { bytesMax, keepMs } = this.#limits
    while (this.#bytes > bytesMax) if (this.#drop('true') === 0) break
    if (now - this.#prunedAt < pruneByAgeEveryMs) return
    this.#prunedAt = now
    this.#drop(`ingested < ${Math.floor(now - keepMs)}`)
    this.#database
      .prepare('delete from streams where seen < ? and bytes = 0')
      .run(Math.floor(now - Math.max(streamsKeptMs, keepMs)))
  }

  /** The oldest that the condition holds for; answers how many went. */
  #drop(condition: string): number {
    const gone = this.#database
      .prepare(
        `delete from batches where id in (select id from batches where ${condition} order by id limit ${prunedMax})
         returning stream, bytes`,
      )
      .all()
    const lighten = this.#database.prepare('update streams set bytes = bytes - ? where id = ?')
    for (const { stream, bytes } of gone) {
      lighten.run(Number(bytes), Number(stream))
      this.#bytes -= Number(bytes)
    }
    return gone.length
  }
}

/** What can't be read is moved aside: logs of the past are worth less than those to come. */
function openOrReplace(path: string): DatabaseSync {
  const open = (): DatabaseSync => {
    const database = openDatabase(path)
    try {
      database.exec(schema)
      return database
    } catch (error) {
      database.close()
      throw error
    }
  }
  try {
    return open()
  } catch {
    renameSync(path, `${path}.unreadable`)
    return open()
  }
}

function packed(body: Uint8Array): Uint8Array {
  if (body.length < compressedFromBytes) return body
  return zstdCompressSync(body)
}

/** Events are JSON arrays, and the magic number of zstd begins otherwise. */
function unpacked(stored: Uint8Array): string {
  const bytes = stored[0] === jsonStart || stored.length === 0 ? stored : zstdDecompressSync(stored)
  return Buffer.from(bytes).toString('utf8')
}

interface Asked {
  readonly id: number
  readonly name: keyof LogRequests
  readonly args: unknown
}

if (!isMainThread && typeof workerData === 'object' && workerData !== null && 'logLimits' in workerData) {
  const tables = new LogTables(workerData.logLimits as LogLimits)
  parentPort?.on('message', ({ id, name, args }: Asked) => {
    try {
      parentPort?.postMessage({ id, answer: tables[name](args as never) }, [])
    } catch (error) {
      parentPort?.postMessage({ id, error: error instanceof Error ? error.message : String(error) }, [])
    }
  })
  parentPort?.once('close', () => tables.close())
}
