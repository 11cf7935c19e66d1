import * as fc from 'fast-check'
import t from 'tap'
import type { InputOf, OperationOf, OutputOf } from '../../proto/model/types.ts'
import { aCall, aRole, aState, aVault, aWorld, inTransaction, place, testNow } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { secretsmanagerRows } from '../access/rows/secretsmanager.ts'
import type { AnyHandler } from '../api/aws-services.ts'
import { retain, retentionDefaults } from '../decide/retention.ts'
import type { Call } from '../ecs/handler.ts'
import { secretContext, secretVersionKey } from '../state/secretsmanager-tables.ts'
import type { State } from '../state/state.ts'
import { secretsmanagerOperations } from './operations.ts'

type Op = OperationOf<'secretsmanager'>
type In<O extends Op> = InputOf<'secretsmanager', O>
type Out<O extends Op> = OutputOf<'secretsmanager', O>

const dayMs = 86_400_000
/** One world for all calls, so that no two ARNs have the same end. */
const world = aWorld(7)

function call<O extends Op>(state: State, operation: O, input: In<O>, over: Partial<Call> = {}): Out<O> {
  const handler = secretsmanagerOperations[operation] as AnyHandler | undefined
  if (handler === undefined || handler.kind === 'session') throw new Error(`${operation} is not built`)
  const made = aCall(over)
  const output =
    handler.kind === 'read'
      ? handler.handle(state, input, made, world)
      : inTransaction(state, (tx) => handler.handle(tx, input, made, world))
  return output as Out<O>
}

function refused<O extends Op>(state: State, operation: O, input: In<O>, over: Partial<Call> = {}): string {
  return refusal(() => call(state, operation, input, over))
}

const token = (letter: string): string => letter.repeat(32)

function create(state: State, Name: string, over: Partial<In<'CreateSecret'>> = {}): string {
  const input = { Name, SecretString: 'one', ClientRequestToken: token('a'), ...over }
  return call(state, 'CreateSecret', input).ARN ?? ''
}

function put(state: State, SecretId: string, letter: string, VersionStages?: string[]): Out<'PutSecretValue'> {
  const input = { SecretId, SecretString: `value ${letter}`, ClientRequestToken: token(letter), VersionStages }
  return call(state, 'PutSecretValue', input)
}

function stagesOf(state: State, SecretId: string): Readonly<Record<string, string[]>> {
  const stages = call(state, 'DescribeSecret', { SecretId }).VersionIdsToStages ?? {}
  return Object.fromEntries(Object.entries(stages).map(([id, list]) => [id.slice(0, 1), list.toSorted()]))
}

function move(state: State, stage: string, from: string | undefined, to: string | undefined): string {
  return refused(state, 'UpdateSecretVersionStage', {
    SecretId: 'db',
    VersionStage: stage,
    RemoveFromVersionId: from === undefined ? undefined : token(from),
    MoveToVersionId: to === undefined ? undefined : token(to),
  })
}

await t.test('a secret is made, found by name and ARN, and read as text or bytes', async (test) => {
  const state = aState()
  const arn = create(state, 'prod/db', { Description: 'the database', Tags: [{ Key: 'team', Value: 'lab' }] })
  test.match(arn, /^arn:aws:secretsmanager:us-east-1:123456789012:secret:prod\/db-[A-Za-z0-9]{6}$/)
  const value = {
    ARN: arn,
    Name: 'prod/db',
    VersionId: token('a'),
    SecretString: 'one',
    VersionStages: ['AWSCURRENT'],
    CreatedDate: testNow,
  }
  for (const SecretId of ['prod/db', arn, arn.slice(0, -7)]) {
    test.same(call(state, 'GetSecretValue', { SecretId }), value, SecretId)
  }
  const wrongEnd = `${arn.slice(0, -6)}XXXXXX`
  test.match(
    refused(state, 'GetSecretValue', { SecretId: wrongEnd }),
    /^ResourceNotFoundException: Secrets Manager can't find the specified secret\.$/,
  )
  test.match(
    refused(state, 'GetSecretValue', { SecretId: arn.replace('us-east-1', 'eu-west-1') }),
    /^ResourceNotFoundException/,
  )
  const bytes = new Uint8Array([0, 255, 128, 7])
  create(state, 'key', { SecretString: undefined, SecretBinary: bytes })
  const binary = call(state, 'GetSecretValue', { SecretId: 'key' })
  test.same([binary.SecretBinary, binary.SecretString], [bytes, undefined])
  create(state, 'empty', { SecretString: undefined })
  test.match(
    refused(state, 'GetSecretValue', { SecretId: 'empty' }),
    /^ResourceNotFoundException: .*can't find the specified secret value for staging label: AWSCURRENT$/,
  )
  put(state, 'empty', 'b', ['AWSPENDING'])
  test.same(stagesOf(state, 'empty'), { b: ['AWSCURRENT', 'AWSPENDING'] }, 'the first version is current in any case')
  test.match(call(state, 'DescribeSecret', { SecretId: arn }), {
    Description: 'the database',
    Tags: [{ Key: 'team', Value: 'lab' }],
    CreatedDate: testNow,
    LastChangedDate: testNow,
  })
})

