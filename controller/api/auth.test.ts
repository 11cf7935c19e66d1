/** The authenticator keeps signing keys and opened tokens; whose they are, and whether they still hold, it asks the rows. */
import { test } from 'tap'
import { aState, aWorld, inTransaction, testNow } from '../../test/support/builders.ts'
import { type Credentials, signRequest } from '../../proto/sigv4.ts'
import type { Principal } from '../access/principal.ts'
import { mintSession } from '../access/session-token.ts'
import { accessKeyContext } from '../state/iam-tables.ts'
import type { Vault } from '../state/vault.ts'
import { createAuthenticator } from './auth.ts'

const place = { region: 'us-east-1', account: '123456789012' }
const file = { accessKeyId: 'GANTRYROOTROOTROOTRO', secretAccessKey: 'root' }
const ann: Credentials = { accessKeyId: 'GANTRYANNANNANNANNAN', secretAccessKey: 'secret of ann' }

/** Seals by writing the context before the text, and counts how often it opens secrets of keys. */
function aVault(): Vault & { opened: number } {
  return {
    opened: 0,
    seal: (text, context) => `${context} ${text}`,
    open(sealed, context) {
      if (context.startsWith('iam/')) this.opened += 1
      if (!sealed.startsWith(`${context} `)) throw new Error('changed')
      return sealed.slice(context.length + 1)
    },
  }
}

/** Its ARN, or the error's code. */
function arnOf(find: () => Principal): string {
  try {
    return find().arn
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

function setUp() {
  const state = aState()
  const vault = aVault()
  const putAnn = (UserId: string): void =>
    inTransaction(state, (tx) =>
      tx.put('user', 'ann', {
        UserName: 'ann',
        UserId,
        Path: '/',
        Arn: 'arn:aws:iam::123456789012:user/ann',
        CreateDate: 0,
        Tags: [],
        inlinePolicies: [],
        attachedPolicyArns: [],
      }),
    )
  const putKey = (Status: 'Active' | 'Inactive'): void =>
    inTransaction(state, (tx) =>
      tx.put('accessKey', ann.accessKeyId, {
        AccessKeyId: ann.accessKeyId,
        UserName: 'ann',
        CreateDate: 0,
        Status,
        sealedSecret: vault.seal(ann.secretAccessKey, accessKeyContext(ann.accessKeyId)),
      }),
    )
  putAnn('GUSRANN')
  putKey('Active')
  const credentials = { root: file, agent: { ...file, accessKeyId: 'GANTRYAGENTAGENTAGEN' } }
  const authenticator = createAuthenticator({ credentials, place, reader: state, vault })
  const signedBy = (given: Credentials, region = 'us-east-1', now = testNow): Principal => {
    const url = 'http://controller/'
    const signed = { method: 'POST', url, headers: {}, body: '{}', credentials: given, region, service: 'ecs', now }
    const headers = { host: 'controller', ...signRequest(signed) }
    const request = { method: 'POST', path: '/', headers, body: Buffer.from('{}'), sourceAddress: '10.0.0.1' }
    return authenticator.authenticate(request, now)
  }
  const who = (...given: Parameters<typeof signedBy>): string => arnOf(() => signedBy(...given))
  const recheck = (principal: Principal): string => arnOf(() => authenticator.recheck(principal))
  return { state, vault, who, signedBy, recheck, putAnn, putKey }
}

await test('a key that was withdrawn is refused at once, whatever is kept of it', (t) => {
  const { who, putKey, putAnn, vault, state } = setUp()
  t.equal(who(ann), 'arn:aws:iam::123456789012:user/ann')
  t.equal(who(ann), 'arn:aws:iam::123456789012:user/ann')
  t.equal(vault.opened, 1, 'its secret is opened once for a day of calls')
  putKey('Inactive')
  t.equal(who(ann), 'UnrecognizedClientException')
  putKey('Active')
  t.equal(who({ ...ann, sessionToken: 'gantry1.any' }), 'UnrecognizedClientException', 'no token goes with it')

  const session = { kind: 'user', principalId: 'GUSRANN', name: 'ann', sessionName: '', epoch: 0 } as const
  const facts = { ...session, sourceKeyId: ann.accessKeyId }
  const keys = mintSession(facts, testNow + 1000, { vault, world: aWorld(), now: testNow })
  const { expiresAt, ...given } = keys
  t.equal(who(given), 'arn:aws:iam::123456789012:user/ann')
  const elsewhere = given.sessionToken.replace('sts/session-token', 'iam/access-key')
  t.equal(who({ ...given, sessionToken: elsewhere }), 'UnrecognizedClientException', 'sealed for something else')
  t.equal(who({ ...given, accessKeyId: `${given.accessKeyId.slice(0, -1)}2` }), 'UnrecognizedClientException')
  t.equal(who(given, 'us-east-1', expiresAt), 'ExpiredTokenException')
  putAnn('GUSROTHER')
  t.equal(who(given), 'UnrecognizedClientException', 'another user of the same name')
  putAnn('GUSRANN')
  inTransaction(state, (tx) => tx.delete('accessKey', ann.accessKeyId))
  t.equal(who(given), 'UnrecognizedClientException', 'the key that asked for it is gone')
  t.equal(who(ann), 'UnrecognizedClientException')
  t.end()
})

await test('a call that goes on is its caller’s as long as the key is there, and past the end of a session', (t) => {
  const { signedBy, recheck, who, putKey, putAnn, vault, state } = setUp()
  const session = { kind: 'user', principalId: 'GUSRANN', name: 'ann', sessionName: '', epoch: 0 } as const
  const facts = { ...session, sourceKeyId: ann.accessKeyId }
  const { expiresAt, ...given } = mintSession(facts, testNow + 1000, { vault, world: aWorld(), now: testNow })
  const calls = [signedBy(file), signedBy(ann), signedBy(given)]
  const all = (): readonly string[] => calls.map(recheck)
  const [root, arn, gone] = [
    'arn:aws:iam::123456789012:root',
    'arn:aws:iam::123456789012:user/ann',
    'UnrecognizedClientException',
  ]
  t.equal(who(given, 'us-east-1', expiresAt), 'ExpiredTokenException')
  t.same(all(), [root, arn, arn], 'what was begun within the session goes on')
  putKey('Inactive')
  t.same(all(), [root, gone, gone])
  putKey('Active')
  t.same(all(), [root, arn, arn])
  putAnn('GUSROTHER')
  t.equal(recheck(calls[2] ?? signedBy(file)), gone, 'another user of the same name')
  putAnn('GUSRANN')
  inTransaction(state, (tx) => tx.delete('accessKey', ann.accessKeyId))
  t.same(all(), [root, gone, gone])
  t.end()
})

await test('only a right signature has its key kept', (t) => {
  const { who, vault } = setUp()
  const wrong = { ...ann, secretAccessKey: 'guessed' }
  t.equal(who(wrong), 'InvalidSignatureException')
  t.equal(who(wrong), 'InvalidSignatureException')
  t.equal(vault.opened, 2)
  t.equal(who(ann), 'arn:aws:iam::123456789012:user/ann')
  for (let n = 0; n < 5000; n += 1) who(wrong, `region-${n}`)
  const before = vault.opened
  t.equal(who(ann), 'arn:aws:iam::123456789012:user/ann')
  t.equal(vault.opened, before, 'and wrong ones push it out of no place')
  t.end()
})
