/**
 * Every member of a row that is sealed, and what binds it there. Resealing walks these, so that a kind of secret that is
 * missing here would be lost with its key: a test compares the list with the tables.
 */
import { type HostKeyRow, hostKeyContext } from './host-tables.ts'
import { type AccessKeyRow, accessKeyContext } from './iam-tables.ts'
import { secretContext, type SecretVersionRow, secretVersionKey } from './secretsmanager-tables.ts'
import { parameterContext, type ParameterVersionRow, parameterVersionKey } from './ssm-tables.ts'
import type { Reader, Transaction } from './transaction.ts'

export interface SealedText {
  readonly sealed: string
  readonly context: string
  /** Writes the row with another text in this one's place. */
  readonly replace: (tx: Transaction, sealed: string) => void
}

export interface SealedTable {
  /** What operators call it. */
  readonly what: string
  /** How many rows have text that this key sealed. */
  count(reader: Reader, keyId: string): number
  /** The rows' texts, in the order of their keys. */
  find(reader: Reader, keyId: string): Iterable<SealedText>
  /** Every sealed text, in no order that matters. */
  texts(reader: Reader): Iterable<string>
}

export const sealedTables: readonly SealedTable[] = [
  {
    what: 'access keys',
    count: (reader, keyId) => reader.count('accessKey', 'bySealingKey', keyId),
    find: (reader, keyId) => reader.find('accessKey', 'bySealingKey', keyId).values().map(accessKeyText),
    texts: (reader) =>
      reader
        .all('accessKey')
        .values()
        .map(({ sealedSecret }) => sealedSecret),
  },
  {
    what: 'keys of hosts',
    count: (reader, keyId) => reader.count('hostKey', 'bySealingKey', keyId),
    find: (reader, keyId) => reader.find('hostKey', 'bySealingKey', keyId).values().map(hostKeyText),
    texts: (reader) =>
      reader
        .all('hostKey')
        .values()
        .map(({ sealedSecret }) => sealedSecret),
  },
  {
    what: 'parameter versions',
    count: (reader, keyId) => reader.count('parameterVersion', 'bySealingKey', keyId),
    find: (reader, keyId) => reader.find('parameterVersion', 'bySealingKey', keyId).values().map(parameterText),
    texts: (reader) => reader.all('parameterVersion').flatMap(({ sealedValue }) => sealedValue ?? []),
  },
  {
    what: 'secret versions',
    count: (reader, keyId) => reader.count('secretVersion', 'bySealingKey', keyId),
    find: (reader, keyId) => reader.find('secretVersion', 'bySealingKey', keyId).values().map(secretText),
    texts: (reader) =>
      reader
        .all('secretVersion')
        .values()
        .map(({ sealedValue }) => sealedValue),
  },
]

function accessKeyText(row: AccessKeyRow): SealedText {
  return {
    sealed: row.sealedSecret,
    context: accessKeyContext(row.AccessKeyId),
    replace: (tx, sealedSecret) => tx.put('accessKey', row.AccessKeyId, { ...row, sealedSecret }),
  }
}

function hostKeyText(row: HostKeyRow): SealedText {
  return {
    sealed: row.sealedSecret,
    context: hostKeyContext(row.accessKeyId),
    replace: (tx, sealedSecret) => tx.put('hostKey', row.accessKeyId, { ...row, sealedSecret }),
  }
}

function parameterText(row: ParameterVersionRow): SealedText {
  return {
    sealed: row.sealedValue ?? '',
    context: parameterContext(row.Name, row.Version),
    replace: (tx, sealedValue) =>
      tx.put('parameterVersion', parameterVersionKey(row.Name, row.Version), { ...row, sealedValue }),
  }
}

function secretText(row: SecretVersionRow): SealedText {
  return {
    sealed: row.sealedValue,
    context: secretContext(row),
    replace: (tx, sealedValue) =>
      tx.put('secretVersion', secretVersionKey(row.secretArn, row.VersionId), { ...row, sealedValue }),
  }
}