await t.test('a name that ends like an ARN is not taken for another secret', async (test) => {
  const state = aState()
  const plain = create(state, 'db')
  const odd = create(state, 'db-abcdef', { SecretString: 'two' })
  const odder = `${plain.slice(0, -7)}-abcdef`
  test.equal(call(state, 'GetSecretValue', { SecretId: plain }).SecretString, 'one')
  test.equal(call(state, 'GetSecretValue', { SecretId: odd }).SecretString, 'two')
  test.equal(call(state, 'GetSecretValue', { SecretId: odder }).SecretString, 'two', 'a partial ARN')
})

await t.test('values stand in rows sealed, and open on their own row alone', async (test) => {
  const state = aState()
  const arn = create(state, 'db', { SecretString: 'hunter2' })
  const other = create(state, 'other')
  const row = state.get('secretVersion', secretVersionKey(arn, token('a')))
  const otherRow = state.get('secretVersion', secretVersionKey(other, token('a')))
  if (row === undefined || otherRow === undefined) throw new Error('both have a version')
  test.notMatch(JSON.stringify([...state.all('secret'), ...state.all('secretVersion')]), /hunter2/)
  test.equal(aVault().open(row.sealedValue, secretContext(row)), 'hunter2')
  inTransaction(state, (tx) =>
    tx.put('secretVersion', secretVersionKey(other, token('a')), { ...otherRow, sealedValue: row.sealedValue }),
  )
  test.match(
    refused(state, 'GetSecretValue', { SecretId: 'other' }),
    /^DecryptionFailure: Secrets Manager can't decrypt the protected secret text of .*secret:other-/,
  )
  inTransaction(state, (tx) => tx.put('secretVersion', secretVersionKey(arn, token('a')), { ...row, isBinary: true }))
  test.match(refused(state, 'GetSecretValue', { SecretId: 'db' }), /^DecryptionFailure/, 'its kind is bound too')
})

await t.test('a token makes one version, however often it comes', async (test) => {
  const state = aState()
  const arn = create(state, 'db')
  test.equal(create(state, 'db'), arn, 'the same call again')
  test.match(
    refused(state, 'CreateSecret', { Name: 'db', SecretString: 'other', ClientRequestToken: token('a') }),
    /^ResourceExistsException: You can't use ClientRequestToken a+ because that value is already in use/,
  )
  test.match(
    refused(state, 'CreateSecret', { Name: 'db', SecretString: 'one', ClientRequestToken: token('b') }),
    /^ResourceExistsException: The operation failed because the secret db already exists\.$/,
  )
  put(state, 'db', 'b')
  put(state, 'db', 'c')
  test.same(put(state, 'db', 'b').VersionStages, ['AWSPREVIOUS'], 'a late repeat moves nothing')
  test.same(stagesOf(state, 'db'), { b: ['AWSPREVIOUS'], c: ['AWSCURRENT'] })
  test.match(
    refused(state, 'PutSecretValue', { SecretId: 'db', SecretString: 'else', ClientRequestToken: token('b') }),
    /^ResourceExistsException/,
  )
  test.match(
    refused(state, 'PutSecretValue', { SecretId: 'db', SecretString: 'x' }),
    /^InvalidRequestException: You must provide a ClientRequestToken value\. We recommend a UUID-type value\.$/,
  )
  test.match(
    refused(state, 'PutSecretValue', { SecretId: 'db', SecretString: 'x', ClientRequestToken: 'short' }),
    /^InvalidParameterException: ClientRequestToken must be 32-64 characters long\.$/,
  )
})

