/** Service revisions: what a deployment deployed, member by member. Source: the ECS API reference, DescribeServiceRevisions. */
import { invalidParameter } from '../../proto/errors.ts'
import type { Input, Output, ServiceRevision } from '../../proto/model/types.ts'
import type { ServiceRevisionRow } from '../state/service-tables.ts'
import type { Reader } from '../state/transaction.ts'

const describedMax = 20

/** At most 20; what isn't known is in `failures` as MISSING. */
export function describeServiceRevisions(
  reader: Reader,
  input: Input<'DescribeServiceRevisions'>,
): Output<'DescribeServiceRevisions'> {
  const arns = [...new Set(input.serviceRevisionArns ?? [])]
  if (arns.length === 0) throw invalidParameter('serviceRevisionArns cannot be empty.')
  if (arns.length > describedMax) {
    throw invalidParameter(
      `At most ${describedMax} service revisions can be described at once, and ${arns.length} are named.`,
    )
  }
  const found = arns.map((arn) => {
    const row = reader.get('serviceRevision', arn.slice(arn.lastIndexOf('/') + 1))
    return { arn, row: row?.serviceRevisionArn === arn ? row : undefined }
  })
  return {
    serviceRevisions: found.flatMap(({ row }) => (row === undefined ? [] : [describe(row)])),
    failures: found.flatMap(({ arn, row }) => (row === undefined ? [{ arn, reason: 'MISSING' }] : [])),
  }
}

function describe(row: ServiceRevisionRow): ServiceRevision {
  const { id: _id, serviceKey: _key, ...members } = row
  return members
}
