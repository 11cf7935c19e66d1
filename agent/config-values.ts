/** How the text of a variable becomes a value. Each reader throws an Error that says what is allowed. */
import type { RegistryAuth } from './engine.ts'

export interface PortRange {
  readonly first: number
  readonly last: number
}

export interface NamedValue {
  readonly name: string
  readonly value: string
}

const durationUnitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** Go's form, as the official agent takes it: `90s`, `1h30m`, `1.5h`, `500ms`. Returns milliseconds. */
export function readDurationMs(text: string): number {
  if (text === '0') return 0
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) {
    throw new Error('a duration such as 30s, 10m or 1h30m is needed')
  }
  let totalMs = 0
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    totalMs += Number(amount) * (durationUnitMs[unit ?? ''] ?? 0)
  }
  return totalMs
}

/** A duration that must not be shorter than `minimum`, itself a duration. */
export function durationAtLeast(minimum: string): (text: string) => number {
  return (text) => {
    const ms = readDurationMs(text)
    if (ms < readDurationMs(minimum)) throw new Error(`it must not be shorter than ${minimum}`)
    return ms
  }
}

/** A duration within these two, both included. */
export function durationBetween(minimum: string, maximum: string): (text: string) => number {
  return (text) => {
    const ms = readDurationMs(text)
    if (ms >= readDurationMs(minimum) && ms <= readDurationMs(maximum)) return ms
    throw new Error(`it must be from ${minimum} to ${maximum}`)
  }
}

export function readText(text: string): string {
  return text
}

/** An empty variable counts as not set. */
export function readOptionalText(text: string): string | undefined {
  return text === '' ? undefined : text
}

/** The forms that Go takes for a truth value. */
export function readBoolean(text: string): boolean {
  if (/^(?:1|t|true)$/i.test(text)) return true
  if (/^(?:0|f|false)$/i.test(text)) return false
  throw new Error('true or false is needed')
}

export function readWhole(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new Error('a whole number of 0 or more is needed')
  return value
}

export function readPercent(text: string): number {
  const percent = readWhole(text)
  if (percent < 1 || percent > 100) throw new Error('a percentage of 1 to 100 is needed')
  return percent
}

/** `a,b`; blanks around the commas don't count. */
export function readList(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** An empty variable counts as not set. */
export function readOptionalWhole(text: string): number | undefined {
  return text === '' ? undefined : readWhole(text)
}

/** A path of names such as `/ecs`, below the host's root cgroup. */
export function readCgroupParent(text: string): string {
  if (/^(?:\/[A-Za-z0-9][A-Za-z0-9_.-]*)+$/.test(text)) return text
  throw new Error('a path such as /ecs is needed')
}

const pidsMax = 4_194_304

/** An empty variable counts as not set. */
export function readPidsLimit(text: string): number | undefined {
  const limit = readOptionalWhole(text)
  if (limit === undefined || (limit >= 1 && limit <= pidsMax)) return limit
  throw new Error(`a whole number from 1 to ${pidsMax} is needed`)
}

/** `40,60`: as many a second, and as many at once. */
export function readRate(text: string): { readonly perSecond: number; readonly burst: number } {
  const match = /^\s*(\d+)\s*,\s*(\d+)\s*$/.exec(text)
  const perSecond = Number(match?.[1])
  const burst = Number(match?.[2])
  if (match === null || perSecond < 1 || burst < 1) throw new Error('two numbers such as 40,60 are needed')
  return { perSecond, burst }
}

export function readPort(text: string): number {
  const port = readWhole(text)
  if (port > 65_535) throw new Error('a port between 0 and 65535 is needed')
  return port
}

/** `[22, 80]`. */
export function readPorts(text: string): readonly number[] {
  const value = readJson(text)
  if (!Array.isArray(value) || !value.every(isPort)) throw new Error('a JSON list of ports such as [22, 80] is needed')
  return value
}

/** `32768-60999`; empty means the kernel's own range. */
export function readPortRange(text: string): PortRange | undefined {
  if (text === '') return undefined
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text)
  const range = { first: Number(match?.[1]), last: Number(match?.[2]) }
  if (match === null || range.first < 1 || range.last > 65_535 || range.first > range.last) {
    throw new Error('a range of ports such as 32768-60999 is needed')
  }
  return range
}

