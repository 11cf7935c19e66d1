/** What `why` tells of a task's roles and of what is fetched with them: names and places, never a value. */
import { type Place, placeIn } from '../../proto/arn.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { assumableRole } from './assumable-role.ts'
import { secretSource } from './secret-source.ts'
import { definitionOf } from './service-tasks.ts'
import { rolesOf } from './task-roles.ts'

/** Each a sentence; none for a task without a role. */
export function roleFacts(reader: Reader, row: TaskRow, now: number): readonly string[] {
  const definition = definitionOf(reader, row.taskDefinitionArn)
  if (definition === undefined) return []
  const { taskRoleArn, executionRoleArn } = rolesOf(definition, row.overrides)
  const facts: string[] = []
  if (taskRoleArn !== undefined) facts.push(`Its containers have the rights of role ${nameOf(taskRoleArn)}.`)
  if (executionRoleArn !== undefined) {
    const fetched = fetchedOf(definition, row)
    const what = fetched.length === 0 ? 'nothing is fetched for it' : `these are fetched: ${fetched.join(', ')}`
    facts.push(`By the rights of its execution role ${nameOf(executionRoleArn)} ${what}.`)
  }
  if (row.lastStatus === 'STOPPED') return facts
  const place = placeIn(row.taskArn)
  return [...facts, ...[taskRoleArn, executionRoleArn].flatMap((named) => lostRole(reader, named, place, now))]
}

/** What can be done about a task that ended before it began, for want of a right; empty where that was not the cause. */
export function roleRemedies(row: TaskRow): readonly string[] {
  const texts = [row.stoppedReason ?? '', ...row.containers.map(({ reason }) => reason ?? '')].join('\n')
  if (texts.includes('unable to assume the role')) {
    return [
      'Make the role that is named, or let its trust policy allow ecs-tasks.amazonaws.com to call sts:AssumeRole.',
    ]
  }
  if (!texts.includes('ResourceInitializationError')) return []
  return texts.includes('AccessDenied')
    ? ['Allow the execution role what the message names: /v1/audit shows the call that was refused.']
    : ['Correct what the message names, in the task definition or where it is kept, and run the task again.']
}

function lostRole(reader: Reader, named: string | undefined, place: Place, now: number): readonly string[] {
  if (named === undefined) return []
  const found = assumableRole(reader, named, place, now)
  return 'problem' in found ? [`Its keys of ${nameOf(named)} are not replaced any more: ${found.problem}`] : []
}

function fetchedOf(definition: TaskDefinition, { overrides }: TaskRow): readonly string[] {
  return (definition.containerDefinitions ?? []).flatMap((container) => {
    const { name = '', secrets, logConfiguration, environmentFiles, repositoryCredentials } = container
    const override = overrides?.containerOverrides?.find((one) => one.name === name)
    const files = override?.environmentFiles ?? environmentFiles ?? []
    return [
      ...(repositoryCredentials === undefined ? [] : [`the login of the registry of ${name}`]),
      ...secretTexts(secrets, (secret, store) => `variable ${secret} of ${name} (${store})`),
      ...secretTexts(logConfiguration?.secretOptions, (secret, store) => `log option ${secret} of ${name} (${store})`),
      ...files.map(({ value = '' }) => `environment file ${value}`),
    ]
  })
}

function secretTexts(
  secrets: ContainerDefinition['secrets'],
  say: (name: string, store: string) => string,
): readonly string[] {
  return (secrets ?? []).map(({ name = '', valueFrom = '' }) =>
    say(name, secretSource(valueFrom, '').provider === 'asm' ? 'Secrets Manager' : 'Parameter Store'),
  )
}

function nameOf(role: string): string {
  return role.slice(role.lastIndexOf('/') + 1)
}
