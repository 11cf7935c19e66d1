/** Permissions boundaries: a managed policy beyond which a user or role has no rights, whatever its own policies say. */
import type { Role } from '../../proto/model/iam-types.ts'
import type { PolicyHolder } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { noSuchEntity, required } from './names.ts'
import { findPolicy } from './policy-lookup.ts'

/** The ARN of a policy that is there. Throws NoSuchEntity. */
export function readBoundary(reader: Reader, arn: string | undefined): string {
  const boundary = required('permissionsBoundary', arn)
  if (findPolicy(reader, boundary) === undefined) {
    throw noSuchEntity(`Scope ARN: ${boundary.slice(0, 256)} does not exist or is not attachable.`)
  }
  return boundary
}

export function describeBoundary({
  permissionsBoundaryArn,
}: Pick<PolicyHolder, 'permissionsBoundaryArn'>): Pick<Role, 'PermissionsBoundary'> {
  if (permissionsBoundaryArn === undefined) return {}
  return {
    PermissionsBoundary: {
      PermissionsBoundaryType: 'PermissionsBoundaryPolicy',
      PermissionsBoundaryArn: permissionsBoundaryArn,
    },
  }
}
