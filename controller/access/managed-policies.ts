/** The documents behind the ARNs of managed policies. */
import type { Reader } from '../state/transaction.ts'
import { readyMadePolicies } from './ready-made-policies.ts'

/** JSON text of the version that is the default one; undefined where there is no such policy. */
export function managedPolicyDocument(reader: Reader, arn: string): string | undefined {
  const row = readyMadePolicies.get(arn) ?? reader.get('managedPolicy', arn)
  return row?.versions.find(({ VersionId }) => VersionId === row.DefaultVersionId)?.Document
}
