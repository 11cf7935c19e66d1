/**
 * Who calls, and whether that caller may. Every call is signed (SigV4, service `ecs`); the root key may do everything,
 * the agent key what AWS's own policy for container instances allows (AmazonEC2ContainerServiceforEC2Role).
 */
import { ApiError } from '../../proto/errors.ts'
import { verifyRequest } from '../../proto/sigv4.ts'
import type { ControllerCredentials } from '../credentials.ts'

export interface Principal {
  readonly kind: 'root' | 'agent'
  readonly arn: string
  /** The service that the signature is scoped to. */
  readonly service: string
}

/** A request as it came: the signature covers these very bytes. */
export interface SignedRequest {
  readonly method: string
  /** Path with query, as received. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
}

export interface Authenticator {
  /** Throws ApiError in the words of AWS's signature layer. `now` is epoch milliseconds. */
  authenticate(request: SignedRequest, now: number): Principal
}

/**
 * What an agent's key allows; the two sockets are AWS's `Poll` and `StartTelemetrySession`. Beyond AWS's policy an agent may
 * ask what its own instance is, before it drains it, and protect a task that asks for it: with AWS a task does that with
 * the keys of its role.
 */
export const agentActions: ReadonlySet<string> = new Set([
  'CreateCluster',
  'DeregisterContainerInstance',
  'DescribeContainerInstances',
  'DiscoverPollEndpoint',
  'GetTaskProtection',
  'ListTagsForResource',
  'Poll',
  'RegisterContainerInstance',
  'StartTelemetrySession',
  'SubmitAttachmentStateChanges',
  'SubmitContainerStateChange',
  'SubmitTaskStateChange',
  'TagResource',
  'UpdateContainerInstancesState',
  'UpdateTaskProtection',
])

export function createAuthenticator(
  credentials: ControllerCredentials,
  place: { readonly region: string; readonly account: string },
): Authenticator {
  const { root, agent } = credentials
  const secrets = new Map([
    [root.accessKeyId, root.secretAccessKey],
    [agent.accessKeyId, agent.secretAccessKey],
  ])
  const principals = new Map<string, Omit<Principal, 'service'>>([
    [root.accessKeyId, { kind: 'root', arn: `arn:aws:iam::${place.account}:root` }],
    [agent.accessKeyId, { kind: 'agent', arn: `arn:aws:iam::${place.account}:user/gantry-agent` }],
  ])
  return {
    authenticate(request, now) {
      const verified = verifyRequest(request, (accessKeyId) => secrets.get(accessKeyId), now)
      const principal = principals.get(verified.accessKeyId)
      if (principal === undefined) {
        throw new ApiError('UnrecognizedClientException', 'The security token included in the request is invalid.')
      }
      if (verified.region !== place.region) {
        throw new ApiError(
          'InvalidSignatureException',
          `Credential should be scoped to a valid region. It is scoped to '${verified.region}', and this controller ` +
            `serves '${place.region}': set AWS_DEFAULT_REGION or --region to it.`,
        )
      }
      return { ...principal, service: verified.service }
    },
  }
}

/**
 * Throws InvalidSignatureException for a call that was signed for another service, and AccessDeniedException in AWS's
 * words, naming principal, action and resource.
 */
export function authorize(principal: Principal, action: string, resource = '*'): void {
  if (principal.service !== 'ecs') {
    throw new ApiError(
      'InvalidSignatureException',
      `Credential should be scoped to correct service: 'ecs'. It is scoped to '${principal.service}'.`,
    )
  }
  if (principal.kind === 'root' || agentActions.has(action)) return
  throw new ApiError(
    'AccessDeniedException',
    `User: ${principal.arn} is not authorized to perform: ecs:${action} on resource: ${resource} because no ` +
      `identity-based policy allows the ecs:${action} action`,
  )
}
