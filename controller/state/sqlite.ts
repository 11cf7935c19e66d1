/**
 * The embedded store: one SQLite file, one log record for each turn, synced before it counts. A
 * record a turn is several times faster than a write for each row, and does not slow down as the tables grow.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { auditDefaults, AuditTable } from './sqlite-audit.ts'
import type { AuditLimits } from './sqlite-audit-trim.ts'
import { afterWrite, isPatch, type LoggedWrite, readPatches, writePatches } from './store-patches.ts'
import { checksum, metaValue, openDatabase, prepareSchema, readChecked } from './sqlite-schema.ts'
import {
  CorruptStoreError,
  type LoadedState,
  type RowWrite,
  type Store,
  StoreWriteError,
  type TurnRecord,
  UnknownOutcomeError,
} from './store.ts'
import { type TableName, tableNames, type TaskRow } from './tables.ts'
import type { History } from './transaction.ts'

export interface SqliteStoreOptions {
  /** How long stopped tasks stay in the history, milliseconds. */
  readonly historyKeepMs?: number | undefined
  /** How many tasks the history holds at most; the oldest go first. */
  readonly historyKeepCount?: number | undefined
  /** How long, and how many records, the audit trail is kept. */
  readonly audit?: AuditLimits | undefined
  /** The log is folded into the checkpoint once it holds this many records... */
  readonly foldAfterRecords?: number | undefined
  /** ...or this many bytes. */
  readonly foldAfterBytes?: number | undefined
  /** Told of a fold that failed. Nothing is lost by it: the log stays whole, and the next fold tries again. */
  readonly onFoldFailure?: ((error: Error) => void) | undefined
}

const defaults = {
  historyKeepMs: 7 * 24 * 3600 * 1000,
  historyKeepCount: 50_000,
  foldAfterRecords: 2000,
  foldAfterBytes: 16 * 1024 * 1024,
}

/** 64 MiB, twice what the log may reach before it is folded. */
const writeAheadLogPagesMax = 16_384

/** SQLite's result code for an I/O error: the sync itself may have failed, after the record had reached the file. */
const sqliteIoError = 10

/**
 * Opens `controller.db` in `directory` (made if missing). The caller holds the directory's lock. Throws a plain Error
 * where a newer Gantry wrote the file, and CorruptStoreError where it is no database.
 */
export async function openSqliteStore(directory: string, options: SqliteStoreOptions = {}): Promise<Store> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'controller.db')
  // Task definitions hold what their authors put into environment variables; SQLite's own files take over this mode.
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  const database = openDatabase(path)
  try {
    prepareSchema(database, path)
    // The fold's worker moves the write-ahead log, so that no turn does; this is the bound should it fail.
    database.exec(`pragma wal_autocheckpoint = ${writeAheadLogPagesMax}`)
  } catch (error) {
    database.close()
    throw error
  }
  return new SqliteStore(database, path, options)
}

class SqliteStore implements Store {
  readonly history: History
  readonly #database: DatabaseSync
  readonly #path: string
  readonly #options: SqliteStoreOptions
  #revision: number
  #unfoldedRecords: number
  #unfoldedBytes: number
  #fold: Promise<void> | undefined
  readonly #insert: StatementSync
  readonly #audit: AuditTable

