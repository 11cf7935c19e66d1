/** The variables of what tasks are offered: the task endpoint, metadata, roles. A part of the table in `config-variables.ts`. */
import { flag, variable } from './config-variable.ts'
import { readBoolean, readRate } from './config-values.ts'

export const taskVariables = {
  taskEndpointEnabled: variable({
    name: 'GANTRY_TASK_ENDPOINT',
    meaning:
      'Answer containers at 169.254.170.2: metadata, credentials, task protection. One agent of a host can; false for others',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  taskMetadataRate: variable({
    name: 'ECS_TASK_METADATA_RPS_LIMIT',
    meaning: 'Requests a second to the task endpoint, and in a burst, for each container and path',
    defaultText: '40,60',
    unit: '',
    read: readRate,
  }),
  taskMetadataAzDisabled: flag('ECS_DISABLE_TASK_METADATA_AZ', 'Leave the availability zone out of task metadata'),
  containerMetadataEnabled: flag(
    'ECS_ENABLE_CONTAINER_METADATA',
    'Give each container a file with its metadata, named by ECS_CONTAINER_METADATA_FILE',
  ),
  taskRoleEnabled: variable({
    name: 'ECS_ENABLE_TASK_IAM_ROLE',
    meaning: 'Take tasks with a task role',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  taskRoleNetworkHostEnabled: variable({
    name: 'ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST',
    meaning: 'Take tasks with a task role whose network mode is host',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  taskApiEnabled: variable({
    name: 'GANTRY_TASK_API',
    meaning:
      "Pass calls of the controller's API on for tasks with a role, at the task endpoint, and name it to them in AWS_ENDPOINT_URL",
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  auditLogDisabled: flag('ECS_AUDIT_LOGFILE_DISABLED', "Log no line for each request for a task role's keys"),
}
