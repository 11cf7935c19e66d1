/** Decides what an installation changes: nothing where all is as it should be. */
import { join } from 'node:path'
import type { Role } from './arguments.ts'
import { clearInEnvFile, readEnvFile, setInEnvFile } from './env-file.ts'
import { commandText, dataOf, envFileOf, layout, unitFileOf, unitOf, userOf, versionDirectory } from './layout.ts'

export type Action =
  | { readonly do: 'makeUser'; readonly name: string }
  | { readonly do: 'copyRelease'; readonly from: string; readonly to: string }
  | { readonly do: 'link'; readonly path: string; readonly target: string }
  | { readonly do: 'write'; readonly path: string; readonly mode: number; readonly text: string }
  | { readonly do: 'remove'; readonly path: string }
  | { readonly do: 'run'; readonly command: readonly string[]; readonly why: string }
  | { readonly do: 'removeContainers'; readonly dockerHost: string }

/** What is on the machine before anything is done. */
export interface Found {
  readonly hasUser: (name: string) => boolean
  /** The text of a file and its permissions; undefined where there is none. */
  readonly file: (path: string) => { readonly text: string; readonly mode: number } | undefined
  readonly exists: (path: string) => boolean
  /** What /opt/gantry/current leads to. */
  readonly current: string | undefined
  readonly versions: readonly string[]
  readonly isActive: (unit: string) => boolean
  readonly isEnabled: (unit: string) => boolean
}

/** The release that is being installed, and where it lies unpacked. */
export interface Source {
  readonly directory: string
  readonly id: string
  /** Texts of the files below its systemd/. */
  readonly unit: (role: Role) => string
  readonly example: (role: Role) => string
}

export interface Installation {
  readonly roles: readonly Role[]
  /** What the operator wants set. */
  readonly settings: (role: Role) => Readonly<Record<string, string>>
  /** The agent's keys, where they are to be written. */
  readonly credentials: string | undefined
  /** The agent's host is about to join: what would come before what it is given then is taken out of its settings. */
  readonly joins?: boolean | undefined
}

/** Settings that come before what a host is given when it joins. */
export const settingsBeforeJoin: readonly string[] = [
  'ECS_BACKEND_HOST',
  'ECS_CLUSTER',
  'AWS_DEFAULT_REGION',
  'AWS_REGION',
  'AWS_SHARED_CREDENTIALS_FILE',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'GANTRY_CA_FILE',
  'AWS_CA_BUNDLE',
]

/** How many versions are kept beside the new one, for going back. */
const formerVersionsKept = 1

export function planInstall(found: Found, source: Source, wanted: Installation): readonly Action[] {
  const target = versionDirectory(source.id)
  const actions: Action[] = []
  for (const role of wanted.roles) {
    const user = userOf[role]
    if (user !== undefined && !found.hasUser(user)) actions.push({ do: 'makeUser', name: user })
  }
  if (!found.exists(join(target, 'release.json'))) {
    actions.push({ do: 'copyRelease', from: source.directory, to: target })
  }
  const changed = new Set<Role>(found.current === target ? [] : wanted.roles)
  const units: Action[] = []
  for (const role of wanted.roles) {
    const files = filesOf(found, source, wanted, role)
    if (files.length > 0) changed.add(role)
    units.push(...files)
  }
  actions.push(...units)
  actions.push(...commandOf(found))
  if (found.current !== target) actions.push({ do: 'link', path: layout.current, target })
  if (units.some((action) => action.do === 'write' && action.path.startsWith(layout.units))) {
    actions.push({ do: 'run', command: ['systemctl', 'daemon-reload'], why: 'systemd reads the units' })
  }
  for (const role of wanted.roles) actions.push(...lifeOf(found, role, changed.has(role)))
  if (wanted.joins === true && found.exists(layout.credentials)) {
    actions.push({ do: 'remove', path: layout.credentials })
  }
  actions.push(...removalsOfOldVersions(found, target))
  return actions
}

/** Keys replaced under a running agent need no restart, but a restart is harmless and shows at once if they work. */
function filesOf(found: Found, source: Source, wanted: Installation, role: Role): readonly Action[] {
  const envFile = envFileOf(role)
  const before = found.file(envFile)?.text
  const defaults = before === undefined && wanted.joins !== true ? defaultsOf(found, role, wanted.credentials) : {}
  const settings = { ...defaults, ...wanted.settings(role) }
  const cleared = role === 'agent' && wanted.joins === true ? settingsBeforeJoin : []
  const text = clearInEnvFile(before ?? source.example(role), cleared)
  const files = [
    write(found, unitFileOf(role), 0o644, source.unit(role)),
    write(found, envFile, 0o600, setInEnvFile(text, settings)),
    role === 'agent' && wanted.credentials !== undefined
      ? write(found, layout.credentials, 0o600, wanted.credentials)
      : undefined,
  ]
  return files.filter((action) => action !== undefined)
}

