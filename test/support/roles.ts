/** Roles of tasks and what they may do, made by the SDKs of IAM, Parameter Store and Secrets Manager. */
import { CreateRoleCommand, DeleteRolePolicyCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam'
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm'
import { region } from './controller.ts'
import type { Key } from './controller.ts'

export interface Roles {
  /** A role that tasks may have, with one policy; answers its ARN. */
  role(name: string, statements: readonly object[]): Promise<string>
  /** Another policy in the place of the one it has. */
  allow(name: string, statements: readonly object[]): Promise<void>
  allowNothing(name: string): Promise<void>
  /** Answers its ARN. */
  secret(name: string, text: string): Promise<string>
  parameter(name: string, text: string): Promise<void>
  close(): void
}

const policyName = 'what-it-may'
const trust = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' }],
}

export function rolesAt(endpoint: string, credentials: Key): Roles {
  const settings = { endpoint, region, credentials, maxAttempts: 2 }
  const iam = new IAMClient(settings)
  const ssm = new SSMClient(settings)
  const secrets = new SecretsManagerClient(settings)
  const allow = async (name: string, statements: readonly object[]): Promise<void> => {
    const document = { Version: '2012-10-17', Statement: statements }
    const input = { RoleName: name, PolicyName: policyName, PolicyDocument: JSON.stringify(document) }
    await iam.send(new PutRolePolicyCommand(input))
  }
  return {
    async role(name, statements) {
      const input = { RoleName: name, AssumeRolePolicyDocument: JSON.stringify(trust) }
      const { Role: made } = await iam.send(new CreateRoleCommand(input))
      await allow(name, statements)
      return made?.Arn ?? ''
    },
    allow,
    async allowNothing(name) {
      await iam.send(new DeleteRolePolicyCommand({ RoleName: name, PolicyName: policyName }))
    },
    async secret(name, text) {
      const { ARN: arn = '' } = await secrets.send(new CreateSecretCommand({ Name: name, SecretString: text }))
      return arn
    },
    async parameter(name, text) {
      await ssm.send(new PutParameterCommand({ Name: name, Value: text, Type: 'SecureString' }))
    },
    close() {
      for (const client of [iam, ssm, secrets]) client.destroy()
    },
  }
}

export function allowed(action: string | readonly string[], resource: string | readonly string[] = '*'): object {
  return { Effect: 'Allow', Action: action, Resource: resource }
}
