import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import t from 'tap'
import { aCluster, aTask, testNow } from '../../test/support/builders.ts'
import { DirectoryLockedError, lockDirectory } from '../directory-lock.ts'
import { foldLog } from './sqlite-checkpoint.ts'
import { openSqliteStore, type SqliteStoreOptions } from './sqlite.ts'
import { createState } from './state.ts'
import { CorruptStoreError, type RowWrite, type Store, StoreWriteError } from './store.ts'
import type { ClusterRow, TaskRow } from './tables.ts'

const root = mkdtempSync(join(tmpdir(), 'gantry-store-'))
t.teardown(() => rmSync(root, { recursive: true, force: true }))
let directories = 0
function aDirectory(): string {
  directories += 1
  return join(root, String(directories))
}

function writeCluster(clusterName: string, createdAt = testNow): RowWrite {
  return { table: 'cluster', key: clusterName, row: aCluster({ clusterName, createdAt }) }
}

async function append(store: Store, writes: readonly RowWrite[], archived: readonly TaskRow[] = []): Promise<number> {
  return store.append({ at: testNow, writes, archived })
}

async function clustersIn(store: Store): Promise<readonly unknown[]> {
  const state = createState()
  const { writes } = await store.load()
  state.apply(writes.map(({ table, key, row }) => ({ table, key, row, before: undefined })))
  return state.all('cluster')
}

function stopped(taskId: string, ago: number, clusterName = 'default'): TaskRow {
  return aTask({ taskId, clusterName, lastStatus: 'STOPPED', stoppedAt: testNow - ago })
}

/** `row`, with a member that comes and goes, and the others of `before` where there is one. */
function withSometimes(before: RowWrite['row'], row: RowWrite['row'], at: number): ClusterRow {
  const base = { ...(before ?? row), ...row } as ClusterRow
  const { inactiveSince: _inactiveSince, lostAfterMs: _lostAfterMs, ...always } = base
  return { ...always, ...(at % 2 === 0 && { inactiveSince: at }), ...(at % 3 === 0 && { lostAfterMs: 7 }) }
}

const someTurn = fc.array(
  fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), createdAt: fc.option(fc.nat(), { nil: undefined }) }),
  { maxLength: 4 },
)

await t.test('load(append(x)) = x, across folds and reopening', async (test) => {
  let folds = 0
  await fc.assert(
    fc.asyncProperty(fc.array(someTurn, { maxLength: 12 }), fc.nat(12), async (turns, reopenAt) => {
      const directory = aDirectory()
      const options: SqliteStoreOptions = {
        foldAfterRecords: 3,
        onFoldFailure: (error) => {
          throw error
        },
      }
      let store = await openSqliteStore(directory, options)
      const expected = new Map<string, RowWrite['row']>()
      for (const [at, turn] of turns.entries()) {
        if (at === reopenAt) {
          await store.close()
          store = await openSqliteStore(directory, options)
        }
        const writes = turn.map(({ key, createdAt }): RowWrite => {
          if (createdAt === undefined) return { table: 'cluster', key }
          return writeCluster(key, createdAt)
        })
        for (const [index, { key, row }] of writes.entries()) {
          // What a row was before is known as it is to the turn: then only what differs is written down.
          const before = expected.get(key)
          if (row === undefined) expected.delete(key)
          else {
            const changed = withSometimes(before, row, at + index)
            writes[index] = { table: 'cluster', key, row: changed, before }
            expected.set(key, changed)
          }
        }
        if ((await append(store, writes)) !== at + 1) return false
      }
      await store.close()
      store = await openSqliteStore(directory, options)
      const { revision } = await store.load()
      const clusters = await clustersIn(store)
      await store.close()
      const database = new DatabaseSync(join(directory, 'controller.db'))
      const records = Number(database.prepare('select count(*) as count from log').get()?.['count'])
      database.close()
      if (records < turns.length) folds += 1
      const wanted = [...expected].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, row]) => row)
      return revision === turns.length && isDeepStrictEqual(clusters, wanted)
    }),
    { numRuns: 15 },
  )
  test.ok(folds > 0, `the log was folded in ${folds} of the histories`)
})

