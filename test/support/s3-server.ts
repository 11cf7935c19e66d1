/**
 * A server that speaks S3, with the bucket `files` and one that everybody may read, and the settings with which a controller
 * reads it. Behind it is one from npm, which takes any signature; so each request passes through a judge of our own first.
 */
import { createRequire } from 'node:module'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { region } from './controller.ts'
import { s3ErrorBody, s3Refusal } from './s3-signature.ts'
import type { S3Refusal } from './s3-signature.ts'

export const publicBucket = 'public'

export interface S3Server {
  readonly controllerEnvironment: Readonly<Record<'GANTRY_S3_ENDPOINT' | 'GANTRY_S3_CREDENTIALS_FILE', string>>
  /** The clock of the store beside this machine's, and whether its refusals say what it shows. */
  readonly clock: { aheadMs: number; isTold: boolean }
  /** The codes with which signatures were refused, in order; `OK` for those that were right. */
  readonly verdicts: readonly string[]
  /** Answers the object's ARN. */
  put(key: string, content: string | Uint8Array, bucket?: string): Promise<string>
  /** A file for GANTRY_S3_CREDENTIALS_FILE, with the store's key where nothing else is said; the same name is written anew. */
  keyFile(name: string, key?: { readonly id?: string; readonly secret?: string; readonly mode?: number }): string
  end(): Promise<void>
}

interface Listener {
  run(): Promise<AddressInfo>
  close(): Promise<void>
}

const keys = { accessKeyId: 'S3RVER', secretAccessKey: 'the/secret+of=the.store' }

/**
 * It listens on `address`. A controller elsewhere than on this machine knows it by `reachedAt`, an address that need not be
 * there yet.
 */
export async function startS3Server(address = '127.0.0.1', reachedAt = address): Promise<S3Server> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-s3-'))
  const load = createRequire(import.meta.url)
  const Server = load('@20minutes/s3rver') as new (options: object) => Listener
  const configureBuckets = [{ name: 'files' }, { name: publicBucket }]
  const server = new Server({ address: '127.0.0.1', port: 0, silent: true, directory, configureBuckets })
  const { port: innerPort } = await server.run()
  const clock = { aheadMs: 0, isTold: true }
  const verdicts: string[] = []
  const judge = createServer((request, response) => {
    void answer(request, response, { innerPort, clock, verdicts }).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined)
    })
  })
  await new Promise<void>((listening) => judge.listen(0, address, listening))
  const { port } = judge.address() as AddressInfo
  const client = new S3Client({
    endpoint: `http://127.0.0.1:${port}`,
    region,
    credentials: keys,
    forcePathStyle: true,
  })
  const keyFile: S3Server['keyFile'] = (name, { id = keys.accessKeyId, secret = keys.secretAccessKey, mode } = {}) => {
    const path = join(directory, name)
    rmSync(path, { force: true })
    const text = `[default]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`
    writeFileSync(path, text, { mode: mode ?? 0o600 })
    return path
  }
  return {
    controllerEnvironment: {
      GANTRY_S3_ENDPOINT: `http://${reachedAt}:${port}`,
      GANTRY_S3_CREDENTIALS_FILE: keyFile('keys'),
    },
    clock,
    verdicts,
    keyFile,
    async put(key, content, bucket = 'files') {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: content }))
      return `arn:aws:s3:::${bucket}/${key}`
    },
    async end() {
      client.destroy()
      judge.closeAllConnections()
      await new Promise<void>((closed) => judge.close(() => closed()))
      await server.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function secretOf(accessKeyId: string): string | undefined {
  return accessKeyId === keys.accessKeyId ? keys.secretAccessKey : undefined
}

interface Judged {
  readonly innerPort: number
  readonly clock: S3Server['clock']
  readonly verdicts: string[]
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { innerPort, clock, verdicts }: Judged,
): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  const { method = '', url: target = '' } = request
  const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))
  const isOpen = headers['authorization'] === undefined && method === 'GET' && target.startsWith(`/${publicBucket}/`)
  const now = Date.now() + clock.aheadMs
  const refused = isOpen ? undefined : s3Refusal({ method, target, headers, body }, { region, secretOf, now })
  if (!isOpen) verdicts.push(refused?.code ?? 'OK')
  if (refused !== undefined) return refuse(response, refused, clock, now)
  // What stands behind it has a judgement of its own of signatures, and does not ask for one.
  const { authorization: _, ...passed } = headers
  const inner = httpRequest({ host: '127.0.0.1', port: innerPort, method, path: target, headers: passed }, (from) => {
    response.writeHead(from.statusCode ?? 500, from.headers)
    from.pipe(response)
  })
  inner.on('error', (error) => response.destroy(error))
  inner.end(body)
}

/** A store that tells no time: neither in a header nor in the error. */
function refuse(response: ServerResponse, refused: S3Refusal, { isTold }: S3Server['clock'], now: number): void {
  const { ServerTime: _, ...untimed } = refused.more
  response.sendDate = false
  if (isTold) response.setHeader('date', new Date(now).toUTCString())
  response.writeHead(refused.status, { 'content-type': 'application/xml' })
  response.end(s3ErrorBody(isTold ? refused : { ...refused, more: untimed }))
}
