/**
 * Environment files out of a store that speaks S3: what `GET /v1/environment-files` answers. The one file that knows S3's
 * client, which is loaded when the first file is asked for: it is large, and most clusters have no such store. What a file
 * holds is never logged and kept nowhere.
 */
import { readFile, stat } from 'node:fs/promises'
import type { GetObjectCommandOutput, S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import { ApiError } from '../proto/errors.ts'
import type { Config } from './config.ts'
import { type AccessKey, CredentialsError, parseSharedCredentials } from './credentials.ts'
import { explainStoreError } from './object-store-errors.ts'

interface ObjectStoreSettings {
  /** Undefined: Amazon's own, which needs a credentials file. */
  readonly endpoint: string | undefined
  readonly region: string
  /** True: the bucket stands in the path; false: in the host's name. */
  readonly isPathStyle: boolean
  /** AWS's shared-credentials format, mode 0600, read anew for each fetch. Undefined: requests are not signed. */
  readonly credentialsFile: string | undefined
}

export interface ObjectStore {
  /**
   * The object's bytes. Throws ApiError: ResourceNotFoundException, InvalidParameterException (what has to be set, or the
   * store's own refusal), ThrottlingException, ServerException where the store has trouble, or its key can't be read.
   */
  fetch(arn: string): Promise<Uint8Array>
  close(): void
}

/** ECS names no limit; a container's environment can't hold more than the kernel passes on, which is far less. */
export const objectBytesMax = 1024 * 1024
/** Below what an agent waits for its answer. */
const fetchTimeoutMs = 12_000
const attemptsMax = 2
/** Of different objects at once; tasks of a deployment ask for the same one. */
const fetchesMax = 64

type StoreConfig = Pick<Config, 's3Endpoint' | 's3Region' | 's3PathStyle' | 's3CredentialsFile' | 'region'>

/** Checks the credentials file where one is set. Throws CredentialsError. */
export async function openObjectStore(config: StoreConfig): Promise<ObjectStore> {
  const settings: ObjectStoreSettings = {
    endpoint: config.s3Endpoint,
    region: config.s3Region ?? config.region,
    isPathStyle: config.s3PathStyle ?? config.s3Endpoint !== undefined,
    credentialsFile: config.s3CredentialsFile,
  }
  if (settings.credentialsFile !== undefined) await readKeyFile(settings.credentialsFile)
  const underway = new Map<string, Promise<Uint8Array>>()
  let client: Promise<S3Client> | undefined
  let closing = false
  return {
    async fetch(arn) {
      const same = underway.get(arn)
      if (same !== undefined) return same
      if (underway.size >= fetchesMax) {
        throw new ApiError('ThrottlingException', `${fetchesMax} environment files are being fetched. Try again.`)
      }
      if (closing) throw new ApiError('ServerException', 'The controller is shutting down.')
      const fetching = (async () => {
        client ??= connect(settings)
        const connected = await client.catch((error: unknown) => {
          client = undefined
          throw error
        })
        return getObject(connected, settings, arn)
      })()
      underway.set(arn, fetching)
      return fetching.finally(() => underway.delete(arn))
    },
    close() {
      closing = true
      void client?.then((connected) => connected.destroy()).catch(() => undefined)
    },
  }
}

/** The key of a file that only its owner may read. Throws CredentialsError. */
async function readKeyFile(path: string): Promise<AccessKey> {
  const variable = 'GANTRY_S3_CREDENTIALS_FILE'
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    throw new CredentialsError(`${path} (${variable}) can't be read: ${why}. Name a file with a [default] profile.`)
  })
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    const shown = (mode & 0o777).toString(8).padStart(4, '0')
    throw new CredentialsError(
      `${path} (${variable}) has mode ${shown}: others on this machine can read the key of the store. Run: chmod 600 ${path}`,
    )
  }
  try {
    return parseSharedCredentials(text, path)
  } catch (error) {
    const lacks = `${path} (${variable}) has no aws_access_key_id and aws_secret_access_key under [default]. Write both.`
    throw new CredentialsError(lacks, { cause: error })
  }
}

/**
 * To the client they are over already, so it asks for them again with each request: a key that was replaced in the file is
 * used at once.
 */
async function keyOfNow(path: string): Promise<AccessKey & { readonly expiration: Date }> {
  return { ...(await readKeyFile(path)), expiration: new Date(0) }
}

async function connect(settings: ObjectStoreSettings): Promise<S3Client> {
  const { endpoint, region, isPathStyle, credentialsFile } = settings
  if (endpoint === undefined && credentialsFile === undefined) {
    throw new ApiError(
      'InvalidParameterException',
      'No store of environment files is configured. Set GANTRY_S3_ENDPOINT (such as http://10.0.0.5:9000) and, unless its ' +
        'objects are public, GANTRY_S3_CREDENTIALS_FILE for the controller, and start it again.',
    )
  }
  const { S3Client: Client } = await import('@aws-sdk/client-s3')
  const config: S3ClientConfig = {
    region,
    forcePathStyle: isPathStyle,
    maxAttempts: attemptsMax,
    // Stores beside Amazon's own send no checksums of the newer kinds.
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    ...(endpoint !== undefined && { endpoint }),
    ...(credentialsFile === undefined
      ? { signer: { sign: async (request) => request }, credentials: { accessKeyId: '', secretAccessKey: '' } }
      : { credentials: async () => keyOfNow(credentialsFile) }),
  }
  return new Client(config)
}

async function getObject(client: S3Client, settings: ObjectStoreSettings, arn: string): Promise<Uint8Array> {
  const [, bucket = '', key = ''] = /^arn:[^:]*:s3:::([^/]+)\/(.+)$/.exec(arn) ?? []
  const { GetObjectCommand } = await import('@aws-sdk/client-s3')
  const signal = AbortSignal.timeout(fetchTimeoutMs)
  try {
    const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), { abortSignal: signal })
    return await readBody(answer, arn, signal)
  } catch (error) {
    throw explainStoreError(error, { ...settings, timeoutMs: fetchTimeoutMs }, { arn, bucket, key })
  }
}

async function readBody(
  { Body: body, ContentLength: length = 0 }: GetObjectCommandOutput,
  arn: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (body === undefined) return new Uint8Array()
  const stream = body as AsyncIterable<Uint8Array> & { destroy(error?: Error): void }
  const cut = (): void => stream.destroy(new Error('the store stopped sending'))
  signal.addEventListener('abort', cut, { once: true })
  try {
    if (length > objectBytesMax) throw tooLarge(arn, `${length} bytes`)
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of stream) {
      size += part.length
      if (size > objectBytesMax) throw tooLarge(arn, `more than ${objectBytesMax} bytes`)
      parts.push(part)
    }
    return Buffer.concat(parts, size)
  } finally {
    signal.removeEventListener('abort', cut)
    stream.destroy()
  }
}

function tooLarge(arn: string, size: string): ApiError {
  return new ApiError(
    'InvalidParameterException',
    `The environment file ${arn} has ${size}, and ${objectBytesMax} are the most. Split it, or put large values elsewhere.`,
  )
}
