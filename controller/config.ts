/**
 * The controller's whole configuration: one table, read from the environment that `main.ts` hands in. A wrong value
 * stops the start with a sentence that names the variable and what it takes; nothing is guessed.
 */
import { isIP } from 'node:net'
import { resolve } from 'node:path'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

export interface Config {
  readonly dataDir: string
  readonly listen: ListenAddress
  /** True: plain HTTP may be served beyond loopback, to be read and altered by whoever is on the way. */
  readonly insecureListen: boolean
  /** Undefined: no TLS. */
  readonly tlsListen: ListenAddress | undefined
  /** Names and addresses in the controller's own certificate, beside those of the machine. */
  readonly tlsNames: readonly string[]
  /** The operator's own certificate: all three, or none. */
  readonly tlsCertFile: string | undefined
  readonly tlsKeyFile: string | undefined
  readonly tlsCaFile: string | undefined
  /** Scheme, host and port under which agents reach this controller; undefined: as each request's Host header says. */
  readonly advertise: string | undefined
  readonly region: string
  readonly account: string
  /** Milliseconds that a stopped task, with its exit codes and last lines, is kept. */
  readonly stoppedTaskRetentionMs: number
  /** Milliseconds that a stopped task stays in memory, where lists find it fastest; after that it is in the history. */
  readonly stoppedTaskMemoryMs: number
  /** Bytes of shipped container logs that are kept, compressed. */
  readonly logStoreBytes: number
  /** Milliseconds that shipped container logs are kept. */
  readonly logRetentionMs: number
  /** Milliseconds that the audit trail is kept. */
  readonly auditRetentionMs: number
  /** Records of the audit trail that are kept at most; the oldest go first. */
  readonly auditRecordsMax: number
  /** Undefined: `secret-key` in the data directory. */
  readonly secretKeyFile: string | undefined
  /** Where environment files are; undefined: in Amazon's own S3, where there are credentials for it. */
  readonly s3Endpoint: string | undefined
  /** Undefined: that of the cluster. */
  readonly s3Region: string | undefined
  /** Undefined: with an endpoint, yes. */
  readonly s3PathStyle: boolean | undefined
  readonly s3CredentialsFile: string | undefined
  readonly logLevel: LogLevel
}

interface Setting<T> {
  readonly variable: string
  readonly defaultText: string
  readonly unit: string
  /** Throws an Error whose message says what the variable takes. */
  readonly parse: (text: string) => T
  readonly doc: string
}

