/**
 * What an agent has to fetch before a container can start: secrets, environment files, an image behind credentials. Only
 * agents that registered the capability are given such a task; it must never start as if it had asked for nothing.
 */
import type { PayloadContainer, PayloadRegistryAuthentication, PayloadSecret } from '../../proto/acs.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import { ecrRegistryOf } from './requires-attributes.ts'

type Fetched = Pick<
  PayloadContainer,
  'secrets' | 'environmentFiles' | 'registryAuthentication' | 'firelensConfiguration'
>

/** `region` is where a name without an ARN is looked up. */
export function payloadFetched(container: ContainerDefinition, definition: TaskDefinition, region: string): Fetched {
  const secrets = [
    ...payloadSecrets(container.secrets, 'CONTAINER', region),
    ...payloadSecrets(container.logConfiguration?.secretOptions, 'LOG_DRIVER', region),
  ]
  const files = (container.environmentFiles ?? []).map((file) => ({ value: file.value ?? '', type: 's3' as const }))
  const registry = registryAuthentication(container, definition, region)
  const firelens = container.firelensConfiguration
  return {
    ...(secrets.length > 0 && { secrets }),
    ...(files.length > 0 && { environmentFiles: files }),
    ...(registry !== undefined && { registryAuthentication: registry }),
    ...(firelens?.type !== undefined && { firelensConfiguration: { type: firelens.type, options: firelens.options } }),
  }
}

function payloadSecrets(
  secrets: ContainerDefinition['secrets'],
  target: PayloadSecret['target'],
  region: string,
): PayloadSecret[] {
  return (secrets ?? []).map(({ name = '', valueFrom = '' }) => ({
    name,
    valueFrom,
    type: 'ENVIRONMENT_VARIABLE',
    provider: valueFrom.includes(':secretsmanager:') ? 'asm' : 'ssm',
    region: regionOfArn(valueFrom) ?? region,
    target,
  }))
}

function registryAuthentication(
  container: ContainerDefinition,
  definition: TaskDefinition,
  region: string,
): PayloadRegistryAuthentication | undefined {
  const parameter = container.repositoryCredentials?.credentialsParameter
  if (parameter !== undefined) {
    const asmAuthData = { credentialsParameter: parameter, region: regionOfArn(parameter) ?? region }
    return { type: 'asm', asmAuthData }
  }
  const ecr = ecrRegistryOf(container.image)
  if (ecr === undefined) return undefined
  return { type: 'ecr', ecrAuthData: { ...ecr, useExecutionRole: definition.executionRoleArn !== undefined } }
}

function regionOfArn(text: string): string | undefined {
  return /^arn:[^:]*:[^:]*:([^:]+):/.exec(text)?.[1]
}
