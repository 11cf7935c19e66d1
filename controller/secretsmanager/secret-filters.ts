/**
 * Filters of ListSecrets and BatchGetSecretValue. A secret passes where each filter has a value that it matches; a value
 * with `!` before it matches what the rest of it does not.
 *
 * Source: AWS Secrets Manager User Guide, "Find secrets in AWS Secrets Manager".
 */
import { ApiError } from '../../proto/errors.ts'
import type { SecretFilter } from '../../proto/model/secretsmanager-types.ts'
import { checkCount } from '../ssm/constraints.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'

export type SecretTest = (secret: SecretRow) => boolean

type FilterKey = NonNullable<SecretFilter['Key']>

const filtersMax = 10
const valuesMax = 10
const valueForm = /^!?[a-zA-Z0-9 :_@/+=.\-!]{0,512}$/

/** InvalidParameterException for a filter that can't be. */
export function secretFilter(filters: readonly SecretFilter[]): SecretTest {
  if (filters.length > filtersMax) {
    throw new ApiError(
      'InvalidParameterException',
      `At most ${filtersMax} filters can be given, not ${filters.length}.`,
    )
  }
  const tests = filters.map(({ Key, Values = [] }): SecretTest => {
    if (Key === undefined) throw new ApiError('InvalidParameterException', 'Invalid filter key: a filter has none.')
    if (Values.length === 0) {
      throw new ApiError('InvalidParameterException', `Invalid filter values for key: ${Key}: there is none.`)
    }
    checkCount('filters.member.values', Values, { min: 1, max: valuesMax })
    const wrong = Values.find((value) => !valueForm.test(value))
    if (wrong !== undefined) {
      throw new ApiError('InvalidParameterException', `Invalid filter value for key: ${Key}: ${wrong.slice(0, 100)}`)
    }
    const each = Values.map((value) => valueTest(Key, value))
    return (secret) => each.some((test) => test(secret))
  })
  return (secret) => tests.every((test) => test(secret))
}

function valueTest(key: FilterKey, value: string): SecretTest {
  if (value.startsWith('!')) {
    const test = valueTest(key, value.slice(1))
    return (secret) => !test(secret)
  }
  const folded = value.toLowerCase()
  if (key === 'description') return ({ Description = '' }) => Description.toLowerCase().startsWith(folded)
  if (key === 'all') {
    const words = folded.split(/[ /_+=.@-]+/).filter((word) => word !== '')
    return (secret) => words.some((word) => textsOf(secret).some((text) => text.toLowerCase().includes(word)))
  }
  return (secret) => membersOf(key, secret).some((text) => text.startsWith(value))
}

function membersOf(key: Exclude<FilterKey, 'description' | 'all'>, { Name, Tags, ARN }: SecretRow): readonly string[] {
  if (key === 'name') return [Name]
  if (key === 'tag-key') return Tags.map(({ Key = '' }) => Key)
  if (key === 'tag-value') return Tags.map(({ Value = '' }) => Value)
  // Nobody but callers makes secrets here, so that none has an owning service.
  return key === 'primary-region' ? [ARN.split(':')[3] ?? ''] : []
}

function textsOf({ Name, Description = '', Tags }: SecretRow): readonly string[] {
  return [Name, Description, ...Tags.flatMap(({ Key = '', Value = '' }) => [Key, Value])]
}
