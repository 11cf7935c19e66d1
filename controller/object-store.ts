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

interface ObjectStoreSettings {
  /** Undefined: Amazon's own, which needs a credentials file. */
  readonly endpoint: string | undefined
  readonly region: string
  /** True: the bucket stands in the path; false: in the host's name. */
  readonly isPathStyle: boolean
  /** AWS's shared-credentials format, mode 0600. Undefined: requests are not signed. */
  readonly credentialsFile: string | undefined
}

export interface ObjectStore {
  /**
   * The object's bytes. Throws ApiError: ResourceNotFoundException, InvalidParameterException (what has to be set, or the
   * store's own refusal), ThrottlingException, ServerException where the store has trouble.
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
  return parseSharedCredentials(text, path)
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
      : { credentials: await readKeyFile(credentialsFile) }),
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
    throw explained(error, settings, { arn, bucket, key })
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

interface Wanted {
  readonly arn: string
  readonly bucket: string
  readonly key: string
}

/** The store's answer in words: what it said, of which object, and what to set or mend. */
function explained(
  error: unknown,
  { endpoint = 'Amazon S3', credentialsFile, region }: ObjectStoreSettings,
  wanted: Wanted,
): ApiError {
  if (error instanceof ApiError) return error
  const { arn, bucket, key } = wanted
  const { name, status } = factsOf(error)
  const at = `the store at ${endpoint}`
  const refused = (code: 'ResourceNotFoundException' | 'InvalidParameterException', message: string): ApiError =>
    new ApiError(code, message, { cause: error })
  if (name === 'NoSuchBucket') {
    return refused(
      'ResourceNotFoundException',
      `${name}: there is no bucket '${bucket}' in ${at}. Correct the ARN ${arn}.`,
    )
  }
  if (name === 'NoSuchKey' || status === 404) {
    return refused(
      'ResourceNotFoundException',
      `NoSuchKey: bucket '${bucket}' in ${at} has no object '${key}'. Put it there, or correct the ARN ${arn}.`,
    )
  }
  if (status === 401 || status === 403) {
    const who = credentialsFile === undefined ? 'unsigned requests' : 'the key of GANTRY_S3_CREDENTIALS_FILE'
    const remedy =
      credentialsFile === undefined
        ? 'Set GANTRY_S3_CREDENTIALS_FILE for the controller'
        : 'Allow that key s3:GetObject on it in the store, or give the controller another one'
    return refused('InvalidParameterException', `${name}: ${at} refuses ${who} for ${arn}. ${remedy}.`)
  }
  if (status !== undefined && status >= 300 && status < 500) {
    return refused(
      'InvalidParameterException',
      `${name}: ${at} refuses the request for ${arn} (HTTP ${status}). Check GANTRY_S3_REGION (now ${region}), ` +
        'GANTRY_S3_ENDPOINT and GANTRY_S3_PATH_STYLE.',
    )
  }
  const why = status === undefined ? causeOf(error) : `it answered HTTP ${status} (${name})`
  return new ApiError(
    'ServerException',
    `The environment file ${arn} could not be fetched from ${at}: ${why}. Check that it is up and GANTRY_S3_ENDPOINT is right.`,
    { cause: error },
  )
}

function factsOf(error: unknown): { readonly name: string; readonly status: number | undefined } {
  if (typeof error !== 'object' || error === null) return { name: 'UnknownError', status: undefined }
  const { name, $metadata: metadata } = error as {
    readonly name?: unknown
    readonly $metadata?: { readonly httpStatusCode?: unknown }
  }
  const status = metadata?.httpStatusCode
  return {
    name: typeof name === 'string' ? name : 'UnknownError',
    status: typeof status === 'number' ? status : undefined,
  }
}

function causeOf(error: unknown): string {
  const { name } = factsOf(error)
  if (name === 'AbortError' || name === 'TimeoutError') return `it did not answer within ${fetchTimeoutMs / 1000} s`
  return error instanceof Error ? error.message : String(error)
}
