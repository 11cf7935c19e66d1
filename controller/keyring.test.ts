/** The keyring seals and opens, refuses what was changed or moved, and takes its keys from files that nobody else may read. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openKeyring } from './keyring.ts'

const oldKey = 'a1'.repeat(32)
const newKey = 'b2'.repeat(32)

const directory = mkdtempSync(join(tmpdir(), 'gantry-keyring-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const path = join(directory, 'secret-key')

await t.test('makes its first key, and keeps it', async (test) => {
  const made = await openKeyring(path, undefined)
  const sealed = made.seal('hunter2 ✓', 'secret one')
  test.equal(statSync(path).mode & 0o777, 0o600)
  const again = await openKeyring(path, undefined)
  test.equal(again.open(sealed, 'secret one'), 'hunter2 ✓')
  test.notOk(sealed.includes('hunter2'))
  test.notOk(sealed.includes(readFileSync(path, 'utf8').split('\n')[1] ?? ''), 'nothing of the key stands in it')
  test.not(made.seal('hunter2 ✓', 'secret one'), sealed, 'sealing it twice shows not that it is the same')
  test.equal(made.open(made.seal('', 'x'), 'x'), '', 'nothing is a secret too')
})

await t.test('opens nothing that was changed, or belongs elsewhere', async (test) => {
  const keyring = await openKeyring(path, undefined)
  const sealed = keyring.seal('hunter2', 'secret one')
  const [version = '', id = '', body = ''] = sealed.split('.')
  test.throws(() => keyring.open(sealed, 'secret two'), /was changed, or belongs to something else/)
  for (let at = 0; at < body.length - 1; at += 1) {
    const other = body[at] === 'A' ? 'B' : 'A'
    const changed = `${version}.${id}.${body.slice(0, at)}${other}${body.slice(at + 1)}`
    test.throws(() => keyring.open(changed, 'secret one'), { name: 'SealedTextError' })
  }
  for (const text of ['', 'v1', `v1.${id}`, `v1.${id}.`, `v1.${id}.AAAA`, `v2.${id}.${body}`, 'not sealed at all']) {
    test.throws(() => keyring.open(text, 'secret one'), { name: 'SealedTextError' }, text)
  }
  for (const form of [`${sealed}=`, `${sealed}!`, `${sealed}.more`, ` ${sealed}`, sealed.replace('v1.', 'v1. ')]) {
    test.throws(() => keyring.open(form, 'secret one'), { name: 'SealedTextError' }, 'it has one form')
  }
})

await t.test('with a new key first: seals with that one, opens with both', async (test) => {
  writeFileSync(path, `${oldKey}\n`)
  const before = await openKeyring(path, undefined)
  const sealed = before.seal('old', 'x')
  writeFileSync(path, `# new since today\n${newKey}\n\n${oldKey}\n`)
  const after = await openKeyring(path, undefined)
  test.equal(after.open(sealed, 'x'), 'old')
  test.not(after.keyId, before.keyId)
  test.same(after.keyIds, [after.keyId, before.keyId])
  test.match(after.seal('new', 'x'), new RegExp(`^v1\\.${after.keyId}\\.`))
  writeFileSync(path, `${newKey}\n`)
  const without = await openKeyring(path, undefined)
  test.throws(
    () => without.open(sealed, 'x'),
    new RegExp(`needs the key ${before.keyId}, which is not in the key file`),
  )
})

await t.test('refuses a file that is open to others, broken or empty', async (test) => {
  chmodSync(path, 0o640)
  await test.rejects(openKeyring(path, undefined), /has mode 0640.*chmod 600/)
  chmodSync(path, 0o600)
  writeFileSync(path, `${newKey}\nnot a key\n`)
  await test.rejects(openKeyring(path, undefined), /Key 2 in .* is not 64 lower-case hex digits/)
  writeFileSync(path, '# nothing\n')
  await test.rejects(openKeyring(path, undefined), /holds no key.*backup/)
})

await t.test('makes no new key where something is sealed already', async (test) => {
  const gone = join(directory, 'gone')
  await test.rejects(openKeyring(gone, undefined, false), /gone is not there.*backup.*openssl rand -hex 32/)
  test.notOk(existsSync(gone))
})

await t.test("takes systemd's credential before its own file", async (test) => {
  const credentials = join(directory, 'credentials')
  mkdirSync(credentials)
  writeFileSync(join(credentials, 'gantry-secret-key'), `${oldKey}\n`)
  const keyring = await openKeyring(join(directory, 'never-made'), credentials)
  writeFileSync(path, `${oldKey}\n`)
  test.equal(keyring.keyId, (await openKeyring(path, undefined)).keyId)
  test.throws(() => statSync(join(directory, 'never-made')), /ENOENT/)
})
