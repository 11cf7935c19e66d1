/**
 * What went wrong at the Docker Engine, as one of the few kinds that a caller can act on. The engine's own words stay,
 * led by `Error response from daemon: ` as Docker's client and the official agent put it.
 */
import { EngineError } from './engine.ts'
import type { EngineErrorKind } from './engine.ts'

/** Node's codes for a socket that is not there, or that closed under a call. */
const unreachableCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'EACCES',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'ETIMEDOUT',
  'ERR_STREAM_PREMATURE_CLOSE',
])

/** What a registry says, through the engine, to a caller without the right to an image. */
const deniedWords = /access denied|unauthorized|authentication required|no basic auth credentials|denied:|forbidden/i
const missingWords =
  /manifest unknown|manifest for .* not found|not found|name unknown|no such image|does not exist|no matching manifest/i
/** A registry or the network towards it that is slow or overloaded: worth another try. */
const slowRegistryWords =
  /i\/o timeout|TLS handshake timeout|Client\.Timeout|toomanyrequests|too many requests|temporary failure|unexpected EOF|connection reset by peer|503 Service Unavailable|502 Bad Gateway|504 Gateway/i

/** Pulls and look-ups of digests speak for a registry; everything else speaks for the engine itself. */
export type ErrorOrigin = 'engine' | 'registry'

/** Turns whatever dockerode threw into an EngineError. `doing` names the call, for messages without words of their own. */
export function engineErrorOf(error: unknown, doing: string, origin: ErrorOrigin = 'engine'): EngineError {
  if (error instanceof EngineError) return error
  const { statusCode, code, message } = membersOf(error)
  if (statusCode !== undefined) {
    const words = withoutSecrets(daemonWords(message))
    const cause = words === daemonWords(message) ? error : { statusCode, message: words }
    return new EngineError(kindOf(statusCode, words, origin), `Error response from daemon: ${words}`, { cause })
  }
  if (code !== undefined && unreachableCodes.has(code)) {
    const why = message === '' ? code : message
    return new EngineError(
      'unreachable',
      `Cannot connect to the Docker daemon while it was to ${doing}: ${why}. Is the docker daemon running?`,
      { cause: error },
    )
  }
  if (/socket hang up|aborted/i.test(message)) {
    return new EngineError('unreachable', `The Docker daemon went away while it was to ${doing}: ${message}`, {
      cause: error,
    })
  }
  return new EngineError('refused', `The Docker daemon could not ${doing}: ${message}`, { cause: error })
}

/** The error entry of a pull's progress stream, which comes without an HTTP status. */
export function pullErrorOf(message: string): EngineError {
  return new EngineError(registryKind(message) ?? 'refused', message)
}

function kindOf(statusCode: number, words: string, origin: ErrorOrigin): EngineErrorKind {
  if (origin === 'registry') {
    const kind = registryKind(words)
    if (kind !== undefined) return kind
    if (statusCode === 401 || statusCode === 403) return 'denied'
  }
  if (statusCode === 404) return 'notFound'
  if (statusCode === 409) return 'conflict'
  return 'refused'
}

function registryKind(words: string): EngineErrorKind | undefined {
  if (deniedWords.test(words)) return 'denied'
  if (slowRegistryWords.test(words)) return 'deadline'
  // `lookup registry on 10.0.0.1:53: no such host` is a failing network, not a missing image.
  if (/dial tcp|no such host/i.test(words)) return undefined
  return missingWords.test(words) ? 'notFound' : undefined
}

/** Docker repeats the options of a mount that failed, and those of a Windows share hold its password. */
function withoutSecrets(words: string): string {
  return words.replaceAll(/\bpass(?:word|wd)?=[^,]*/g, 'password=***')
}

/** dockerode wraps the engine's words: `(HTTP code 404) no such container - No such container: x `. */
function daemonWords(message: string): string {
  return message.replace(/^\(HTTP code \d+\) .*? - /s, '').trim()
}

function membersOf(error: unknown): { statusCode: number | undefined; code: string | undefined; message: string } {
  if (typeof error !== 'object' || error === null) {
    return { statusCode: undefined, code: undefined, message: String(error) }
  }
  const { statusCode, code, message } = error as { statusCode?: unknown; code?: unknown; message?: unknown }
  return {
    statusCode: typeof statusCode === 'number' ? statusCode : undefined,
    code: typeof code === 'string' ? code : undefined,
    message: typeof message === 'string' ? message : '',
  }
}
