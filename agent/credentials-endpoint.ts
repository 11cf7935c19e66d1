/**
 * The endpoint by which SDKs find the keys of a task's role (docs/task-roles.md): a task is given its own and nobody
 * else's.
 *
 * Source: amazon-ecs-agent 1.105, `ecs-agent/tmds/handlers/v1/credentials_handler.go`.
 */
import type { RoleKeys } from './role-credentials.ts'
import type { EndpointAnswer } from './task-endpoint-answers.ts'

export type CredentialsVersion = 1 | 2

export function noCredentialsId(version: CredentialsVersion): EndpointAnswer {
  return credentialsError(400, 'NoIdInRequest', version, 'No Credential ID in the request')
}

/** Also where the id is another task's: who asks learns nothing of it. */
export function unknownCredentialsId(version: CredentialsVersion): EndpointAnswer {
  return credentialsError(400, 'InvalidIdInRequest', version, 'Credentials not found')
}

/** The task has a role, and its keys have not come: after a restart of the agent they come anew, with its controller. */
export function keysNotThere(version: CredentialsVersion): EndpointAnswer {
  return credentialsError(503, 'CredentialsUninitialized', version, 'Credentials uninitialized for ID')
}

export function keysAnswer(keys: RoleKeys): EndpointAnswer {
  const { accessKeyId, secretAccessKey, sessionToken } = keys.reveal()
  const body = {
    RoleArn: keys.roleArn,
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: sessionToken,
    Expiration: keys.expiration,
  }
  return { status: 200, body }
}

function credentialsError(status: number, code: string, version: CredentialsVersion, why: string): EndpointAnswer {
  return { status, body: { code, message: `CredentialsV${version}Request: ${why}`, HTTPErrorCode: status } }
}
