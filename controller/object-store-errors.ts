/**
 * What an S3-compatible store answered, in the words of who has to mend it: they come to stand in the `stoppedReason` of the
 * task that wanted the file, so each says what was refused, and what to set where.
 *
 * Source of the codes: Amazon S3 API Reference, "Error Responses".
 */
import { ApiError } from '../proto/errors.ts'
import { CredentialsError } from './credentials.ts'

export interface AskedStore {
  /** Undefined: Amazon's own. */
  readonly endpoint: string | undefined
  readonly region: string
  /** Undefined: requests are not signed. */
  readonly credentialsFile: string | undefined
  /** How long it had to answer. */
  readonly timeoutMs: number
}

export interface AskedObject {
  readonly arn: string
  readonly bucket: string
  readonly key: string
}

/** How much of the store's own message is repeated. */
const messageLengthMax = 300

/** The error that is answered in place of the client's: what the store said, of which object, and what to set or mend. */
export function explainStoreError(error: unknown, store: AskedStore, asked: AskedObject): ApiError {
  if (error instanceof ApiError) return error
  const { arn } = asked
  if (error instanceof CredentialsError) {
    const said = `The environment file ${arn} could not be fetched, for want of the store's key: ${error.message}`
    // It may be in the midst of being replaced: the agent asks again.
    return new ApiError('ServerException', said, { cause: error })
  }
  const facts = factsOf(error)
  const { name, status } = facts
  const at = placeOf(store)
  const refused = missing(facts, asked, at) ?? keyRefusal(facts, store, asked)
  if (refused !== undefined) return new ApiError(refused.code, refused.message, { cause: error })
  if (status !== undefined && status >= 300 && status < 500) {
    return new ApiError(
      'InvalidParameterException',
      `${name}: ${at} refuses the request for ${arn} (HTTP ${status})${itsWord(facts)}. Check GANTRY_S3_REGION (now ` +
        `${store.region}), GANTRY_S3_ENDPOINT and GANTRY_S3_PATH_STYLE.`,
      { cause: error },
    )
  }
  const why = status === undefined ? causeOf(error, store) : `it answered HTTP ${status} (${name})`
  return new ApiError(
    'ServerException',
    `The environment file ${arn} could not be fetched from ${at}: ${why}. Check that it is up and GANTRY_S3_ENDPOINT is right.`,
    { cause: error },
  )
}

interface Refusal {
  readonly code: 'ResourceNotFoundException' | 'InvalidParameterException'
  readonly message: string
}

interface Facts {
  /** S3's code of the error. */
  readonly name: string
  readonly status: number | undefined
  /** The store's own sentence. */
  readonly message: string
}

function placeOf({ endpoint = 'Amazon S3' }: AskedStore): string {
  return `the store at ${endpoint}`
}

function missing({ name, status }: Facts, { arn, bucket, key }: AskedObject, at: string): Refusal | undefined {
  const code = 'ResourceNotFoundException'
  if (name === 'NoSuchBucket') {
    return { code, message: `${name}: there is no bucket '${bucket}' in ${at}. Correct the ARN ${arn}.` }
  }
  if (name !== 'NoSuchKey' && status !== 404) return undefined
  const message = `NoSuchKey: bucket '${bucket}' in ${at} has no object '${key}'. Put it there, or correct the ARN ${arn}.`
  return { code, message }
}

/** The key, what is signed with it, or what it may do: each is mended at another place. */
function keyRefusal(facts: Facts, store: AskedStore, { arn }: AskedObject): Refusal | undefined {
  const { name, status, message: said } = facts
  const { credentialsFile, region } = store
  const code = 'InvalidParameterException'
  const isRegion = name === 'AuthorizationHeaderMalformed' && /region/i.test(said)
  if (status !== 401 && status !== 403 && !isRegion) return undefined
  const at = placeOf(store)
  const file = credentialsFile === undefined ? undefined : `${credentialsFile} (GANTRY_S3_CREDENTIALS_FILE)`
  if (file === undefined) {
    const remedy = 'Set GANTRY_S3_CREDENTIALS_FILE for the controller'
    return { code, message: `${name}: ${at} refuses unsigned requests for ${arn}. ${remedy}.` }
  }
  const refuses = (what: string, remedy: string): Refusal => ({
    code,
    message: `${name}: ${at} refuses ${what} for ${arn}${itsWord(facts)}. ${remedy}.`,
  })
  if (isRegion) {
    return refuses(
      'a signature of another region than its own',
      `Set GANTRY_S3_REGION (now ${region}) to the region that the store expects`,
    )
  }
  if (name === 'InvalidAccessKeyId') {
    return refuses(
      `the key of ${file}, whose aws_access_key_id it does not know`,
      `Write a key of that store into ${credentialsFile}; it is read anew for each file`,
    )
  }
  if (name === 'SignatureDoesNotMatch') {
    return refuses(
      `the signature made with the key of ${file}`,
      `Correct aws_secret_access_key in ${credentialsFile}: it is not the secret of its aws_access_key_id`,
    )
  }
  if (name === 'RequestTimeTooSkewed') {
    return refuses(
      "the time of the request: the controller's clock and its own are too far apart",
      'Set the clocks of both machines',
    )
  }
  return refuses(
    `the key of ${file}`,
    'Allow that key s3:GetObject on it in the store, or give the controller another one',
  )
}

/** The store's own sentence, where it said one beside its code. */
function itsWord({ name, message }: Facts): string {
  const said = message
    .slice(0, messageLengthMax)
    .trim()
    .replace(/[.!\s]+$/, '')
  return said === '' || said === name || said === 'UnknownError' ? '' : ` ("${said}")`
}

function factsOf(error: unknown): Facts {
  if (typeof error !== 'object' || error === null) return { name: 'UnknownError', status: undefined, message: '' }
  const {
    name,
    message,
    $metadata: metadata,
  } = error as {
    readonly name?: unknown
    readonly message?: unknown
    readonly $metadata?: { readonly httpStatusCode?: unknown }
  }
  const status = metadata?.httpStatusCode
  return {
    name: typeof name === 'string' ? name : 'UnknownError',
    status: typeof status === 'number' ? status : undefined,
    message: typeof message === 'string' ? message : '',
  }
}

function causeOf(error: unknown, { timeoutMs }: AskedStore): string {
  const { name } = factsOf(error)
  if (name === 'AbortError' || name === 'TimeoutError') return `it did not answer within ${timeoutMs / 1000} s`
  return error instanceof Error ? error.message : String(error)
}
