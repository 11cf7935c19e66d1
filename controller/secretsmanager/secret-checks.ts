/** What is asked of whoever reads or changes a secret, for the rows of authorisation and for handlers that ask again. */
import type { Place } from '../../proto/arn.ts'
import type { AccessCheck, ConditionKeys } from '../access/authorization.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { findSecret, secretArnPrefix } from './secret-lookup.ts'

/** Of the secret that is named, or of what would be its ARN where there is none: then a policy's `-??????` matches it too. */
export function secretCheck(
  reader: Reader,
  operation: string,
  { secretId, place, keys = {} }: { readonly secretId: string; readonly place: Place; readonly keys?: ConditionKeys },
): AccessCheck {
  const secret = findSecret(reader, secretId, place)
  const action = `secretsmanager:${operation}`
  if (secret === undefined) return { action, resource: missingArn(secretId, place), keys }
  return {
    action,
    resource: secret.ARN,
    keys: { 'secretsmanager:SecretId': secret.ARN, ...keys },
    resourceTags: () => Object.fromEntries(secret.Tags.map(({ Key = '', Value = '' }) => [Key, Value])),
    ...policyOf(secret),
  }
}

/** Of a secret that is to be made: no other of that name counts. */
export function newSecretCheck(operation: string, name: string, place: Place, keys: ConditionKeys): AccessCheck {
  return { action: `secretsmanager:${operation}`, resource: missingArn(name, place), keys }
}

export function secretValueCheck(
  reader: Reader,
  secretId: string,
  place: Place,
  keys: ConditionKeys = {},
): AccessCheck {
  return secretCheck(reader, 'GetSecretValue', { secretId, place, keys })
}

function policyOf({ resourcePolicy, policyPrincipalIds }: SecretRow): Pick<AccessCheck, 'resourcePolicy'> {
  return resourcePolicy === undefined
    ? {}
    : { resourcePolicy: { document: resourcePolicy, isTrust: false, trustedIds: policyPrincipalIds } }
}

function missingArn(secretId: string, place: Place): string {
  return secretId.startsWith('arn:') ? secretId : `${secretArnPrefix(place)}${secretId}-??????`
}
