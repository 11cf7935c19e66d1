/**
 * The rows of Parameter Store: a parameter, and each of its versions. Members that SSM has bear its names; what Gantry
 * keeps beside them stands behind.
 */
import type { ParameterHistory, ParameterTag } from '../../proto/model/ssm-types.ts'
import type { With } from '../../proto/model/types.ts'
import { sealingKeyOf } from './vault.ts'

/** Key: the parameter's name, as it was put: `/prod/db/url` or `url`. */
export interface ParameterRow {
  readonly Name: string
  readonly ARN: string
  /** The latest. Versions count up, and a number is never given twice to one parameter. */
  readonly Version: number
  readonly Tier: 'Standard' | 'Advanced'
  readonly Tags: readonly ParameterTag[]
}

/** Key: `parameterVersionKey` of its name and version. */
export interface ParameterVersionRow
  extends Omit<
    With<ParameterHistory, 'Name' | 'Type' | 'Version' | 'LastModifiedDate' | 'LastModifiedUser' | 'DataType' | 'Tier'>,
    'Value' | 'Labels' | 'Policies'
  > {
  readonly Labels: readonly string[]
  /** Of a String or StringList. */
  readonly Value?: string | undefined
  /** Of a SecureString: the value sealed by the vault with `parameterContext` of its name and version. */
  readonly sealedValue?: string | undefined
}

export type ValueStoreName = 'secretsmanager' | 'ssm'

/** Key: its name. What the values of Parameter Store, or of Secrets Manager, take together. */
export interface ValueStoreRow {
  readonly store: ValueStoreName
  /** Of all versions, as they stand in rows. */
  readonly characters: number
}

/** Versions of one parameter stand in the order of their numbers. */
export function parameterVersionKey(name: string, version: number): string {
  return `${name}:${String(version).padStart(16, '0')}`
}

/** What binds a sealed value to its version: the value of another one, put in its place, can't be opened. */
export function parameterContext(name: string, version: number): string {
  return `ssm/parameter/${name}:${version}`
}

/** `/prod/db` for `/prod/db/url`; `/` for `/url` and for `url`. */
export function parameterPath(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/'))) || '/'
}

export const ssmIndexes = {
  parameter: {
    byPath: (row: ParameterRow) => parameterPath(row.Name),
    byTier: (row: ParameterRow) => row.Tier,
  },
  parameterVersion: {
    byName: (row: ParameterVersionRow) => row.Name,
    /** Those that have a label. */
    labelledByName: (row: ParameterVersionRow) => (row.Labels.length === 0 ? undefined : row.Name),
    bySealingKey: ({ sealedValue }: ParameterVersionRow) =>
      sealedValue === undefined ? undefined : sealingKeyOf(sealedValue),
  },
  valueStore: {},
} as const
