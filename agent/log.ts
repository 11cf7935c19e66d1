/**
 * The agent's log: JSON lines on stdout. Whatever may hold a secret is taken out by name before a line is written, so
 * that a careless `log.info({ payload })` gives nothing away.
 */
import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'

export type Log = Logger

/** Members that are never written, wherever they stand down to four levels. */
const secretNames = [
  'accessKeySecret',
  'auth',
  'authconfig',
  'authorization',
  'Authorization',
  'config',
  'credentials',
  'dockerConfig',
  'engineAuthData',
  'Env',
  'environment',
  'executionRoleCredentials',
  'lastLogLines',
  'password',
  'registryAuths',
  'roleCredentials',
  'secret',
  'secretAccessKey',
  'sessionToken',
  'token',
]

const redactedPaths = ['', '*.', '*.*.', '*.*.*.'].flatMap((above) => secretNames.map((name) => `${above}${name}`))

const levelByName = { debug: 'debug', info: 'info', warn: 'warn', error: 'error', crit: 'fatal' } as const

/** `level` is ECS_LOGLEVEL; lines go to stdout unless a test gives another place. */
export function openLog(level: keyof typeof levelByName, to?: DestinationStream): Log {
  const options = {
    level: levelByName[level],
    base: { program: 'gantry-agent', pid: process.pid },
    redact: { paths: redactedPaths, censor: '[redacted]' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  return pino(options, to ?? standardOutput())
}

/**
 * Stdout, where a line that can't be written (a full disk behind it, a reader that went away) is lost and nothing else:
 * pino's own destination would try the same write for ever, and the whole agent with it.
 */
function standardOutput(): DestinationStream {
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined)
  return process.stdout
}