await t.test('a value is rotated by hand, and rotated back', async (test) => {
  const state = aState()
  create(state, 'db')
  test.same(put(state, 'db', 'b', ['AWSPENDING']).VersionStages, ['AWSPENDING'])
  test.equal(call(state, 'GetSecretValue', { SecretId: 'db' }).SecretString, 'one', 'the old one is still current')
  test.equal(
    call(state, 'GetSecretValue', { SecretId: 'db', VersionStage: 'AWSPENDING' }).SecretString,
    'value b',
    'the new one can be tried',
  )
  test.match(
    move(state, 'AWSCURRENT', undefined, 'b'),
    /^InvalidParameterException: The parameter RemoveFromVersionId can't be empty\. Staging label AWSCURRENT is currently/,
  )
  test.match(
    move(state, 'AWSCURRENT', 'b', 'a'),
    /^InvalidParameterException: Staging label AWSCURRENT isn't currently attached to version b+/,
  )
  test.equal(move(state, 'AWSCURRENT', 'a', 'b'), 'accepted')
  test.same(stagesOf(state, 'db'), { a: ['AWSPREVIOUS'], b: ['AWSCURRENT', 'AWSPENDING'] })
  test.equal(move(state, 'AWSPENDING', 'b', undefined), 'accepted')
  test.equal(call(state, 'GetSecretValue', { SecretId: 'db' }).SecretString, 'value b')

  test.equal(move(state, 'AWSCURRENT', 'b', 'a'), 'accepted', 'back')
  test.same(stagesOf(state, 'db'), { a: ['AWSCURRENT'], b: ['AWSPREVIOUS'] })
  test.match(
    move(state, 'AWSCURRENT', 'a', undefined),
    /^InvalidParameterException: You can only move staging label AWSCURRENT to a different secret version/,
  )
  test.match(move(state, 'AWSCURRENT', undefined, undefined), /^InvalidParameterException/)
  test.match(move(state, 'mine', undefined, 'z'), /^ResourceNotFoundException/)
  const both = { SecretId: 'db', VersionId: token('a'), VersionStage: 'AWSPREVIOUS' }
  test.match(
    refused(state, 'GetSecretValue', both),
    /^InvalidRequestException: You provided a VersionStage that is not associated to the provided VersionId\.$/,
  )

  const rotate = { SecretId: 'db', ClientRequestToken: token('r') }
  test.match(
    refused(state, 'RotateSecret', rotate),
    /^InvalidRequestException: No Lambda rotation function ARN is associated with this secret\./,
  )
  const RotationLambdaARN = 'arn:aws:lambda:us-east-1:123456789012:function:f'
  test.match(
    refused(state, 'RotateSecret', { ...rotate, RotationLambdaARN }),
    /^AccessDeniedException: Secrets Manager cannot invoke the specified Lambda function/,
  )
  test.match(refused(state, 'CancelRotateSecret', { SecretId: 'db' }), /^InvalidRequestException/)
})

await t.test('however labels are moved, one version is current and each label stands on one', async (test) => {
  const letter = fc.constantFrom('b', 'c', 'd', 'e')
  const stage = fc.constantFrom('AWSCURRENT', 'AWSPENDING', 'AWSPREVIOUS', 'mine')
  const step = fc.oneof(
    fc.record({ put: letter, stages: fc.option(fc.uniqueArray(stage, { minLength: 1 }), { nil: undefined }) }),
    fc.record({ stage, from: fc.option(letter, { nil: undefined }), to: fc.option(letter, { nil: undefined }) }),
  )
  test.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const state = aState()
        const arn = create(state, 'db')
        let current = token('a')
        for (const each of steps) {
          if ('put' in each) refusal(() => put(state, 'db', each.put, each.stages))
          else move(state, each.stage, each.from, each.to)
          const versions = state.find('secretVersion', 'bySecret', arn)
          const stages = versions.flatMap(({ VersionStages }) => VersionStages)
          if (new Set(stages).size !== stages.length) return false
          const holder = versions.find(({ VersionStages }) => VersionStages.includes('AWSCURRENT'))
          if (holder === undefined) return false
          // Where the current version changed, the one before it is the previous one.
          const before = versions.find(({ VersionId }) => VersionId === current)
          if (holder.VersionId !== current && before?.VersionStages.includes('AWSPREVIOUS') !== true) return false
          current = holder.VersionId
        }
        return true
      }),
      { numRuns: 300 },
    ),
  )
})

