/** The route of a request in each of AWS's protocols, and errors of the Query protocol as AWS's own client reads them. */
import { GetRoleCommand, IAMClient } from '@aws-sdk/client-iam'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import { test } from 'tap'
import { ApiError } from '../../proto/errors.ts'
import type { ErrorCode } from '../../proto/errors.ts'
import { aPrincipal, aVault, aWorld, testNow } from '../../test/support/builders.ts'
import { createAccess } from '../access/check.ts'
import { readTarget, type RpcTarget } from './protocol.ts'
import { answerError, callOf } from './rpc.ts'
import { awsServices } from './aws-services.ts'
import type { RpcRequest } from './rpc-request.ts'

const form = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }

function aRequest(parts: Partial<Omit<RpcRequest, 'body'>> & { readonly body?: string }): RpcRequest {
  const { body = '', ...rest } = parts
  const plain = {
    requestId: 'r-1',
    method: 'POST',
    path: '/',
    headers: {},
    sourceAddress: '127.0.0.1',
    isSecure: false,
  }
  return { ...plain, ...rest, body: Buffer.from(body) }
}

await test('a request is routed by its protocol’s own marks', async (t) => {
  const presigned = '/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256'
  const cases: readonly (readonly [string, RpcRequest, RpcTarget])[] = [
    [
      'a form',
      aRequest({ headers: form, body: 'Action=GetRole&Version=2010-05-08&RoleName=a' }),
      { protocol: 'query', service: '2010-05-08', operation: 'GetRole' },
    ],
    [
      'a presigned URL',
      aRequest({ method: 'GET', path: presigned }),
      { protocol: 'query', service: '2011-06-15', operation: 'GetCallerIdentity' },
    ],
    [
      'a presigned URL that is posted to, with a form’s type and no form',
      aRequest({ path: presigned, headers: form }),
      { protocol: 'query', service: '2011-06-15', operation: 'GetCallerIdentity' },
    ],
    [
      'the body goes before the URL',
      aRequest({ path: presigned, headers: form, body: 'Action=GetRole&Version=2010-05-08' }),
      { protocol: 'query', service: '2010-05-08', operation: 'GetRole' },
    ],
    [
      'a form without an action',
      aRequest({ headers: form, body: 'NoAction=GetRole&Version=' }),
      { protocol: 'query', service: undefined, operation: undefined },
    ],
    [
      'names that are no names',
      aRequest({ headers: form, body: `Action=%3Cscript%3E&Version=${'9'.repeat(200)}` }),
      { protocol: 'query', service: undefined, operation: undefined },
    ],
    ['a page', aRequest({ method: 'GET' }), { protocol: 'json-1.1', service: undefined, operation: undefined }],
    [
      'JSON with a target',
      aRequest({ path: presigned, headers: { ...form, 'x-amz-target': 'AmazonSSM.GetParameters' } }),
      { protocol: 'json-1.1', service: 'AmazonSSM', operation: 'GetParameters' },
    ],
    [
      'CBOR',
      aRequest({ path: '/service/Any/operation/Do', headers: { 'smithy-protocol': 'rpc-v2-cbor' } }),
      { protocol: 'cbor', service: 'Any', operation: 'Do' },
    ],
  ]
  for (const [name, request, target] of cases) t.same(readTarget(request), target, name)
})

await test('a form is read from the body or the URL, once, as strictly as JSON', async (t) => {
  const sts = awsServices.find(({ name }) => name === 'sts')
  const read = (request: RpcRequest) => sts?.wire.readInput('GetAccessKeyInfo', request)
  t.same(read(aRequest({ headers: form, body: 'Action=GetAccessKeyInfo&AccessKeyId=a%20b' })), { AccessKeyId: 'a b' })
  t.same(read(aRequest({ method: 'GET', path: '/?Action=GetAccessKeyInfo&AccessKeyId=a&X-Amz-Date=1' })), {
    AccessKeyId: 'a',
  })
  const refused = { code: 'SerializationException' }
  t.throws(() => read(aRequest({ headers: form, body: 'Action=A&Action=B&AccessKeyId=a' })), refused)
  t.throws(() => read(aRequest({ headers: form, body: 'Action=A&%41ction=B&AccessKeyId=a' })), refused)
  t.throws(() => read({ ...aRequest({ headers: form }), body: Buffer.from([0x41, 0x3d, 0xff]) }), refused)
})

