/**
 * Sealing anew what an older key sealed. A new key stands first in the key file: housekeeping walks the rows until nothing is
 * left under the older ones, and then those may leave the file.
 */
import { sealedTables } from '../state/sealed-members.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { SealedTextError, sealingKeyOf, type Vault } from '../state/vault.ts'

/** What resealing knows of a keyring: ids, never keys. */
export interface SealingKeys extends Vault {
  /** Of the key that seals. */
  readonly keyId: string
  /** Of all keys in the file. */
  readonly keyIds: readonly string[]
}

export interface ResealLimits {
  /** Rows sealed anew by one input at most. */
  readonly rowsMax: number
  /** Characters of sealed text that one input takes at most; one row is always taken whole. */
  readonly charactersMax: number
}

export const resealDefaults: ResealLimits = { rowsMax: 500, charactersMax: 4 * 1024 * 1024 }

export interface ResealResult {
  readonly resealed: number
  /** Rows that no key opens, since they were tampered with. They stay as they are. */
  readonly broken: number
  /** True where a bound left something over: the same input is due again at once. */
  readonly hasMore: boolean
}

/** True where rows are sealed under a key that stands in the file and is not the first. Looks at counts alone. */
export function isResealDue(reader: Reader, { keyId, keyIds }: SealingKeys): boolean {
  return keyIds.some((each) => each !== keyId && sealedTables.some((table) => table.count(reader, each) > 0))
}

/** Ids of keys that sealed rows and do not stand in the file: what they sealed is lost until they are put back. */
export function missingKeys(reader: Reader, { keyIds }: Pick<SealingKeys, 'keyIds'>): readonly string[] {
  const used = new Set(sealedTables.flatMap((table) => [...table.texts(reader)].map(sealingKeyOf)))
  return [...used].filter((keyId) => !keyIds.includes(keyId)).toSorted()
}

export function reseal(tx: Transaction, keys: SealingKeys, limits: ResealLimits = resealDefaults): ResealResult {
  let [resealed, broken, characters] = [0, 0, 0]
  const older = keys.keyIds.filter((keyId) => keyId !== keys.keyId)
  for (const table of sealedTables) {
    for (const keyId of older) {
      for (const { sealed, context, replace } of table.find(tx, keyId)) {
        if (resealed >= limits.rowsMax || characters >= limits.charactersMax) return { resealed, broken, hasMore: true }
        const plaintext = tryOpen(keys, sealed, context)
        if (plaintext === undefined) broken += 1
        else {
          replace(tx, keys.seal(plaintext, context))
          resealed += 1
          characters += sealed.length
        }
      }
    }
  }
  return { resealed, broken, hasMore: false }
}

function tryOpen(vault: Vault, sealed: string, context: string): string | undefined {
  try {
    return vault.open(sealed, context)
  } catch (error) {
    if (error instanceof SealedTextError) return undefined
    throw error
  }
}
