/**
 * The store of shipped logs, as a worker thread: one SQLite file of its own, so that neither a turn nor the cluster's state
 * ever waits for a container's output. A batch is one row, compressed, in the order in which it came; a stream's row says
 * what is next and after which place in the container's log.
 */
import { renameSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { logFrameBytesMax, readLogEvents } from '../../proto/logs.ts'
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

/** SQLite's codes for a file that is damaged (SQLITE_CORRUPT), or is none of its own (SQLITE_NOTADB). */
const unreadableCodes: ReadonlySet<unknown> = new Set([11, 26])

export class LogTables {
  /** Where the file that was there before is now, if it could not be read. */
  readonly movedTo: string | undefined
  readonly #database: DatabaseSync
  readonly #limits: LogLimits
  #bytes: number
  #pruneDueAt = 0

  constructor(limits: LogLimits) {
    this.#limits = limits
    const { database, movedTo } = openOrReplace(limits.path)
    this.#database = database
    this.movedTo = movedTo
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
    const held = this.#database.prepare('select bytes from streams where id = ?')
    for (;;) {
      const over = Number(held.get(stream)?.['bytes'] ?? 0) - this.#limits.streamBytesMax
      if (over <= 0 || this.#drop(`where stream = ${stream} order by sequence`, over) === 0) return
    }
  }

  #prune(now: number): void {
    const { bytesMax, keepMs } = this.#limits
    for (;;) {
      const over = this.#bytes - bytesMax
      if (over <= 0 || this.#drop('order by id', over) === 0) break
    }
    if (now < this.#pruneDueAt) return
    const isPastDone = this.#dropPast(Math.floor(now - keepMs)) < prunedMax
    this.#pruneDueAt = isPastDone ? now + pruneByAgeEveryMs : now
    if (!isPastDone) return
    this.#database
      .prepare('delete from streams where seen < ? and bytes = 0')
      .run(Math.floor(now - Math.max(streamsKeptMs, keepMs)))
  }

  /** The oldest in this order, until so many bytes are gone, and no more; answers how many went. */
  #drop(order: string, bytesOver: number): number {
    const oldest = this.#database.prepare(`select id, stream, bytes from batches ${order} limit ${prunedMax}`).all()
    let left = bytesOver
    const gone = oldest.filter(({ bytes }) => {
      const isOver = left > 0
      left -= Number(bytes)
      return isOver
    })
    this.#delete(gone)
    return gone.length
  }

  /** Those taken before this time. Batches are numbered as they come, so that only the first ones have to be looked at. */
  #dropPast(until: number): number {
    const oldest = this.#database
      .prepare(`select id, stream, bytes, ingested from batches order by id limit ${prunedMax}`)
      .all()
    const gone = oldest.filter(({ ingested }) => Number(ingested) < until)
    this.#delete(gone)
    return gone.length
  }

  #delete(rows: readonly Readonly<Record<string, unknown>>[]): void {
    const remove = this.#database.prepare('delete from batches where id = ?')
    const lighten = this.#database.prepare('update streams set bytes = bytes - ? where id = ?')
    for (const { id, stream, bytes } of rows) {
      remove.run(Number(id))
      lighten.run(Number(bytes), Number(stream))
      this.#bytes -= Number(bytes)
    }
  }
}

/**
 * What can't be read is moved aside: logs of the past are worth less than those to come. Where the trouble is another, such
 * as a full disk, the file is left as it is.
 */
function openOrReplace(path: string): { readonly database: DatabaseSync; readonly movedTo: string | undefined } {
  try {
    return { database: openTables(path), movedTo: undefined }
  } catch (error) {
    if (!isUnreadable(error)) throw error
    const movedTo = `${path}.unreadable`
    renameSync(path, movedTo)
    return { database: openTables(path), movedTo }
  }
}

function openTables(path: string): DatabaseSync {
  const database = openDatabase(path)
  try {
    database.exec(schema)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

function isUnreadable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return ('errcode' in error && unreadableCodes.has(error.errcode)) || isUnreadable(error.cause)
}

/** What is short stays as it is, if it begins as events do: so that it can be told from what was compressed. */
function packed(body: Uint8Array): Uint8Array {
  return body.length < compressedFromBytes && body[0] === jsonStart ? body : zstdCompressSync(body)
}

/** Empty where the row is damaged: it hides no others. */
function unpacked(stored: Uint8Array): string {
  try {
    const bytes = stored[0] === jsonStart ? stored : zstdDecompressSync(stored, { maxOutputLength: logFrameBytesMax })
    return Buffer.from(bytes).toString('utf8')
  } catch {
    return ''
  }
}

interface Asked {
  readonly id: number
  readonly name: keyof LogRequests
  readonly args: unknown
}

if (!isMainThread && typeof workerData === 'object' && workerData !== null && 'logLimits' in workerData) {
  const tables = new LogTables(workerData.logLimits as LogLimits)
  if (tables.movedTo !== undefined) parentPort?.postMessage({ movedTo: tables.movedTo }, [])
  parentPort?.on('message', ({ id, name, args }: Asked) => {
    try {
      parentPort?.postMessage({ id, answer: tables[name](args as never) }, [])
    } catch (error) {
      parentPort?.postMessage({ id, error: error instanceof Error ? error.message : String(error) }, [])
    }
  })
  parentPort?.once('close', () => tables.close())
}
