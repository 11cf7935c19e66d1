/** GetParameter, GetParameters and GetParametersByPath: values, decrypted where the caller asks for it. */
import { isApiError } from '../../proto/errors.ts'
import type { ParameterStringFilter } from '../../proto/model/ssm-types.ts'
import { readOf } from '../ecs/handler.ts'
import type { ParameterRow } from '../state/ssm-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { checkCount, constraintError } from './constraints.ts'
import { servicePage } from './pages.ts'
import { checkPath, isUnder, pathFilter } from './parameter-filters.ts'
import {
  type FoundParameter,
  latestVersion,
  requireVersion,
  shownParameter,
  labelledVersions,
} from './parameter-lookup.ts'

const namesMax = 10
const pageSize = 10

export const getParameter = readOf<'ssm', 'GetParameter'>((reader, input, { vault }, world) => ({
  Parameter: shownParameter(requireVersion(reader, input.Name ?? '', world), {
    WithDecryption: input.WithDecryption,
    vault,
  }),
}))

/** In the order of their names. What is not there stands in InvalidParameters, and is no error. */
export const getParameters = readOf<'ssm', 'GetParameters'>((reader, input, { vault }, world) => {
  const names = [...new Set(input.Names)]
  checkCount('names', names, { min: 1, max: namesMax })
  const found = names
    .map((name) => ({ name, parameter: tryVersion(reader, name, world) }))
    .toSorted((one, other) => compareNames(one.parameter?.row.Name, other.parameter?.row.Name))
  return {
    Parameters: found.flatMap(({ parameter }) =>
      parameter === undefined ? [] : [shownParameter(parameter, { WithDecryption: input.WithDecryption, vault })],
    ),
    InvalidParameters: found.flatMap(({ name, parameter }) => (parameter === undefined ? [name] : [])),
  }
})

export const getParametersByPath = readOf<'ssm', 'GetParametersByPath'>((reader, input, { vault }) => {
  const path = checkPath(input.Path ?? '')
  const filters = input.ParameterFilters ?? []
  const passes = pathFilter(filters)
  const labels = labelsOf(filters)
  const found = rowsUnder(reader, path, input.Recursive === true).flatMap((row) => {
    const parameter = labels === undefined ? latest(reader, row) : labelled(reader, row, labels)
    return parameter !== undefined && passes(parameter) ? [parameter] : []
  })
  const { items, nextToken } = servicePage(found, ({ row }) => row.Name, input, {
    tokenCode: 'InvalidNextToken',
    maxSize: pageSize,
  })
  return {
    Parameters: items.map((each) => shownParameter(each, { WithDecryption: input.WithDecryption, vault })),
    ...(nextToken !== undefined && { NextToken: nextToken }),
  }
})

function compareNames(one = '', other = ''): number {
  return one < other ? -1 : one > other ? 1 : 0
}

function rowsUnder(reader: Reader, path: string, isRecursive: boolean): readonly ParameterRow[] {
  if (!isRecursive) return reader.find('parameter', 'byPath', path)
  return reader.all('parameter').filter(({ Name }) => isUnder(Name, path))
}

function labelsOf(filters: readonly ParameterStringFilter[]): readonly string[] | undefined {
  const filter = filters.find(({ Key }) => Key === 'Label')
  const [label] = filter?.Values ?? []
  if (filter !== undefined && label === undefined) {
    throw constraintError('parameterFilters.values', '[]', 'Member must have length greater than or equal to 1')
  }
  return filter?.Values
}

function latest(reader: Reader, row: ParameterRow): FoundParameter {
  return { row, version: latestVersion(reader, row), selector: undefined }
}

/** With a filter of labels a parameter is shown as the version that has one of them. */
function labelled(reader: Reader, row: ParameterRow, labels: readonly string[]): FoundParameter | undefined {
  for (const version of labelledVersions(reader, row)) {
    const label = version.Labels.find((each) => labels.includes(each))
    if (label !== undefined) return { row, version, selector: `:${label}` }
  }
  return undefined
}

function tryVersion(...[reader, name, place]: Parameters<typeof requireVersion>): FoundParameter | undefined {
  try {
    return requireVersion(reader, name, place)
  } catch (error) {
    if (isApiError(error) && /^Parameter(Version)?NotFound$/.test(error.code)) return undefined
    throw error
  }
}
