/** Parameters as callers name them, and their values as answers show them. */
import type { Place } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import type { Parameter } from '../../proto/model/ssm-types.ts'
import {
  type ParameterRow,
  type ParameterVersionRow,
  parameterContext,
  parameterVersionKey,
} from '../state/ssm-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { SealedTextError, type Vault } from '../state/vault.ts'
import { parseParameterReference } from './parameter-names.ts'

export interface FoundParameter {
  readonly row: ParameterRow
  readonly version: ParameterVersionRow
  /** As it was asked for, with its colon; undefined where the latest was. */
  readonly selector: string | undefined
}

/** The parameter itself, by name or ARN. A selector behind it is not looked at. */
export function findParameter(reader: Reader, reference: string, place: Place): ParameterRow | undefined {
  const names = parseParameterReference(reference, place)?.names ?? []
  return names.map((name) => reader.get('parameter', name)).find((row) => row !== undefined)
}

/** ParameterNotFound where there is none. */
export function requireParameter(reader: Reader, reference: string, place: Place): ParameterRow {
  const row = findParameter(reader, reference, place)
  if (row !== undefined) return row
  throw new ApiError('ParameterNotFound', `Parameter ${reference.slice(0, 300)} not found.`)
}

/** The version that is asked for: the latest, a number, or the one with a label. ParameterNotFound, ParameterVersionNotFound. */
export function requireVersion(reader: Reader, reference: string, place: Place): FoundParameter {
  const row = requireParameter(reader, reference, place)
  const selector = parseParameterReference(reference, place)?.selector
  if (selector === undefined) return { row, version: latestVersion(reader, row), selector: undefined }
  const version = /^\d+$/.test(selector)
    ? reader.get('parameterVersion', parameterVersionKey(row.Name, Number(selector)))
    : labelledVersions(reader, row).find(({ Labels }) => Labels.includes(selector))
  if (version === undefined) {
    const what = /^\d+$/.test(selector) ? 'version' : 'label'
    throw new ApiError(
      'ParameterVersionNotFound',
      `Systems Manager could not find ${what} ${selector.slice(0, 100)} of ${row.Name}. Verify the ${what} and try again.`,
    )
  }
  return { row, version, selector: `:${selector}` }
}

export function latestVersion(reader: Reader, { Name, Version }: ParameterRow): ParameterVersionRow {
  const version = reader.get('parameterVersion', parameterVersionKey(Name, Version))
  if (version === undefined) throw new Error(`Bug: parameter ${Name} has no row of its version ${Version}.`)
  return version
}

/** The oldest first. */
export function versionsOf(reader: Reader, { Name }: ParameterRow): readonly ParameterVersionRow[] {
  return reader.find('parameterVersion', 'byName', Name)
}

/** The versions that have a label, the oldest first. */
export function labelledVersions(reader: Reader, { Name }: ParameterRow): readonly ParameterVersionRow[] {
  return reader.find('parameterVersion', 'labelledByName', Name)
}

/** Whether a value is to be opened, and by what. */
export interface Decryption {
  readonly WithDecryption?: boolean | undefined
  readonly vault: Vault
}

export function shownParameter({ row, version, selector }: FoundParameter, decryption: Decryption): Parameter {
  return {
    Name: row.Name,
    Type: version.Type,
    Value: shownValue(version, decryption),
    Version: version.Version,
    ...(selector !== undefined && { Selector: selector }),
    LastModifiedDate: version.LastModifiedDate,
    ARN: row.ARN,
    DataType: version.DataType,
  }
}

/**
 * A SecureString without decryption is its ciphertext, in base64 as KMS gives it; the other types are plain in any case.
 * InvalidKeyId where what is sealed can't be opened: its key is gone from the key file, or the row was tampered with.
 */
export function shownValue(version: ParameterVersionRow, { WithDecryption, vault }: Decryption): string {
  if (version.sealedValue === undefined) return version.Value ?? ''
  if (WithDecryption !== true) return btoa(version.sealedValue)
  try {
    return vault.open(version.sealedValue, parameterContext(version.Name, version.Version))
  } catch (error) {
    if (!(error instanceof SealedTextError)) throw error
    throw new ApiError(
      'InvalidKeyId',
      `The value of ${version.Name}, version ${version.Version}, can not be decrypted. ${error.message}`,
      { cause: error },
    )
  }
}
