import t from 'tap'
import { ssmRows } from '../access/rows/ssm.ts'
import type { InputOf, OperationOf, OutputOf } from '../../proto/model/types.ts'
import { aCall, aState, aVault, aWorld, inTransaction, place, testNow } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import type { AnyHandler } from '../api/aws-services.ts'
import { parameterVersionKey } from '../state/ssm-tables.ts'
import type { State } from '../state/state.ts'
import { ssmOperations } from './operations.ts'
import { charactersMax } from './value-room.ts'

type Op = OperationOf<'ssm'>

const arn = (name: string): string => `arn:aws:ssm:us-east-1:123456789012:parameter${name}`

function call<O extends Op>(state: State, operation: O, input: InputOf<'ssm', O>, now = testNow): OutputOf<'ssm', O> {
  const handler = ssmOperations[operation] as AnyHandler | undefined
  if (handler === undefined || handler.kind === 'session') throw new Error(`${operation} is not built`)
  const made = aCall({ now })
  const output =
    handler.kind === 'read'
      ? handler.handle(state, input, made, aWorld())
      : inTransaction(state, (tx) => handler.handle(tx, input, made, aWorld()))
  return output as OutputOf<'ssm', O>
}

function refused<O extends Op>(state: State, operation: O, input: InputOf<'ssm', O>): string {
  return refusal(() => call(state, operation, input))
}

function put(state: State, Name: string, Value: string, over: Partial<InputOf<'ssm', 'PutParameter'>> = {}) {
  return call(state, 'PutParameter', { Name, Value, Type: 'String', ...over })
}

function valueOf(state: State, Name: string, WithDecryption?: boolean): string | undefined {
  return call(state, 'GetParameter', { Name, WithDecryption }).Parameter?.Value
}

await t.test('a parameter is put, read by name, ARN, version and label, and written over', async (test) => {
  const state = aState()
  test.same(put(state, '/prod/db/url', 'one', { Description: 'where', Tags: [{ Key: 'team', Value: 'lab' }] }), {
    Version: 1,
    Tier: 'Standard',
  })
  test.match(
    refused(state, 'PutParameter', { Name: '/prod/db/url', Value: 'two', Type: 'String' }),
    /^ParameterAlreadyExists: The parameter already exists. To overwrite this value, set the overwrite option/,
  )
  test.same(put(state, '/prod/db/url', 'two', { Type: undefined, Overwrite: true }), { Version: 2, Tier: 'Standard' })
  call(state, 'LabelParameterVersion', { Name: '/prod/db/url', ParameterVersion: 1, Labels: ['blue'] })

  test.same(call(state, 'GetParameter', { Name: '/prod/db/url' }).Parameter, {
    Name: '/prod/db/url',
    Type: 'String',
    Value: 'two',
    Version: 2,
    LastModifiedDate: testNow,
    ARN: arn('/prod/db/url'),
    DataType: 'text',
  })
  test.equal(valueOf(state, arn('/prod/db/url')), 'two')
  test.match(call(state, 'GetParameter', { Name: '/prod/db/url:1' }).Parameter, { Value: 'one', Selector: ':1' })
  test.match(call(state, 'GetParameter', { Name: `${arn('/prod/db/url')}:blue` }).Parameter, {
    Value: 'one',
    Selector: ':blue',
  })
  test.match(refused(state, 'GetParameter', { Name: '/prod/db/url:3' }), /^ParameterVersionNotFound: .*version 3/)
  test.match(refused(state, 'GetParameter', { Name: '/prod/db/url:green' }), /^ParameterVersionNotFound: .*green/)
  test.match(refused(state, 'GetParameter', { Name: 'url' }), /^ParameterNotFound: Parameter url not found/)
  const elsewhere = 'arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db/url'
  test.match(refused(state, 'GetParameter', { Name: elsewhere }), /^ParameterNotFound/)

  const found = call(state, 'GetParameters', { Names: ['/prod/db/url', 'nope', '/prod/db/url:9', '/prod/db/url:1'] })
  test.same(
    found.Parameters?.map(({ Value }) => Value),
    ['two', 'one'],
  )
  test.same(found.InvalidParameters, ['nope', '/prod/db/url:9'])
  test.match(
    refused(state, 'GetParameters', { Names: Array.from({ length: 11 }, (_, index) => `p${index}`) }),
    /^ValidationException: 1 validation error detected: .*length less than or equal to 10/,
  )
  test.match(call(state, 'DescribeParameters', {}).Parameters, [
    { Name: '/prod/db/url', Description: 'where', Version: 2, Tier: 'Standard', ARN: arn('/prod/db/url') },
  ])
  test.same(call(state, 'ListTagsForResource', { ResourceType: 'Parameter', ResourceId: '/prod/db/url' }).TagList, [
    { Key: 'team', Value: 'lab' },
  ])
})

