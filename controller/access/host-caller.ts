/** The keys of hosts that joined, as callers. */
import { ApiError } from '../../proto/errors.ts'
import { hostKeyContext } from '../state/host-tables.ts'
import type { Caller, CallerSources } from './caller.ts'
import { hostArn, hostRoleName, revokedError } from './host-lookup.ts'

/** Undefined where no host has such a key. */
export function findHostCaller(
  { reader, vault, account }: Pick<CallerSources, 'reader' | 'vault' | 'account'>,
  accessKeyId: string,
): Caller | undefined {
  const key = reader.get('hostKey', accessKeyId)
  const host = key === undefined ? undefined : reader.get('host', key.hostId)
  if (key === undefined || host === undefined) return undefined
  const { hostId } = host
  return {
    secret: () => vault.open(key.sealedSecret, hostKeyContext(accessKeyId)),
    principal() {
      if (host.revokedAt !== undefined) throw revokedError(host)
      return { kind: 'host', arn: hostArn(account, hostId), userId: `${hostRoleName}:${hostId}`, hostId }
    },
  }
}

/** What the pair before tells whoever uses it beyond its hour; asking for new keys is all that it is good for. */
export function previousKeyError(endsAt: number): ApiError {
  return new ApiError(
    'UnrecognizedClientException',
    `The security token included in the request is invalid: this host's keys were changed, and the ones before ended at ` +
      `${new Date(endsAt).toISOString()}. Use the new ones, or ask for others (POST /v1/hosts/self/keys).`,
  )
}
