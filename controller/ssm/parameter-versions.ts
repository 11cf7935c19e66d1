/** Versions of parameters as they come and go. */
import { type ParameterVersionRow, parameterVersionKey } from '../state/ssm-tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { countValue } from './value-room.ts'

/** As its value stands in the row. */
export function storedCharacters({ Value, sealedValue }: ParameterVersionRow): number {
  return (sealedValue ?? Value ?? '').length
}

export function dropVersion(tx: Transaction, version: ParameterVersionRow): void {
  countValue(tx, 'ssm', -storedCharacters(version))
  tx.delete('parameterVersion', parameterVersionKey(version.Name, version.Version))
}
