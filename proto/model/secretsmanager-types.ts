/** Secrets Manager's own shapes, as rows and handlers use them. Erased at run time. */
import type * as secretsmanager from '@aws-sdk/client-secrets-manager'
import type { Stored } from './types.ts'

export type SecretFilter = Stored<secretsmanager.Filter>
export type SecretListEntry = Stored<secretsmanager.SecretListEntry>
export type SecretTag = Stored<secretsmanager.Tag>
export type SecretValueEntry = Stored<secretsmanager.SecretValueEntry>