await t.test('several are answered in the order of their names', async (test) => {
  const state = aState()
  for (const name of ['b', 'a', 'c']) put(state, name, name)
  const found = call(state, 'GetParameters', { Names: ['c', 'b', 'a', 'b:1'] })
  test.same(
    found.Parameters?.map(({ Name, Selector = '' }) => `${Name}${Selector}`),
    ['a', 'b', 'b:1', 'c'],
  )
})

await t.test('a name with and without its slash are two parameters of one ARN', async (test) => {
  const state = aState()
  put(state, 'url', 'bare')
  test.equal(valueOf(state, arn('/url')), 'bare')
  put(state, '/url', 'slashed')
  test.equal(valueOf(state, 'url'), 'bare')
  test.equal(valueOf(state, '/url'), 'slashed')
})

await t.test('a SecureString stands in its row sealed, and opens on its own row alone', async (test) => {
  const state = aState()
  put(state, '/a', 'hunter2', { Type: 'SecureString', KeyId: 'alias/mine' })
  put(state, '/b', 'other', { Type: 'SecureString' })
  const row = state.get('parameterVersion', parameterVersionKey('/a', 1))
  test.notMatch(JSON.stringify(row), /hunter2/)
  test.equal(aVault().open(row?.sealedValue ?? '', 'ssm/parameter//a:1'), 'hunter2')
  test.equal(valueOf(state, '/a', true), 'hunter2')
  test.notMatch(valueOf(state, '/a'), /hunter2/)
  test.equal(valueOf(state, '/a', false), btoa(row?.sealedValue ?? ''), 'its ciphertext, as of KMS')
  test.match(call(state, 'DescribeParameters', {}).Parameters, [{ KeyId: 'alias/mine' }, { KeyId: 'alias/aws/ssm' }])

  const other = state.get('parameterVersion', parameterVersionKey('/b', 1))
  inTransaction(state, (tx) => {
    if (row === undefined || other === undefined) throw new Error('the rows are there')
    tx.put('parameterVersion', parameterVersionKey('/b', 1), { ...other, sealedValue: row.sealedValue })
  })
  test.match(
    refused(state, 'GetParameter', { Name: '/b', WithDecryption: true }),
    /^InvalidKeyId: The value of \/b, version 1, can not be decrypted/,
  )
})

await t.test('a key belongs to a SecureString alone, and stays where none is named', async (test) => {
  const state = aState()
  const keyOf = (): string | undefined => call(state, 'DescribeParameters', {}).Parameters?.[0]?.KeyId
  test.match(
    refused(state, 'PutParameter', { Name: '/a', Value: 'x', Type: 'String', KeyId: 'alias/mine' }),
    /^ValidationException: KeyId is required for SecureString type parameter only\.$/,
  )
  const steps: readonly (readonly [Partial<InputOf<'ssm', 'PutParameter'>>, string | undefined])[] = [
    [{ Type: 'String' }, undefined],
    [{ Type: 'SecureString' }, 'alias/aws/ssm'],
    [{ Type: 'SecureString', KeyId: 'alias/mine' }, 'alias/mine'],
    [{ Type: 'SecureString' }, 'alias/mine'],
    [{ Type: undefined }, 'alias/mine'],
    [{ Type: undefined, KeyId: 'alias/aws/ssm' }, 'alias/aws/ssm'],
    [{ Type: 'String' }, undefined],
  ]
  for (const [index, [given, expected]] of steps.entries()) {
    put(state, '/a', `value ${index}`, { Overwrite: true, ...given })
    test.equal(keyOf(), expected, `${index}: ${JSON.stringify(given)}`)
  }
})

