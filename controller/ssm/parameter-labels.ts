/**
 * Labels: names for versions of a parameter. One label stands on one version of a parameter at most.
 *
 * Source: AWS Systems Manager API reference, LabelParameterVersion.
 */
import { ApiError } from '../../proto/errors.ts'
import type { Place } from '../../proto/arn.ts'
import { writeOf } from '../ecs/handler.ts'
import { type ParameterRow, type ParameterVersionRow, parameterVersionKey } from '../state/ssm-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { checkCount, constraintError } from './constraints.ts'
import { labelledVersions, requireParameter } from './parameter-lookup.ts'

const labelsMax = 10
const labelLengthMax = 100

export const labelParameterVersion = writeOf<'ssm', 'LabelParameterVersion'>((tx, input, _call, world) => {
  const { row, version, labels } = readRequest(tx, input, world)
  const valid = labels.filter(isValidLabel)
  const Labels = [...new Set([...version.Labels, ...valid])]
  if (Labels.length > labelsMax) {
    throw new ApiError(
      'ParameterVersionLabelLimitExceeded',
      `A parameter version can have maximum ${labelsMax} labels. Move one or more labels to another version and try again.`,
    )
  }
  for (const other of labelledVersions(tx, row)) {
    if (other.Version !== version.Version) takeLabels(tx, other, valid)
  }
  if (valid.length > 0) putVersion(tx, { ...version, Labels })
  return { InvalidLabels: labels.filter((label) => !isValidLabel(label)), ParameterVersion: version.Version }
})

export const unlabelParameterVersion = writeOf<'ssm', 'UnlabelParameterVersion'>((tx, input, _call, world) => {
  const { version, labels } = readRequest(tx, input, world)
  const RemovedLabels = labels.filter((label) => version.Labels.includes(label))
  takeLabels(tx, version, RemovedLabels)
  return { RemovedLabels, InvalidLabels: labels.filter((label) => !RemovedLabels.includes(label)) }
})

interface LabelRequest {
  readonly Name: string | undefined
  readonly Labels: readonly string[] | undefined
  readonly ParameterVersion?: number | undefined
}

interface LabelTarget {
  readonly row: ParameterRow
  readonly version: ParameterVersionRow
  readonly labels: readonly string[]
}

function readRequest(
  reader: Reader,
  { Name = '', Labels = [], ParameterVersion }: LabelRequest,
  place: Place,
): LabelTarget {
  const row = requireParameter(reader, Name, place)
  const labels = [...new Set(Labels)]
  checkCount('labels', labels, { min: 1, max: labelsMax })
  const long = labels.find((label) => label.length > labelLengthMax || label === '')
  if (long !== undefined) {
    throw constraintError(
      'labels',
      `[${long}]`,
      `Member must satisfy constraint: [Member must have length less than or equal to ${labelLengthMax}, Member must have ` +
        'length greater than or equal to 1]',
    )
  }
  const number = ParameterVersion ?? row.Version
  const version = reader.get('parameterVersion', parameterVersionKey(row.Name, number))
  if (version !== undefined) return { row, version, labels }
  throw new ApiError(
    'ParameterVersionNotFound',
    `Systems Manager could not find version ${number} of ${row.Name}. Verify the version and try again.`,
  )
}

function isValidLabel(label: string): boolean {
  return /^[a-zA-Z0-9_.-]+$/.test(label) && !/^(?:\d|aws|ssm)/i.test(label)
}

function takeLabels(tx: Transaction, version: ParameterVersionRow, labels: readonly string[]): void {
  const kept = version.Labels.filter((label) => !labels.includes(label))
  if (kept.length < version.Labels.length) putVersion(tx, { ...version, Labels: kept })
}

function putVersion(tx: Transaction, version: ParameterVersionRow): void {
  tx.put('parameterVersion', parameterVersionKey(version.Name, version.Version), version)
}
