/** The audit trail in its file: looked up through indexes alone, in bounded steps; trimmed fairly; taken up from 0.3's. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'tap'
import { testNow } from '../../test/support/builders.ts'
import type { AuditPage, AuditPlace, AuditQuery, AuditRecord } from './audit-record.ts'
import { AuditKinds, kindOf } from './sqlite-audit-kinds.ts'
import { lookedOverMax } from './sqlite-audit-lookup.ts'
import { auditDefaults, AuditTable } from './sqlite-audit.ts'
import { checksum, openDatabase, prepareSchema } from './sqlite-schema.ts'
import { openSqliteStore } from './sqlite.ts'

const account = 'arn:aws:iam::1:user'
const session = (role: string, name: string): string => `arn:aws:sts::1:assumed-role/${role}/${name}`

function aRecord(over: Partial<AuditRecord> = {}): AuditRecord {
  const call = { at: testNow, requestId: 'r', principalArn: `${account}/ann`, action: 'ecs:ListTasks', code: 'OK' }
  return { ...call, resources: ['*'], sourceAddress: '10.0.0.9', isSecure: true, ...over }
}

/** A trail of its own, and every statement that reads or changes it. */
function aTrail(t: { teardown(fn: () => void): void }, limits = auditDefaults) {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-trail-'))
  const path = join(directory, 'controller.db')
  const database = openDatabase(path)
  prepareSchema(database, path)
  database.exec('pragma synchronous = off')
  t.teardown(() => {
    database.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const statements = new Set<string>()
  const prepare = database.prepare.bind(database)
  database.prepare = (sql) => {
    statements.add(sql)
    return prepare(sql)
  }
  const table = new AuditTable(database, path, limits)
  statements.clear()
  const write = (records: readonly AuditRecord[]): void => {
    database.exec('begin')
    table.append(records, testNow)
    database.exec('commit')
    table.settle(true)
  }
  const asked = (): readonly string[] => [...statements]
  const plans = (): readonly string[] =>
    [...statements].map((sql) =>
      prepare(`explain query plan ${sql}`)
        .all()
        .map(({ detail }) => String(detail))
        .join('; '),
    )
  return { database, table, write, asked, plans }
}

const idsOf = (found: readonly AuditRecord[]): readonly string[] => found.map(({ requestId }) => requestId)

/** As an operator pages: all records, and how many looks it took. */
function all(look: (query: AuditQuery) => AuditPage, query: Omit<AuditQuery, 'limit'>, limit = 100) {
  const records: AuditPage['records'][number][] = []
  let before: AuditPlace | undefined
  let looks = 0
  do {
    const page = look({ ...query, limit, ...(before !== undefined && { before }) })
    records.push(...page.records)
    before = page.next
    looks += 1
  } while (before !== undefined)
  return { records, looks }
}

await test('no lookup, in no combination of filters and on no page, reads the table or sorts', (t) => {
  const { table, write, asked, plans } = aTrail(t)
  write([aRecord(), aRecord({ code: 'AccessDeniedException' })])
  const given = {
    principalArn: [undefined, `${account}/ann`],
    action: [undefined, 'ecs:ListTasks', 'ecs:*'],
    code: [undefined, 'OK', 'AccessDeniedException'],
    since: [undefined, testNow - 1],
    until: [undefined, testNow + 1],
    before: [undefined, { at: testNow, id: 1000 }],
  }
  let queries = 0
  for (const principalArn of given.principalArn)
    for (const action of given.action)
      for (const code of given.code)
        for (const since of given.since)
          for (const until of given.until)
            for (const before of given.before) {
              const { records } = table.query({ principalArn, action, code, since, until, before, limit: 10 })
              t.equal(records.length, code === undefined ? 2 : 1)
              queries += 1
            }
  t.equal(queries, 144)
  const told = plans()
  t.ok(told.length >= 40, `${told.length} statements`)
  t.same(
    told.filter((plan) => /^SEARCH audit USING (COVERING )?INDEX audit_/.test(plan)).length,
    told.length - 1,
    'all but the sweep',
  )
  t.same(
    told.filter((plan) => /SCAN|TEMP B-TREE/.test(plan)),
    [],
  )
  // Where there are two, SQLite goes by one, and reads every record that this one leaves for the other.
  const bounds = /\(at, id\) [<>]=? \(|\bat [<>]=? \?/g
  t.same(
    asked().filter((sql) => (sql.match(bounds) ?? []).filter((each) => each.includes('>')).length > 1),
    [],
  )
  t.same(
    asked().filter((sql) => (sql.match(bounds) ?? []).filter((each) => each.includes('<')).length > 1),
    [],
  )
  t.end()
})

await test('nor does what drops records, in the same turns', (t) => {
  const { write, plans } = aTrail(t, { keepMs: 1000, keepCount: 100 })
  for (let n = 0; n < 4; n += 1) {
    write(Array.from({ length: 150 }, (_, at) => aRecord({ at: testNow - (at % 2) * 5000, action: `ecs:${n}` })))
  }
  const told = plans().filter((plan) => plan !== '')
  t.ok(told.length >= 3, `${told.length} statements`)
  t.same(
    told.filter((plan) => /SCAN audit|TEMP B-TREE/.test(plan)),
    [],
  )
  t.end()
})

await test('one look is bounded, however few there are to find, and pages miss and repeat nothing', (t) => {
  const { table, write } = aTrail(t)
  const look = (query: AuditQuery): AuditPage => table.query(query)
  const count = 3 * lookedOverMax + 7
  const rare = new Set([3, lookedOverMax, 2 * lookedOverMax + 1, count - 1])
  const records = Array.from({ length: count }, (_, n) =>
    aRecord({
      // Many of one millisecond; some are written after others that are later.
      at: testNow + Math.floor(n / 50) * 10 - (n % 7),
      requestId: `${n}`,
      ...(rare.has(n) && { action: 'ssm:GetParameter', code: n === 3 ? 'AccessDeniedException' : 'OK' }),
      principalArn: n % 3 === 0 ? `${account}/bob` : `${account}/ann`,
    }),
  )
  write(records)
  const sorted = records
    .map((record, n) => ({ record, n }))
    .toSorted((left, right) => right.record.at - left.record.at || right.n - left.n)
    .map(({ record }) => record)
  const queries: readonly [Omit<AuditQuery, 'limit'>, (record: AuditRecord) => boolean, number][] = [
    [{}, () => true, 1000],
    [{ action: 'ssm:*' }, ({ action }) => action.startsWith('ssm:'), 100],
    [{ code: 'OK', action: 'ssm:*' }, ({ action, code }) => action.startsWith('ssm:') && code === 'OK', 100],
    [{ principalArn: `${account}/bob` }, ({ principalArn }) => principalArn === `${account}/bob`, 1000],
    [{ since: testNow + 500, until: testNow + 900 }, ({ at }) => at >= testNow + 500 && at <= testNow + 900, 100],
    [{ code: 'AccessDeniedException' }, ({ code }) => code !== 'OK', 100],
  ]
  for (const [query, fits, limit] of queries) {
    const { records: found } = all(look, query, limit)
    t.same(idsOf(found), idsOf(sorted.filter(fits)), JSON.stringify(query))
  }
  const byTime = all(look, { action: 'ssm:*' })
  t.equal(byTime.looks, 4, 'what has no index of its own takes as many looks as the trail has parts')
  const both = all(look, { principalArn: `${account}/ann`, action: 'ssm:GetParameter' })
  t.equal(both.looks, 1, 'of two ways in the narrower one is taken')
  t.equal(all(look, { principalArn: `${account}/ann`, code: 'AccessDeniedException' }).looks, 1)
  t.end()
})

await test('who calls without end pushes out the like of his calls, and nothing else', (t) => {
  const { table, write } = aTrail(t, { keepMs: 3600_000, keepCount: 1000 })
  const held = (query: Omit<AuditQuery, 'limit'>): number => all((each) => table.query(each), query).records.length
  const many = (count: number, over: (n: number) => Partial<AuditRecord>): void => {
    for (let n = 0; n < count; n += 100) write(Array.from({ length: 100 }, (_, k) => aRecord(over(n + k))))
  }
  const eve = `${account}/eve`
  many(200, (n) => ({ action: `ecs:Describe${n % 3}` }))
  many(100, (n) => ({ principalArn: session('gantry-host', `host-${n % 2}`), action: 'ecs:Poll' }))
  write([
    aRecord({ principalArn: eve, action: 'iam:CreateAccessKey' }),
    aRecord({ principalArn: eve, action: 'secretsmanager:GetSecretValue' }),
    aRecord({ principalArn: eve, action: 'iam:PutUserPolicy', code: 'AccessDeniedException' }),
  ])
  const bad = (): readonly number[] => [
    held({ principalArn: eve, action: 'iam:CreateAccessKey' }),
    held({ principalArn: eve, action: 'secretsmanager:GetSecretValue' }),
    held({ principalArn: eve, action: 'iam:PutUserPolicy' }),
  ]
  many(3000, () => ({ principalArn: eve, action: 'ecs:ListTasks' }))
  t.same([...bad(), held({ principalArn: `${account}/ann` })], [1, 1, 1, 200], 'by reads')
  many(3000, () => ({ principalArn: eve, action: 'ecs:TagResource' }))
  many(3000, () => ({ principalArn: eve, action: 'iam:CreateUser', code: 'AccessDeniedException' }))
  many(3000, (n) => ({ principalArn: eve, action: `ecs:No${n}`, code: 'UnknownOperationException' }))
  t.same([...bad(), held({ principalArn: `${account}/ann` })], [1, 1, 1, 200], 'by changes, denials and nonsense')
  many(3000, (n) => ({ principalArn: session('app', `s${n}`), action: 'ecs:ListTasks' }))
  t.same([...bad(), held({ principalArn: `${account}/ann` })], [1, 1, 1, 200], 'under names without number')
  many(3000, () => ({ principalArn: undefined, action: 'x:y', code: 'InvalidSignatureException' }))
  t.same([...bad(), held({ principalArn: `${account}/ann` })], [1, 1, 1, 200], 'and unsigned')
  t.equal(held({ action: 'ecs:Poll' }), 100)
  t.ok(held({}) <= 1100 && held({}) >= 1000, `${held({})} records`)
  const newest = table.query({ limit: 1 }).records[0]
  t.equal(newest?.code, 'InvalidSignatureException', 'the newest are there')
  t.end()
})

await test('a turn that fails counts nothing, and records that somebody else took do not stop the rest', (t) => {
  const { database, table, write } = aTrail(t, { keepMs: 3600_000, keepCount: 200 })
  const held = (): number => all((each) => table.query(each), {}).records.length
  write(Array.from({ length: 200 }, () => aRecord()))
  for (let n = 0; n < 20; n += 1) {
    database.exec('begin')
    table.append(
      Array.from({ length: 50 }, () => aRecord({ action: 'ecs:RunTask' })),
      testNow,
    )
    database.exec('rollback')
    table.settle(false)
  }
  t.equal(held(), 200, 'nothing was dropped for what never came')
  write([aRecord({ action: 'ecs:RunTask' })])
  database.exec("delete from audit where action = 'ecs:ListTasks'")
  for (let n = 0; n < 10; n += 1) write(Array.from({ length: 100 }, () => aRecord({ action: 'ecs:StopTask' })))
  t.ok(held() <= 300, `${held()} records`)
  t.end()
})

await test('kinds are counted by caller, and the loudest of all makes room', (t) => {
  const kinds = new AuditKinds()
  t.equal(kinds.loudest(10), undefined)
  const [rare, often] = [kindOf(aRecord({ action: 'ecs:RunTask' })), kindOf(aRecord())]
  const bobs = kindOf(aRecord({ principalArn: `${account}/bob` }))
  kinds.add(rare, 40)
  kinds.add(often, 60)
  kinds.add(bobs, 90)
  t.equal(kinds.loudest(10), often, 'ann has 100, of which these are the most')
  kinds.keep()
  kinds.add(bobs, 20)
  t.equal(kinds.loudest(10), bobs)
  kinds.takeBack()
  t.equal(kinds.loudest(10), often)
  const nobodys = kindOf(aRecord({ principalArn: undefined, code: 'MissingAuthenticationToken' }))
  kinds.add(nobodys, 10)
  t.equal(kinds.loudest(10), often, 'calls of nobody have their part')
  kinds.add(nobodys, 1)
  t.equal(kinds.loudest(10), nobodys, 'and no more')
  t.equal(kinds.total, 201)
  t.end()
})

/** As 0.3.0 made it, to the letter. */
const schemaOf030 = `
  create table meta (name text primary key, value integer not null) strict, without rowid;
  create table log (revision integer primary key, crc integer not null, record text not null) strict;
  create table checkpoint (
    name text not null, key text not null, crc integer not null, row text not null, primary key (name, key)
  ) strict;
  create table history (
    task_id text primary key, cluster text not null, stopped_at integer not null,
    crc integer not null, row text not null
  ) strict;
  create index history_by_cluster on history (cluster, stopped_at);
  create index history_by_age on history (stopped_at);
  create table audit (
    id integer primary key, at integer not null, principal text not null, action text not null, code text not null,
    crc integer not null, row text not null
  ) strict;
  create index audit_by_principal on audit (principal, id);
  create index audit_by_action on audit (action, id);
  insert into meta values ('schemaVersion', 6);
`

/** As 0.3.0 writes one. */
function insert(database: DatabaseSync, record: AuditRecord): void {
  const text = JSON.stringify(record)
  database
    .prepare('insert into audit (at, principal, action, code, crc, row) values (?, ?, ?, ?, ?, ?)')
    .run(record.at, record.principalArn ?? '', record.action, record.code, checksum(text), text)
}

await test('a trail that 0.3.0 wrote is taken up, and 0.3.0 can take it back', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-trail-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const older = (): DatabaseSync => new DatabaseSync(join(directory, 'controller.db'))
  const first = older()
  first.exec(`${schemaOf030} begin`)
  for (let n = 0; n < 300; n += 1) insert(first, aRecord({ at: testNow + n, requestId: `old ${n}` }))
  first.exec('commit')
  first.close()

  const limits = { keepMs: 3600_000, keepCount: 400 }
  const open = () => openSqliteStore(directory, { audit: limits })
  const write = async (store: Awaited<ReturnType<typeof open>>, count: number): Promise<unknown> =>
    store.append({
      at: testNow,
      writes: [],
      archived: [],
      audited: Array.from({ length: count }, (_, n) => aRecord({ at: testNow + 1000 + n, requestId: `new ${n}` })),
    })
  const upgraded = await open()
  await upgraded.load()
  const found = upgraded.history.audited({ principalArn: `${account}/ann`, limit: 1000 }).records
  t.same([found.length, found[0]?.requestId, found.at(-1)?.requestId], [300, 'old 299', 'old 0'])
  await write(upgraded, 200)
  const kept = upgraded.history.audited({ limit: 1000 }).records
  t.same([kept.length, kept.at(-1)?.requestId], [400, 'old 100'], 'the oldest of before make room first')
  await upgraded.close()

  const back = older()
  back.exec('create index if not exists audit_by_principal on audit (principal, id)')
  insert(back, aRecord({ at: testNow + 5000, requestId: 'written by the older one' }))
  back.close()
  const again = await open()
  t.equal(again.history.audited({ limit: 1 }).records[0]?.requestId, 'written by the older one')
  await again.close()
  const now = older()
  const names = now
    .prepare("select name from sqlite_schema where type = 'index' and tbl_name = 'audit' order by 1")
    .all()
  t.same(
    names.map(({ name }) => name),
    ['audit_in_time', 'audit_of_action', 'audit_of_principal', 'audit_of_refusal'],
  )
  now.close()
})
