/**
 * The two roles of a task, and by which ids their keys are known: the task role, whose keys its containers may ask for,
 * and the execution role, by which the agent fetches what the task needs. Rows hold ids alone: keys are made when a
 * message to the agent is, and are kept nowhere.
 */
import { idOf } from '../../proto/arn.ts'
import type { RoleType } from '../../proto/acs.ts'
import type { TaskDefinition, TaskOverride } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'

export interface TaskRole {
  readonly roleType: RoleType
  /** As the task definition or the override names it: a role's ARN, or its bare name. */
  readonly role: string
  readonly credentialsId: string
}

type RoleNames = Pick<TaskDefinition, 'taskRoleArn' | 'executionRoleArn'>

/** The roles that a task of the definition gets. An empty name in the overrides overrides nothing. */
export function rolesOf(definition: RoleNames, overrides: TaskOverride | undefined): RoleNames {
  const taskRoleArn = overrides?.taskRoleArn || definition.taskRoleArn
  const executionRoleArn = overrides?.executionRoleArn || definition.executionRoleArn
  return {
    ...(taskRoleArn === undefined ? {} : { taskRoleArn }),
    ...(executionRoleArn === undefined ? {} : { executionRoleArn }),
  }
}

/** Ids for the keys of a new task, one for each role that it has. */
export function newCredentialsIds(
  definition: RoleNames,
  overrides: TaskOverride | undefined,
  world: World,
): Pick<TaskRow, 'credentialsId' | 'executionCredentialsId'> {
  const { taskRoleArn, executionRoleArn } = rolesOf(definition, overrides)
  return {
    ...(taskRoleArn === undefined ? {} : { credentialsId: world.uuid() }),
    ...(executionRoleArn === undefined ? {} : { executionCredentialsId: world.uuid() }),
  }
}

/** True for nearly no task of a cluster without roles, which then costs nothing more to look at. */
export function hasRoles({ credentialsId, executionCredentialsId }: TaskRow): boolean {
  return credentialsId !== undefined || executionCredentialsId !== undefined
}

/** The roles whose keys the task gets, the task role first. Empty where its task definition is gone. */
export function taskRoles(reader: Reader, task: TaskRow): readonly TaskRole[] {
  if (!hasRoles(task)) return []
  const definition = reader.get('taskDefinition', idOf(task.taskDefinitionArn))
  if (definition === undefined) return []
  const { taskRoleArn, executionRoleArn } = rolesOf(definition, task.overrides)
  const { credentialsId, executionCredentialsId } = task
  const roles: TaskRole[] = []
  if (credentialsId !== undefined && taskRoleArn !== undefined) {
    roles.push({ roleType: 'TaskApplication', role: taskRoleArn, credentialsId })
  }
  if (executionCredentialsId !== undefined && executionRoleArn !== undefined) {
    roles.push({ roleType: 'TaskExecution', role: executionRoleArn, credentialsId: executionCredentialsId })
  }
  return roles
}
