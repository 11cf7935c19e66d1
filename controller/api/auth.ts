/**
 * Who calls. Every call is signed (SigV4), with one of the keys that the controller knows.
 */
import { ApiError } from '../../proto/errors.ts'
import type { ServiceName } from '../../proto/model/types.ts'
import { verifyRequest } from '../../proto/sigv4.ts'
import type { Principal } from '../access/principal.ts'
import type { ControllerCredentials } from '../credentials.ts'

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
}

export function createAuthenticator(
  credentials: ControllerCredentials,
  place: { readonly region: string; readonly account: string },
): Authenticator {
  const { root, agent } = credentials
  const secrets = new Map([
    [root.accessKeyId, root.secretAccessKey],
    [agent.accessKeyId, agent.secretAccessKey],
  ])
  const { account } = place
  const principals = new Map<string, Pick<Principal, 'kind' | 'arn' | 'userId' | 'hostId'>>([
    [root.accessKeyId, { kind: 'root', arn: `arn:aws:iam::${account}:root`, userId: account }],
    [
      agent.accessKeyId,
      {
        kind: 'host',
        arn: `arn:aws:sts::${account}:assumed-role/gantry-host/local`,
        userId: 'gantry-host:local',
        hostId: 'local',
      },
    ],
  ])
  return {
    authenticate(request, now) {
      const { accessKeyId, service, region } = verifyRequest(request, (id) => secrets.get(id), now)
      const principal = principals.get(accessKeyId)
      if (principal === undefined) {
        throw new ApiError('UnrecognizedClientException', 'The security token included in the request is invalid.')
      }
      return { ...principal, accessKeyId, signedFor: { service, region } }
    },
  }
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
