/** Parameter Store's own shapes, as rows and handlers use them. Erased at run time. */
import type * as ssm from '@aws-sdk/client-ssm'
import type { Stored } from './types.ts'

export type Parameter = Stored<ssm.Parameter>
export type ParameterHistory = Stored<ssm.ParameterHistory>
export type ParameterMetadata = Stored<ssm.ParameterMetadata>
export type ParameterStringFilter = Stored<ssm.ParameterStringFilter>
export type ParametersFilter = Stored<ssm.ParametersFilter>
export type ParameterTag = Stored<ssm.Tag>
