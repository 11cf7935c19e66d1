/**
 * The agent's journal: one SQLite file, synced at each commit, so that an accepted task and an unsent state change
 * outlive `kill -9` and a power cut. Losing the file is survivable: containers carry labels and are adopted.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { PayloadTask } from '../proto/acs.ts'
import type { Journal, JournalChanges, JournalContents, OutboxEntry } from './decide/journal-records.ts'
import type { TaskFacts } from './decide/view.ts'

const schemaVersion = 1
const sqliteFull = 13

/** `full`: no room on the disk; `newer`: written by a later version; `broken`: anything else SQLite refuses. */
export type JournalErrorKind = 'full' | 'newer' | 'broken'

export class JournalError extends Error {
  readonly kind: JournalErrorKind

  constructor(kind: JournalErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'JournalError'
    this.kind = kind
  }
}

const schema = `
  create table tasks (arn text primary key, payload text not null, facts text not null) without rowid;
  create table outbox (sequence integer primary key, change text not null);
  create table numbers (name text primary key, value integer not null) without rowid;
`

/**
 * Opens `journal.db` in the directory, which is made if missing. Throws a JournalError where it can't be used:
 * `newer` means that a later agent wrote it, and this one must not touch it.
 */
export function openJournal(directory: string, limits: { readonly pagesMax?: number } = {}): Journal {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'journal.db')
  const database = guarded(path, 'open', () => openDatabase(path))
  // SQLite then behaves as on a full disk; it also bounds a journal that is to stay small.
  if (limits.pagesMax !== undefined) database.exec(`pragma max_page_count = ${limits.pagesMax}`)
  const write = statements(database)
  return {
    load: () => guarded(path, 'read', () => readContents(database)),
    commit(changes) {
      guarded(path, 'write', () => {
        database.exec('begin immediate')
        try {
          writeChanges(write, changes)
          database.exec('commit')
        } catch (error) {
          rollBack(database)
          throw error
        }
      })
    },
    close: () => database.close(),
  }
}

function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path)
  try {
    // Container output and payloads are in it, and they are nobody else's business.
    chmodSync(path, 0o600)
    database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 2000')
    const version = Number(database.prepare('pragma user_version').get()?.['user_version'] ?? 0)
    if (version > schemaVersion) {
      throw new JournalError(
        'newer',
        `${path} has schema version ${version}; this agent knows up to ${schemaVersion}. ` +
          'Start the newer agent again, or move the file away: running containers are then adopted by their labels.',
      )
    }
    if (version === 0) database.exec(`begin; ${schema}; pragma user_version = ${schemaVersion}; commit`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

function readContents(database: DatabaseSync): JournalContents {
  const tasks = database.prepare('select payload, facts from tasks').all()
  const outbox = database.prepare('select sequence, change from outbox order by sequence').all()
  const seqNum = database.prepare("select value from numbers where name = 'seqNum'").get()
  const alone = database.prepare("select value from numbers where name = 'isAlone'").get()
  return {
    tasks: tasks
      .map((row) => ({
        payload: JSON.parse(String(row['payload'])) as PayloadTask,
        facts: JSON.parse(String(row['facts'])) as TaskFacts,
      }))
      .toSorted((a, b) => a.facts.acceptedAt - b.facts.acceptedAt),
    outbox: outbox.map((row) => ({
      sequence: Number(row['sequence']),
      change: JSON.parse(String(row['change'])) as OutboxEntry['change'],
    })),
    seqNum: seqNum === undefined ? -1 : Number(seqNum['value']),
    ...(Number(alone?.['value']) === 1 ? { isAlone: true } : {}),
  }
}

function statements(database: DatabaseSync) {
  return {
    payload: database.prepare(
      `insert into tasks (arn, payload, facts) values (?, ?, '{}')
       on conflict (arn) do update set payload = excluded.payload`,
    ),
    facts: database.prepare('update tasks set facts = ? where arn = ?'),
    forget: database.prepare('delete from tasks where arn = ?'),
    outbox: database.prepare('insert or replace into outbox (sequence, change) values (?, ?)'),
    delivered: database.prepare('delete from outbox where sequence = ?'),
    number: database.prepare('insert or replace into numbers (name, value) values (?, ?)'),
  }
}

function writeChanges(write: ReturnType<typeof statements>, changes: JournalChanges): void {
  for (const payload of changes.payloads) write.payload.run(payload.arn, JSON.stringify(payload))
  for (const facts of changes.facts) write.facts.run(JSON.stringify(facts), facts.taskArn)
  for (const arn of changes.forgottenTaskArns) write.forget.run(arn)
  for (const { sequence, change } of changes.outbox) write.outbox.run(sequence, JSON.stringify(change))
  for (const sequence of changes.deliveredSequences) write.delivered.run(sequence)
  if (changes.seqNum !== undefined) write.number.run('seqNum', changes.seqNum)
  if (changes.isAlone !== undefined) write.number.run('isAlone', changes.isAlone ? 1 : 0)
}

/** SQLite may have rolled back by itself (it does on a full disk); a second roll-back is then an error of no weight. */
function rollBack(database: DatabaseSync): void {
  if (database.isTransaction) database.exec('rollback')
}

function guarded<T>(path: string, doing: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof JournalError) throw error
    const { errcode, code } = error as { errcode?: unknown; code?: unknown }
    if (errcode === sqliteFull || code === 'ENOSPC') {
      throw new JournalError(
        'full',
        `The disk under ${path} is full: make room. Containers go on, but no new task is accepted until then.`,
        { cause: error },
      )
    }
    const words = error instanceof Error ? error.message : String(error)
    throw new JournalError(
      'broken',
      `The agent could not ${doing} its journal ${path}: ${words}. ` +
        'If it is damaged, move it away: running containers are then adopted by their labels.',
      { cause: error },
    )
  }
}
