/**
 * How values that were fetched get into Docker's create body, at the last moment: what is decided and logged before it
 * holds none of them.
 *
 * Source of the precedence: amazon-ecs-agent 1.105, `agent/api/container/container.go` (MergeEnvironmentVariables: a
 * secret stands over all; MergeEnvironmentVariablesFromEnvfiles: what is there stands over a file) and
 * `agent/api/task/task.go` (PopulateSecrets).
 */
import type { PayloadSecret } from '../../proto/acs.ts'
import type { CreateBody } from '../engine.ts'
import { ownApiNames } from './endpoint-environment.ts'

export interface FetchedValues {
  /** Variables from secrets, by name. */
  readonly environment: ReadonlyMap<string, string>
  readonly logOptions: ReadonlyMap<string, string>
  /** Of the environment files, the earlier one's standing. */
  readonly fileVariables: ReadonlyMap<string, string>
  readonly registryLogin?: { readonly username: string; readonly password: string } | undefined
}

/** Told by the agent to whoever says nothing else: what was fetched stands over it. */
const regionNames = ['AWS_REGION', 'AWS_DEFAULT_REGION']
const endpointName = 'AWS_ENDPOINT_URL'

/** `ownNames` are the variables that the container's definition sets. */
export function withFetchedValues(body: CreateBody, values: FetchedValues, ownNames: ReadonlySet<string>): CreateBody {
  const { environment, fileVariables, logOptions } = values
  const said = new Set([...fileVariables.keys(), ...environment.keys()])
  const saysRegion = regionNames.some((name) => said.has(name))
  const saysApi = ownApiNames.some((name) => said.has(name))
  const given = environmentOf(body).filter(([name]) => {
    if (environment.has(name)) return false
    if (ownNames.has(name)) return true
    if (name === endpointName) return !saysApi
    return !(saysRegion && regionNames.includes(name))
  })
  const names = new Set(given.map(([name]) => name))
  const all = [
    ...given,
    ...[...fileVariables].filter(([name]) => !names.has(name) && !environment.has(name)),
    ...environment,
  ]
  const merged = { ...body, Env: all.map(([name, value]) => `${name}=${value}`) }
  return logOptions.size === 0 ? merged : withLogOptions(merged, logOptions)
}

/**
 * The engine's words with every value in them replaced: it repeats what it refuses, as it is, quoted as Go does it, or as a
 * part of a URL.
 */
export function withoutValues(text: string, values: FetchedValues | undefined): string {
  if (values === undefined) return text
  const { environment, logOptions, fileVariables, registryLogin } = values
  const all = [...environment.values(), ...logOptions.values(), ...fileVariables.values()]
  const hidden = [...all, ...(registryLogin === undefined ? [] : [registryLogin.password])]
  // The longest first: one may be a part of another. What is shorter could be any word of the engine's.
  const shown = [...new Set(hidden.flatMap(formsOf))].filter((value) => value.length > 3)
  const longest = shown.toSorted((a, b) => b.length - a.length)
  return longest.reduce((words, value) => words.replaceAll(value, '***'), text)
}

function formsOf(value: string): readonly string[] {
  const quoted = Array.from(value, quotedByGo).join('')
  return [value, value.trim(), quoted, ...(value.isWellFormed() ? [encodeURIComponent(value)] : [])]
}

/** Source: Go, strconv.Quote. */
const quotes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
}

function quotedByGo(character: string): string {
  const code = character.codePointAt(0) ?? 0
  const isControl = code < 0x20 || code === 0x7f
  return quotes[character] ?? (isControl ? `\\x${code.toString(16).padStart(2, '0')}` : character)
}

/** Options of the container's log driver that hold a secret, by name. */
export function secretLogOptions(secrets: readonly PayloadSecret[] = []): ReadonlySet<string> {
  return new Set(secrets.filter(({ target }) => target === 'LOG_DRIVER').map(({ name }) => name))
}

/** The agent itself ships for `awslogs`, into which no option of a definition goes. */
function withLogOptions(body: CreateBody, options: ReadonlyMap<string, string>): CreateBody {
  const hostConfig = membersOf(body['HostConfig'])
  const logConfig = membersOf(hostConfig['LogConfig'])
  const config = { ...membersOf(logConfig['Config']), ...Object.fromEntries(options) }
  return { ...body, HostConfig: { ...hostConfig, LogConfig: { ...logConfig, Config: config } } }
}

function environmentOf(body: CreateBody): readonly (readonly [string, string])[] {
  const all = body['Env']
  if (!Array.isArray(all)) return []
  return all.map((one) => {
    const [name = '', value = ''] = String(one).split(/=(.*)/s)
    return [name, value] as const
  })
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}
