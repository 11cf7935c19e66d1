/** What the operator asked the installer for. */
import { parseArgs } from 'node:util'
import { parseCaFingerprint, parseControllerUrl } from '../../proto/joining.ts'
import { ScriptError } from '../report.ts'

export type Role = 'controller' | 'agent'
export const roles: readonly Role[] = ['controller', 'agent']

export interface JoinTarget {
  readonly controllerUrl: string
  readonly caFingerprint: string
  /** Also where the host has joined before: to move it, or to bring back one that was revoked. */
  readonly replaces: boolean
}

export interface Wish {
  readonly command: 'install' | 'upgrade' | 'uninstall' | 'check'
  /** What the command is about; undefined: whatever is installed here. */
  readonly role: Role | undefined
  /** Settings that were given, by the names of the environment files. */
  readonly settings: Readonly<Record<string, string>>
  /** A file with the agent's keys, to be copied. */
  readonly credentials: string | undefined
  /** The controller that this host is to join; the token comes on standard input. */
  readonly join: JoinTarget | undefined
  readonly isDry: boolean
  readonly purge: boolean
  /** Go on where a precondition that can be mended later fails. */
  readonly force: boolean
}

export const usage = `Gantry's installer.

  install.sh controller [--tls-listen HOST:PORT] [--region NAME] [--set NAME=VALUE]...
      Installs or brings up to date the controller on this host. Other hosts reach it by TLS, on port 51443.
  echo TOKEN | install.sh agent --join https://HOST:51443 --ca sha256:FINGERPRINT [--cluster NAME] [--set NAME=VALUE]...
      Installs the agent on this host and lets it join a controller. \`gantry join-token\` on the controller's host prints
      the whole line. --replace at its end: also where this host has joined before.
  install.sh agent [--set NAME=VALUE]...
      Installs or brings up to date the agent: on the controller's own host it uses that one, elsewhere it goes on with
      what it was joined to, or waits for \`gantry join\`. --controller URL and --credentials FILE are for keys of your own.
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
    join: joinTarget(values),
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
        join: { type: 'string' },
        ca: { type: 'string' },
        replace: { type: 'boolean' },
        listen: { type: 'string' },
        'tls-listen': { type: 'string' },
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
    GANTRY_TLS_LISTEN: values['tls-listen'],
    ECS_BACKEND_HOST: values.controller === undefined ? undefined : controllerUrl(values.controller),
    ECS_CLUSTER: values.cluster,
    [role === 'controller' ? 'GANTRY_REGION' : 'AWS_DEFAULT_REGION']: values.region,
  }
  const options = Object.entries(given).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, value]],
  )
  return Object.fromEntries([...options, ...pairs])
}

function joinTarget({ join, ca, replace = false }: Values): JoinTarget | undefined {
  if (join === undefined && replace) throw new ScriptError('--replace goes with --join: it is for joining anew.')
  if (join === undefined && ca === undefined) return undefined
  if (join === undefined) throw new ScriptError('--ca goes with --join: the line of the controller has both.')
  const url = parseControllerUrl(join)
  if (url === undefined || !url.startsWith('https:')) {
    throw new ScriptError(`--join takes an address such as https://10.0.0.5:51443, not ${JSON.stringify(join)}.`)
  }
  const caFingerprint = parseCaFingerprint(ca ?? '')
  if (caFingerprint !== undefined) return { controllerUrl: url, caFingerprint, replaces: replace }
  throw new ScriptError('--ca takes sha256: and 64 hex digits: copy the whole line that `gantry join-token` prints.')
}

function controllerUrl(text: string): string {
  const url = URL.parse(text)
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.pathname !== '/' || url.search !== '') {
    throw new ScriptError(
      `--controller takes scheme, host and port, such as https://10.0.0.5:51443, not ${JSON.stringify(text)}.`,
    )
  }
  return url.origin
}

function refuseMisplaced({ command, role, settings, credentials, join, purge }: Wish): void {
  const isAgent = command === 'install' && role === 'agent'
  const ofAgent = ['ECS_BACKEND_HOST', 'ECS_CLUSTER'].filter((name) => settings[name] !== undefined)
  const ofController = ['GANTRY_LISTEN', 'GANTRY_TLS_LISTEN'].filter((name) => settings[name] !== undefined)
  if (command === 'install' && role === 'controller' && (ofAgent.length > 0 || (credentials ?? join) !== undefined)) {
    throw new ScriptError('--controller, --cluster, --credentials and --join are for `install.sh agent`.')
  }
  if (isAgent && ofController.length > 0) {
    throw new ScriptError(
      '--listen and --tls-listen are for `install.sh controller`: an agent calls its controller, and listens to nobody.',
    )
  }
  if (join !== undefined && (settings['ECS_BACKEND_HOST'] ?? credentials) !== undefined) {
    throw new ScriptError('--join brings address and keys: leave --controller and --credentials out.')
  }
  const changes = Object.keys(settings).length > 0 || (credentials ?? join) !== undefined
  if (command !== 'install' && command !== 'check' && changes) {
    throw new ScriptError(`${command} changes no settings: edit /etc/gantry, or run the installation again.`)
  }
  if (purge && command !== 'uninstall') throw new ScriptError('--purge is for `install.sh uninstall`.')
}
