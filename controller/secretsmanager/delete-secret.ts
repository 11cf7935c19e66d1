/**
 * DeleteSecret and RestoreSecret. A deleted secret waits for 7 to 30 days, unreadable and restorable, unless the caller
 * gives that up; housekeeping forgets it afterwards.
 */
import { ApiError } from '../../proto/errors.ts'
import { writeOf } from '../ecs/handler.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { findSecret, newSecretArn, requireSecret } from './secret-lookup.ts'
import { checkSecretId } from './secret-rules.ts'
import { dropVersion } from './secret-versions.ts'

const dayMs = 86_400_000
const windowDays = { min: 7, max: 30 } as const

export const deleteSecret = writeOf<'secretsmanager', 'DeleteSecret'>((tx, input, { now }, world) => {
  const { SecretId = '', RecoveryWindowInDays, ForceDeleteWithoutRecovery } = input
  checkWindow(RecoveryWindowInDays, ForceDeleteWithoutRecovery === true)
  if (ForceDeleteWithoutRecovery === true) {
    checkSecretId(SecretId)
    const secret = findSecret(tx, SecretId, world)
    // One that is gone already is deleted as asked: AWS answers with an ARN that belongs to nothing.
    if (secret === undefined) {
      const ARN = SecretId.startsWith('arn:') ? SecretId : newSecretArn(world, SecretId, () => world.random())
      return { ARN, Name: SecretId, DeletionDate: now }
    }
    forgetSecret(tx, secret)
    return { ARN: secret.ARN, Name: secret.Name, DeletionDate: now }
  }
  const secret = requireSecret(tx, SecretId, world)
  if (secret.deletionDate !== undefined) {
    throw new ApiError(
      'InvalidRequestException',
      "You tried to perform the operation on a secret that's currently marked deleted.",
    )
  }
  const deletionDate = now + (RecoveryWindowInDays ?? windowDays.max) * dayMs
  tx.put('secret', secret.Name, { ...secret, DeletedDate: now, deletionDate, LastChangedDate: now })
  return { ARN: secret.ARN, Name: secret.Name, DeletionDate: deletionDate }
})

export const restoreSecret = writeOf<'secretsmanager', 'RestoreSecret'>((tx, input, { now }, world) => {
  const secret = requireSecret(tx, input.SecretId, world)
  if (secret.deletionDate !== undefined) {
    tx.put('secret', secret.Name, {
      ...secret,
      DeletedDate: undefined,
      deletionDate: undefined,
      LastChangedDate: now,
    })
  }
  return { ARN: secret.ARN, Name: secret.Name }
})

/** Forgets secrets whose time to be restored is over, at most `rowsMax` rows; answers how many rows went. */
export function forgetDeletedSecrets(tx: Transaction, now: number, rowsMax: number): number {
  let rows = 0
  for (const secret of tx.find('secret', 'leaving', 'leaving')) {
    if ((secret.deletionDate ?? now) > now) continue
    const size = 1 + tx.count('secretVersion', 'bySecret', secret.ARN)
    // A secret has 100 versions at most, fewer than a whole input may drop.
    if (rows + size > rowsMax) break
    forgetSecret(tx, secret)
    rows += size
  }
  return rows
}

function forgetSecret(tx: Transaction, { ARN, Name }: SecretRow): void {
  for (const version of tx.find('secretVersion', 'bySecret', ARN)) dropVersion(tx, version)
  tx.delete('secret', Name)
}

function checkWindow(days: number | undefined, isForced: boolean): void {
  if (days === undefined) return
  if (isForced) {
    throw new ApiError(
      'InvalidParameterException',
      "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
    )
  }
  if (days >= windowDays.min && days <= windowDays.max) return
  throw new ApiError(
    'InvalidParameterException',
    `The RecoveryWindowInDays value must be between ${windowDays.min} and ${windowDays.max} days (inclusive).`,
  )
}
