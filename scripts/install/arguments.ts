/** What the operator asked the installer for. */
import { parseArgs } from 'node:util'
import { ScriptError } from '../report.ts'

export type Role = 'controller' | 'agent'
export const roles: readonly Role[] = ['controller', 'agent']

export interface Wish {
  readonly command: 'install' | 'upgrade' | 'uninstall' | 'check'
  /** What the command is about; undefined: whatever is installed here. */
  readonly role: Role | undefined
  /** Settings that were given, by the names of the environment files. */
  readonly settings: Readonly<Record<string, string>>
  /** A file with the agent's keys, to be copied. */
  readonly credentials: string | undefined
  readonly isDry: boolean
  readonly purge: boolean
  /** Go on where a precondition that can be mended later fails. */
  readonly force: boolean
}

export const usage = `Gantry's installer.

  install.sh controller [--listen HOST:PORT] [--region NAME] [--set NAME=VALUE]...
      Installs or brings up to date the controller on this host.
  install.sh agent --controller URL [--cluster NAME] --credentials FILE [--region NAME] [--set NAME=VALUE]...
      Installs or brings up to date the agent on this host. FILE is a copy of the controller's agent-credentials; on the
      controller's own host neither URL nor FILE has to be given.
  install.sh upgrade
      Brings what is installed here to this release; containers go on.
  install.sh uninstall [controller|agent] [--purge]
      Stops and removes the services. Settings, data and containers stay; with --purge they go too.
  install.sh check [controller|agent]
      Looks at all that an installation needs, and changes nothing.

  --dry-run   say what would be done, and do nothing
  --force     go on although a check failed
  --set       a setting for the environment file, such as --set ECS_RESERVED_MEMORY=256
`

const commands = ['controller', 'agent', 'upgrade', 'uninstall', 'check']

/** Undefined where help was asked for. Throws ScriptError where what was given can't be understood. */
export function readWish(args: readonly string[]): Wish | undefined {
  const { values, positionals } = parse(args)
  if (values.help === true) return undefined
  const [first = '', second, ...more] = positionals
  if (!commands.includes(first) || more.length > 0) {
    throw new ScriptError(`say what to do: ${commands.join(', ')}. --help explains them.`)
  }
  const named = roles.find((role) => role === (second ?? first))
  if (second !== undefined && (named === undefined || !['uninstall', 'check'].includes(first))) {
    throw new ScriptError(`${second} can't follow ${first}. --help shows what can.`)
  }
  const command = first === 'controller' || first === 'agent' ? 'install' : (first as 'upgrade' | 'uninstall' | 'check')
  const wish: Wish = {
    command,
    role: named,
    settings: settingsOf(named, values),
    credentials: values.credentials,
    isDry: values['dry-run'] === true,
    purge: values.purge === true,
    force: values.force === true,
  }
  refuseMisplaced(wish)
  return wish
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        controller: { type: 'string' },
        cluster: { type: 'string' },
        credentials: { type: 'string' },
        listen: { type: 'string' },
        region: { type: 'string' },
        set: { type: 'string', multiple: true },
        'dry-run': { type: 'boolean' },
        purge: { type: 'boolean' },
        force: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new ScriptError(`${error instanceof Error ? error.message : String(error)} (--help shows what there is)`)
  }
}

type Values = ReturnType<typeof parse>['values']

function settingsOf(role: Role | undefined, values: Values): Record<string, string> {
  const pairs = (values.set ?? []).map((pair): [string, string] => {
    const [, name, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/s.exec(pair) ?? []
    if (name === undefined || value === undefined || value.includes('\n')) {
      throw new ScriptError(`--set takes NAME=VALUE on one line, not ${JSON.stringify(pair.split('=')[0])}.`)
    }
    return [name, value]
  })
  const given: Record<string, string | undefined> = {
    GANTRY_LISTEN: values.listen,
    ECS_BACKEND_HOST: values.controller === undefined ? undefined : controllerUrl(values.controller),
    ECS_CLUSTER: values.cluster,
    [role === 'controller' ? 'GANTRY_REGION' : 'AWS_DEFAULT_REGION']: values.region,
  }
  const options = Object.entries(given).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, value]],
  )
  return Object.fromEntries([...options, ...pairs])
}

function controllerUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.pathname !== '/' || url.search !== '') {
    throw new ScriptError(
      `--controller takes scheme, host and port, such as http://10.0.0.5:51700, not ${JSON.stringify(text)}.`,
    )
  }
  return url.origin
}

function refuseMisplaced({ command, role, settings, credentials, purge }: Wish): void {
  const isAgent = command === 'install' && role === 'agent'
  const ofAgent = ['ECS_BACKEND_HOST', 'ECS_CLUSTER'].filter((name) => settings[name] !== undefined)
  if (command === 'install' && role === 'controller' && (ofAgent.length > 0 || credentials !== undefined)) {
    throw new ScriptError('--controller, --cluster and --credentials are for `install.sh agent`.')
  }
  if (isAgent && settings['GANTRY_LISTEN'] !== undefined) {
    throw new ScriptError(
      '--listen is for `install.sh controller`: an agent calls its controller, and listens to nobody.',
    )
  }
  if (command !== 'install' && command !== 'check' && (Object.keys(settings).length > 0 || credentials !== undefined)) {
    throw new ScriptError(`${command} changes no settings: edit /etc/gantry, or run the installation again.`)
  }
  if (purge && command !== 'uninstall') throw new ScriptError('--purge is for `install.sh uninstall`.')
}
