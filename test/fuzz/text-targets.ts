/** Texts with a small syntax of their own: references to secrets, files of variables, names, patterns, bodies of REST. */
import * as fc from 'fast-check'
import { parameterName, secretSource } from '../../controller/decide/secret-source.ts'
import { wrongType } from '../../controller/api/body-types.ts'
import { readEnvironmentFile } from '../../agent/decide/environment-file.ts'
import { parameterFor, registryLogin, secretReference, secretValue } from '../../agent/decide/secret-references.ts'
import { clusterNameInArn, clusterNameOf, idOf, isArn, parseTaskDefinitionName } from '../../proto/arn.ts'
import { joinTokenId, parseCaFingerprint, parseControllerUrl, parseJoinLine } from '../../proto/joining.ts'
import { awslogsProblem, eventStart } from '../../proto/log-options.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { hostileJson, hostileText, mutated, mutatedBytes } from './hostile.ts'
import { requireCleanPrototypes } from './refusals.ts'

const references = [
  'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf',
  'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password:AWSCURRENT:',
  'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:__proto__::1',
  'arn:aws:ssm:us-east-1:123456789012:parameter/db/password',
  '/db/password:3',
  'password',
]

export const secretReferences = fuzzTarget<readonly [string, string]>({
  name: 'value-from',
  share: 4,
  values: () =>
    fc.tuple(
      mutated(fc.constantFrom(...references), [':', '/', '__proto__']),
      mutated(fc.constantFrom('{"password":"s3cret","username":"u"}', '{}', '[1]', 'plain')),
    ),
  judge([valueFrom, secret]) {
    const { provider, region } = secretSource(valueFrom, 'us-east-1')
    if (region === '' || (provider === 'asm' && !valueFrom.startsWith('arn:')))
      throw new Error(`${provider} in ${region}`)
    if (valueFrom !== '' && parameterName(valueFrom) === '') throw new Error('A parameter without a name.')
    parameterFor([{ name: valueFrom, arn: valueFrom, selector: '', value: 'v' }], valueFrom)
    const reference = secretReference(valueFrom)
    const found = secretValue(secret, { valueFrom, name: 'PASSWORD' })
    registryLogin(secret, reference.call.secretId)
    requireCleanPrototypes()
    if ('value' in found && typeof found.value !== 'string') throw new Error('A value that is no text.')
    return 'value' in found
  },
})

export const environmentFiles = fuzzTarget<Buffer>({
  name: 'environment-files',
  share: 4,
  values: () => {
    const line = fc.oneof(
      fc.tuple(hostileText(), hostileText()).map((pair) => pair.join('=')),
      fc.constantFrom('# comment', 'A=1', 'B="2"', '=', 'C=', '  ', '\ufeffD=4'),
    )
    return mutatedBytes(fc.array(line, { maxLength: 8 }).map((lines) => lines.join('\n')))
  },
  judge(bytes) {
    const read = readEnvironmentFile(bytes, 'arn:aws:s3:::bucket/file.env')
    if ('problem' in read) {
      if (read.problem.length > 500) throw new Error(`The problem is told in ${read.problem.length} characters.`)
      return false
    }
    for (const [name, value] of read.variables) {
      if (name === '' || /[=\0\n]/.test(name) || /[\0\n]/.test(value)) throw new Error(`No variable: ${name}.`)
    }
    return read.variables.size > 0
  },
})

export const names = fuzzTarget<string>({
  name: 'names',
  share: 4,
  values: () =>
    mutated(
      fc.constantFrom(
        'arn:aws:ecs:us-east-1:123456789012:task/default/0123456789abcdef0123456789abcdef',
        'web:12',
        'https://controller.example:51443',
        `npx gantry join https://10.0.0.1:51443 --token a.b --ca-fingerprint sha256:${'0'.repeat(64)}`,
      ),
      [':', '/', 'arn:', '[::1]', '@'],
    ),
  judge(text) {
    for (const read of [isArn, clusterNameOf, idOf, clusterNameInArn, parseTaskDefinitionName]) read(text)
    for (const read of [joinTokenId, parseCaFingerprint, parseControllerUrl, parseJoinLine]) read(text)
    const definition = parseTaskDefinitionName(text)
    if (definition?.revision !== undefined && !Number.isSafeInteger(definition.revision))
      throw new Error('No revision.')
    return definition !== undefined || isArn(text) || parseJoinLine(text) !== undefined
  },
})

/** A pattern that is taken has to be through with any line soon: JavaScript's own expressions take steps back. */
export const logPatterns = fuzzTarget<readonly [string, string]>({
  name: 'log-patterns',
  share: 6,
  values: () => {
    const part = fc.constantFrom(
      'a',
      'a*',
      'a+',
      '(a|b)',
      '(a|a)*',
      '(a+)+',
      '[a-z]*',
      '.*',
      '.+',
      '\\d{1,9}',
      '^',
      '$',
      '\\s*',
      '(?:a?){9}',
      '\\w+',
      '(?=a)',
      '|',
      'b',
    )
    const pattern = fc.array(part, { minLength: 1, maxLength: 8 }).map((parts) => parts.join(''))
    const line = fc.tuple(
      fc.constantFrom('a', 'ab', ' ', '1', 'aA'),
      fc.nat({ max: 20_000 }),
      fc.constantFrom('', '!', 'b'),
    )
    return fc.tuple(
      fc.oneof({ arbitrary: pattern, weight: 3 }, { arbitrary: mutated(pattern), weight: 1 }),
      line.map(([unit, times, end]) => unit.repeat(times) + end),
    )
  },
  judge([pattern, line]) {
    let taken = 0
    for (const name of ['awslogs-multiline-pattern', 'awslogs-datetime-format']) {
      const options = { [name]: pattern }
      if (awslogsProblem(options) !== undefined) continue
      eventStart(options)?.(line)
      taken += 1
    }
    return taken > 0
  },
})

export const restBodies = fuzzTarget<readonly [unknown, unknown]>({
  name: 'rest-bodies',
  share: 4,
  values: () => {
    const type = fc.constantFrom('string', 'integer', 'number', 'boolean', 'null', 'array', 'object')
    const { schema } = fc.letrec<{ schema: object }>((tie) => ({
      schema: fc.record(
        {
          type: fc.oneof(type, fc.array(type, { maxLength: 2 })),
          properties: fc.dictionary(fc.constantFrom('a', 'b', '__proto__', 'constructor'), tie('schema'), {
            maxKeys: 2,
          }),
          items: tie('schema'),
          additionalProperties: fc.oneof({ depthSize: 'small' }, fc.boolean(), tie('schema')),
        },
        { requiredKeys: [] },
      ),
    }))
    return fc.tuple(schema, hostileJson())
  },
  judge([schema, value]) {
    const problem = wrongType(value, schema as Parameters<typeof wrongType>[1])
    if (problem !== undefined && !problem.startsWith('body')) throw new Error(`It says no place: ${problem}`)
    return problem === undefined
  },
})
