/** TagResource and UntagResource. Tags of a secret may stand in conditions of policies. */
import { writeOf } from '../ecs/handler.ts'
import { requireLiveSecret } from './secret-lookup.ts'
import { checkSecretTags } from './secret-rules.ts'

export const tagResource = writeOf<'secretsmanager', 'TagResource'>((tx, input, { now }, world) => {
  const secret = requireLiveSecret(tx, input.SecretId, world)
  const added = checkSecretTags(input.Tags ?? [])
  const kept = secret.Tags.filter(({ Key }) => !added.some((tag) => tag.Key === Key))
  tx.put('secret', secret.Name, { ...secret, Tags: checkSecretTags([...kept, ...added]), LastChangedDate: now })
  return {}
})

export const untagResource = writeOf<'secretsmanager', 'UntagResource'>((tx, input, { now }, world) => {
  const secret = requireLiveSecret(tx, input.SecretId, world)
  const removed = new Set(input.TagKeys)
  const Tags = secret.Tags.filter(({ Key }) => !removed.has(Key ?? ''))
  tx.put('secret', secret.Name, { ...secret, Tags, LastChangedDate: now })
  return {}
})