await t.test('names are those of Parameter Store', async (test) => {
  const state = aState()
  const refusedName = (Name: string): string => refused(state, 'PutParameter', { Name, Value: 'x', Type: 'String' })
  test.equal(
    refusal(() => put(state, `/${Array.from({ length: 15 }, () => 'l').join('/')}`, 'x')),
    'accepted',
  )
  test.match(
    refusedName(`/${Array.from({ length: 16 }, () => 'l').join('/')}`),
    /^HierarchyLevelLimitExceededException: A hierarchy can have a maximum of 15 levels/,
  )
  test.match(refusedName('aws-thing'), /^ValidationException: Parameter name: can't be prefixed with "aws" or "ssm"/)
  test.match(refusedName('/SSMthing'), /^ValidationException: Parameter name: can't be prefixed with "aws" or "ssm"/)
  test.match(refusedName('/ssm/thing'), /^ValidationException: Parameter name: can't be prefixed with "ssm"/)
  test.match(refusedName('/aws/thing'), /^AccessDeniedException: No access to reserved parameter name/)
  test.match(refusedName('a b'), /^ValidationException: .*letters, numbers and the following 3 symbols/)
  test.match(refusedName('a/b'), /^ValidationException: Parameter name must be a fully qualified name/)
  test.match(refusedName('/a//b'), /^ValidationException/)
  test.match(refusedName('/a/'), /^ValidationException: Parameter name must not end with slash/)
  test.match(refusedName(''), /^ValidationException/)
  test.match(refusedName('x'.repeat(1000)), /^ValidationException: .*at most 1011 characters/)
  put(state, '  spaced ', 'x')
  test.equal(valueOf(state, 'spaced'), 'x', 'spaces around a name do not count')
})

await t.test('values, tiers, patterns and what Gantry has not are refused in words', async (test) => {
  const state = aState()
  const refusedPut = (over: Partial<InputOf<'ssm', 'PutParameter'>>): string =>
    refused(state, 'PutParameter', { Name: 'p', Value: 'v', Type: 'String', ...over })
  test.match(refusedPut({ Value: '' }), /^ValidationException: .*'value'.*greater than or equal to 1/)
  test.match(refusedPut({ Value: 'half \ud800', Type: 'SecureString' }), /^ValidationException: .*Value at 'value'/)
  test.match(refusedPut({ Type: undefined }), /^ValidationException: A parameter type is required/)
  test.match(refusedPut({ Value: '{{ssm:other}}' }), /^ValidationException: .*can't nest another parameter/)
  test.match(
    refusedPut({ DataType: 'aws:ec2:image' }),
    /^ValidationException: The following data type is not supported/,
  )
  test.match(refusedPut({ Policies: '[{"Type":"Expiration"}]' }), /^InvalidPolicyTypeException/)
  test.match(refusedPut({ KeyId: 'no spaces please' }), /^ValidationException: .*'keyId'/)
  test.match(refusedPut({ Value: 'v'.repeat(4097) }), /^ValidationException: Standard tier .* 4096 characters/)
  test.match(refusedPut({ Value: 'v'.repeat(8193), Tier: 'Advanced' }), /^ValidationException: Advanced tier .* 8192/)
  test.match(
    refusedPut({ Value: 'abc', AllowedPattern: String.raw`\d+` }),
    /^ParameterPatternMismatchException: Parameter value, cannot be validated against allowedPattern: \\d\+$/,
  )
  test.match(refusedPut({ Value: '12x', AllowedPattern: String.raw`^\d+` }), /^ParameterPatternMismatch/, 'all of it')
  test.match(refusedPut({ AllowedPattern: '(' }), /^InvalidAllowedPatternException/)
  test.match(refusedPut({ AllowedPattern: 'v)|(x' }), /^InvalidAllowedPatternException/)
  test.match(
    refusedPut({ Value: 'a'.repeat(64), AllowedPattern: '(a+)+b' }),
    /^InvalidAllowedPatternException: .*could take too long/,
  )
  test.equal(valueOf(aStateWith(state), 'pattern'), '42')
  test.match(
    refused(state, 'PutParameter', { Name: 'pattern', Value: 'x', Overwrite: true }),
    /^ParameterPatternMismatch/,
    'the pattern stays',
  )
  put(state, 'pattern', 'x', { Overwrite: true, AllowedPattern: '' })

  test.same(put(state, 'large', 'v'.repeat(5000), { Tier: 'Intelligent-Tiering' }), { Version: 1, Tier: 'Advanced' })
  test.same(put(state, 'large', 'small', { Overwrite: true }), { Version: 2, Tier: 'Advanced' })
  test.match(
    refused(state, 'PutParameter', { Name: 'large', Value: 'v', Overwrite: true, Tier: 'Standard' }),
    /^ValidationException: This parameter uses the advanced-parameter tier/,
  )
  test.match(
    refused(state, 'PutParameter', { Name: 'large', Value: 'v', Overwrite: true, Tags: [{ Key: 'a', Value: 'b' }] }),
    /^ValidationException: Invalid request: tags and overwrite can't be used together/,
  )
})

await t.test('patterns are escaped as people write them for Java', async (test) => {
  const state = aState()
  const cases: readonly (readonly [pattern: string, fits: string, fitsNot: string])[] = [
    [String.raw`[^@]+\@[^@]+\.org`, 'ann@example.org', 'ann@example-org'],
    [String.raw`[a-z\_\-]+`, 'a_b-c', 'a.b'],
    [String.raw`a\-b\:c\/d\ \"e\"\#\&\~\%`, 'a-b:c/d "e"#&~%', 'a-b:c/d e'],
    [String.raw`[+\-z]`, '-', '0'],
    [String.raw`\\\_`, String.raw`\_`, '_'],
    [String.raw`\[\w\]\{\}\(\)\*\+\?\|\^\$`, '[x]{}()*+?|^$', 'x'],
  ]
  for (const [index, [AllowedPattern, fits, fitsNot]] of cases.entries()) {
    const Name = `p${index}`
    put(state, Name, fits, { AllowedPattern })
    test.equal(valueOf(state, Name), fits, AllowedPattern)
    const over = { Name, Value: fitsNot, Overwrite: true, AllowedPattern }
    test.match(refused(state, 'PutParameter', over), /^ParameterPatternMismatch/, AllowedPattern)
  }
  test.match(call(state, 'DescribeParameters', {}).Parameters?.[0], { AllowedPattern: cases[0]?.[0] }, 'as it was put')
  for (const AllowedPattern of ['\\', String.raw`\y`, String.raw`[\_`]) {
    const wrong = { Name: 'wrong', Value: 'x', Type: 'String', AllowedPattern } as const
    test.match(refused(state, 'PutParameter', wrong), /^InvalidAllowedPatternException/, AllowedPattern)
  }
})

function aStateWith(state: State): State {
  put(state, 'pattern', '42', { AllowedPattern: String.raw`^\d+$` })
  return state
}

await t.test('a hundred versions are kept, and a label holds the oldest', async (test) => {
  const state = aState()
  for (let version = 1; version <= 100; version += 1) put(state, 'p', `v${version}`, { Overwrite: true })
  call(state, 'LabelParameterVersion', { Name: 'p', ParameterVersion: 1, Labels: ['first'] })
  test.match(
    refused(state, 'PutParameter', { Name: 'p', Value: 'v101', Overwrite: true }),
    /^ParameterMaxVersionLimitExceeded: .*Version 1, the oldest version, can't be deleted because it has a label/,
  )
  call(state, 'UnlabelParameterVersion', { Name: 'p', ParameterVersion: 1, Labels: ['first'] })
  put(state, 'p', 'v101', { Overwrite: true })
  const first = call(state, 'GetParameterHistory', { Name: 'p', MaxResults: 50 })
  const second = call(state, 'GetParameterHistory', { Name: 'p', NextToken: first.NextToken })
  const versions = [...(first.Parameters ?? []), ...(second.Parameters ?? [])].map(({ Version }) => Version)
  test.same([versions.length, versions.at(0), versions.at(-1), second.NextToken], [100, 2, 101, undefined])
  test.match(refused(state, 'GetParameterHistory', { Name: 'p', NextToken: 'x' }), /^InvalidNextToken: /)
  test.match(
    refused(state, 'GetParameterHistory', { Name: 'p', MaxResults: 51 }),
    /^ValidationException: .*'maxResults'/,
  )
  call(state, 'DeleteParameter', { Name: 'p' })
  test.same([...state.all('parameter'), ...state.all('parameterVersion')], [])
})

await t.test('all values together have a bound, and what goes gives its room back', async (test) => {
  const state = aState()
  put(state, 'p', 'x'.repeat(1000))
  put(state, 'p', 'y'.repeat(500), { Overwrite: true })
  test.equal(state.get('valueStore', 'ssm')?.characters, 1500)
  inTransaction(state, (tx) => tx.put('valueStore', 'ssm', { store: 'ssm', characters: charactersMax - 10 }))
  test.match(
    refused(state, 'PutParameter', { Name: 'q', Value: 'x'.repeat(11), Type: 'String' }),
    /^ParameterLimitExceeded: There is no room for this value/,
  )
  put(state, 'q', 'x'.repeat(10))
  call(state, 'DeleteParameters', { Names: ['p', 'q'] })
  test.equal(state.get('valueStore', 'ssm')?.characters, charactersMax - 1510)
})

await t.test('labels move, are refused by form and by number', async (test) => {
  const state = aState()
  put(state, 'p', 'one')
  put(state, 'p', 'two', { Overwrite: true })
  const label = (Labels: string[], ParameterVersion?: number) =>
    call(state, 'LabelParameterVersion', { Name: 'p', Labels, ParameterVersion })
  test.same(label(['blue', '9lives', 'awsome', 'a b']), {
    InvalidLabels: ['9lives', 'awsome', 'a b'],
    ParameterVersion: 2,
  })
  test.equal(valueOf(state, 'p:blue'), 'two')
  label(['blue'], 1)
  test.equal(valueOf(state, 'p:blue'), 'one')
  const nine = Array.from({ length: 10 }, (_, index) => `l${index}`)
  test.match(
    refusal(() => label(nine, 1)),
    /^ParameterVersionLabelLimitExceeded: A parameter version can have maximum 10 labels/,
  )
  test.same(call(state, 'UnlabelParameterVersion', { Name: 'p', ParameterVersion: 1, Labels: ['blue', 'nope'] }), {
    RemovedLabels: ['blue'],
    InvalidLabels: ['nope'],
  })
  test.match(
    refusal(() => label(['x'], 7)),
    /^ParameterVersionNotFound/,
  )
})

await t.test('paths and filters', async (test) => {
  const state = aState()
  put(state, '/prod/a', '1')
  put(state, '/prod/db/b', '2', { Type: 'SecureString', KeyId: 'k' })
  put(state, '/production', '3')
  put(state, 'bare', '4', { Type: 'StringList', Tags: [{ Key: 'team', Value: 'lab' }] })
  const byPath = (over: InputOf<'ssm', 'GetParametersByPath'>): readonly (string | undefined)[] =>
    (call(state, 'GetParametersByPath', over).Parameters ?? []).map(({ Name }) => Name)
  test.same(byPath({ Path: '/prod' }), ['/prod/a'])
  test.same(byPath({ Path: '/prod/', Recursive: true }), ['/prod/a', '/prod/db/b'])
  test.same(byPath({ Path: '/', Recursive: true }), ['/prod/a', '/prod/db/b', '/production', 'bare'])
  const secure = [{ Key: 'Type', Values: ['SecureString'] }]
  test.same(byPath({ Path: '/prod', Recursive: true, ParameterFilters: secure }), ['/prod/db/b'])
  call(state, 'LabelParameterVersion', { Name: '/prod/a', Labels: ['live'] })
  put(state, '/prod/a', 'newer', { Overwrite: true })
  const live = call(state, 'GetParametersByPath', {
    Path: '/prod',
    ParameterFilters: [{ Key: 'Label', Values: ['live'] }],
  })
  test.match(live.Parameters, [{ Name: '/prod/a', Value: '1', Selector: ':live' }])
  test.match(
    refused(state, 'GetParametersByPath', { Path: 'prod' }),
    /^ValidationException: .*must begin with a forward/,
  )
  test.match(
    refused(state, 'GetParametersByPath', { Path: '/prod', ParameterFilters: [{ Key: 'Name', Values: ['x'] }] }),
    /^InvalidFilterKey: .*Valid filter keys include: \[Type, KeyId, Label\]/,
  )
  const paged = call(state, 'GetParametersByPath', { Path: '/', Recursive: true, MaxResults: 3 })
  test.equal(paged.Parameters?.length, 3)
  test.same(byPath({ Path: '/', Recursive: true, NextToken: paged.NextToken }), ['bare'])

  const described = (Key: string, Values: string[], Option?: string): readonly (string | undefined)[] =>
    (call(state, 'DescribeParameters', { ParameterFilters: [{ Key, Values, Option }] }).Parameters ?? []).map(
      ({ Name }) => Name,
    )
  test.same(described('Name', ['prod/a']), ['/prod/a'])
  test.same(described('Name', ['/prod'], 'BeginsWith'), ['/prod/a', '/prod/db/b', '/production'])
  test.same(described('Name', ['b'], 'Contains'), ['/prod/db/b', 'bare'])
  test.same(described('Path', ['/prod']), ['/prod/a'])
  test.same(described('Path', ['/prod'], 'Recursive'), ['/prod/a', '/prod/db/b'])
  test.same(described('KeyId', ['k']), ['/prod/db/b'])
  test.same(described('Tier', ['Standard']).length, 4)
  test.same(described('tag:team', ['lab']), ['bare'])
  test.match(
    refusal(() => described('Label', ['x'])),
    /^InvalidFilterKey/,
  )
  test.match(
    refusal(() => described('Colour', ['x'])),
    /^ValidationException: .*regular expression pattern: tag/,
  )
  test.match(
    refusal(() => described('Type', ['Text'])),
    /^InvalidFilterValue/,
  )
  test.match(
    refusal(() => described('Name', ['x'], 'Sounds')),
    /^InvalidFilterOption/,
  )
  test.match(
    refusal(() => described('Name', [])),
    /^InvalidFilterValue/,
  )
  const old = call(state, 'DescribeParameters', { Filters: [{ Key: 'Type', Values: ['SecureString', 'StringList'] }] })
  test.same(
    old.Parameters?.map(({ Name }) => Name),
    ['/prod/db/b', 'bare'],
  )
  test.notMatch(JSON.stringify(call(state, 'DescribeParameters', {})), /"Value"/, 'no value is described')
})

await t.test('several are deleted at once, and tags are kept apart', async (test) => {
  const state = aState()
  put(state, 'a', '1')
  put(state, 'b', '2')
  const resource = { ResourceType: 'Parameter' as const, ResourceId: 'a' }
  call(state, 'AddTagsToResource', {
    ...resource,
    Tags: [
      { Key: 'k', Value: 'v' },
      { Key: 'l', Value: 'w' },
    ],
  })
  call(state, 'AddTagsToResource', { ...resource, Tags: [{ Key: 'k', Value: 'new' }] })
  call(state, 'RemoveTagsFromResource', { ...resource, TagKeys: ['l'] })
  test.same(call(state, 'ListTagsForResource', resource).TagList, [{ Key: 'k', Value: 'new' }])
  test.match(refused(state, 'ListTagsForResource', { ...resource, ResourceId: 'z' }), /^InvalidResourceId/)
  test.match(refused(state, 'ListTagsForResource', { ...resource, ResourceType: 'Document' }), /^InvalidResourceType/)
  const many = Array.from({ length: 50 }, (_, index) => ({ Key: `t${index}`, Value: '' }))
  test.match(refused(state, 'AddTagsToResource', { ...resource, Tags: many }), /^TooManyTagsError/)
  test.match(
    refused(state, 'AddTagsToResource', { ...resource, Tags: [{ Key: 'aws:x', Value: '' }] }),
    /^ValidationException/,
  )
  test.same(call(state, 'DeleteParameters', { Names: ['a', 'c'] }), {
    DeletedParameters: ['a'],
    InvalidParameters: ['c'],
  })
  test.match(refused(state, 'DeleteParameter', { Name: 'a' }), /^ParameterNotFound/)
  put(state, 'a', 'anew')
  test.equal(call(state, 'GetParameter', { Name: 'a' }).Parameter?.Version, 1)
})

await t.test('what an operation takes is said by its row', async (test) => {
  const state = aState()
  put(state, '/prod/a', '1', { Tags: [{ Key: 'team', Value: 'lab' }] })
  const checks = <O extends Op>(operation: O, input: InputOf<'ssm', O>) => {
    const row = ssmRows[operation]
    return (row?.(input, state, place) ?? []).map(({ action, resource, keys }) => ({
      action,
      resource,
      ...(keys && { keys }),
    }))
  }
  test.same(checks('GetParameters', { Names: ['/prod/a:3', 'b', arn('/c:label')] }), [
    { action: 'ssm:GetParameters', resource: arn('/prod/a') },
    { action: 'ssm:GetParameters', resource: arn('/b') },
    { action: 'ssm:GetParameters', resource: arn('/c') },
  ])
  test.same(checks('GetParametersByPath', { Path: '/prod/', Recursive: true }), [
    { action: 'ssm:GetParametersByPath', resource: arn('/prod/'), keys: { 'ssm:Recursive': 'true' } },
  ])
  test.same(
    checks('PutParameter', { Name: 'x', Value: 'y', Tags: [{ Key: 'k', Value: 'v' }] }).map(({ action }) => action),
    ['ssm:PutParameter', 'ssm:AddTagsToResource'],
  )
  const [check] = ssmRows.GetParameter?.({ Name: '/prod/a' }, state, place) ?? []
  test.same(check?.resourceTags?.(), { team: 'lab' })
  for (const operation of Object.keys(ssmOperations)) test.ok(Object.hasOwn(ssmRows, operation), operation)
})