/** What a new environment file says where the operator said nothing: of an agent with keys, those of this very host. */
export function defaultsOf(
  found: Pick<Found, 'file'>,
  role: Role,
  credentials: string | undefined,
): Readonly<Record<string, string>> {
  if (role === 'controller' || credentials === undefined) return {}
  const controller = readEnvFile(found.file(envFileOf('controller'))?.text ?? '')
  const port = /:(\d+)$/.exec(controller['GANTRY_LISTEN'] ?? '')?.[1] ?? '51700'
  return {
    ECS_BACKEND_HOST: `http://127.0.0.1:${port}`,
    ECS_CLUSTER: 'default',
    AWS_DEFAULT_REGION: controller['GANTRY_REGION'] ?? 'us-east-1',
    AWS_SHARED_CREDENTIALS_FILE: layout.credentials,
  }
}

/** Somebody else's command of that name is left alone. */
function commandOf(found: Found): readonly Action[] {
  const before = found.file(layout.command)
  if (before !== undefined && !isOurCommand(before.text)) return []
  const action = write(found, layout.command, 0o755, commandText)
  return action === undefined ? [] : [action]
}

function isOurCommand(text: string): boolean {
  return text.includes('written by its installer')
}

function write(found: Found, path: string, mode: number, text: string): Action | undefined {
  const before = found.file(path)
  return before?.text === text && before.mode === mode ? undefined : { do: 'write', path, mode, text }
}

function lifeOf(found: Found, role: Role, isChanged: boolean): readonly Action[] {
  const unit = unitOf(role)
  const actions: Action[] = []
  if (!found.isEnabled(unit)) {
    actions.push({ do: 'run', command: ['systemctl', 'enable', '--quiet', unit], why: 'it starts with the machine' })
  }
  if (!found.isActive(unit)) {
    actions.push({ do: 'run', command: ['systemctl', 'start', unit], why: `the ${role} starts` })
  } else if (isChanged) actions.push(...restartOf(found, role))
  return actions
}

/** An upgrade is no farewell: an agent that would drain its host at SIGTERM is ended without being asked. */
function restartOf(found: Found, role: Role): readonly Action[] {
  const unit = unitOf(role)
  const settings = readEnvFile(found.file(envFileOf(role))?.text ?? '')
  if (!/^(true|1)$/i.test(settings['GANTRY_DRAIN_ON_STOP'] ?? '')) {
    return [{ do: 'run', command: ['systemctl', 'restart', unit], why: `the ${role} restarts; containers go on` }]
  }
  const kill = ['systemctl', 'kill', '--kill-who=main', '--signal=SIGKILL', unit]
  return [
    { do: 'run', command: kill, why: `the ${role} ends without draining its host; containers go on` },
    { do: 'run', command: ['systemctl', 'restart', unit], why: `the ${role} starts again` },
  ]
}

function removalsOfOldVersions(found: Found, target: string): readonly Action[] {
  const former = found.versions.filter((path) => path !== target && path !== found.current)
  const kept = found.current === undefined || found.current === target ? formerVersionsKept : formerVersionsKept - 1
  // A second run of the same release must find nothing to do: what it would keep is what the first one kept.
  return former.slice(kept).map((path) => ({ do: 'remove', path }))
}

export interface Uninstallation {
  readonly roles: readonly Role[]
  readonly purge: boolean
  readonly dockerHost: string
}

export function planUninstall(found: Found, { roles, purge, dockerHost }: Uninstallation): readonly Action[] {
  const actions: Action[] = []
  const installed = roles.filter((role) => found.exists(unitFileOf(role)))
  // The agent first: it tells its controller that it goes.
  for (const role of installed.toReversed()) {
    actions.push({
      do: 'run',
      command: ['systemctl', 'disable', '--now', '--quiet', unitOf(role)],
      why: `the ${role} ends`,
    })
    actions.push({ do: 'remove', path: unitFileOf(role) })
  }
  if (installed.length > 0) {
    actions.push({ do: 'run', command: ['systemctl', 'daemon-reload'], why: 'systemd forgets the units' })
  }
  const staying = (['controller', 'agent'] as const).filter(
    (role) => !roles.includes(role) && found.exists(unitFileOf(role)),
  )
  const removed: string[] = staying.length === 0 ? [layout.directory] : []
  if (staying.length === 0 && isOurCommand(found.file(layout.command)?.text ?? '')) removed.push(layout.command)
  if (purge) {
    if (roles.includes('agent') && found.exists(dataOf('agent'))) actions.push({ do: 'removeContainers', dockerHost })
    for (const role of roles) removed.push(`${unitFileOf(role)}.d`, envFileOf(role), dataOf(role))
    if (roles.includes('agent')) removed.push(layout.credentials)
    if (staying.length === 0) removed.push(layout.settings, layout.data)
  }
  actions.push(...removed.filter((path) => found.exists(path)).map((path): Action => ({ do: 'remove', path })))
  const user = userOf.controller
  if (purge && roles.includes('controller') && user !== undefined && found.hasUser(user)) {
    actions.push({ do: 'run', command: ['userdel', user], why: "the controller's user goes" })
  }
  return actions
}

/** What an action does, for the operator: no secret, no file's text. */
export function describe(action: Action): string {
  if (action.do === 'makeUser') return `make the system user ${action.name}`
  if (action.do === 'copyRelease') return `copy the release to ${action.to}`
  if (action.do === 'link') return `let ${action.path} lead to ${action.target}`
  if (action.do === 'write') return `write ${action.path} (${action.mode.toString(8)})`
  if (action.do === 'remove') return `remove ${action.path}`
  if (action.do === 'run') return `${action.command.join(' ')}: ${action.why}`
  return 'remove the containers and networks that the agent made'
}
