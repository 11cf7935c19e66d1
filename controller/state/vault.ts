/**
 * What seals secrets before they become part of a row. Rows, logs and the store see sealed text alone; the key is outside
 * of the database (keyring.ts).
 */
export interface Vault {
  /**
   * Text that only this controller can open again, and only with the same context: what the secret belongs to, such as
   * `secret ARN version`, so that sealed text copied onto another row does not open.
   */
  seal(plaintext: string, context: string): string
  /** Throws SealedTextError where the text was changed, belongs to another context, or its key is gone. */
  open(sealed: string, context: string): string
}

/** Sealed text that can't be opened. The message names the key, never the text. */
export class SealedTextError extends Error {
  override readonly name = 'SealedTextError'
}

/** The id of the key that sealed this text; `unknown` where the text is of no form that this version knows. */
export function sealingKeyOf(sealed: string): string {
  const [version, keyId = ''] = sealed.split('.', 2)
  return version === 'v1' ? keyId : 'unknown'
}
