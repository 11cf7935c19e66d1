/** STS: who one is, and keys that last for a while. What is modelled and not here answers UnsupportedFeatureException. */
import { ApiError } from '../../proto/errors.ts'
import type { InputOf, OutputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { mintSession } from '../access/session-token.ts'
import { type Call, readOf, type ServiceHandlers } from '../ecs/handler.ts'
import { required, validationError } from '../iam/names.ts'
import { assumeRoleHandlers, describeKeys, refuseMfa } from './assume-role.ts'

const seconds = { min: 900, userDefault: 43_200, userMax: 129_600, rootMax: 3600 } as const

/**
 * What keys of GetSessionToken may not, as AWS documents: IAM, and STS but AssumeRole and GetCallerIdentity, for which no
 * permission is asked.
 */
const sessionTokenBounds = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Allow', Action: '*', Resource: '*' },
    { Effect: 'Deny', Action: ['iam:*', 'sts:GetSessionToken', 'sts:GetAccessKeyInfo'], Resource: '*' },
  ],
})

export const stsOperations: ServiceHandlers<'sts'> = {
  ...assumeRoleHandlers,
  GetCallerIdentity: readOf<'sts', 'GetCallerIdentity'>((_reader, _input, { principal }, world) => {
    return { UserId: principal.userId, Account: world.account, Arn: principal.arn }
  }),
  GetSessionToken: readOf<'sts', 'GetSessionToken'>((_reader, input, call, world) => {
    return { Credentials: getSessionToken(input, call, world) }
  }),
  GetAccessKeyInfo: readOf<'sts', 'GetAccessKeyInfo'>((_reader, input, _call, world) => {
    const id = required('accessKeyId', input.AccessKeyId)
    if (/^G(?:ANTRY|SESSN)[A-Z2-7]{14}$/.test(id)) return { Account: world.account }
    throw new ApiError('ValidationError', `${id.slice(0, 128)} is not the id of an access key that Gantry makes.`)
  }),
}

/** A session with the caller's own rights. It ends with the key that asked for it. */
function getSessionToken(
  input: InputOf<'sts', 'GetSessionToken'>,
  { principal, now, vault }: Call,
  world: World,
): NonNullable<OutputOf<'sts', 'GetSessionToken'>['Credentials']> {
  const { kind, accessKeyId } = principal
  if ((kind !== 'user' && kind !== 'root') || principal.tokenIssuedAt !== undefined) {
    throw new ApiError('AccessDeniedException', 'Cannot call GetSessionToken with session credentials')
  }
  refuseMfa(input)
  const most = kind === 'root' ? seconds.rootMax : seconds.userMax
  const duration = Math.min(input.DurationSeconds ?? seconds.userDefault, kind === 'root' ? most : Infinity)
  if (duration < seconds.min || duration > most) {
    const bound = duration < seconds.min ? `greater than or equal to ${seconds.min}` : `less than or equal to ${most}`
    throw validationError('durationSeconds', duration, `Member must have value ${bound}`)
  }
  const facts = {
    kind,
    principalId: principal.userId,
    name: principal.userName ?? 'root',
    sessionName: '',
    epoch: 0,
    sourceKeyId: accessKeyId,
    ...(kind === 'user' && { sessionPolicy: sessionTokenBounds }),
  }
  return describeKeys(mintSession(facts, now + duration * 1000, { vault, world, now }))
}