await t.test('a hundred versions are kept, the deprecated ones go first', async (test) => {
  const state = aState()
  const arn = create(state, 'db')
  put(state, 'db', 'k', ['keep'])
  for (let version = 1; version <= 150; version += 1) {
    call(state, 'PutSecretValue', {
      SecretId: 'db',
      SecretString: `v${version}`,
      ClientRequestToken: `${version}`.padStart(32, '0'),
    })
  }
  test.equal(state.count('secretVersion', 'bySecret', arn), 100)
  const characters = state
    .find('secretVersion', 'bySecret', arn)
    .reduce((sum, each) => sum + each.sealedValue.length, 0)
  test.equal(state.get('valueStore', 'secretsmanager')?.characters, characters, 'what is kept is what is counted')
  test.ok(state.get('secretVersion', secretVersionKey(arn, token('k'))), 'a label holds an old one')
  test.notOk(state.get('secretVersion', secretVersionKey(arn, token('a'))))
  const shown = call(state, 'ListSecretVersionIds', { SecretId: 'db' })
  test.same(
    shown.Versions?.map(({ VersionStages }) => VersionStages),
    [['keep'], ['AWSPREVIOUS'], ['AWSCURRENT']],
  )
  const all = call(state, 'ListSecretVersionIds', { SecretId: 'db', IncludeDeprecated: true, MaxResults: 60 })
  const rest = call(state, 'ListSecretVersionIds', {
    SecretId: 'db',
    IncludeDeprecated: true,
    NextToken: all.NextToken,
  })
  test.same([all.Versions?.length, rest.Versions?.length, rest.NextToken], [60, 40, undefined])
  const many = Array.from({ length: 20 }, (_, index) => `s${index}`)
  test.match(
    refusal(() => put(state, 'db', 'm', many)),
    /^LimitExceededException: .*20, and this would be 23/,
  )
})

await t.test('a deleted secret waits, is restored or is forgotten', async (test) => {
  const state = aState()
  const arn = create(state, 'db')
  const gone = call(state, 'DeleteSecret', { SecretId: 'db', RecoveryWindowInDays: 7 })
  test.equal(gone.DeletionDate, testNow + 7 * dayMs)
  const denied = /^InvalidRequestException: You can't perform this operation on the secret because it was marked for/
  test.match(refused(state, 'GetSecretValue', { SecretId: 'db' }), denied)
  test.match(
    refusal(() => put(state, 'db', 'b')),
    denied,
  )
  test.match(
    refused(state, 'DeleteSecret', { SecretId: 'db' }),
    /^InvalidRequestException: You tried to perform the operation on a secret that's currently marked deleted\.$/,
  )
  test.match(
    refused(state, 'CreateSecret', { Name: 'db', ClientRequestToken: token('z') }),
    /^InvalidRequestException: .*a secret with this name is already scheduled for deletion\.$/,
  )
  test.same(call(state, 'ListSecrets', {}).SecretList, [])
  test.match(call(state, 'ListSecrets', { IncludePlannedDeletion: true }).SecretList, [{ DeletedDate: testNow }])
  test.equal(call(state, 'DescribeSecret', { SecretId: 'db' }).DeletedDate, testNow + 7 * dayMs)
  call(state, 'RestoreSecret', { SecretId: 'db' })
  test.equal(call(state, 'GetSecretValue', { SecretId: arn }).SecretString, 'one')

  test.equal(call(state, 'DeleteSecret', { SecretId: 'db' }).DeletionDate, testNow + 30 * dayMs)
  const keep = (now: number) => inTransaction(state, (tx) => retain(tx, retentionDefaults, now))
  test.equal(keep(testNow + 30 * dayMs - 1).droppedRows, 0)
  test.equal(keep(testNow + 30 * dayMs).droppedRows, 2)
  test.same([...state.all('secret'), ...state.all('secretVersion')], [])

  const anew = create(state, 'db')
  test.not(anew, arn, 'a secret of the same name is another one')
  for (const days of [6, 31]) {
    test.match(
      refused(state, 'DeleteSecret', { SecretId: 'db', RecoveryWindowInDays: days }),
      /^InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days \(inclusive\)\.$/,
    )
  }
  const force = { SecretId: 'db', ForceDeleteWithoutRecovery: true }
  test.match(
    refused(state, 'DeleteSecret', { ...force, RecoveryWindowInDays: 7 }),
    /^InvalidParameterException: You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays\.$/,
  )
  call(state, 'DeleteSecret', force)
  test.same([...state.all('secret'), ...state.all('secretVersion')], [])
  test.match(call(state, 'DeleteSecret', force), { Name: 'db' }, 'once more is no error')
  test.match(refused(state, 'DescribeSecret', { SecretId: 'db' }), /^ResourceNotFoundException/)
})

