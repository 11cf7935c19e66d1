/**
 * Who calls. Every call is signed (SigV4) with a key that the controller knows: the root's, a host's, a user's, or that of
 * a session, whose token tells all about it. Who it is is read from the rows at each call, so that what is withdrawn is
 * withdrawn at once.
 */
import { ApiError } from '../../proto/errors.ts'
import type { ServiceName } from '../../proto/model/types.ts'
import { deriveSigningKey, type Signer, type SigningScope, verifySigner } from '../../proto/sigv4.ts'
import { type Caller, findCaller, type StaticCaller } from '../access/caller.ts'
import type { Principal } from '../access/principal.ts'
import { openSessionToken, type SessionContent } from '../access/session-token.ts'
import type { ControllerCredentials } from '../credentials.ts'
import { assumedRoleArn, rootArn } from '../iam/arns.ts'
import type { Reader } from '../state/transaction.ts'
import type { Vault } from '../state/vault.ts'

/** A request as it came: the signature covers these very bytes. */
export interface SignedRequest {
  readonly method: string
  /** Path with query, as received. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
  readonly sourceAddress: string
}

export interface Authenticator {
  /** Throws ApiError in the words of AWS's signature layer. `now` is epoch milliseconds. */
  authenticate(request: SignedRequest, now: number): Principal
  /**
   * Who made a call that has no end yet, as the rows are by now. Throws UnrecognizedClientException once that key can't be
   * used any more. A session's own end is none of the call's, as on ECS: what was begun within it goes on.
   */
  recheck(principal: Principal): Principal
}

export interface AuthenticatorOptions {
  readonly credentials: ControllerCredentials
  readonly place: { readonly region: string; readonly account: string }
  /** Committed state. */
  readonly reader: Reader
  readonly vault: Vault
  /** Told of each call that was signed rightly. */
  readonly noteUse?: ((principal: Principal, now: number) => void) | undefined
}

/** How many signing keys, and how many opened tokens, are kept so that they aren't computed again. */
const keptMax = 4096
/** What a vault seals of a session is some hundred bytes, with a session policy and tags a few thousand. */
const tokenLengthMax = 16_384

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { credentials, place, reader, vault } = options
  const signingKeys = new Map<string, Uint8Array>()
  const sessions = new Map<string, SessionContent>()
  const begun = new WeakMap<Principal, { readonly sessionToken: string; readonly at: number }>()
  const sources = {
    reader,
    vault,
    account: place.account,
    statics: staticCallers(credentials, place.account),
    openToken: (token: string): SessionContent | undefined =>
      token.length > tokenLengthMax ? undefined : kept(sessions, token, () => openSessionToken(token, vault)),
  }
  return {
    authenticate(request, now) {
      let caller: Caller | undefined
      let used: { readonly scope: string; readonly key: Uint8Array } | undefined
      let token: string | undefined
      const keyOf = (signer: Signer & SigningScope): Uint8Array | undefined => {
        caller = findCaller(sources, signer.accessKeyId, signer.sessionToken)
        if (caller === undefined) return undefined
        token = signer.sessionToken
        // An id never comes back with another secret, so it stands for the secret here.
        const scope = [signer.accessKeyId, signer.scopeDate, signer.region, signer.service].join('/')
        const key = signingKeys.get(scope) ?? deriveSigningKey(caller.secret(), signer)
        used = { scope, key }
        return key
      }
      const { accessKeyId, service, region } = verifySigner(request, keyOf, now)
      if (caller === undefined || used === undefined) throw new Error('Bug: a signature was verified without a key.')
      // Only what a right signature was made with: whoever knows an id could fill the place with scopes of any length.
      keep(signingKeys, used.scope, used.key)
      const principal: Principal = { ...caller.principal(now), accessKeyId, signedFor: { service, region } }
      if (token !== undefined) begun.set(principal, { sessionToken: token, at: now })
      options.noteUse?.(principal, now)
      return principal
    },
    recheck(principal) {
      const { accessKeyId, signedFor } = principal
      const session = begun.get(principal)
      const caller = findCaller(sources, accessKeyId, session?.sessionToken)
      if (caller === undefined) {
        throw new ApiError('UnrecognizedClientException', 'The access key of this call was deleted or is Inactive.')
      }
      return { ...caller.principal(session?.at ?? 0), accessKeyId, signedFor }
    },
  }
}

/** The keys of the first start, which lie in files. */
function staticCallers({ root, agent }: ControllerCredentials, account: string): ReadonlyMap<string, StaticCaller> {
  const rootPrincipal = { kind: 'root', arn: rootArn({ account }), userId: account } as const
  const localHost = {
    kind: 'host',
    arn: assumedRoleArn({ account }, 'gantry-host', 'local'),
    userId: 'gantry-host:local',
    hostId: 'local',
  } as const
  return new Map([
    [root.accessKeyId, { secretAccessKey: root.secretAccessKey, principal: rootPrincipal }],
    [agent.accessKeyId, { secretAccessKey: agent.secretAccessKey, principal: localHost }],
  ])
}

/** What stands under the key, computed where it doesn't. */
function kept<T>(values: Map<string, T>, key: string, compute: () => T | undefined): T | undefined {
  const known = values.get(key)
  if (known !== undefined) return known
  const value = compute()
  if (value !== undefined) keep(values, key, value)
  return value
}

/** Those that were added first make room. */
function keep<T>(values: Map<string, T>, key: string, value: T): void {
  if (values.has(key)) return
  if (values.size >= keptMax) for (const oldest of [...values.keys()].slice(0, keptMax / 4)) values.delete(oldest)
  values.set(key, value)
}

/** IAM and STS are one for all regions, and clients sign for this one wherever they are. */
const globalRegion = 'us-east-1'

/** Throws InvalidSignatureException for a call that was signed for another service or region. */
export function requireScope({ signedFor }: Principal, service: ServiceName, region: string): void {
  if (signedFor.service !== service) {
    throw new ApiError(
      'InvalidSignatureException',
      `Credential should be scoped to correct service: '${service}'. It is scoped to '${signedFor.service}'.`,
    )
  }
  const isGlobal = service === 'iam' || service === 'sts'
  if (signedFor.region === region || (isGlobal && signedFor.region === globalRegion)) return
  throw new ApiError(
    'InvalidSignatureException',
    `Credential should be scoped to a valid region. It is scoped to '${signedFor.region}', and this controller ` +
      `serves '${region}': set AWS_DEFAULT_REGION or --region to it.`,
  )
}
