/** What RunTask and StartTask share: the checks of their common parameters, in ECS's words, before anything is placed. */
import { clientError, invalidParameter } from '../../proto/errors.ts'
import type { Input, Tag, TaskOverride } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { ClusterRow, TaskDefinitionRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { effectiveSetting } from './account-settings.ts'
import type { Call } from './handler.ts'
import { unsupported } from './launch-rules.ts'
import { checkNetworkConfiguration } from './network-configuration.ts'
import { checkTaskRoles } from './passed-roles.ts'
import { checkTags, tagsMax } from './tags.ts'
import { requireTaskDefinition } from './task-definitions.ts'
import { checkOverrides } from './task-overrides.ts'

type SharedInput = Pick<Input<'RunTask'>, Extract<keyof Input<'RunTask'>, keyof Input<'StartTask'>>>

/** A checked request for tasks of one definition. */
export interface TaskRequest {
  readonly cluster: ClusterRow
  readonly definition: TaskDefinitionRow
  readonly group: string
  readonly startedBy: string | undefined
  readonly overrides: TaskOverride
  readonly tags: readonly Tag[]
  readonly logDriverMode: 'non-blocking' | undefined
  readonly enableExecuteCommand: boolean
  /** With network mode awsvpc, and only then. */
  readonly networkConfiguration?: ServiceRow['networkConfiguration']
}

const startedByLengthMax = 128
const groupLengthMax = 255
const referenceIdLengthMax = 1024

/** Reads the shared parameters. Throws ApiError in ECS's form: ClientException, InvalidParameter-, UnsupportedFeature-. */
export function readTaskRequest(
  reader: Reader,
  cluster: ClusterRow,
  input: SharedInput,
  call: Call,
  world: World,
): TaskRequest {
  if (input.taskDefinition === undefined || input.taskDefinition === '') {
    throw clientError('TaskDefinition can not be blank.')
  }
  checkLength('startedBy', input.startedBy, startedByLengthMax)
  checkLength('group', input.group, groupLengthMax)
  checkLength('referenceId', input.referenceId, referenceIdLengthMax)
  if (input.group?.startsWith('service:') === true) {
    throw invalidParameter("Group must not start with 'service:': those groups belong to services.")
  }
  refuseWhatIsNotBuilt(input)
  const definition = requireTaskDefinition(reader, input.taskDefinition)
  if (definition.status !== 'ACTIVE') throw clientError('TaskDefinition is inactive')
  const networkConfiguration = checkNetworkConfiguration(reader, cluster, definition, input.networkConfiguration)
  const overrides = checkOverrides(definition, input.overrides)
  checkTaskRoles(reader, definition, overrides, call, world)
  return {
    cluster,
    definition,
    group: input.group ?? `family:${definition.family}`,
    startedBy: input.startedBy,
    overrides,
    tags: tagsOf(cluster, definition, input),
    enableExecuteCommand: input.enableExecuteCommand ?? false,
    logDriverMode:
      effectiveSetting(reader, call.principalArn, 'defaultLogDriverMode', world) === 'non-blocking'
        ? 'non-blocking'
        : undefined,
    networkConfiguration,
  }
}

function refuseWhatIsNotBuilt(input: SharedInput): void {
  if ((input.volumeConfigurations ?? []).length > 0) {
    throw unsupported(
      'volumeConfigurations (volumes that are configured at launch, Amazon EBS) are not available. ' +
        'Use a volume of the task definition with a host path or a Docker volume.',
    )
  }
}

function tagsOf(cluster: ClusterRow, definition: TaskDefinitionRow, input: SharedInput): readonly Tag[] {
  const own = checkTags(input.tags)
  if (input.propagateTags === 'SERVICE') {
    throw invalidParameter('propagateTags SERVICE is not valid for a task that no service starts. Use TASK_DEFINITION.')
  }
  const inherited = input.propagateTags === 'TASK_DEFINITION' ? definition.tags : []
  const tags = [...own, ...inherited.filter((tag) => !own.some(({ key }) => key === tag.key))]
  if (tags.length > tagsMax) {
    throw invalidParameter(
      `A task can have at most ${tagsMax} tags, and with those of its task definition it would have ${tags.length}.`,
    )
  }
  if (input.enableECSManagedTags !== true) return tags
  return [...tags, { key: 'aws:ecs:clusterName', value: cluster.clusterName }]
}

function checkLength(name: string, value: string | undefined, lengthMax: number): void {
  if (value === undefined || value.length <= lengthMax) return
  throw invalidParameter(`${name} can have at most ${lengthMax} characters, and has ${value.length}.`)
}
