/**
 * What a container is told of its agent: where its metadata, its task's credentials and its region are found. The names
 * and forms are the official agent's, so SDKs and programs find them by themselves.
 *
 * Source: amazon-ecs-agent 1.105, `agent/api/task/task.go` (UpdateMDEndpointEnvironment, credentials endpoint);
 * `reference/ecs-agent.md` section 4.7.
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { stableHash } from '../../proto/hash.ts'
import { labels } from '../engine.ts'
import type { EndpointSettings, TaskFacts } from './view.ts'

const origin = 'http://169.254.170.2'

/** Where the file of ECS_ENABLE_CONTAINER_METADATA is within a container. */
const fileDirectory = '/opt/ecs/metadata'
export const metadataFileName = 'ecs-container-metadata.json'

/** One that brings an endpoint or keys of its own means another API than the controller's. */
export const ownApiNames = [
  'AWS_ENDPOINT_URL',
  'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS',
  'AWS_ACCESS_KEY_ID',
  'AWS_PROFILE',
]

/** The variables, by name; those that the container's own definition gives are not among them. */
export function endpointEnvironment(
  task: PayloadTask,
  container: PayloadContainer,
  facts: Pick<TaskFacts, 'containers' | 'roles'>,
  settings: EndpointSettings,
): Readonly<Record<string, string>> {
  const given = container.environment
  const { endpointId } = facts.containers[container.name] ?? {}
  const region = 'AWS_REGION' in given || 'AWS_DEFAULT_REGION' in given ? undefined : settings.region
  return {
    ...(region === undefined ? {} : { AWS_REGION: region, AWS_DEFAULT_REGION: region }),
    ...(endpointId === undefined
      ? {}
      : {
          ECS_CONTAINER_METADATA_URI: `${origin}/v3/${endpointId}`,
          ECS_CONTAINER_METADATA_URI_V4: `${origin}/v4/${endpointId}`,
          ECS_AGENT_URI: `${origin}/api/${endpointId}`,
          ...roleEnvironment(task, container, facts, settings),
        }),
  }
}

/** Programs of a task with a role find the controller's API behind the same address as their keys. */
function roleEnvironment(
  { networkMode }: PayloadTask,
  { environment }: PayloadContainer,
  { roles }: Pick<TaskFacts, 'roles'>,
  { offersApi }: EndpointSettings,
): Readonly<Record<string, string>> {
  if (roles?.task === undefined || networkMode === 'none') return {}
  const isOwn = ownApiNames.some((name) => name in environment)
  return {
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: `/v2/credentials/${roles.task.credentialsId}`,
    ...(offersApi === true && !isOwn ? { AWS_ENDPOINT_URL: origin } : {}),
  }
}

/** The bind mount and the variable by which a container finds its metadata file; none where the operator wants none. */
export function metadataFile(
  dockerName: string | undefined,
  settings: EndpointSettings | undefined,
): { readonly bind: string; readonly variable: Readonly<Record<string, string>> } | undefined {
  if (dockerName === undefined || settings?.metadataFiles === undefined) return undefined
  const directory = `${fileDirectory}/${stableHash(['metadata file', dockerName]).slice(0, 32)}`
  return {
    bind: `${settings.metadataFiles}/${dockerName}:${directory}:ro`,
    variable: { ECS_CONTAINER_METADATA_FILE: `${directory}/${metadataFileName}` },
  }
}

/** What the task's other containers are shown of a container's labels: all but the way to its own endpoint. */
export function shownLabels(all: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const { [labels.endpointId]: _own, ...shown } = all
  return shown
}