  constructor(database: DatabaseSync, path: string, options: SqliteStoreOptions) {
    this.#database = database
    this.#path = path
    this.#options = options
    this.#audit = new AuditTable(database, path, options.audit ?? auditDefaults)
    this.history = historyIn(database, path, this.#audit)
    this.#revision = newestRevision(database)
    this.#insert = database.prepare('insert into log values (?, ?, ?)')
    const size = database.prepare('select count(*) as records, total(length(record)) as bytes from log').get()
    this.#unfoldedRecords = Number(size?.['records'])
    this.#unfoldedBytes = Number(size?.['bytes'])
  }

  async load(): Promise<LoadedState> {
    try {
      return this.#read()
    } catch (error) {
      if (error instanceof CorruptStoreError) throw error
      throw new CorruptStoreError(
        `${this.#path} can't be read: ${(error as Error).message}. Restore the data directory from a backup.`,
        { cause: error },
      )
    }
  }

  #read(): LoadedState {
    /** The last version of each row. */
    const last = new Map<string, LoggedWrite>()
    for (const write of this.#checkpointRows()) last.set(nameOf(write), write)
    let revision = metaValue(this.#database, 'checkpointRevision') ?? 0
    const records = this.#database.prepare('select revision, crc, record from log order by revision').iterate()
    for (const row of records) {
      if (row['revision'] !== revision + 1) {
        throw new CorruptStoreError(
          `log record ${revision + 1} of ${this.#path} is missing (${String(row['revision'])} comes next): turns are ` +
            'lost. Restore the data directory from a backup.',
        )
      }
      revision += 1
      const record = readChecked(`log record ${revision} of ${this.#path}`, row['record'], row['crc'], readPatches)
      for (const write of record.writes) {
        const name = nameOf(write)
        last.set(name, afterWrite(last.get(name), write))
      }
    }
    return { revision, writes: [...last.values()].map((write) => this.#whole(write)) }
  }

  #whole(write: LoggedWrite): RowWrite {
    if (!isPatch(write)) return write
    throw new CorruptStoreError(
      `the log of ${this.#path} changes ${write.table}/${write.key}, of which the checkpoint has no row: rows are lost. ` +
        'Restore the data directory from a backup.',
    )
  }

  async append(record: TurnRecord): Promise<number> {
    const text = writePatches(record)
    const revision = this.#revision + 1
    try {
      this.#database.exec('begin immediate')
      this.#insert.run(revision, checksum(text), text)
      if (record.archived.length > 0) this.#archive(record)
      if (record.audited !== undefined && record.audited.length > 0) this.#audit.append(record.audited, record.at)
    } catch (error) {
      throw this.#failedWhole(error)
    }
    this.#commit()
    this.#audit.settle(true)
    this.#revision = revision
    this.#unfoldedRecords += 1
    this.#unfoldedBytes += text.length
    this.#foldIfDue()
    return revision
  }

  async close(): Promise<void> {
    // A fold that is cut off rolls back, so it need not be waited for at length; but its worker must be gone.
    await this.#fold
    this.#database.close()
  }

  #commit(): void {
    try {
      this.#database.exec('commit')
    } catch (error) {
      const code = (error as { errcode?: unknown }).errcode
      if (typeof code === 'number' && (code & 0xff) !== sqliteIoError) throw this.#failedWhole(error)
      throw new UnknownOutcomeError(
        `it is not known whether turn ${this.#revision + 1} is in ${this.#path}: ${(error as Error).message}. Restart ` +
          'the controller; it takes up whatever the disk has. Check the disk first.',
        { cause: error },
      )
    }
  }

  /** The error for a turn of which nothing is on disk; leaves no transaction open. */
  #failedWhole(error: unknown): Error {
    this.#audit.settle(false)
    try {
      if (this.#database.isTransaction) this.#database.exec('rollback')
    } catch (rollbackError) {
      return new UnknownOutcomeError(`a failed turn could not be rolled back in ${this.#path}`, {
        cause: rollbackError,
      })
    }
    return new StoreWriteError(
      `${this.#path} can't be written: ${(error as Error).message}. Free space on its disk, or check its permissions.`,
      { cause: error },
    )
  }

  #archive(record: TurnRecord): void {
    const insert = this.#database.prepare(
      'insert into history values (?, ?, ?, ?, ?) on conflict do update set crc = excluded.crc, row = excluded.row',
    )
    for (const task of record.archived) {
      const text = JSON.stringify(task)
      insert.run(task.taskId, task.clusterName, task.stoppedAt ?? record.at, checksum(text), text)
    }
    const keepMs = this.#options.historyKeepMs ?? defaults.historyKeepMs
    const keepCount = this.#options.historyKeepCount ?? defaults.historyKeepCount
    this.#database.prepare('delete from history where stopped_at < ?').run(record.at - keepMs)
    this.#database
      .prepare(
        'delete from history where rowid in (select rowid from history order by stopped_at desc limit -1 offset ?)',
      )
      .run(keepCount)
  }

  *#checkpointRows(): Iterable<RowWrite> {
    for (const { name, key, crc, row } of this.#database.prepare('select * from checkpoint').iterate()) {
      const what = `checkpoint row ${String(name)}/${String(key)} of ${this.#path}`
      const value = readChecked(what, row, crc, (text) => {
        if (!tableNames.includes(name as TableName)) throw new Error(`this version knows no table ${String(name)}`)
        return JSON.parse(text) as RowWrite['row']
      })
      yield { table: name as TableName, key: String(key), row: value }
    }
  }

  #foldIfDue(): void {
    if (this.#fold !== undefined) return
    const dueRecords = this.#options.foldAfterRecords ?? defaults.foldAfterRecords
    const dueBytes = this.#options.foldAfterBytes ?? defaults.foldAfterBytes
    if (this.#unfoldedRecords < dueRecords && this.#unfoldedBytes < dueBytes) return
    this.#unfoldedRecords = 0
    this.#unfoldedBytes = 0
    this.#fold = this.#runFold(this.#revision).finally(() => {
      this.#fold = undefined
    })
  }

  #runFold(throughRevision: number): Promise<void> {
    return new Promise((resolve) => {
      const worker = new Worker(new URL('./sqlite-checkpoint.ts', import.meta.url), {
        workerData: { foldPath: this.#path, throughRevision },
        // What the worker leaves in the process's memory is mostly its young generation.
        resourceLimits: { maxYoungGenerationSizeMb: 4 },
      })
      worker.once('error', (error) => {
        this.#options.onFoldFailure?.(error instanceof Error ? error : new Error(String(error)))
      })
      worker.once('exit', () => resolve())
    })
  }
}

function nameOf({ table, key }: LoggedWrite): string {
  return `${table}/${key}`
}

function newestRevision(database: DatabaseSync): number {
  const newest = database.prepare('select max(revision) as revision from log').get()?.['revision']
  return typeof newest === 'number' ? newest : (metaValue(database, 'checkpointRevision') ?? 0)
}

function historyIn(database: DatabaseSync, path: string, audit: AuditTable): History {
  const read = (row: Record<string, unknown>): TaskRow =>
    readChecked(
      `history of task ${String(row['task_id'])} in ${path}`,
      row['row'],
      row['crc'],
      (text) => JSON.parse(text) as TaskRow,
    )
  const one = database.prepare('select * from history where task_id = ?')
  const newest = database.prepare('select * from history where cluster = ? order by stopped_at desc limit ?')
  return {
    task(taskId) {
      const row = one.get(taskId)
      return row === undefined ? undefined : read(row)
    },
    tasksOfCluster: (clusterName, limit) => newest.all(clusterName, limit).map(read),
    audited: (query) => audit.query(query),
  }
}
