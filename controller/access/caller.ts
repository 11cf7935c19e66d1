/**
 * Whose key it is: the files of the first start, a user's key, a session's. A key is only looked up here: its secret proves
 * the caller, and the shell compares signatures.
 */
import { ApiError } from '../../proto/errors.ts'
import { assumedRoleArn } from '../iam/arns.ts'
import { overlaidTags, tagRecord } from '../iam/tags.ts'
import { type AccessKeyRow, accessKeyContext } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { Vault } from '../state/vault.ts'
import { findHostCaller } from './host-caller.ts'
import type { Principal } from './principal.ts'
import { sessionKeyPrefix } from './key-ids.ts'
import type { SessionContent } from './session-token.ts'
import { endOfTaskSession } from './task-session.ts'

type Known = Omit<Principal, 'accessKeyId' | 'signedFor'>

/** A key that may sign. */
export interface Caller {
  /** Opens the secret access key: asked for only where the signing key isn't at hand. */
  readonly secret: () => string
  /**
   * Who it is, to be asked after the signature was found right. Throws ExpiredTokenException for a session that is over,
   * and UnrecognizedClientException for one that was ended.
   */
  readonly principal: (now: number) => Known
}

/** A key outside of the state: the root's, a host's. */
export interface StaticCaller {
  readonly secretAccessKey: string
  readonly principal: Known
}

export interface CallerSources {
  readonly reader: Reader
  readonly vault: Vault
  readonly account: string
  readonly statics: ReadonlyMap<string, StaticCaller>
  /** Of a session token; undefined where this controller did not seal it. */
  readonly openToken: (token: string) => SessionContent | undefined
}

/** Undefined where no such key may sign: it doesn't exist, is Inactive, or doesn't go with the session token. */
export function findCaller(
  sources: CallerSources,
  accessKeyId: string,
  sessionToken: string | undefined,
): Caller | undefined {
  if (accessKeyId.startsWith(sessionKeyPrefix)) return findSession(sources, accessKeyId, sessionToken)
  // A key that lasts has no token. Whoever sends one has taken it from another key.
  if (sessionToken !== undefined) return undefined
  const known = sources.statics.get(accessKeyId)
  if (known !== undefined) return { secret: () => known.secretAccessKey, principal: () => known.principal }
  const key = sources.reader.get('accessKey', accessKeyId)
  if (key === undefined) return findHostCaller(sources, accessKeyId)
  return key.Status === 'Active' ? userCaller(sources, key) : undefined
}

function userCaller({ reader, vault }: CallerSources, key: AccessKeyRow): Caller | undefined {
  const user = reader.get('user', key.UserName)
  if (user === undefined) return undefined
  const { Arn, UserId, UserName, Tags } = user
  return {
    secret: () => vault.open(key.sealedSecret, accessKeyContext(key.AccessKeyId)),
    principal: () => ({ kind: 'user', arn: Arn, userId: UserId, userName: UserName, tags: tagRecord(Tags) }),
  }
}

function findSession(
  sources: CallerSources,
  accessKeyId: string,
  sessionToken: string | undefined,
): Caller | undefined {
  const session = sessionToken === undefined ? undefined : sources.openToken(sessionToken)
  if (session?.accessKeyId !== accessKeyId) return undefined
  return {
    secret: () => session.secretAccessKey,
    principal(now) {
      if (now >= session.expiresAt) {
        throw new ApiError('ExpiredTokenException', 'The security token included in the request is expired')
      }
      return sessionPrincipal(sources, session)
    },
  }
}

function sessionPrincipal(sources: CallerSources, session: SessionContent): Known {
  const bounds = {
    tokenIssuedAt: session.issuedAt,
    ...(session.sessionPolicy !== undefined && { sessionPolicy: session.sessionPolicy }),
  }
  if (session.kind === 'role') return { ...roleSessionPrincipal(sources, session), ...bounds }
  const source = session.sourceKeyId === undefined ? undefined : findCaller(sources, session.sourceKeyId, undefined)
  const principal = source?.principal(session.issuedAt)
  if (principal?.userId !== session.principalId) {
    throw ended(`the access key that asked for it can't be used any more`)
  }
  return { ...principal, ...bounds }
}

function roleSessionPrincipal({ reader, account }: CallerSources, session: SessionContent): Known {
  const { name, principalId, sessionName, taskArn, sourceIdentity } = session
  const role = reader.get('role', name)
  if (role?.RoleId !== principalId) throw ended(`the role ${name} that it was given for was deleted`)
  if (role.revocationEpoch !== session.epoch) throw ended(`the sessions of role ${name} were revoked`)
  const end = taskArn === undefined ? undefined : endOfTaskSession(reader, taskArn, session.issuedAt)
  if (end !== undefined) throw ended(end)
  return {
    kind: 'role',
    arn: assumedRoleArn({ account }, name, sessionName),
    userId: `${principalId}:${sessionName}`,
    roleName: name,
    sessionName,
    tags: tagRecord(overlaidTags(role.Tags, session.tags ?? [])),
    ...transitiveTagsOf(session),
    ...(sourceIdentity !== undefined && { sourceIdentity }),
    ...(taskArn !== undefined && { taskArn }),
  }
}

function transitiveTagsOf({ tags = [], transitiveTagKeys = [] }: SessionContent): Pick<Known, 'transitiveTags'> {
  if (transitiveTagKeys.length === 0) return {}
  return { transitiveTags: tagRecord(tags.filter(({ Key }) => transitiveTagKeys.includes(Key ?? ''))) }
}

/** Said only to whoever holds the session's secret. */
function ended(why: string): ApiError {
  return new ApiError(
    'UnrecognizedClientException',
    `The security token included in the request is invalid: ${why}. Get new credentials.`,
  )
}
