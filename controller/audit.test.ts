/** The audit trail: nothing is lost or told twice, floods are counted, and no text of a caller's goes beyond its bound. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'tap'
import { aCluster, aWorld, testNow } from '../test/support/builders.ts'
import { ApiError } from '../proto/errors.ts'
import { auditedRequestOf, auditedTurn, CallTrail } from './api/call-trail.ts'
import { type AuditedRequest, auditRecordOf, startAudit } from './audit.ts'
import type { AuditRecord } from './state/audit-record.ts'
import { openSqliteStore } from './state/sqlite.ts'
import { startTurn, type Turn } from './turn.ts'

const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const request: AuditedRequest = { requestId: 'r-1', sourceAddress: '10.0.0.9', isSecure: true, accessKeyId: 'KEY' }

const refusal = {
  name: 'refused',
  run(): never {
    throw new ApiError('ClusterNotFoundException', 'Cluster not found.')
  },
}

function aRecord(over: Partial<AuditRecord> = {}): AuditRecord {
  const call = { at: testNow, action: 'ecs:RunTask', code: 'OK', principalArn: 'arn:aws:iam::1:user/ann' }
  return { ...auditRecordOf(request, { ...call, resources: ['arn:aws:ecs:x'] }), ...over }
}

async function aTurn(directory: string, audit?: { keepMs: number; keepCount: number }): Promise<Turn> {
  const store = await openSqliteStore(directory, { audit })
  return startTurn({ store, clock: { now: () => testNow }, world: aWorld(), log: quiet, deciders: [] })
}

function aDirectory(t: { teardown(fn: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-audit-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

await test('a change and its record are one commit', async (t) => {
  const directory = aDirectory(t)
  const turn = await aTurn(directory)
  const audit = startAudit({ turn, log: quiet as never, every: () => () => undefined })
  const put = {
    name: 'put',
    run: (tx: Parameters<Parameters<Turn['submit']>[0]['run']>[0]) => tx.put('cluster', 'a', aCluster()),
  }

  const changing = new CallTrail(audit, request, 'ecs:CreateCluster', testNow)
  await changing.run(() => auditedTurn(turn).submit(put))
  t.equal(turn.reader.history.audited({ limit: 10 }).records.length, 1, 'it is there before the call has ended')
  changing.end('OK')

  const refused = new CallTrail(audit, request, 'ecs:DeleteCluster', testNow)
  const why: unknown = await refused.run(() => auditedTurn(turn).submit(refusal)).catch((error: unknown) => error)
  refused.end(why)
  refused.end(why)
  const reading = new CallTrail(audit, request, 'ecs:ListClusters', testNow)
  reading.end('OK')
  await audit.flush()

  const told = turn.reader.history.audited({ limit: 10 }).records.map(({ action, code }) => `${action} ${code}`)
  t.same(told, ['ecs:ListClusters OK', 'ecs:DeleteCluster ClusterNotFoundException', 'ecs:CreateCluster OK'])
  await turn.close()

  const again = await aTurn(directory)
  t.equal(again.reader.history.audited({ limit: 10 }).records.length, 3, 'and after a restart')
  t.ok(again.reader.get('cluster', 'a'), 'with the change')
  await again.close()
})

await test('it is found by principal, action, code and time, page by page', async (t) => {
  const turn = await aTurn(aDirectory(t))
  const records = [
    aRecord({ at: testNow - 4000 }),
    aRecord({ at: testNow - 3000, action: 'ecs:StopTask', code: 'AccessDeniedException' }),
    aRecord({ at: testNow - 2000, action: 'iam:GetRole', principalArn: 'arn:aws:iam::1:user/bob' }),
    aRecord({ at: testNow - 1000, action: 'ecsx:Trap' }),
  ]
  await turn.submit({ name: 'audit', run: (tx) => records.forEach((record) => tx.audit(record)) })
  const { history } = turn.reader
  const at = (query: object): number[] =>
    history.audited({ limit: 10, ...query }).records.map((record) => record.at - testNow + 5000)
  t.same(at({}), [4000, 3000, 2000, 1000])
  t.same(at({ principalArn: 'arn:aws:iam::1:user/bob' }), [3000])
  t.same(at({ action: 'ecs:RunTask' }), [1000])
  t.same(at({ action: 'ecs:*' }), [2000, 1000])
  t.same(at({ code: 'AccessDeniedException' }), [2000])
  t.same(at({ since: testNow - 3000, until: testNow - 2000 }), [3000, 2000])
  t.same(at({ action: "' or 1=1 --" }), [])
  const { next } = history.audited({ limit: 2 })
  t.same(at({ limit: 2, before: next }), [2000, 1000])
  t.equal(history.audited({ limit: 5 }).next, undefined, 'and there it ends')
  await turn.close()
})

await test('a record that was changed on disk is seen', async (t) => {
  const directory = aDirectory(t)
  const turn = await aTurn(directory)
  await turn.submit({ name: 'audit', run: (tx) => tx.audit(aRecord()) })
  await turn.close()
  const database = new DatabaseSync(join(directory, 'controller.db'))
  database.exec("update audit set row = replace(row, 'user/ann', 'user/bob')")
  database.close()
  const again = await aTurn(directory)
  await again.submit({ name: 'audit', run: (tx) => tx.audit(aRecord({ action: 'ecs:StopTask' })) })
  const [later, changed, ...others] = again.reader.history.audited({ limit: 10 }).records
  t.match({ later, changed }, { later: { action: 'ecs:StopTask' }, changed: { id: 1, damage: /audit record 1 of/ } })
  t.equal(later?.damage, undefined, 'the records beside it are read')
  t.notOk(JSON.stringify(changed).includes('user/bob'), 'and what was written there is not told')
  t.same(others, [])
  await again.close()
})

await test('calls that nobody signed push out none of the others', async (t) => {
  const turn = await aTurn(aDirectory(t), { keepMs: 3600_000, keepCount: 1000 })
  const write = (record: AuditRecord, count: number): Promise<void> =>
    turn.submit({
      name: 'audit',
      run: (tx) => {
        for (let n = 0; n < count; n += 1) tx.audit(record)
      },
    })
  await write(aRecord(), 800)
  for (let n = 0; n < 8; n += 1)
    await write(aRecord({ principalArn: undefined, code: 'InvalidSignatureException' }), 500)
  const kept = turn.reader.history.audited({ limit: 10_000 }).records
  t.equal(kept.filter(({ principalArn }) => principalArn !== undefined).length, 800)
  t.equal(kept.length, 1000)
  await turn.close()

  const written: AuditRecord[] = []
  const tx = { audit: (record: AuditRecord) => written.push(record) }
  const told: object[] = []
  const audit = startAudit({
    turn: { submit: (input) => Promise.resolve(input.run(tx as never, testNow, aWorld())) },
    log: { ...quiet, warn: (facts: object) => void told.push(facts) } as never,
    every: () => () => undefined,
  })
  for (let n = 0; n < 20_000; n += 1) {
    const signature = { principalArn: undefined, accessKeyId: `KEY${n}`, action: `unknown:${n}`, code: 'Denied' }
    audit.record(aRecord(signature))
  }
  for (let n = 0; n < 100; n += 1) audit.record(aRecord())
  const first = audit.flush()
  audit.record(aRecord({ action: 'ecs:StopTask' }))
  await Promise.all([first, audit.close()])
  t.equal(
    written.filter(({ principalArn }) => principalArn !== undefined).length,
    101,
    'the others one by one, to the last',
  )
  t.match(
    written.find(({ more }) => more !== undefined),
    { code: 'Denied', more: 18_999 },
  )
  t.equal(written.length, 1000 + 1 + 101)
  for (let n = 0; n < 20_000; n += 1) audit.record(aRecord({ action: `ecs:${n}` }))
  t.equal(told.length, 1, 'what is too much is told once')
})

await test('the oldest go, by count and by age', async (t) => {
  const turn = await aTurn(aDirectory(t), { keepMs: 3600_000, keepCount: 600 })
  const write = (count: number, at: number): Promise<void> =>
    turn.submit({
      name: 'audit',
      run: (tx) => {
        for (let n = 0; n < count; n += 1) tx.audit(aRecord({ at }))
      },
    })
  for (let n = 0; n < 4; n += 1) await write(500, testNow)
  t.equal(turn.reader.history.audited({ limit: 5000 }).records.length, 600)
  await write(500, testNow - 7200_000)
  const kept = turn.reader.history.audited({ limit: 5000 }).records
  t.equal(kept.length, 600, 'what is too old makes room before anything else does')
  t.ok(kept.every(({ at }) => at === testNow))
  await turn.close()
})

await test('a flood is counted by kind, and a store that takes nothing holds nothing up', async (t) => {
  let isFull = true
  const written: AuditRecord[] = []
  const turn: Pick<Turn, 'submit'> = {
    submit: (input) => {
      if (isFull) return Promise.reject(new ApiError('ServerException', 'The controller is read-only.'))
      const tx = { audit: (record: AuditRecord) => written.push(record) }
      return Promise.resolve(input.run(tx as never, testNow, aWorld()))
    },
  }
  const audit = startAudit({ turn, log: quiet as never, every: () => () => undefined })
  for (let n = 0; n < 12_000; n += 1) audit.record(aRecord({ code: n < 6000 ? 'OK' : 'InvalidSignatureException' }))
  isFull = false
  await audit.flush()
  t.equal(written.length, 5002)
  t.same(
    written.slice(5000).map(({ code, more }) => ({ code, more })),
    [
      { code: 'OK', more: 999 },
      { code: 'InvalidSignatureException', more: 5999 },
    ],
  )
  isFull = true
  for (let n = 0; n < 20_000; n += 1) audit.record(aRecord())
  await audit.flush()
  isFull = false
  await audit.flush()
  t.ok(written.length > 10_000 && written.length < 10_010, 'what there was room for')
})

await test('no text of a caller is written without bound', async (t) => {
  const long = 'x'.repeat(10_000)
  const record = auditRecordOf(
    { ...request, accessKeyId: long, userAgent: long },
    {
      at: 0,
      action: long,
      code: 'OK',
      principalArn: undefined,
      resources: Array.from({ length: 500 }, (_, n) => `${n}${long}`),
    },
  )
  t.ok(JSON.stringify(record).length < 12_000)
  t.equal(record.resources.length, 20)
})

await test('the key that is written down is the one that signed', (t) => {
  const rest = 'SignedHeaders=host, Signature=00'
  const scope = '20261121/us-east-1/ecs/aws4_request'
  const keyOf = (authorization: string, path = '/'): string | undefined => {
    const headers = { authorization, 'x-amz-date': '20261121T000000Z' }
    return auditedRequestOf({ ...request, headers, path }).accessKeyId
  }
  t.equal(keyOf(`AWS4-HMAC-SHA256 Credential=MINE/${scope}, ${rest}`), 'MINE')
  t.equal(keyOf(`AWS4-HMAC-SHA256 Xs-Credential=OTHERS/${scope}, Credential=MINE/${scope}, ${rest}`), 'MINE')
  t.equal(keyOf(`AWS4-HMAC-SHA256 Credential=MINE/${scope}, ${rest}`, `/?X-Amz-Credential=OTHERS/${scope}`), 'MINE')
  t.equal(keyOf(`AWS4-HMAC-SHA256 Credential=<b>/${scope}, ${rest}`), undefined)
  t.equal(keyOf('Basic Credential=OTHERS/x'), undefined)
  const presigned = `/?${new URLSearchParams({
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `MINE/${scope}`,
    'X-Amz-Date': '20261121T000000Z',
    'X-Amz-SignedHeaders': 'host',
    'X-Amz-Signature': '00',
  }).toString()}`
  t.equal(auditedRequestOf({ ...request, headers: {}, path: presigned }).accessKeyId, 'MINE')
  t.end()
})
