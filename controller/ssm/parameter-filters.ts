/**
 * Filters of DescribeParameters and GetParametersByPath: which keys and options each takes, and what they mean.
 *
 * Source: AWS Systems Manager API reference, ParameterStringFilter and ParametersFilter.
 */
import { ApiError } from '../../proto/errors.ts'
import type { ParameterStringFilter, ParametersFilter } from '../../proto/model/ssm-types.ts'
import { type ParameterRow, type ParameterVersionRow, parameterPath } from '../state/ssm-tables.ts'
import { checkCount, checkLength, constraintError, validationError } from './constraints.ts'

export interface FilteredParameter {
  readonly row: ParameterRow
  readonly version: ParameterVersionRow
}

export type ParameterTest = (parameter: FilteredParameter) => boolean

const keysOfDescribe = ['Path', 'Name', 'Type', 'KeyId', 'Tier', 'DataType']
const keysOfPath = ['Type', 'KeyId', 'Label']
const valuesMax = 50
const typeNames = ['String', 'StringList', 'SecureString']
const tierNames = ['Standard', 'Advanced', 'Intelligent-Tiering']

/** Filters of DescribeParameters: a parameter passes where it passes all of them. */
export function describeFilter(filters: readonly ParameterStringFilter[]): ParameterTest {
  return allOf(filters, (key) => keysOfDescribe.includes(key) || /^tag:.+/.test(key), keysOfDescribe)
}

/** Filters of GetParametersByPath. Labels are not judged here: they choose the version. */
export function pathFilter(filters: readonly ParameterStringFilter[]): ParameterTest {
  return allOf(filters, (key) => keysOfPath.includes(key), keysOfPath)
}

/** The older `Filters`: a name begins with one of the values, a type or a key is one of them. */
export function oldFilter(filters: readonly ParametersFilter[]): ParameterTest {
  const tests = filters.map(({ Key, Values = [] }): ParameterTest => {
    checkCount('filters.member.values', Values, { min: 1, max: valuesMax })
    if (Key === 'Name') return ({ row }) => Values.some((value) => slashed(row.Name).startsWith(slashed(value)))
    return ({ version }) => Values.includes((Key === 'Type' ? version.Type : version.KeyId) ?? '')
  })
  return (parameter) => tests.every((test) => test(parameter))
}

function allOf(
  filters: readonly ParameterStringFilter[],
  isKnown: (key: string) => boolean,
  known: readonly string[],
): ParameterTest {
  const seen = new Set<string>()
  const tests = filters.map((filter, index) => {
    const { Key = '', Values = [] } = filter
    checkForm(filter, index + 1)
    if (!isKnown(Key)) {
      throw new ApiError(
        'InvalidFilterKey',
        `The following filter key is not valid: ${Key}. Valid filter keys include: [${known.join(', ')}].`,
      )
    }
    if (Values.length === 0) {
      throw new ApiError('InvalidFilterValue', `The following filter values are missing : null for filter key ${Key}.`)
    }
    if (seen.has(Key)) {
      throw new ApiError(
        'InvalidFilterKey',
        `The following filter is duplicated in the request: ${Key}. A request can contain only one occurrence of a ` +
          'specific filter.',
      )
    }
    seen.add(Key)
    return testOf(Key, filter.Option, Values)
  })
  return (parameter) => tests.every((test) => test(parameter))
}

function checkForm({ Key = '', Option, Values = [] }: ParameterStringFilter, place: number): void {
  const member = `parameterFilters.${place}.member`
  checkLength(`${member}.key`, Key, { min: 1, max: 132 })
  if (!/^(?:tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType)$/.test(Key)) {
    throw constraintError(
      `${member}.key`,
      Key,
      'Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType',
    )
  }
  checkLength(`${member}.option`, Option, { min: 1, max: 10 })
  checkCount(`${member}.values`, Values, { max: valuesMax })
  for (const value of Values) checkLength(`${member}.values`, value, { min: 1, max: 1024 })
}

function testOf(key: string, given: string | undefined, values: readonly string[]): ParameterTest {
  if (key === 'Path') return pathTest(given ?? 'OneLevel', values)
  const option = given ?? 'Equals'
  const options = key === 'Name' ? ['BeginsWith', 'Equals', 'Contains'] : key === 'Label' ? ['Equals'] : equalOrBegin
  requireOption(option, options)
  if (key === 'Type') requireValues(values, typeNames)
  if (key === 'Tier') requireValues(values, tierNames)
  if (key === 'Label') return () => true
  // A name is compared with and without its leading slash alike.
  const wanted = key === 'Name' && option !== 'Contains' ? values.map(slashed) : values
  const textOf = readerOf(key)
  return (parameter) => {
    const text = textOf(parameter)
    if (text === undefined) return false
    if (option === 'BeginsWith') return wanted.some((value) => text.startsWith(value))
    if (option === 'Contains') return wanted.some((value) => text.includes(value))
    return wanted.includes(text)
  }
}

const equalOrBegin = ['BeginsWith', 'Equals']

function readerOf(key: string): (parameter: FilteredParameter) => string | undefined {
  if (key === 'Name') return ({ row }) => slashed(row.Name)
  if (key === 'Type') return ({ version }) => version.Type
  if (key === 'KeyId') return ({ version }) => version.KeyId
  if (key === 'Tier') return ({ row }) => row.Tier
  if (key === 'DataType') return ({ version }) => version.DataType
  const tagKey = key.slice('tag:'.length)
  return ({ row }) => row.Tags.find(({ Key }) => Key === tagKey)?.Value
}

function pathTest(option: string, values: readonly string[]): ParameterTest {
  requireOption(option, ['Recursive', 'OneLevel'])
  const paths = values.map(checkPath)
  if (option === 'OneLevel') return ({ row }) => paths.includes(parameterPath(row.Name))
  return ({ row }) => paths.some((path) => isUnder(row.Name, path))
}

/** `/prod/db/` as `/prod/db`. ValidationException for what is no path. */
export function checkPath(given: string): string {
  if (!/^\/[a-zA-Z0-9_.\-/]*$/.test(given) || given.includes('//')) {
    throw validationError(
      "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash " +
        '"/". It can\'t be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the ' +
        'following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if ' +
        'specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.',
    )
  }
  return given.length > 1 && given.endsWith('/') ? given.slice(0, -1) : given
}

/** At any depth. Everything is under `/`. */
export function isUnder(name: string, path: string): boolean {
  return path === '/' || name.startsWith(`${path}/`)
}

function requireOption(option: string, valid: readonly string[]): void {
  if (valid.includes(option)) return
  throw new ApiError(
    'InvalidFilterOption',
    `The following filter option is not valid: ${option}. Valid options include: [${valid.join(', ')}].`,
  )
}

function requireValues(values: readonly string[], valid: readonly string[]): void {
  const wrong = values.find((value) => !valid.includes(value))
  if (wrong === undefined) return
  throw new ApiError(
    'InvalidFilterValue',
    `The following filter value is not valid: ${wrong.slice(0, 100)}. Valid values include: [${valid.join(', ')}].`,
  )
}

function slashed(name: string): string {
  return name.startsWith('/') ? name : `/${name}`
}
