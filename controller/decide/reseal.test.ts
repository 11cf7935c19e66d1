import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { aState, aVault, inTransaction, testNow } from '../../test/support/builders.ts'
import { sealedTables } from '../state/sealed-members.ts'
import { secretContext, secretVersionKey } from '../state/secretsmanager-tables.ts'
import { parameterContext, parameterVersionKey } from '../state/ssm-tables.ts'
import { accessKeyContext } from '../state/iam-tables.ts'
import { hostKeyContext } from '../state/host-tables.ts'
import type { State } from '../state/state.ts'
import { isResealDue, missingKeys, reseal, type SealingKeys } from './reseal.ts'

/** Seals like the builders' vault, in the form of the real one, so that the key shows. */
function keysOf(keyId: string, ...older: readonly string[]): SealingKeys {
  const vault = aVault()
  return {
    keyId,
    keyIds: [keyId, ...older],
    seal: (plaintext, context) => `v1.${keyId}.${btoa(vault.seal(plaintext, context))}`,
    open: (sealed, context) => vault.open(atob(sealed.split('.')[2] ?? ''), context),
  }
}

const versions = 30
const secretArn = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-abcdef'

/** Rows of every kind, sealed by `keys`. */
function fill(state: State, keys: SealingKeys): void {
  inTransaction(state, (tx) => {
    for (let Version = 1; Version <= versions; Version += 1) {
      tx.put('parameterVersion', parameterVersionKey('/p', Version), {
        Name: '/p',
        Version,
        Type: 'SecureString',
        Tier: 'Standard',
        DataType: 'text',
        LastModifiedDate: testNow,
        LastModifiedUser: 'arn:aws:iam::123456789012:root',
        Labels: [],
        sealedValue: keys.seal(`value ${Version}`, parameterContext('/p', Version)),
      })
    }
    const place = { secretArn, VersionId: 'a'.repeat(32) }
    tx.put('secretVersion', secretVersionKey(secretArn, place.VersionId), {
      ...place,
      VersionStages: ['AWSCURRENT'],
      CreatedDate: testNow,
      ordinal: 1,
      sealedValue: keys.seal('a secret', secretContext(place)),
    })
    tx.put('accessKey', 'K1', {
      AccessKeyId: 'K1',
      UserName: 'ann',
      Status: 'Active',
      CreateDate: testNow,
      sealedSecret: keys.seal('a key', accessKeyContext('K1')),
    })
    tx.put('hostKey', 'K2', {
      accessKeyId: 'K2',
      hostId: 'host-1',
      createdAt: testNow,
      sealedSecret: keys.seal('a host', hostKeyContext('K2')),
    })
  })
}

function sealedBy(state: State, keyId: string): number {
  return sealedTables.reduce((sum, table) => sum + table.count(state, keyId), 0)
}

await t.test('everything goes under the newest key, some rows at a time', async (test) => {
  const state = aState()
  const old = keysOf('old')
  fill(state, old)
  test.notOk(isResealDue(state, old), 'one key: nothing to do')
  const keys = keysOf('new', 'old')
  test.ok(isResealDue(state, keys))
  test.same(missingKeys(state, keys), [])
  test.same(missingKeys(state, keysOf('new')), ['old'], 'a file that was made anew is seen at the start')
  const limits = { rowsMax: 20, charactersMax: 1_000_000 }
  test.same(
    inTransaction(state, (tx) => reseal(tx, keys, limits)),
    { resealed: 20, broken: 0, hasMore: true },
  )
  test.same([sealedBy(state, 'old'), sealedBy(state, 'new')], [13, 20])
  test.same(
    inTransaction(state, (tx) => reseal(tx, keys, limits)),
    { resealed: 13, broken: 0, hasMore: false },
  )
  test.same([sealedBy(state, 'old'), sealedBy(state, 'new')], [0, 33])
  test.notOk(isResealDue(state, keys))
  const opened = state
    .find('parameterVersion', 'byName', '/p')
    .map(({ sealedValue = '', Name, Version }) => keys.open(sealedValue, parameterContext(Name, Version)))
  test.same([opened.length, opened.at(0), opened.at(-1)], [versions, 'value 1', `value ${versions}`])
  test.equal(keys.open(state.get('accessKey', 'K1')?.sealedSecret ?? '', accessKeyContext('K1')), 'a key')
  test.equal(keys.open(state.get('hostKey', 'K2')?.sealedSecret ?? '', hostKeyContext('K2')), 'a host')
})

await t.test('what no key opens stays, and keeps nothing else from being sealed', async (test) => {
  const state = aState()
  fill(state, keysOf('old'))
  const stranger = state.get('hostKey', 'K2')?.sealedSecret ?? ''
  inTransaction(state, (tx) => {
    const row = tx.get('accessKey', 'K1')
    if (row !== undefined) tx.put('accessKey', 'K1', { ...row, sealedSecret: stranger })
  })
  const before = state.get('accessKey', 'K1')
  const keys = keysOf('new', 'old')
  test.match(
    inTransaction(state, (tx) => reseal(tx, keys)),
    { broken: 1, resealed: 32, hasMore: false },
  )
  test.same(state.get('accessKey', 'K1'), before)
  test.equal(sealedBy(state, 'old'), 1)
})

await t.test('each sealed member of a table is one that is sealed anew', async (test) => {
  const directory = join(import.meta.dirname, '../state')
  const members = readdirSync(directory)
    .filter((file) => file.endsWith('tables.ts'))
    .flatMap((file) => readFileSync(join(directory, file), 'utf8').match(/^ {2}readonly sealed\w+\??:/gm) ?? [])
  test.equal(members.length, sealedTables.length, 'a table with a sealed member is missing in sealed-members.ts')
})
