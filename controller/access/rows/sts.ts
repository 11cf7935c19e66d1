/**
 * What each operation of STS takes. To say who one is, and to get keys for oneself, takes no permission.
 *
 * Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for AWS Security Token Service".
 */
import type { InputOf } from '../../../proto/model/types.ts'
import { tagRecord } from '../../iam/tags.ts'
import { findRole } from '../../iam/trust.ts'
import type { Reader } from '../../state/transaction.ts'
import { type AccessCheck, openToAll } from '../authorization.ts'
import { requestTagKeys } from '../request-keys.ts'
import type { ServiceRows } from '../rows.ts'

export const stsRows: ServiceRows<'sts'> = {
  AssumeRole: (input, reader) => assumeRole(input, reader),
  GetAccessKeyInfo: () => [{ action: 'sts:GetAccessKeyInfo', resource: '*' }],
  GetCallerIdentity: () => openToAll,
  GetSessionToken: () => openToAll,
}

/** The caller's own policies and the role's trust policy are judged together; so are the tags that a session brings. */
function assumeRole(input: InputOf<'sts', 'AssumeRole'>, reader: Reader): readonly AccessCheck[] {
  const { RoleArn = '', RoleSessionName, ExternalId, Tags = [], TransitiveTagKeys, SourceIdentity } = input
  const role = findRole(reader, RoleArn)
  const check = {
    resource: role?.Arn ?? RoleArn,
    keys: {
      'sts:RoleSessionName': RoleSessionName,
      'sts:ExternalId': ExternalId,
      'sts:SourceIdentity': SourceIdentity,
      'sts:TransitiveTagKeys': TransitiveTagKeys,
      ...requestTagKeys(tagRecord(Tags)),
    },
    resourceTags: () => tagRecord(role?.Tags ?? []),
    resourcePolicy: {
      document: role?.AssumeRolePolicyDocument ?? trustsNobody,
      isTrust: true,
      trustedIds: role?.trustedIds ?? {},
    },
  }
  return [
    { ...check, action: 'sts:AssumeRole' },
    ...(Tags.length > 0 ? [{ ...check, action: 'sts:TagSession' }] : []),
    ...(SourceIdentity !== undefined ? [{ ...check, action: 'sts:SetSourceIdentity' }] : []),
  ]
}

/** Of a role that isn't there: it allows nobody, and denies nobody, so that it is answered as one that trusts others is. */
const trustsNobody = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'nobody.amazonaws.com' }, Action: 'sts:AssumeRole' }],
})