await t.test('names, values and tags are those of Secrets Manager', async (test) => {
  const state = aState()
  const refusedCreate = (over: Partial<In<'CreateSecret'>>): string =>
    refused(state, 'CreateSecret', { Name: 'x', ClientRequestToken: token('a'), SecretString: 'v', ...over })
  test.match(refusedCreate({ Name: 'a b' }), /^ValidationException: Invalid name\. Must be a valid name containing/)
  test.match(refusedCreate({ Name: 'x'.repeat(513) }), /^ValidationException: .*less than or equal to 512/)
  test.match(refusedCreate({ Name: '' }), /^ValidationException/)
  test.match(refusedCreate({ SecretBinary: new Uint8Array([1]) }), /^InvalidParameterException: You can't specify both/)
  const long = refusedCreate({ SecretString: 's'.repeat(65_537) })
  test.match(long, /^ValidationException: 1 validation error detected: Value at 'secretString' .* equal to 65536$/)
  test.match(refusedCreate({ SecretString: 'é'.repeat(32_769) }), /^ValidationException/, 'bytes are counted')
  test.equal(
    refusal(() => create(state, 'full', { SecretString: 's'.repeat(65_536) })),
    'accepted',
  )
  test.match(refusedCreate({ SecretString: '' }), /^ValidationException/)
  test.match(refusedCreate({ SecretString: 'half \ud800' }), /^ValidationException: .*well-formed text/)
  test.match(
    refusedCreate({ AddReplicaRegions: [{ Region: 'eu-west-1' }] }),
    /^InvalidParameterException: .*one region/,
  )
  test.match(refusedCreate({ Type: 'Partner' }), /^InvalidParameterException/)
  test.match(refusedCreate({ Tags: [{ Key: 'aws:x', Value: '' }] }), /^InvalidParameterException/)
  test.match(
    refused(state, 'PutSecretValue', { SecretId: 'full', ClientRequestToken: token('b') }),
    /^InvalidRequestException: You must provide either SecretString or SecretBinary\.$/,
  )

  call(state, 'UpdateSecret', { SecretId: 'full', Description: 'd', KmsKeyId: 'k', ClientRequestToken: token('c') })
  test.match(call(state, 'DescribeSecret', { SecretId: 'full' }), { Description: 'd', KmsKeyId: 'k' })
  test.same(stagesOf(state, 'full'), { a: ['AWSCURRENT'] }, 'an update without a value makes no version')
  const update = { SecretId: 'full', SecretString: 'new', Description: '', ClientRequestToken: token('d') }
  test.equal(call(state, 'UpdateSecret', update).VersionId, token('d'))
  test.equal(call(state, 'DescribeSecret', { SecretId: 'full' }).Description, undefined)
  test.same(stagesOf(state, 'full'), { a: ['AWSPREVIOUS'], d: ['AWSCURRENT'] })
  call(state, 'TagResource', {
    SecretId: 'full',
    Tags: [
      { Key: 'a', Value: '1' },
      { Key: 'b', Value: '2' },
    ],
  })
  call(state, 'TagResource', { SecretId: 'full', Tags: [{ Key: 'a', Value: '3' }] })
  call(state, 'UntagResource', { SecretId: 'full', TagKeys: ['b'] })
  test.same(call(state, 'DescribeSecret', { SecretId: 'full' }).Tags, [{ Key: 'a', Value: '3' }])
})

await t.test('lists are filtered, ordered and paged', async (test) => {
  const state = aState()
  const at = (Name: string, now: number, over: Partial<In<'CreateSecret'>> = {}) =>
    call(state, 'CreateSecret', { Name, ClientRequestToken: token('a'), SecretString: Name, ...over }, { now })
  at('prod/db', testNow + 2, { Description: 'The Database', Tags: [{ Key: 'team', Value: 'lab' }] })
  at('prod/api', testNow + 1)
  at('test/db', testNow, { Tags: [{ Key: 'Team', Value: 'field' }] })
  const names = (over: In<'ListSecrets'> = {}): readonly (string | undefined)[] =>
    (call(state, 'ListSecrets', over).SecretList ?? []).map(({ Name }) => Name)
  const by = (Key: NonNullable<NonNullable<In<'ListSecrets'>['Filters']>[number]['Key']>, ...Values: string[]) =>
    names({ Filters: [{ Key, Values }], SortBy: 'name' })
  test.same(names(), ['test/db', 'prod/api', 'prod/db'], 'by the time they were made')
  test.same(names({ SortOrder: 'desc' }), ['prod/db', 'prod/api', 'test/db'])
  test.same(names({ SortBy: 'name' }), ['prod/api', 'prod/db', 'test/db'])
  test.same(by('name', 'prod/'), ['prod/api', 'prod/db'])
  test.same(by('name', 'Prod/'), [], 'with regard to case')
  test.same(by('name', '!prod/'), ['test/db'])
  test.same(by('name', 'prod/a', 'test'), ['prod/api', 'test/db'])
  test.same(by('description', 'the data'), ['prod/db'])
  test.same(by('tag-key', 'team'), ['prod/db'])
  test.same(by('tag-value', 'fie'), ['test/db'])
  test.same(by('all', 'LAB'), ['prod/db'])
  test.same(by('owning-service', 'rds'), [])
  test.same(by('primary-region', 'us-east'), ['prod/api', 'prod/db', 'test/db'])
  const first = call(state, 'ListSecrets', { MaxResults: 2, SortOrder: 'desc' })
  test.same(names({ NextToken: first.NextToken, SortOrder: 'desc' }), ['test/db'])
  test.match(refused(state, 'ListSecrets', { NextToken: 'x' }), /^InvalidNextTokenException/)
  test.match(refused(state, 'ListSecrets', { MaxResults: 101 }), /^ValidationException/)
  test.match(refused(state, 'ListSecrets', { Filters: [{ Key: 'name' }] }), /^InvalidParameterException/)
  test.notMatch(JSON.stringify(call(state, 'ListSecrets', {})), /sealed|SecretString/)
})

await t.test('several are read at once, each with its own permission', async (test) => {
  const state = aState()
  create(state, 'a')
  const b = create(state, 'b')
  const authorize: Call['authorize'] = (_reader, { action, resource }) => {
    test.equal(action, 'secretsmanager:GetSecretValue')
    if (resource === b) throw new Error('not of AWS')
  }
  test.throws(() => call(state, 'BatchGetSecretValue', { SecretIdList: ['b'] }, { authorize }), /not of AWS/)
  const batch = call(state, 'BatchGetSecretValue', { SecretIdList: ['a', 'nope'] }, { authorize })
  test.match(batch, {
    SecretValues: [{ Name: 'a', SecretString: 'one' }],
    Errors: [{ SecretId: 'nope', ErrorCode: 'ResourceNotFoundException' }],
  })
  const paged = call(state, 'BatchGetSecretValue', { Filters: [{ Key: 'name', Values: ['!z'] }], MaxResults: 1 })
  test.same([paged.SecretValues?.length, typeof paged.NextToken], [1, 'string'])
  test.match(
    refused(state, 'BatchGetSecretValue', {}),
    /^InvalidParameterException: Either 'SecretIdList' or 'Filters'/,
  )
  test.match(
    refused(state, 'BatchGetSecretValue', { SecretIdList: ['a'], MaxResults: 2 }),
    /^InvalidParameterException: 'Filters' not specified/,
  )
})

await t.test('passwords have what is asked for', async (test) => {
  const state = aState()
  const password = (over: In<'GetRandomPassword'>): string =>
    call(state, 'GetRandomPassword', over).RandomPassword ?? ''
  test.equal(password({}).length, 32)
  for (let round = 0; round < 50; round += 1) {
    const four = password({ PasswordLength: 4 })
    test.match(four, /[a-z]/)
    test.match(four, /[A-Z]/)
    test.match(four, /\d/)
    test.match(four, /[^A-Za-z0-9]/)
  }
  const digits = { ExcludeLowercase: true, ExcludeUppercase: true, ExcludePunctuation: true }
  test.match(password({ ...digits, ExcludeCharacters: '012345678', PasswordLength: 9 }), /^9{9}$/)
  test.match(password({ ...digits, IncludeSpace: true, PasswordLength: 500 }), / /)
  test.match(
    refusal(() => password({ PasswordLength: 3 })),
    /^InvalidParameterException: Password length is too short/,
  )
  test.match(
    refusal(() => password({ PasswordLength: 4097 })),
    /^ValidationException: .*'passwordLength'/,
  )
  test.match(
    refusal(() => password({ ...digits, ExcludeNumbers: true })),
    /^InvalidParameterException/,
  )
})

function policy(Principal: unknown, over: object = {}): string {
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal, Action: 'secretsmanager:GetSecretValue', Resource: '*', ...over }],
  })
}

