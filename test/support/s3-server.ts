/** A server that speaks S3, with the one bucket `files`, and the settings with which a controller reads it. */
import { createRequire } from 'node:module'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { region } from './controller.ts'
import { freePort } from './registry.ts'

export interface S3Server {
  readonly controllerEnvironment: Readonly<Record<string, string>>
  /** Answers the object's ARN. */
  put(key: string, content: string | Uint8Array): Promise<string>
  end(): Promise<void>
}

interface Listener {
  run(): Promise<unknown>
  close(): Promise<void>
}

/**
 * It listens on `address`. A controller elsewhere than on this machine knows it by `reachedAt`, an address that need not be
 * there yet.
 */
export async function startS3Server(address = '127.0.0.1', reachedAt = address): Promise<S3Server> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-s3-'))
  const port = await freePort()
  const load = createRequire(import.meta.url)
  const Server = load('@20minutes/s3rver') as new (options: object) => Listener
  const server = new Server({
    address,
    port,
    silent: true,
    directory,
    configureBuckets: [{ name: 'files' }],
    // It reckons the signature of an upload by the SDK otherwise than S3 does.
    allowMismatchedSignatures: true,
  })
  await server.run()
  const keys = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' }
  const keyFile = join(directory, 'keys')
  const text = `[default]\naws_access_key_id = ${keys.accessKeyId}\naws_secret_access_key = ${keys.secretAccessKey}\n`
  writeFileSync(keyFile, text, { mode: 0o600 })
  const endpoint = `http://127.0.0.1:${port}`
  const client = new S3Client({ endpoint, region, credentials: keys, forcePathStyle: true })
  return {
    controllerEnvironment: {
      GANTRY_S3_ENDPOINT: `http://${reachedAt}:${port}`,
      GANTRY_S3_CREDENTIALS_FILE: keyFile,
    },
    async put(key, content) {
      await client.send(new PutObjectCommand({ Bucket: 'files', Key: key, Body: content }))
      return `arn:aws:s3:::files/${key}`
    },
    async end() {
      client.destroy()
      await server.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