/** A configuration that can't be: the message says which variable, why, and what it takes. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}

export const settings: { readonly [Name in keyof Config]: Setting<Config[Name]> } = {
  dataDir: {
    variable: 'GANTRY_DATA_DIR',
    defaultText: '/var/lib/gantry/controller',
    unit: 'path',
    parse: (text) => resolve(text),
    doc: 'Directory of the store and of the two credentials files. Made if missing.',
  },
  listen: {
    variable: 'GANTRY_LISTEN',
    defaultText: '127.0.0.1:51700',
    unit: 'host:port',
    parse: parseListen,
    doc: 'Address of the API without TLS, for tools and agents of this machine. Port 0 takes any free port.',
  },
  insecureListen: {
    variable: 'GANTRY_INSECURE_LISTEN',
    defaultText: 'false',
    unit: 'true or false',
    parse: yesOrNo,
    doc: 'Allows a GANTRY_LISTEN beyond loopback, where everybody on the way can read what is sent. For labs alone.',
  },
  tlsListen: {
    variable: 'GANTRY_TLS_LISTEN',
    defaultText: '0.0.0.0:51443',
    unit: 'host:port or off',
    parse: (text) => (text === 'off' ? undefined : parseListen(text)),
    doc: 'Address of the same API by TLS, for agents and operators elsewhere. Port 0 takes any free port.',
  },
  tlsNames: {
    variable: 'GANTRY_TLS_NAMES',
    defaultText: '',
    unit: 'names and addresses',
    parse: parseNames,
    doc: 'What the certificate is to hold beside the names and addresses of this machine, separated by commas.',
  },
  tlsCertFile: {
    variable: 'GANTRY_TLS_CERT_FILE',
    defaultText: '',
    unit: 'path',
    parse: optionalPath,
    doc: 'A certificate of your own, PEM, with those between it and its authority. Taken up when it changes.',
  },
  tlsKeyFile: {
    variable: 'GANTRY_TLS_KEY_FILE',
    defaultText: '',
    unit: 'path',
    parse: optionalPath,
    doc: 'Its private key, PEM, which others must not be able to read.',
  },
  tlsCaFile: {
    variable: 'GANTRY_TLS_CA_FILE',
    defaultText: '',
    unit: 'path',
    parse: optionalPath,
    doc: 'The one authority that hosts are to trust for it, PEM.',
  },
  advertise: {
    variable: 'GANTRY_ADVERTISE',
    defaultText: '',
    unit: 'URL',
    parse: parseAdvertise,
    doc: 'Where agents of other machines are told to connect, such as https://10.0.0.5:51443. Empty: where they sent their call.',
  },
  region: {
    variable: 'GANTRY_REGION',
    defaultText: 'us-east-1',
    unit: 'name',
    parse: matching(/^[a-z]{2}(-[a-z]+)+-\d{1,2}$/, 'a region such as us-east-1'),
    doc: 'The region in every ARN, and the one that clients must sign for.',
  },
  account: {
    variable: 'GANTRY_ACCOUNT',
    defaultText: '123456789012',
    unit: '12 digits',
    parse: matching(/^\d{12}$/, 'an account number of twelve digits'),
    doc: 'The account in every ARN.',
  },
  stoppedTaskRetentionMs: {
    variable: 'GANTRY_STOPPED_TASK_RETENTION_HOURS',
    defaultText: '168',
    unit: 'hours',
    parse: hours,
    doc: 'How long a stopped task is kept, with its exit codes, reasons and last lines.',
  },
  stoppedTaskMemoryMs: {
    variable: 'GANTRY_STOPPED_TASK_MEMORY_HOURS',
    defaultText: '1',
    unit: 'hours',
    parse: hours,
    doc: 'How long a stopped task stays in memory before it moves to the history on disk.',
  },
  logStoreBytes: {
    variable: 'GANTRY_LOG_STORE_MIB',
    defaultText: '1024',
    unit: 'MiB',
    parse: mebibytes,
    doc: 'What shipped container logs (awslogs) take of the disk at most, compressed; the oldest go first.',
  },
  logRetentionMs: {
    variable: 'GANTRY_LOG_RETENTION_HOURS',
    defaultText: '168',
    unit: 'hours',
    parse: hours,
    doc: 'How long shipped container logs (awslogs) are kept.',
  },
  auditRetentionMs: {
    variable: 'GANTRY_AUDIT_RETENTION_HOURS',
    defaultText: '2160',
    unit: 'hours',
    parse: hours,
    doc: 'How long the audit trail is kept: who called what, from where, with which answer.',
  },
  auditRecordsMax: {
    variable: 'GANTRY_AUDIT_RECORDS_MAX',
    defaultText: '500000',
    unit: 'records',
    parse: wholeNumber(1000, 100_000_000),
    doc: 'How many records of the audit trail are kept at most, some 600 bytes of disk each; the loudest callers make room.',
  },
  secretKeyFile: {
    variable: 'GANTRY_SECRET_KEY_FILE',
    defaultText: '',
    unit: 'path',
    parse: (text) => (text === '' ? undefined : resolve(text)),
    doc: 'The keys that seal secrets. Empty: secret-key in the data directory, or what systemd hands in.',
  },
  s3Endpoint: {
    variable: 'GANTRY_S3_ENDPOINT',
    defaultText: '',
    unit: 'URL',
    parse: parseEndpoint,
    doc: "The S3-compatible store of environmentFiles, such as http://10.0.0.5:9000. Empty: Amazon's own, with credentials.",
  },
  s3Region: {
    variable: 'GANTRY_S3_REGION',
    defaultText: '',
    unit: 'name',
    parse: (text) => (text === '' ? undefined : matching(/^[a-z0-9-]{1,63}$/, 'a region such as us-east-1')(text)),
    doc: 'The region that requests to the store are signed for. Empty: GANTRY_REGION.',
  },
  s3PathStyle: {
    variable: 'GANTRY_S3_PATH_STYLE',
    defaultText: '',
    unit: 'true or false',
    parse: parseFlag,
    doc: "Whether the bucket stands in the path, not in the host's name. Empty: true with GANTRY_S3_ENDPOINT.",
  },
  s3CredentialsFile: {
    variable: 'GANTRY_S3_CREDENTIALS_FILE',
    defaultText: '',
    unit: 'path',
    parse: (text) => (text === '' ? undefined : resolve(text)),
    doc: "The store's access key: profile [default] of AWS's shared-credentials format, mode 0600. Empty: unsigned requests.",
  },
  logLevel: {
    variable: 'GANTRY_LOG_LEVEL',
    defaultText: 'info',
    unit: 'trace, debug, info, warn or error',
    parse: parseLogLevel,
    doc: 'The least severe line that is logged.',
  },
}

export interface ReadConfig {
  readonly config: Config
  /** Variables that look like ours and are not in the table: mistyped names, most likely. */
  readonly unknownVariables: readonly string[]
}

