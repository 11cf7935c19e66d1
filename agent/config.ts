/**
 * Reads the agent's configuration, the variables of `config-variables.ts`: the environment comes before the file
 * (`/etc/ecs/ecs.config`, lines of KEY=VALUE). A bad value warns and the default stands, except where running on with the
 * default would do what nobody asked for.
 */
import { readRegistryAuths } from './config-values.ts'
import { variables } from './config-variables.ts'
import type { Variable } from './config-variable.ts'
import type { RegistryAuth } from './engine.ts'

type Values = { readonly [Key in keyof typeof variables]: ReturnType<(typeof variables)[Key]['read']> }

/** What the rest of the agent works by; the raw registry credentials have become `registryAuths`. */
export interface AgentConfig extends Omit<Values, 'engineAuthType' | 'engineAuthData'> {
  readonly registryAuths: readonly RegistryAuth[]
}

/** The variable that names the configuration file itself. */
export const configFileVariable = 'GANTRY_AGENT_CONFIG_FILE'
export const configFileDefault = '/etc/ecs/ecs.config'

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Throws an Error, with what to do about it, for a bad value of a variable that is marked fatal. `joined` is what a host
 * that has joined was told: it holds where nothing else is said.
 */
export function readConfig(
  environment: Environment,
  fileText: string,
  joined: Readonly<Record<string, string>> = {},
): { config: AgentConfig; warnings: string[] } {
  const warnings: string[] = []
  const given = { ...readConfigFile(fileText, warnings), ...definedOf(environment) }
  const settings = { ...given, ...joinedDefaults(given, joined) }
  const values = Object.fromEntries(
    Object.entries(variables).map(([key, one]) => [key, readVariable(one, settings, warnings)]),
  ) as unknown as Values
  const { engineAuthType, engineAuthData, ...rest } = values
  const known = new Set(Object.values(variables).map(({ name }) => name))
  for (const name of Object.keys(settings)) {
    if (!name.startsWith('ECS_') || known.has(name)) continue
    warnings.push(`${name} is no variable of this agent and has no effect. See docs/agent-configuration.md.`)
  }
  return { config: { ...rest, registryAuths: readAuths(engineAuthType, engineAuthData, warnings) }, warnings }
}

function readVariable(one: Variable<unknown>, settings: Readonly<Record<string, string>>, warnings: string[]): unknown {
  const name = settings[one.name] === undefined && one.otherName !== undefined ? one.otherName : one.name
  const text = settings[name]
  if (text === undefined || text === '') return one.read(one.defaultText)
  try {
    return one.read(text)
  } catch (error) {
    const shown = one.secret === true ? '' : ` is "${text}"`
    const why = error instanceof Error ? error.message : String(error)
    if (one.fatal === true) throw new Error(`${name}${shown}, but ${why}. Correct it, or remove it.`, { cause: error })
    warnings.push(`${name}${shown}, but ${why}; the default stands: ${one.defaultText}.`)
    return one.read(one.defaultText)
  }
}

function readAuths(type: string, data: string, warnings: string[]): readonly RegistryAuth[] {
  try {
    return readRegistryAuths(type, data)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    warnings.push(`ECS_ENGINE_AUTH_DATA can't be used: ${why}. Private registries will refuse pulls until it is right.`)
    return []
  }
}

/** A variable that is empty says nothing, and so does one whose other name is set. */
function joinedDefaults(
  given: Readonly<Record<string, string>>,
  joined: Readonly<Record<string, string>>,
): Record<string, string> {
  const isSaid = (name: string | undefined): boolean => name !== undefined && (given[name] ?? '') !== ''
  const silent = Object.values(variables).filter(
    (one: Variable<unknown>) => !isSaid(one.name) && !isSaid(one.otherName),
  )
  const names = new Set(silent.map(({ name }) => name))
  return Object.fromEntries(Object.entries(joined).filter(([name]) => names.has(name)))
}

function definedOf(environment: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).filter((pair): pair is [string, string] => pair[1] !== undefined),
  )
}

/** Lines of KEY=VALUE, as systemd and Docker read an environment file; `#` starts a comment line. */
function readConfigFile(text: string, warnings: string[]): Record<string, string> {
  const settings: Record<string, string> = {}
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue
    const match = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line)
    if (match === null) {
      // The line itself is not shown: it may hold a secret.
      warnings.push(`Line ${index + 1} of the configuration file is not KEY=VALUE and has no effect.`)
      continue
    }
    const value = (match[2] ?? '').trim()
    settings[match[1] ?? ''] = /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value
  }
  return settings
}
