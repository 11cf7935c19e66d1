import t from 'tap'
import {
  fingerprintOf,
  hashJoinToken,
  isJoinToken,
  joinTokenId,
  parseCaFingerprint,
  parseControllerUrl,
  parseJoinLine,
  writeBundleJoinLine,
  writeJoinLine,
  writeJoinToken,
} from './joining.ts'

const token = writeJoinToken('0123456789ab', 'c'.repeat(40))
const digits = 'ab'.repeat(32)

await t.test('a line that was written is read back, from a checkout and from the bundle', async () => {
  const secured = { controllerUrl: 'https://10.0.0.5:51443', caFingerprint: `sha256:${digits}`, token }
  t.equal(
    writeJoinLine(secured),
    `echo ${token} | $(command -v sudo) npx gantry join https://10.0.0.5:51443 --ca sha256:${digits}`,
    'the token is not among the arguments of a program',
  )
  t.same(parseJoinLine(writeJoinLine(secured)), secured)
  t.same(parseJoinLine(writeBundleJoinLine(secured)), secured)
  const plain = { controllerUrl: 'http://127.0.0.1:51700', token }
  t.same(parseJoinLine(writeJoinLine(plain)), plain)
})

await t.test('a line that lacks something, or holds something wrong, is none', async () => {
  const ca = `--ca sha256:${digits}`
  const wrong = [
    '',
    token,
    `echo ${token} | sudo npx gantry join https://10.0.0.5:51443`,
    `echo ${token} | sudo npx gantry join https://10.0.0.5:51443 --ca sha256:${digits.slice(2)}`,
    `echo ${token} | sudo npx gantry join http://10.0.0.5:51700 ${ca}`,
    `echo ${token.slice(1)} | sudo npx gantry join https://10.0.0.5:51443 ${ca}`,
    `echo ${token}0 | sudo npx gantry join https://10.0.0.5:51443 ${ca}`,
    `echo ${token} | sudo npx gantry join https://10.0.0.5:51443/path ${ca}`,
  ]
  for (const text of wrong) t.equal(parseJoinLine(text), undefined, text)
})

await t.test('fingerprints are read as openssl writes them, too', async () => {
  const pairs = digits.toUpperCase().match(/../g)?.join(':') ?? ''
  for (const text of [`sha256:${digits}`, digits, pairs, `sha256 Fingerprint=${pairs}`, `SHA-256:${pairs}`]) {
    t.equal(parseCaFingerprint(text), `sha256:${digits}`, text)
  }
  for (const text of ['', 'sha1:abcd', `sha256:${digits}00`, `sha256:${'g'.repeat(64)}`]) {
    t.equal(parseCaFingerprint(text), undefined, text)
  }
  t.match(fingerprintOf(new Uint8Array([1, 2, 3])), /^sha256:039058c6f2c0/)
})

await t.test('hosts join by TLS, or by plain HTTP on loopback alone', async () => {
  t.equal(parseControllerUrl('https://lab.local:51443/'), 'https://lab.local:51443')
  t.equal(parseControllerUrl('https://[fd00::5]:51443'), 'https://[fd00::5]:51443')
  t.equal(parseControllerUrl('http://localhost:51700'), 'http://localhost:51700')
  for (const text of [
    'http://10.0.0.5:51700',
    'https://a:99999',
    'https://u:p@a:1',
    'ftp://a',
    'https://a?b',
    'a:1',
    'https://[:::5]:1',
  ]) {
    t.equal(parseControllerUrl(text), undefined, text)
  }
})

await t.test('of a token its id is told, and a hash is kept', async () => {
  t.equal(joinTokenId(token), '0123456789ab')
  t.equal(joinTokenId(`${token} `), undefined)
  t.ok(isJoinToken(token, hashJoinToken(token)))
  t.notOk(isJoinToken(writeJoinToken('0123456789ab', 'd'.repeat(40)), hashJoinToken(token)))
})
