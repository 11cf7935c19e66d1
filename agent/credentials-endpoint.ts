/**
 * The endpoint by which SDKs find the keys of a task's role. No role has keys yet: a task that has one is told so, with
 * the error that SDKs take for "not yet" (docs/task-endpoints.md).
 *
 * Source: amazon-ecs-agent 1.105, `ecs-agent/tmds/handlers/v1/credentials_handler.go`.
 */
import type { EndpointAnswer } from './task-endpoint-answers.ts'

export type CredentialsVersion = 1 | 2

export function noCredentialsId(version: CredentialsVersion): EndpointAnswer {
  return credentialsError(400, 'NoIdInRequest', version, 'No Credential ID in the request')
}

/** Also where the id is another task's: who asks learns nothing of it. */
export function unknownCredentialsId(version: CredentialsVersion): EndpointAnswer {
  return credentialsError(400, 'InvalidIdInRequest', version, 'Credentials not found')
}

/** The task has a role, and its keys have not come. */
export function keysNotThere(version: CredentialsVersion, roleArn: string): EndpointAnswer {
  const why = `Credentials uninitialized for ID: this version of Gantry gives no keys to the task role ${roleArn}`
  return credentialsError(503, 'CredentialsUninitialized', version, why)
}

function credentialsError(status: number, code: string, version: CredentialsVersion, why: string): EndpointAnswer {
  return { status, body: { code, message: `CredentialsV${version}Request: ${why}`, HTTPErrorCode: status } }
}
