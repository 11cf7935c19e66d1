/**
 * The controller's log: JSON lines on stdout. Whatever is logged passes the redaction list first, at any depth, because
 * a line that was written can't be taken back.
 */
import { type DestinationStream, type Logger, pino, stdSerializers } from 'pino'
import type { LogLevel } from './config.ts'

export type Log = Logger

/**
 * Members that never show their value, in lower case. `environment` and Docker's configuration strings are among them
 * because people put passwords there; `registryauthentication` holds registry logins.
 */
export const redactedMembers: ReadonlySet<string> = new Set([
  'authorization',
  'auth',
  'cookie',
  'credentials',
  'dockerconfig',
  'ecs_engine_auth_data',
  'engineauthdata',
  'environment',
  'env',
  'executionrolecredentials',
  'identitytoken',
  'instanceidentitydocumentsignature',
  'lastloglines',
  'options',
  'password',
  'registryauth',
  'registryauthentication',
  'repositorycredentials',
  'rolecredentials',
  'secret',
  'secretaccesskey',
  'secretoptions',
  'secrets',
  'sessiontoken',
  'x-amz-security-token',
  'x-registry-auth',
])

const redacted = '[redacted]'
const depthMax = 8

/** Signatures and tokens that stand inside a longer text, such as a URL or a header copied into a message. */
const secretInText =
  /(Signature=|X-Amz-Security-Token=|aws_secret_access_key\s*=\s*|aws_session_token\s*=\s*|"?(?:password|secretAccessKey|sessionToken)"?\s*[:=]\s*"?)[^\s"&,]+/gi

/** The same value with every secret replaced; errors become plain objects first. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= depthMax) return '[too deep to log]'
  if (value instanceof Error) return redact({ ...stdSerializers.err(value) }, depth)
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) return value.map((each) => redact(each, depth + 1))
  const copy: Record<string, unknown> = {}
  for (const [name, member] of Object.entries(value)) {
    copy[name] = redactedMembers.has(name.toLowerCase()) ? redacted : redact(member, depth + 1)
  }
  return copy
}

export function redactText(text: string): string {
  return text.replace(secretInText, `$1${redacted}`)
}

/**
 * Stdout, where a line that can't be written (a full disk behind it, a reader that went away) is lost and nothing else:
 * pino's own destination would try the same write for ever, and the whole program with it.
 */
function standardOutput(): DestinationStream {
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined)
  return process.stdout
}

/** Writes to stdout, or to `destination` where a test listens. */
export function createLog(level: LogLevel, destination?: DestinationStream): Log {
  const options = {
    level,
    base: { program: 'gantry-controller' },
    timestamp: () => `,"time":"${new Date(Date.now()).toISOString()}"`,
    formatters: {
      level: (label: string) => ({ level: label }),
      bindings: (bindings: object) => redactObject(bindings),
      log: (line: object) => redactObject(line),
    },
    hooks: {
      // The message itself is a text like any other: an error's words may quote what was sent.
      logMethod(this: Log, args: Parameters<Log['info']>, method: (...args: Parameters<Log['info']>) => void) {
        method.apply(this, args.map((each) => (typeof each === 'string' ? redactText(each) : each)) as typeof args)
      },
    },
  }
  const log = pino(options, destination ?? standardOutput())
  // Pino formats the bindings of the root alone. Children inherit this, so theirs pass the list as well.
  const child: unknown = Reflect.get(log, 'child')
  if (typeof child !== 'function') throw new Error('the logger makes no children')
  Reflect.set(log, 'child', function redactedChild(this: Log, bindings: object, ...rest: readonly unknown[]): unknown {
    return Reflect.apply(child, this, [redactObject(bindings), ...rest])
  })
  return log
}

function redactObject(value: object): Record<string, unknown> {
  return redact(value) as Record<string, unknown>
}
