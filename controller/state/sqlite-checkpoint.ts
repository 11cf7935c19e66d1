/**
 * Folds the log into the checkpoint: the last version of each row, and then the log records that it covers are dropped.
 * Runs as a worker thread, so that the controller's own thread never waits for more than one short batch.
 */
import type { DatabaseSync } from 'node:sqlite'
import { isMainThread, workerData } from 'node:worker_threads'
import { checksum, metaValue, openDatabase, readChecked, setMetaValue } from './sqlite-schema.ts'
import { afterWrite, isPatch, type LoggedWrite, readPatches, type RowPatch } from './store-patches.ts'
import { CorruptStoreError, type RowWrite } from './store.ts'

/** Log records read at once: this many, or the first that reach this many characters. */
const batchRecords = 128
const batchCharacters = 8 * 1024 * 1024
/** What one transaction writes or drops: as little as keeps a waiting turn's wait to a few milliseconds. */
const sliceCharacters = 64 * 1024
/** Left free after each transaction, for the turns that wait, milliseconds. */
const pauseMs = 2

/** SQLite's result code for a lock that another connection holds. */
const sqliteBusy = 5
/** How long to wait between two tries for the lock, and for how long to try, milliseconds. */
const retryMs = 1
const retryForMs = 30_000
/** Tries to make the write-ahead log begin anew; after so many the next fold may. */
const restartTriesMax = 100

/** Folds every log record up to `throughRevision`. Interrupted anywhere, it leaves a store that loads the same. */
export function foldLog(database: DatabaseSync, path: string, throughRevision: number): void {
  for (;;) {
    const from = metaValue(database, 'checkpointRevision') ?? 0
    if (from >= throughRevision) return
    foldBatch(database, path, readBatch(database, path, from, Math.min(from + batchRecords, throughRevision)))
    moveWriteAheadLog(database, 'passive')
  }
}

/**
 * First the rows, then the records that they came from, each in many short transactions. In between the checkpoint is
 * ahead of its revision, which does no harm: the records that are still there write the same rows again.
 */
function foldBatch(database: DatabaseSync, path: string, { last, records }: Batch): void {
  const upsert = database.prepare(
    'insert into checkpoint values (?, ?, ?, ?) on conflict do update set crc = excluded.crc, row = excluded.row',
  )
  const drop = database.prepare('delete from checkpoint where name = ? and key = ?')
  const known = database.prepare('select crc, row from checkpoint where name = ? and key = ?')
  const rows = [...last.values()].map((write) => {
    const { table, key } = write
    const row = isPatch(write) ? patchedRow(write, known.get(table, key), path) : write.row
    const text = row === undefined ? undefined : JSON.stringify(row)
    return { table, key, text, characters: text?.length ?? 0, crc: text === undefined ? 0 : checksum(text) }
  })
  for (const slice of slicesOf(rows)) {
    commitPatiently(database, () => {
      for (const { table, key, text, crc } of slice) {
        if (text === undefined) drop.run(table, key)
        else upsert.run(table, key, crc, text)
      }
    })
  }
  const trim = database.prepare('delete from log where revision <= ?')
  for (const slice of slicesOf(records)) {
    const through = slice.at(-1)?.revision
    if (through === undefined) throw new Error(`a slice of the log of ${path} is empty`)
    commitPatiently(database, () => {
      setMetaValue(database, 'checkpointRevision', through)
      trim.run(through)
    })
  }
}

/** A row that the batch only changes, over what the checkpoint has of it. */
function patchedRow(patch: RowPatch, kept: Record<string, unknown> | undefined, path: string): RowWrite['row'] {
  const { table, key } = patch
  const what = `checkpoint row ${table}/${key} of ${path}`
  if (kept === undefined) throw new CorruptStoreError(`${what} is missing: the log changes it, and can't be folded`)
  const row = readChecked(what, kept['row'], kept['crc'], (text) => JSON.parse(text) as RowWrite['row'])
  const whole = afterWrite({ table, key, row }, patch)
  if (isPatch(whole)) throw new Error(`${what} was read, and is no row`)
  return whole.row
}

interface Batch {
  /** The last write to each row. */
  readonly last: ReadonlyMap<string, LoggedWrite>
  readonly records: readonly { readonly revision: number; readonly characters: number }[]
}

function readBatch(database: DatabaseSync, path: string, from: number, limit: number): Batch {
  const last = new Map<string, LoggedWrite>()
  const records: { revision: number; characters: number }[] = []
  let characters = 0
  const read = database.prepare(
    'select revision, crc, record from log where revision > ? and revision <= ? order by revision',
  )
  for (const { revision, crc, record } of read.iterate(from, limit)) {
    const turn = readChecked(`log record ${String(revision)} of ${path}`, record, crc, readPatches)
    for (const write of turn.writes) {
      const name = `${write.table}/${write.key}`
      last.set(name, afterWrite(last.get(name), write))
    }
    records.push({ revision: Number(revision), characters: String(record).length })
    characters += String(record).length
    if (characters >= batchCharacters) break
  }
  if (records.length === 0) {
    throw new CorruptStoreError(`log record ${from + 1} of ${path} is missing: it can't be folded`)
  }
  return { last, records }
}

/** In their order, cut where a slice has reached its size; one item may be larger. */
function slicesOf<Item extends { readonly characters: number }>(items: readonly Item[]): readonly (readonly Item[])[] {
  const slices: Item[][] = []
  let characters = sliceCharacters
  for (const item of items) {
    if (characters >= sliceCharacters) {
      slices.push([])
      characters = 0
    }
    slices.at(-1)?.push(item)
    characters += item.characters
  }
  return slices
}

/** One short transaction, and a pause after it: a turn that waits for the lock sleeps, and must find it free. */
function commitPatiently(database: DatabaseSync, write: () => void): void {
  beginPatiently(database)
  try {
    write()
    database.exec('commit')
  } catch (error) {
    if (database.isTransaction) database.exec('rollback')
    throw error
  }
  pause(pauseMs)
}

/**
 * Takes the write lock in one of the short gaps that a busy controller leaves. SQLite's own waiting sleeps longer and
 * longer, up to 100 ms, and so misses them for as long as the controller is busy, while the log grows.
 */
function beginPatiently(database: DatabaseSync): void {
  for (let waitedMs = 0; ; waitedMs += retryMs) {
    try {
      database.exec('begin immediate')
      return
    } catch (error) {
      const isBusy = (error as { errcode?: unknown }).errcode === sqliteBusy
      if (!isBusy || waitedMs >= retryForMs) throw error
      pause(retryMs)
    }
  }
}

/**
 * Moves SQLite's write-ahead log into the database file, which the controller's own commits then need not do. `passive`
 * holds up nobody; `restart` lets the next commit write at the log's beginning again, and holds the lock for what is left.
 */
function moveWriteAheadLog(database: DatabaseSync, mode: 'passive' | 'restart'): void {
  for (let tries = 0; tries < restartTriesMax; tries += 1) {
    const busy = database.prepare(`pragma wal_checkpoint(${mode})`).get()?.['busy']
    if (mode === 'passive' || busy === 0) return
    pause(retryMs)
  }
}

function pause(durationMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, durationMs)
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
    // What the worker commits may be lost with the power: a fold that is gone is done again. The order stays, so a synced
    // commit of the controller's carries with it what the worker wrote before.
    database.exec('pragma busy_timeout = 0; pragma synchronous = normal; pragma wal_autocheckpoint = 0')
    foldLog(database, workerData.foldPath, workerData.throughRevision)
    moveWriteAheadLog(database, 'restart')
  } finally {
    database.close()
  }
}
