/**
 * How much all values of a store may take together. Everything is in memory, and a limit for each value alone would let a
 * thousand callers with a hundred versions each fill it.
 */
import { ApiError, type ErrorCode } from '../../proto/errors.ts'
import type { ValueStoreName } from '../state/ssm-tables.ts'
import type { Transaction } from '../state/transaction.ts'

/** Characters as they stand in rows; a sealed value is a third longer than it was. 256 MiB of memory. */
export const charactersMax = 268_435_456

const limitCodes: Readonly<Record<ValueStoreName, ErrorCode>> = {
  secretsmanager: 'LimitExceededException',
  ssm: 'ParameterLimitExceeded',
}

/** Counts a value that was added, or with a negative number one that went. Refuses what there is no room for. */
export function countValue(tx: Transaction, store: ValueStoreName, characters: number): void {
  const before = tx.get('valueStore', store)?.characters ?? 0
  const after = Math.max(0, before + characters)
  if (characters > 0 && after > charactersMax) {
    throw new ApiError(
      limitCodes[store],
      `There is no room for this value: all values together take ${before} characters, and ${charactersMax} are the most ` +
        'that there can be. Delete what is no longer used, or versions of it.',
    )
  }
  tx.put('valueStore', store, { store, characters: after })
}