await t.test(
  'a fold that is cut off between any two of its transactions leaves a store that loads the same',
  async (test) => {
    // Rows of 40 KB each, so that a fold takes several transactions for them and for the records they came from.
    const rows = new Map<string, ClusterRow>()
    const turns = ['a', 'b', 'a', 'c', 'b', 'a', 'not b', 'e', 'c', 'b'].map((key, at): RowWrite => {
      if (key === 'not b') {
        rows.delete('b')
        return { table: 'cluster', key: 'b' }
      }
      const before = rows.get(key)
      const row = {
        ...(before ?? aCluster({ clusterName: key })),
        createdAt: at,
        clusterArn: String(at).repeat(40_000),
      }
      rows.set(key, row)
      return { table: 'cluster', key, row, before }
    })
    let transactions = 0
    const cutsMax = 20
    for (let cutAfter = 0; cutAfter < cutsMax && cutAfter <= transactions + 1; cutAfter += 1) {
      const directory = aDirectory()
      const store = await openSqliteStore(directory)
      for (const write of turns) await append(store, [write])
      const expected = await clustersIn(store)
      await store.close()
      const path = join(directory, 'controller.db')
      const database = new DatabaseSync(path)
      transactions = 0
      const cut = {
        prepare: (sql: string) => database.prepare(sql),
        exec(sql: string) {
          if (sql === 'commit' && transactions === cutAfter) throw new Error('cut off')
          if (sql === 'commit') transactions += 1
          database.exec(sql)
        },
        get isTransaction() {
          return database.isTransaction
        },
      } as DatabaseSync
      try {
        foldLog(cut, path, turns.length)
      } catch (error) {
        test.match(error, { message: 'cut off' })
      }
      database.close()
      const again = await openSqliteStore(directory)
      test.same(await clustersIn(again), expected, `cut off after ${transactions} transactions`)
      test.equal((await again.load()).revision, turns.length)
      await again.close()
    }
    test.ok(transactions >= 4, `the whole fold took ${transactions} transactions`)
  },
)

await t.test('a log that changes a row which is nowhere stops the start, and says which', async (test) => {
  // given a turn that changes a row, and the row's first record gone
  const directory = aDirectory()
  const store = await openSqliteStore(directory)
  const before = aCluster({ clusterName: 'a' })
  await append(store, [{ table: 'cluster', key: 'a', row: before }])
  await append(store, [{ table: 'cluster', key: 'a', row: { ...before, createdAt: 7 }, before }])
  await store.close()
  const database = new DatabaseSync(join(directory, 'controller.db'))
  database.exec("delete from log where revision = 1; update meta set value = 1 where name = 'checkpointRevision'")
  database.exec("insert or ignore into meta values ('checkpointRevision', 1)")
  database.close()

  // then
  const again = await openSqliteStore(directory)
  await test.rejects(again.load(), { name: 'CorruptStoreError', message: /changes cluster\/a, .*Restore/s })
  await again.close()
})

await t.test('what a writer was answered survives its kill -9, wherever it hits', async (test) => {
  const directory = aDirectory()
  const program = `
    import { openSqliteStore } from ${JSON.stringify(new URL('./sqlite.ts', import.meta.url).href)}
    const store = await openSqliteStore(${JSON.stringify(directory)}, { foldAfterRecords: 20 })
    const { revision } = await store.load()
    for (let at = revision + 1; ; at += 1) {
      const row = { clusterName: 'c' + (at % 7), createdAt: at, padding: 'x'.repeat(30_000) }
      const given = await store.append({ at, writes: [{ table: 'cluster', key: row.clusterName, row }], archived: [] })
      process.stdout.write(given + '\\n')
      if (at % 16 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  `
  let answered = 0
  for (const killAfterLines of [1, 40, 90]) {
    const writer = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    await new Promise<void>((resolve) => {
      writer.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        if (text.split('\n').length > killAfterLines) writer.kill('SIGKILL')
      })
      writer.once('close', () => resolve())
    })
    // The last line may be torn; what stands before a newline was answered.
    answered = Math.max(answered, ...text.split('\n').slice(0, -1).map(Number))
    const store = await openSqliteStore(directory)
    const { revision } = await store.load()
    const newest = Math.max(...(await clustersIn(store)).map((row) => (row as { createdAt: number }).createdAt))
    await store.close()
    test.ok(answered > 0 && revision >= answered, `answered ${answered}, found ${revision}`)
    test.equal(newest, revision, 'the newest row is that of the newest turn')
  }
})