await t.test('a policy on a secret is kept whole, or refused', async (test) => {
  const role = aRole({ RoleName: 'app' })
  const state = aState({ role: [role] })
  const arn = create(state, 'db')
  const putPolicy = (ResourcePolicy: string, BlockPublicPolicy?: boolean): string =>
    refused(state, 'PutResourcePolicy', { SecretId: 'db', ResourcePolicy, BlockPublicPolicy })
  test.match(putPolicy('{'), /^MalformedPolicyDocumentException: This resource policy contains a syntax error/)
  test.match(
    putPolicy(policy({ AWS: role.Arn }, { Condition: { Sounds: { 'aws:SourceIp': '10.0.0.1' } } })),
    /^MalformedPolicyDocumentException/,
    'an operator that nobody would evaluate',
  )
  test.match(putPolicy(policy({ AWS: `${role.Arn}x` })), /^MalformedPolicyDocumentException: .*unsupported principal/)
  test.match(putPolicy(policy('*'), true), /^PublicPolicyException: You set the BlockPublicPolicy parameter to true/)
  const kept = policy({ AWS: role.Arn })
  test.equal(putPolicy(kept, true), 'accepted')
  test.equal(call(state, 'GetResourcePolicy', { SecretId: arn }).ResourcePolicy, kept)
  const [check] = secretsmanagerRows.GetSecretValue?.({ SecretId: 'db' }, state, place) ?? []
  test.same(check?.resourcePolicy, { document: kept, isTrust: false, trustedIds: { [role.Arn]: role.RoleId } })
  test.same(call(state, 'ValidateResourcePolicy', { ResourcePolicy: kept, SecretId: 'db' }), {
    PolicyValidationPassed: true,
    ValidationErrors: [],
  })
  test.match(call(state, 'ValidateResourcePolicy', { ResourcePolicy: policy('*') }), {
    PolicyValidationPassed: false,
    ValidationErrors: [{ CheckName: 'PUBLIC_POLICY' }],
  })
  call(state, 'DeleteResourcePolicy', { SecretId: 'db' })
  test.equal(call(state, 'GetResourcePolicy', { SecretId: 'db' }).ResourcePolicy, undefined)
  test.equal(secretsmanagerRows.GetSecretValue?.({ SecretId: 'db' }, state, place)[0]?.resourcePolicy, undefined)
})