/** Reads the table from an environment; empty is absent. Throws ConfigError naming the variable that is wrong. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): ReadConfig {
  const known = new Set(Object.values(settings).map((setting) => setting.variable))
  const unknownVariables = Object.keys(environment).filter((name) => name.startsWith('GANTRY_') && !known.has(name))
  const valueOf = <T>(setting: Setting<T>): T => {
    const text = environment[setting.variable]?.trim() || setting.defaultText
    try {
      return setting.parse(text)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new ConfigError(`${setting.variable}=${JSON.stringify(text)} can't be used: it takes ${why}.`)
    }
  }
  const config: Config = {
    dataDir: valueOf(settings.dataDir),
    listen: valueOf(settings.listen),
    insecureListen: valueOf(settings.insecureListen),
    tlsListen: valueOf(settings.tlsListen),
    tlsNames: valueOf(settings.tlsNames),
    tlsCertFile: valueOf(settings.tlsCertFile),
    tlsKeyFile: valueOf(settings.tlsKeyFile),
    tlsCaFile: valueOf(settings.tlsCaFile),
    advertise: valueOf(settings.advertise),
    region: valueOf(settings.region),
    account: valueOf(settings.account),
    stoppedTaskRetentionMs: valueOf(settings.stoppedTaskRetentionMs),
    stoppedTaskMemoryMs: valueOf(settings.stoppedTaskMemoryMs),
    logStoreBytes: valueOf(settings.logStoreBytes),
    logRetentionMs: valueOf(settings.logRetentionMs),
    auditRetentionMs: valueOf(settings.auditRetentionMs),
    auditRecordsMax: valueOf(settings.auditRecordsMax),
    secretKeyFile: valueOf(settings.secretKeyFile),
    s3Endpoint: valueOf(settings.s3Endpoint),
    s3Region: valueOf(settings.s3Region),
    s3PathStyle: valueOf(settings.s3PathStyle),
    s3CredentialsFile: valueOf(settings.s3CredentialsFile),
    logLevel: valueOf(settings.logLevel),
  }
  checkTogether(config)
  return { config, unknownVariables }
}

/** What no variable shows alone. Throws ConfigError. */
function checkTogether({ listen, insecureListen, tlsListen, tlsCertFile, tlsKeyFile, tlsCaFile }: Config): void {
  if (!isLoopback(listen.host) && !insecureListen) {
    const shown = listen.host.includes(':') ? `[${listen.host}]` : listen.host
    throw new ConfigError(
      `GANTRY_LISTEN=${shown}:${listen.port} would serve plain HTTP beyond this machine, where everybody on the way can ` +
        'read what is sent, secrets too. Leave GANTRY_LISTEN on 127.0.0.1: other machines use TLS, on GANTRY_TLS_LISTEN ' +
        '(0.0.0.0:51443 where nothing is said), and hosts join by the line of npx gantry join-token. In a lab on a wire ' +
        'of its own GANTRY_INSECURE_LISTEN=true allows it all the same.',
    )
  }
  const given = [tlsCertFile, tlsKeyFile, tlsCaFile].filter((each) => each !== undefined)
  if (given.length !== 0 && given.length !== 3) {
    throw new ConfigError(
      'A certificate of your own needs all of GANTRY_TLS_CERT_FILE, GANTRY_TLS_KEY_FILE and GANTRY_TLS_CA_FILE: set the ' +
        'three, or none, and the controller makes its own.',
    )
  }
  if (given.length === 3 && tlsListen === undefined) {
    throw new ConfigError('GANTRY_TLS_LISTEN=off serves no TLS, so GANTRY_TLS_CERT_FILE is of no use: leave one out.')
  }
}

