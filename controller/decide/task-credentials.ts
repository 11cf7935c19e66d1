/** Keys of a role for one task: an ordinary session, whose name is the task's id. */
import { mintSession, roleSession } from '../access/session-token.ts'
import type { World } from '../../proto/world.ts'
import type { Vault } from '../state/vault.ts'
import type { MintCredentials } from './session-credentials.ts'

/** What a session of the agents' channel is given to make keys with. */
export function taskCredentials(vault: Vault, world: World): MintCredentials {
  return ({ role, credentialsId, taskId, taskArn, containerInstanceArn, now, expiresAt }) => {
    const facts = roleSession(role, taskId, { taskArn, containerInstanceArn })
    const { accessKeyId, secretAccessKey, sessionToken } = mintSession(facts, expiresAt, { vault, world, now })
    return {
      credentialsId,
      roleArn: role.Arn,
      accessKeyId,
      secretAccessKey,
      sessionToken,
      expiration: new Date(expiresAt).toISOString(),
    }
  }
}
