/** DescribeParameters and GetParameterHistory. The first never shows a value. */
import type { ParameterHistory, ParameterMetadata } from '../../proto/model/ssm-types.ts'
import { readOf } from '../ecs/handler.ts'
import type { ParameterVersionRow } from '../state/ssm-tables.ts'
import { validationError } from './constraints.ts'
import { servicePage } from './pages.ts'
import { describeFilter, type FilteredParameter, oldFilter } from './parameter-filters.ts'
import { latestVersion, requireParameter, shownValue, versionsOf } from './parameter-lookup.ts'

const pageLimits = { tokenCode: 'InvalidNextToken', maxSize: 50 } as const

export const describeParameters = readOf<'ssm', 'DescribeParameters'>((reader, input) => {
  const filters = input.Filters ?? []
  const parameterFilters = input.ParameterFilters ?? []
  if (filters.length > 0 && parameterFilters.length > 0) {
    throw validationError('You can use either Filters or ParameterFilters in a single request.')
  }
  const passes = filters.length > 0 ? oldFilter(filters) : describeFilter(parameterFilters)
  // Parameters that other accounts share: there is one account.
  const rows = input.Shared === true ? [] : reader.all('parameter')
  const found = rows.map((row) => ({ row, version: latestVersion(reader, row) })).filter(passes)
  const { items, nextToken } = servicePage(found, ({ row }) => row.Name, input, pageLimits)
  return { Parameters: items.map(metadataOf), ...(nextToken !== undefined && { NextToken: nextToken }) }
})

/** The oldest version first. */
export const getParameterHistory = readOf<'ssm', 'GetParameterHistory'>((reader, input, { vault }, world) => {
  const versions = versionsOf(reader, requireParameter(reader, input.Name ?? '', world))
  const { items, nextToken } = servicePage(versions, orderOf, input, pageLimits)
  const Parameters = items.map(
    (version): ParameterHistory => ({
      ...shownVersion(version),
      Value: shownValue(version, { WithDecryption: input.WithDecryption, vault }),
      Labels: [...version.Labels],
    }),
  )
  return { Parameters, ...(nextToken !== undefined && { NextToken: nextToken }) }
})

function orderOf({ Version }: ParameterVersionRow): string {
  return String(Version).padStart(16, '0')
}

function metadataOf({ row, version }: FilteredParameter): ParameterMetadata {
  return { ...shownVersion(version), ARN: row.ARN }
}

/** Everything but the value. */
function shownVersion(version: ParameterVersionRow): Omit<ParameterHistory, 'Value' | 'Labels'> {
  const { Name, Type, KeyId, LastModifiedDate, LastModifiedUser, Description, AllowedPattern } = version
  return {
    Name,
    Type,
    ...(KeyId !== undefined && { KeyId }),
    LastModifiedDate,
    LastModifiedUser,
    ...(Description !== undefined && { Description }),
    ...(AllowedPattern !== undefined && { AllowedPattern }),
    Version: version.Version,
    Tier: version.Tier,
    Policies: [],
    DataType: version.DataType,
  }
}