/** True for an address that no other machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

function parseListen(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535) throw new Error('host:port, such as 127.0.0.1:51700 or [::1]:51700')
  return { host, port }
}

/** Lower-case names, `*.` before them where they are wildcards, and IP addresses. */
function parseNames(text: string): readonly string[] {
  const names = text.split(',').flatMap((each) => (each.trim() === '' ? [] : [each.trim().toLowerCase()]))
  const wrong = names.find((name) => isIP(name) === 0 && !/^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name))
  if (wrong === undefined && names.length <= namesMax) return names
  throw new Error(`at most ${namesMax} names and addresses such as gantry.lab,10.0.0.5, separated by commas`)
}

const namesMax = 50

function optionalPath(text: string): string | undefined {
  return text === '' ? undefined : resolve(text)
}

function yesOrNo(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw new Error('true or false')
}

function parseAdvertise(text: string): string | undefined {
  if (text === '') return undefined
  const takes = 'a URL of scheme, host and port alone, such as https://10.0.0.5:51443'
  if (!URL.canParse(text)) throw new Error(takes)
  const url = new URL(text)
  if (!['http:', 'https:'].includes(url.protocol) || url.pathname !== '/' || url.search !== '') throw new Error(takes)
  return url.origin
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max)) throw new Error(`a whole number from ${min} to ${max}`)
    return value
  }
}

function parseEndpoint(text: string): string | undefined {
  if (text === '') return undefined
  const takes = 'a URL of scheme, host and port alone, such as http://10.0.0.5:9000'
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.search !== '') throw new Error(takes)
  // What stands in a URL shows in logs and process lists.
  if (url.username !== '' || url.password !== '')
    throw new Error(`${takes}; the key goes into GANTRY_S3_CREDENTIALS_FILE`)
  return url.href.replace(/\/$/, '')
}

function parseFlag(text: string): boolean | undefined {
  if (text === '') return undefined
  if (text !== 'true' && text !== 'false') throw new Error('true or false')
  return text === 'true'
}

function parseLogLevel(text: string): LogLevel {
  const levels: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error']
  const level = levels.find((each) => each === text)
  if (level === undefined) throw new Error(levels.join(', '))
  return level
}

function hours(text: string): number {
  const value = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 87_600) {
    throw new Error('a number of hours above 0 and at most 87600 (ten years)')
  }
  return Math.round(value * 3_600_000)
}

function mebibytes(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 16 || value > 1024 * 1024) throw new Error('a number of MiB from 16 to 1048576')
  return value * 1024 * 1024
}

function matching(pattern: RegExp, takes: string): (text: string) => string {
  return (text) => {
    if (!pattern.test(text)) throw new Error(takes)
    return text
  }
}