await t.test('what an operation takes is said by its row', async (test) => {
  const state = aState()
  const arn = create(state, 'db', { Tags: [{ Key: 'team', Value: 'lab' }] })
  const [check] = secretsmanagerRows.GetSecretValue?.({ SecretId: 'db' }, state, place) ?? []
  test.match(check, {
    action: 'secretsmanager:GetSecretValue',
    resource: arn,
    keys: { 'secretsmanager:SecretId': arn, 'secretsmanager:VersionStage': 'AWSCURRENT' },
  })
  test.same(check?.resourceTags?.(), { team: 'lab' })
  const byId = secretsmanagerRows.GetSecretValue?.({ SecretId: 'db', VersionId: token('a') }, state, place)[0]
  test.equal(byId?.keys?.['secretsmanager:VersionStage'], undefined, 'an id may be of any stage')
  const [made, tagged] =
    secretsmanagerRows.CreateSecret?.({ Name: 'new', Tags: [{ Key: 'k', Value: 'v' }] }, state, place) ?? []
  test.match(made, {
    action: 'secretsmanager:CreateSecret',
    resource: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:new-??????',
    keys: { 'secretsmanager:Name': 'new', 'aws:RequestTag/k': 'v' },
  })
  test.equal(tagged?.action, 'secretsmanager:TagResource')
  for (const operation of Object.keys(secretsmanagerOperations)) {
    test.ok(Object.hasOwn(secretsmanagerRows, operation), operation)
  }
})
