/**
 * Folds the log into the checkpoint: the last version of each row, and then the log records that it covers are dropped.
 * Runs as a worker thread, so that the controller's own thread never waits for more than one short batch.
 */
import type { DatabaseSync } from 'node:sqlite'
import { isMainThread, workerData } from 'node:worker_threads'
import { checksum, metaValue, openDatabase, readChecked, setMetaValue } from './sqlite-schema.ts'
import { readRecord, type RowWrite } from './store.ts'

/** Log records folded in one transaction. */
const batchRecords = 64

/** Folds every log record up to `throughRevision`. Interrupted anywhere, it leaves a store that loads the same. */
export function foldLog(database: DatabaseSync, path: string, throughRevision: number): void {
  for (;;) {
    const from = metaValue(database, 'checkpointRevision') ?? 0
    if (from >= throughRevision) return
    foldBatch(database, path, from, Math.min(from + batchRecords, throughRevision))
  }
}

function foldBatch(database: DatabaseSync, path: string, from: number, through: number): void {
  const records = database
    .prepare('select revision, crc, record from log where revision > ? and revision <= ? order by revision')
    .all(from, through)
  const last = new Map<string, RowWrite>()
  for (const { revision, crc, record } of records) {
    const turn = readChecked(`log record ${String(revision)} of ${path}`, record, crc, readRecord)
    for (const write of turn.writes) last.set(JSON.stringify([write.table, write.key]), write)
  }
  const upsert = database.prepare(
    'insert into checkpoint values (?, ?, ?, ?) on conflict do update set crc = excluded.crc, row = excluded.row',
  )
  const drop = database.prepare('delete from checkpoint where name = ? and key = ?')
  database.exec('begin immediate')
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
    foldLog(database, workerData.foldPath, workerData.throughRevision)
  } finally {
    database.close()
  }
}