/** The error that a client makes of an answer. */
async function judge(target: RpcTarget, error: ApiError): Promise<Record<string, unknown>> {
  const { status, contentType, body } = answerError(target, error, 'request-1')
  const config = {
    region: 'us-east-1',
    credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
    maxAttempts: 1,
    requestHandler: {
      handle: () =>
        Promise.resolve({ response: { statusCode: status, headers: { 'content-type': contentType }, body } }),
    },
  }
  const sent =
    target.service === '2010-05-08'
      ? new IAMClient(config).send(new GetRoleCommand({ RoleName: 'a' }))
      : new STSClient(config).send(new AssumeRoleCommand({ RoleArn: 'a', RoleSessionName: 'b' }))
  return sent.then(
    () => ({ name: 'no error' }),
    (failure: unknown) => failure as Record<string, unknown>,
  )
}

function errorText(target: RpcTarget): string {
  return answerError(target, new ApiError('NoSuchEntity', ''), 'r').body.toString()
}

await test('errors have the Query protocol’s names, in the namespace of the service', async (t) => {
  const ofIam: RpcTarget = { protocol: 'query', service: '2010-05-08', operation: 'GetRole' }
  const ofSts: RpcTarget = { protocol: 'query', service: '2011-06-15', operation: 'AssumeRole' }
  const names: Partial<Record<ErrorCode, readonly [string, number]>> = {
    AccessDeniedException: ['AccessDenied', 403],
    ExpiredTokenException: ['ExpiredToken', 403],
    IncompleteSignatureException: ['IncompleteSignature', 400],
    InvalidSignatureException: ['SignatureDoesNotMatch', 403],
    MissingAuthenticationTokenException: ['MissingAuthenticationToken', 403],
    RequestEntityTooLargeException: ['RequestEntityTooLarge', 413],
    SerializationException: ['MalformedInput', 400],
    ServerException: ['InternalFailure', 500],
    ThrottlingException: ['Throttling', 400],
    UnknownOperationException: ['InvalidAction', 400],
    UnrecognizedClientException: ['InvalidClientTokenId', 403],
    ValidationError: ['ValidationError', 400],
  }
  for (const [code, [name, status]] of Object.entries(names)) {
    for (const target of [ofIam, ofSts]) {
      const error = await judge(target, new ApiError(code as ErrorCode, `why & <what> "now"\u0000`))
      t.match(
        error,
        {
          name,
          message: 'why & <what> "now"\ufffd',
          Type: status < 500 ? 'Sender' : 'Receiver',
          $metadata: { httpStatusCode: status },
        },
        `${code} for ${target.operation ?? ''}`,
      )
    }
  }
  t.match(await judge(ofIam, new ApiError('NoSuchEntity', 'no role')), {
    name: 'NoSuchEntityException',
    $metadata: { httpStatusCode: 404 },
  })
  t.match(errorText(ofIam), '<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error>')
  t.match(errorText(ofIam), '</Error><RequestId>r</RequestId></ErrorResponse>')
  t.match(errorText(ofSts), '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>')
  t.match(errorText({ ...ofSts, service: '1999-01-01' }), 'xmlns="http://webservices.amazon.com/AWSFault/2005-15-09"')
})

await test('agents are sent where the operator says, but for those of this machine', async (t) => {
  const services = { access: createAccess(aWorld()), clock: { now: () => testNow }, vault: aVault() }
  const request = { requestId: '1', headers: { host: '127.0.0.1:51700' }, sourceAddress: '127.0.0.1', isSecure: false }
  const originFor = (hostId: string | undefined, advertise?: string): string =>
    callOf({ ...services, advertise }, request, aPrincipal(hostId === undefined ? {} : { kind: 'host', hostId })).origin
  const elsewhere = 'https://10.0.0.5:51443'
  t.equal(originFor('host-1', elsewhere), elsewhere)
  t.equal(originFor(undefined, elsewhere), elsewhere)
  t.equal(originFor('local', elsewhere), 'http://127.0.0.1:51700', 'its key would be refused there')
  t.equal(originFor('host-1'), 'http://127.0.0.1:51700')
})
