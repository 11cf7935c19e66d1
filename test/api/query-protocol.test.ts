/** AWS Query on a running controller: presigned URLs by the SDK's own signer, and what is refused in XML. */
import { SignatureV4 } from '@smithy/signature-v4'
import { createHash, createHmac } from 'node:crypto'
import { test } from 'tap'
import { startController } from '../support/controller.ts'

/** The hash that the signer is given. */
class Sha256 {
  readonly #hash: ReturnType<typeof createHash> | ReturnType<typeof createHmac>

  constructor(secret?: Parameters<typeof createHmac>[1]) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret)
  }

  update(data: string | Uint8Array): void {
    this.#hash.update(data)
  }

  digest(): Promise<Uint8Array> {
    return Promise.resolve(new Uint8Array(this.#hash.digest()))
  }

  reset(): void {
    throw new Error('The signer never asks for this.')
  }
}

async function get(of: string, init?: RequestInit): Promise<readonly [number, string | null, string]> {
  const answer = await fetch(of, init)
  return [answer.status, answer.headers.get('content-type'), await answer.text()]
}

await test('a presigned URL says who its signer is, and nothing else', async (t) => {
  const controller = await startController()
  t.teardown(() => controller.stop())
  const { credentials, port, endpoint } = controller
  const signer = new SignatureV4({ service: 'sts', region: 'us-east-1', credentials, sha256: Sha256 as never })
  const asked = {
    method: 'GET',
    protocol: 'http:',
    hostname: '127.0.0.1',
    port,
    path: '/',
    headers: { host: `127.0.0.1:${port}` },
    query: { Action: 'GetCallerIdentity', Version: '2011-06-15' },
  }
  const { query } = await signer.presign(asked, { expiresIn: 60 })
  const url = `${endpoint}/?${new URLSearchParams(query as Record<string, string>).toString()}`
  const [status, contentType, body] = await get(url)
  t.same([status, contentType], [200, 'text/xml'])
  t.match(
    body,
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>',
  )
  t.match(body, '<Arn>arn:aws:iam::123456789012:root</Arn>')

  const refused = async (of: string, init: RequestInit | undefined, code: string): Promise<void> => {
    const [refusal, , text] = await get(of, init)
    t.match(text, `<Type>Sender</Type><Code>${code}</Code>`, `${refusal} ${code}`)
  }
  await refused(url.replace('GetCallerIdentity', 'GetSessionToken'), undefined, 'SignatureDoesNotMatch')
  await refused(`${url}&DurationSeconds=900`, undefined, 'SignatureDoesNotMatch')
  await refused(url, { method: 'POST' }, 'SignatureDoesNotMatch')
  await refused(`${endpoint}/?Action=GetCallerIdentity&Version=2011-06-15`, undefined, 'MissingAuthenticationToken')
  await refused(url.replaceAll(credentials.accessKeyId, 'GANTRYNOSUCHKEY00000'), undefined, 'InvalidClientTokenId')
  t.same((await get(endpoint))[0], 404, 'a page without an action is none')
  t.same((await get(url, { method: 'HEAD' }))[0], 404)
})
