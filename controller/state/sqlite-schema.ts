/**
 * The controller's SQLite file: its tables, how it is opened, and how a record is checked when it is read back. The
 * store and its checkpoint worker each open a connection of their own through here.
 */
import { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { CorruptStoreError } from './store.ts'

/**
 * The version of the layout below and of the rows in tables.ts: 2 has account settings, and what operators changed on an
 * instance; 3 has services; 4 writes what changed of a row into the log, not the whole row; 5 has subnets,
 * addresses and file systems; 6 has identities and secrets. A store with a newer one is refused: this version could not keep its promises.
 */
export const schemaVersion = 6

/** How long a connection waits for the other one's transaction, milliseconds. Both only hold short ones. */
const busyTimeoutMs = 5000

const schema = `
  create table if not exists meta (name text primary key, value integer not null) strict, without rowid;
  create table if not exists log (revision integer primary key, crc integer not null, record text not null) strict;
  create table if not exists checkpoint (
    name text not null, key text not null, crc integer not null, row text not null, primary key (name, key)
  ) strict;
  create table if not exists history (
    task_id text primary key, cluster text not null, stopped_at integer not null,
    crc integer not null, row text not null
  ) strict;
  create index if not exists history_by_cluster on history (cluster, stopped_at);
  create index if not exists history_by_age on history (stopped_at);
  create table if not exists audit (
    id integer primary key, at integer not null, principal text not null, action text not null, code text not null,
    crc integer not null, row text not null, kind integer not null default 0
  ) strict;
`

/**
 * For every filter of the audit trail one that leads to its records in their order (sqlite-audit-lookup.ts). Most calls
 * are answered with OK, and cost nothing in the third; the last tells kinds apart without a look at the records.
 */
const auditIndexes = `
  drop index if exists audit_by_principal;
  drop index if exists audit_by_action;
  create index if not exists audit_of_principal on audit (principal, at);
  create index if not exists audit_of_action on audit (action, at);
  create index if not exists audit_of_refusal on audit (code, at) where code <> 'OK';
  create index if not exists audit_in_time on audit (at, id, kind);
`

/** Opens the file for reading and writing. Every commit through it is synced to disk before it returns. */
export function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs })
  try {
    database.exec('pragma journal_mode = wal; pragma synchronous = full;')
    return database
  } catch (error) {
    database.close()
    throw new CorruptStoreError(
      `${path} can't be opened as a database: ${(error as Error).message}. Put a backup in its place, or move it away ` +
        'to start with an empty cluster.',
      { cause: error },
    )
  }
}

/** Makes the tables of a new file, and refuses one that a newer version wrote. */
export function prepareSchema(database: DatabaseSync, path: string): void {
  const hasMeta = database.prepare("select 1 from sqlite_schema where type = 'table' and name = 'meta'").get()
  const found = hasMeta === undefined ? undefined : metaValue(database, 'schemaVersion')
  if (found !== undefined && found > schemaVersion) {
    throw new Error(
      `${path} has schema version ${found}, and this version of Gantry knows ${schemaVersion}: a newer Gantry wrote it. ` +
        'Start that newer version, or restore a backup from before the upgrade.',
    )
  }
  database.exec('begin immediate')
  try {
    database.exec(schema)
    prepareAudit(database)
    setMetaValue(database, 'schemaVersion', schemaVersion)
    database.exec('commit')
  } catch (error) {
    database.exec('rollback')
    throw error
  }
}

/**
 * A trail that was begun before records had kinds is taken up as it is: a column with a default costs nothing, and an
 * older version that takes the file back writes on without it. So this needs no version of its own.
 */
function prepareAudit(database: DatabaseSync): void {
  const hasKinds = database.prepare("select 1 from pragma_table_info('audit') where name = 'kind'").get() !== undefined
  if (!hasKinds) database.exec('alter table audit add column kind integer not null default 0')
  database.exec(auditIndexes)
}

export function metaValue(database: DatabaseSync, name: string): number | undefined {
  const value = database.prepare('select value from meta where name = ?').get(name)?.['value']
  return typeof value === 'number' ? value : undefined
}

export function setMetaValue(database: DatabaseSync, name: string, value: number): void {
  database.prepare('insert into meta values (?, ?) on conflict do update set value = excluded.value').run(name, value)
}

/** The checksum kept beside each record, so that a flipped bit is found even where the JSON still parses. */
export function checksum(text: string): number {
  return crc32(text)
}

/** Reads one kept text; `what` names the record in the error ("log record 17 of /var/lib/gantry/controller.db"). */
export function readChecked<R>(what: string, text: unknown, crc: unknown, read: (text: string) => R): R {
  try {
    if (typeof text !== 'string') throw new Error('it is not text')
    if (checksum(text) !== crc) throw new Error('its checksum does not match')
    return read(text)
  } catch (error) {
    throw new CorruptStoreError(
      `${what} is corrupt: ${(error as Error).message}. The controller does not start on half of its state: restore ` +
        'the data directory from a backup.',
      { cause: error },
    )
  }
}
