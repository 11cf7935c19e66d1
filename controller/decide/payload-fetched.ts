/**
 * What an agent has to fetch before a container can start: secrets, environment files, an image behind credentials. Only
 * agents that registered the capability are given such a task; it must never start as if it had asked for nothing.
 */
import type { PayloadContainer, PayloadRegistryAuthentication, PayloadSecret } from '../../proto/acs.ts'
import type { ContainerDefinition, TaskDefinition, TaskOverride } from '../../proto/model/types.ts'
import { ecrRegistryOf } from './requires-attributes.ts'
import { parameterName, secretSource } from './secret-source.ts'
import { rolesOf } from './task-roles.ts'

type Fetched = Pick<
  PayloadContainer,
  'secrets' | 'environmentFiles' | 'registryAuthentication' | 'logsAuthStrategy' | 'firelensConfiguration'
>

export interface FetchedBy {
  /** Where a name without an ARN is looked up. */
  readonly region: string
  /** False for the official agent. */
  readonly gantryProtocol: boolean
}

export function payloadFetched(
  container: ContainerDefinition,
  definition: TaskDefinition,
  overrides: TaskOverride | undefined,
  by: FetchedBy,
): Fetched {
  const override = overrides?.containerOverrides?.find(({ name }) => name === container.name)
  const { executionRoleArn } = rolesOf(definition, overrides)
  const secrets = [
    ...payloadSecrets(container.secrets, 'CONTAINER', by),
    ...payloadSecrets(container.logConfiguration?.secretOptions, 'LOG_DRIVER', by),
  ]
  // An override's files stand in place of the definition's, not beside them.
  const files = (override?.environmentFiles ?? container.environmentFiles ?? []).map((file) => ({
    value: file.value ?? '',
    type: 's3' as const,
  }))
  const registry = registryAuthentication(container, executionRoleArn, by.region)
  const isByRole = container.logConfiguration?.logDriver === 'awslogs' && executionRoleArn !== undefined
  const firelens = container.firelensConfiguration
  return {
    ...(secrets.length > 0 && { secrets }),
    ...(files.length > 0 && { environmentFiles: files }),
    ...(registry !== undefined && { registryAuthentication: registry }),
    ...(isByRole && { logsAuthStrategy: 'ExecutionRole' as const }),
    ...(firelens?.type !== undefined && { firelensConfiguration: { type: firelens.type, options: firelens.options } }),
  }
}

function payloadSecrets(
  secrets: ContainerDefinition['secrets'],
  target: PayloadSecret['target'],
  { region, gantryProtocol }: FetchedBy,
): PayloadSecret[] {
  return (secrets ?? []).map(({ name = '', valueFrom = '' }) => ({
    name,
    valueFrom: gantryProtocol ? valueFrom : parameterName(valueFrom),
    type: 'ENVIRONMENT_VARIABLE',
    ...secretSource(valueFrom, region),
    target,
  }))
}

function registryAuthentication(
  container: ContainerDefinition,
  executionRoleArn: string | undefined,
  region: string,
): PayloadRegistryAuthentication | undefined {
  const parameter = container.repositoryCredentials?.credentialsParameter
  if (parameter !== undefined) {
    const asmAuthData = { credentialsParameter: parameter, region: secretSource(parameter, region).region }
    return { type: 'asm', asmAuthData }
  }
  const ecr = ecrRegistryOf(container.image)
  if (ecr === undefined) return undefined
  return { type: 'ecr', ecrAuthData: { ...ecr, useExecutionRole: executionRoleArn !== undefined } }
}