/** An address of the API: `http://host:port`; without a scheme it is https, as in the official agent. */
export function readOrigin(text: string): string {
  const withScheme = /^https?:\/\//.test(text) ? text : `https://${text}`
  try {
    return new URL(withScheme).origin
  } catch {
    throw new Error('an address such as http://127.0.0.1:51700 is needed')
  }
}

/** One of the given words. */
export function oneOf<const Words extends readonly string[]>(words: Words): (text: string) => Words[number] {
  return (text) => {
    const found = words.find((word) => word === text.toLowerCase())
    if (found === undefined) throw new Error(`one of ${words.join(', ')} is needed`)
    return found
  }
}

const logDrivers =
  'awslogs fluentd gelf journald json-file local logentries none splunk sumologic syslog awsfirelens'.split(' ')

/** `["json-file", "none"]`. */
export function readLogDrivers(text: string): readonly string[] {
  const value = readJson(text)
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string' && logDrivers.includes(one))) {
    throw new Error(`a JSON list is needed, of ${logDrivers.join(', ')}`)
  }
  return value as readonly string[]
}

/** `{"rack": "r1"}`. */
export function readNamedValues(text: string): readonly NamedValue[] {
  const value = readJson(text)
  if (!isRecord(value) || !Object.values(value).every((one) => typeof one === 'string')) {
    throw new Error('a JSON object of names and texts such as {"rack": "r1"} is needed')
  }
  return Object.entries(value).map(([name, one]) => ({ name, value: String(one) }))
}

/**
 * ECS_ENGINE_AUTH_DATA in its two forms: `dockercfg` is what `docker login` writes (with or without `auths` around it),
 * `docker` names username, password and email in clear.
 *
 * Source: amazon-ecs-agent, "Private registry authentication for container instances".
 */
export function readRegistryAuths(type: string, data: string): readonly RegistryAuth[] {
  if (type === '' && data === '') return []
  if (type !== 'dockercfg' && type !== 'docker') {
    throw new Error('ECS_ENGINE_AUTH_TYPE must be dockercfg or docker where ECS_ENGINE_AUTH_DATA is set')
  }
  const value = readJson(data)
  const registries = isRecord(value) && isRecord(value['auths']) ? value['auths'] : value
  if (!isRecord(registries)) throw new Error('a JSON object with an entry for each registry is needed')
  return Object.entries(registries).map(([serveraddress, entry]) => registryAuth(type, serveraddress, entry))
}

function registryAuth(type: 'dockercfg' | 'docker', serveraddress: string, entry: unknown): RegistryAuth {
  if (!isRecord(entry)) throw new Error(`the entry of ${serveraddress} is not an object`)
  const text = (name: string): string => (typeof entry[name] === 'string' ? entry[name] : '')
  const email = text('email') === '' ? {} : { email: text('email') }
  if (type === 'docker' && text('username') === '') throw new Error(`the entry of ${serveraddress} has no username`)
  if (type === 'docker') return { username: text('username'), password: text('password'), serveraddress, ...email }
  const decoded = Buffer.from(text('auth'), 'base64').toString('utf8')
  const [, username, password] = /^([^:]+):(.*)$/s.exec(decoded) ?? []
  if (username === undefined || password === undefined)
    throw new Error(`the entry of ${serveraddress} has no auth of base64(user:password)`)
  return { username, password, serveraddress, ...email }
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0 && Number(value) <= 65_535
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own words would quote the text, which may be a secret.
    throw new Error('it is not JSON')
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