await t.test('a full disk fails the commit whole, and the next one succeeds once there is room', async (test) => {
  const directory = aDirectory()
  const store = await openSqliteStore(directory)
  await append(store, [writeCluster('before')])
  await store.close()
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'gantry-test', directory])
  test.equal(mounted.status, 0, 'a tiny file system to fill (this test runs as root)')
  try {
    const small = await openSqliteStore(directory)
    await append(small, [writeCluster('kept')])
    let failure: unknown
    try {
      for (let round = 0; round < 100; round += 1) {
        await append(small, [{ table: 'cluster', key: 'big', row: aCluster({ clusterArn: 'x'.repeat(64 * 1024) }) }])
      }
    } catch (error) {
      failure = error
    }
    test.ok(failure instanceof StoreWriteError, String(failure))
    test.match(failure, { message: /full.*Free space/ })
    const before = (await small.load()).revision
    await test.rejects(append(small, [writeCluster('x'.repeat(200_000))]), StoreWriteError)
    test.equal((await small.load()).revision, before, 'nothing of it is there')
    test.equal(spawnSync('mount', ['-o', 'remount,size=16m', directory]).status, 0)
    test.equal(await append(small, [writeCluster('after')]), before + 1)
    await small.close()
    const again = await openSqliteStore(directory)
    test.match(JSON.stringify(await clustersIn(again)), /after.*kept/)
    test.equal((await again.load()).revision, before + 1)
    await again.close()
  } finally {
    spawnSync('umount', [directory])
  }
})

await t.test('one bad record stops the start, and is named', async (test) => {
  const spoil = async (sql: string, foldAfterRecords = 1000): Promise<unknown> => {
    const directory = aDirectory()
    const store = await openSqliteStore(directory, { foldAfterRecords })
    for (const name of ['a', 'b', 'c']) await append(store, [writeCluster(name)])
    await store.close()
    const database = new DatabaseSync(join(directory, 'controller.db'))
    database.exec(sql)
    database.close()
    const again = await openSqliteStore(directory)
    const outcome = await again.load().catch((error: unknown) => error)
    await again.close()
    return outcome
  }
  const flipped = await spoil("update log set record = replace(record, 'ACTIVE', 'ACTIVF') where revision = 2")
  test.ok(flipped instanceof CorruptStoreError)
  test.match(flipped, { message: /log record 2 of .*controller\.db is corrupt: its checksum.*backup/ })
  test.match(await spoil('delete from log where revision = 2'), { message: /log record 2 .* is missing/ })
  const row = await spoil("update checkpoint set row = '{' where key = 'a'", 1)
  test.match(row, { message: /checkpoint row cluster\/a of .* is corrupt/ })

  const directory = aDirectory()
  await (await openSqliteStore(directory)).close()
  const database = new DatabaseSync(join(directory, 'controller.db'))
  database.exec("update meta set value = 99 where name = 'schemaVersion'")
  database.close()
  await test.rejects(openSqliteStore(directory), { message: /schema version 99.*newer Gantry/s })
  writeFileSync(join(directory, 'controller.db'), 'this is no database, and long enough to be looked at as one')
  rmSync(join(directory, 'controller.db-wal'), { force: true })
  await test.rejects(openSqliteStore(directory), CorruptStoreError)
  const closed = aDirectory()
  await (await openSqliteStore(closed)).close()
  test.equal(statSync(join(closed, 'controller.db')).mode & 0o777, 0o600, 'the file is for its owner alone')
})

await t.test('the history is kept by age and by count, with the turn that archived its tasks', async (test) => {
  const store = await openSqliteStore(aDirectory(), { historyKeepMs: 1000, historyKeepCount: 3 })
  await append(store, [], [stopped('old', 1500), stopped('a', 300), stopped('b', 200), stopped('other', 100, 'other')])
  test.equal(store.history.task('old'), undefined, 'over age')
  test.same(store.history.task('a'), stopped('a', 300))
  test.same(
    store.history.tasksOfCluster('default', 10).map(({ taskId }) => taskId),
    ['b', 'a'],
    'newest first',
  )
  test.equal(store.history.tasksOfCluster('default', 1).length, 1)
  await append(store, [], [stopped('c', 50)])
  test.equal(store.history.task('a'), undefined, 'over count, the oldest goes')
  test.ok(store.history.task('c'))
  await store.close()
})

await t.test('a directory has one holder; a dead one is taken over from', async (test) => {
  const directory = aDirectory()
  const lock = lockDirectory(directory)
  test.throws(() => lockDirectory(directory), new RegExp(`in use by process ${process.pid}`))
  const refused = (): unknown => {
    try {
      return lockDirectory(directory)
    } catch (error) {
      return error
    }
  }
  test.match(refused(), { pid: process.pid })
  test.ok(refused() instanceof DirectoryLockedError)
  lock.release()
  test.throws(() => statSync(join(directory, 'lock')))

  const dead = spawnSync(process.execPath, ['-p', 'process.pid']).stdout.toString().trim()
  writeFileSync(join(directory, 'lock'), `${dead} some-boot 1\n`)
  lockDirectory(directory).release()

  writeFileSync(join(directory, 'lock'), `${process.pid} some-boot 1\n`)
  const taken = lockDirectory(directory)
  test.match(
    readFileSync(join(directory, 'lock'), 'utf8'),
    new RegExp(`^${process.pid} `),
    'the pid was given out again',
  )
  taken.release()
})
