/** Every operation of Secrets Manager that is built: all but replication to other regions. */
import type { ServiceHandlers } from '../ecs/handler.ts'
import { deleteSecret, restoreSecret } from './delete-secret.ts'
import { batchGetSecretValue, getSecretValue } from './get-secret-value.ts'
import { describeSecret, listSecrets, listSecretVersionIds } from './list-secrets.ts'
import { createSecret, putSecretValue, updateSecret } from './put-secret.ts'
import { getRandomPassword } from './random-password.ts'
import {
  deleteResourcePolicy,
  getResourcePolicy,
  putResourcePolicy,
  validateResourcePolicy,
} from './resource-policy.ts'
import { cancelRotateSecret, rotateSecret, updateSecretVersionStage } from './rotate-secret.ts'
import { tagResource, untagResource } from './secret-tags.ts'

export const secretsmanagerOperations: ServiceHandlers<'secretsmanager'> = {
  BatchGetSecretValue: batchGetSecretValue,
  CancelRotateSecret: cancelRotateSecret,
  CreateSecret: createSecret,
  DeleteResourcePolicy: deleteResourcePolicy,
  DeleteSecret: deleteSecret,
  DescribeSecret: describeSecret,
  GetRandomPassword: getRandomPassword,
  GetResourcePolicy: getResourcePolicy,
  GetSecretValue: getSecretValue,
  ListSecrets: listSecrets,
  ListSecretVersionIds: listSecretVersionIds,
  PutResourcePolicy: putResourcePolicy,
  PutSecretValue: putSecretValue,
  RestoreSecret: restoreSecret,
  RotateSecret: rotateSecret,
  TagResource: tagResource,
  UntagResource: untagResource,
  UpdateSecret: updateSecret,
  UpdateSecretVersionStage: updateSecretVersionStage,
  ValidateResourcePolicy: validateResourcePolicy,
}
