/**
 * Folds the log into the checkpoint: the last version of each row, and then the log records that it covers are dropped.
 * Runs as a worker thread, so that the controller's own thread never waits for more than one short batch.
 */
import type { DatabaseSync } from 'node:sqlite'
import { isMainThread, workerData } from 'node:worker_threads'
import { checksum, metaValue, openDatabase, readChecked, setMetaValue } from './sqlite-schema.ts'
import { CorruptStoreError, readRecord, type RowWrite } from './store.ts'

/** Log records folded in one transaction: this many, or the first that reach this many characters. */
const batchRecords = 128
const batchCharacters = 8 * 1024 * 1024

/** SQLite's result code for a lock that another connection holds. */
const sqliteBusy = 5
/** How long to wait between two tries for the lock, and for how long to try, milliseconds. */
const retryMs = 1
const retryForMs = 30_000

/** Folds every log record up to `throughRevision`. Interrupted anywhere, it leaves a store that loads the same. */
export function foldLog(database: DatabaseSync, path: string, throughRevision: number): void {
  for (;;) {
    const from = metaValue(database, 'checkpointRevision') ?? 0
    if (from >= throughRevision) return
    foldBatch(database, path, from, Math.min(from + batchRecords, throughRevision))
  }
}

function foldBatch(database: DatabaseSync, path: string, from: number, limit: number): void {
  const { last, through } = readBatch(database, path, from, limit)
  const upsert = database.prepare(
    'insert into checkpoint values (?, ?, ?, ?) on conflict do update set crc = excluded.crc, row = excluded.row',
  )
  const drop = database.prepare('delete from checkpoint where name = ? and key = ?')
  beginPatiently(database)
  try {
    for (const { table, key, row } of last.values()) {
      if (row === undefined) drop.run(table, key)
      else {
        const text = JSON.stringify(row)
        upsert.run(table, key, checksum(text), text)
      }
    }
    setMetaValue(database, 'checkpointRevision', through)
    database.prepare('delete from log where revision <= ?').run(through)
    database.exec('commit')
  } catch (error) {
    if (database.isTransaction) database.exec('rollback')
    throw error
  }
}

/** The last write to each row in the next batch of records, and the revision at which that batch ends. */
function readBatch(
  database: DatabaseSync,
  path: string,
  from: number,
  limit: number,
): { readonly last: ReadonlyMap<string, RowWrite>; readonly through: number } {
  const last = new Map<string, RowWrite>()
  let through = from
  let characters = 0
  const records = database.prepare(
    'select revision, crc, record from log where revision > ? and revision <= ? order by revision',
  )
  for (const { revision, crc, record } of records.iterate(from, limit)) {
    const turn = readChecked(`log record ${String(revision)} of ${path}`, record, crc, readRecord)
    for (const write of turn.writes) last.set(JSON.stringify([write.table, write.key]), write)
    through = Number(revision)
    characters += String(record).length
    if (characters >= batchCharacters) break
  }
  if (through === from) throw new CorruptStoreError(`log record ${from + 1} of ${path} is missing: it can't be folded`)
  return { last, through }
}

/**
 * Takes the write lock in one of the short gaps that a busy controller leaves. SQLite's own waiting sleeps longer and
 * longer, up to 100 ms, and so misses them for as long as the controller is busy, while the log grows.
 */
function beginPatiently(database: DatabaseSync): void {
  const nobody = new Int32Array(new SharedArrayBuffer(4))
  for (let waitedMs = 0; ; waitedMs += retryMs) {
    try {
      database.exec('begin immediate')
      return
    } catch (error) {
      const isBusy = (error as { errcode?: unknown }).errcode === sqliteBusy
      if (!isBusy || waitedMs >= retryForMs) throw error
      Atomics.wait(nobody, 0, 0, retryMs)
    }
  }
}

interface FoldRequest {
  readonly foldPath: string
  readonly throughRevision: number
}

function isFoldRequest(value: unknown): value is FoldRequest {
  return typeof value === 'object' && value !== null && 'foldPath' in value && 'throughRevision' in value
}

if (!isMainThread && isFoldRequest(workerData)) {
  const database = openDatabase(workerData.foldPath)
  try {
    database.exec('pragma busy_timeout = 0')
    foldLog(database, workerData.foldPath, workerData.throughRevision)
  } finally {
    database.close()
  }
}
