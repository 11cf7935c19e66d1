/**
 * Installs, upgrades and removes Gantry's services on this machine. `systemd/install.sh` runs it under the Node of the
 * release that it belongs to; docs/install.md is for operators.
 */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { joinedFile } from '../agent/joined-identity.ts'
import { type JoinTarget, type Role, type Wish, readWish, roles, usage } from './install/arguments.ts'
import { endOfJournal, look, perform } from './install/apply.ts'
import { clearInEnvFile, readEnvFile } from './install/env-file.ts'
import { dataOf, envFileOf, layout, unitFileOf, unitOf } from './install/layout.ts'
import { type Machine, lookAtMachine } from './install/machine.ts'
import {
  type Found,
  type Source,
  defaultsOf,
  describe,
  planInstall,
  planUninstall,
  settingsBeforeJoin,
} from './install/plan.ts'
import { type AgentKeys, type Finding, type Intent, findPreconditions } from './install/preconditions.ts'
import { ScriptError, runScript, say } from './report.ts'

/** Without these nothing would run afterwards, or nothing can be done at all. */
const hardChecks: ReadonlySet<string> = new Set(['user', 'systemd', 'useradd', 'listen', 'plain HTTP'])
/** How long the agent may take to register: a cold start on a slow machine takes some time. */
const registrationTimeoutMs = 240_000
const directory = resolve(import.meta.dirname, '..')

async function main(): Promise<number> {
  // Programs and directories are for the services' users too, however private root's own files are on this machine.
  process.umask(0o022)
  const wish = readWish(process.argv.slice(2))
  if (wish === undefined) {
    process.stdout.write(usage)
    return 0
  }
  const machine = await lookAtMachine()
  const found = await look()
  if (wish.command === 'check') return check(machine, found, wish)
  if (wish.command === 'uninstall') return uninstall(machine, found, wish)
  return install(machine, found, wish)
}

function readSource(): Source {
  const release = join(directory, 'release.json')
  if (!existsSync(release)) throw new ScriptError('this is no release: start with systemd/install.sh, which makes one.')
  const { id } = JSON.parse(readFileSync(release, 'utf8')) as { id: string }
  const text = (name: string): string => readFileSync(join(directory, 'systemd', name), 'utf8')
  return { directory, id, unit: (role) => text(unitOf(role)), example: (role) => text(`${role}.env.example`) }
}

function installedRoles(found: Found): readonly Role[] {
  return roles.filter((role) => found.exists(unitFileOf(role)))
}

/** What will hold: the file's settings, then those that are asked for. */
function intentOf(machine: Machine, found: Found, wish: Wish, role: Role): Intent {
  const file = found.file(envFileOf(role))
  const keys = keysOf(machine, found, wish)
  const credentials = keys.by === 'file' ? keys.path : undefined
  const text = keys.by === 'joining' && file !== undefined ? clearInEnvFile(file.text, settingsBeforeJoin) : file?.text
  const before = text === undefined ? defaultsOf(found, role, credentials) : readEnvFile(text)
  return { role, settings: { ...before, ...wish.settings }, keys }
}

function keysOf(machine: Machine, found: Found, wish: Wish): AgentKeys {
  if (wish.join !== undefined) return { by: 'joining', controllerUrl: wish.join.controllerUrl }
  const path = credentialsPath(found, wish)
  const text = machine.readText(path)
  if (wish.credentials !== undefined || text !== undefined) return { by: 'file', path, text }
  const controllerUrl = joinedTo(machine)
  return controllerUrl === undefined ? { by: 'later' } : { by: 'joined', controllerUrl }
}

/** Where the agent of this host has joined; what else stands in that file is the agent's business. */
function joinedTo(machine: Machine): string | undefined {
  try {
    const { controllerUrl } = JSON.parse(machine.readText(joinedFile(dataOf('agent'))) ?? '') as Record<string, unknown>
    return typeof controllerUrl === 'string' ? controllerUrl : undefined
  } catch {
    return undefined
  }
}

/** Those that are named, those that are installed, or those of the controller on this host, unless it has joined. */
function credentialsPath(found: Found, wish: Wish): string {
  if (wish.credentials !== undefined) return resolve(wish.credentials)
  const ofController = join(dataOf('controller'), 'agent-credentials')
  const isLocal = found.exists(ofController) && !found.exists(joinedFile(dataOf('agent')))
  return !found.exists(layout.credentials) && isLocal ? ofController : layout.credentials
}

async function check(machine: Machine, found: Found, wish: Wish): Promise<number> {
  let failed = 0
  for (const role of wish.role === undefined ? roles : [wish.role]) {
    say(`the ${role}:`)
    const findings = await findPreconditions(machine, intentOf(machine, found, wish, role))
    for (const finding of findings) say(`  ${inWords(finding)}`)
    failed += findings.filter(({ state }) => state === 'fails').length
  }
  return failed === 0 ? 0 : 1
}

function inWords({ check: name, state, what, mend }: Finding): string {
  const sign = { ok: 'ok    ', warns: 'note  ', fails: 'FAILED' }[state]
  return `${sign} ${name}: ${what}${mend === '' ? '' : `\n         to mend it: ${mend}`}`
}

async function install(machine: Machine, found: Found, wish: Wish): Promise<number> {
  const wanted = wish.role === undefined ? installedRoles(found) : [wish.role]
  if (wanted.length === 0)
    throw new ScriptError('nothing is installed here: begin with `install.sh controller` or `agent`.')
  const intents = wanted.map((role) => intentOf(machine, found, wish, role))
  await requireAll(machine, intents, wish)
  const agent = intents.find(({ role }) => role === 'agent')
  const source = readSource()
  // One link leads both services of a host: when it changes, both have to follow.
  const moves = found.current !== undefined && !found.current.endsWith(`/${source.id}`)
  const following = moves
    ? roles.filter((role) => wanted.includes(role) || installedRoles(found).includes(role))
    : wanted
  const actions = planInstall(found, source, {
    roles: following,
    settings: (role) => (role === wish.role ? wish.settings : {}),
    credentials: agent?.keys.by === 'file' ? agent.keys.text : undefined,
    joins: wish.join !== undefined,
  })
  if (wish.isDry) return showDry(actions.map(describe))
  if (wish.join !== undefined) await joinController(wish.join, wish.settings['ECS_CLUSTER'])
  if (actions.length === 0) say(`nothing to do: ${source.id} is installed, and all is as it should be`)
  await perform(actions)
  for (const intent of intents) await tellOutcome(intent)
  return 0
}

/**
 * Before all else: where it fails, the host keeps the settings and keys that it has. The token stands on this program's own
 * standard input. With `--json` it is told here what comes next.
 */
async function joinController(target: JoinTarget, cluster: string | undefined): Promise<void> {
  makeDataDirectory()
  const program = join(directory, 'agent', 'join', 'main.ts')
  const { controllerUrl, caFingerprint, replaces } = target
  const args = [program, controllerUrl, '--ca', caFingerprint, '--directory', dataOf('agent'), '--json']
  if (replaces) args.push('--replace')
  if (cluster !== undefined) args.push('--cluster', cluster)
  const child = spawn(process.execPath, args, { stdio: ['inherit', 'pipe', 'inherit'] })
  const ended = new Promise<number | null>((done) => child.once('close', done))
  const answer = await textOf(child.stdout)
  if ((await ended) !== 0) {
    throw new ScriptError(
      'this host has not joined, as said above: no service and no setting was touched. Mend that, then run the line again.',
    )
  }
  const { state, hostId, name, warnings } = JSON.parse(answer) as JoinOutcome
  const already = ' already, and the token was not used; --replace at the end of the line joins anew'
  say(`this host has joined ${controllerUrl} as ${name} (${hostId})${state === 'already' ? already : ''}`)
  for (const warning of warnings) say(`note: ${warning}`)
}

/** What `gantry join --json` tells. */
interface JoinOutcome {
  readonly state: 'joined' | 'already'
  readonly hostId: string
  readonly name: string
  readonly warnings: readonly string[]
}

/** As systemd makes it: the controller's user passes through it to a directory of its own. */
function makeDataDirectory(): void {
  if (existsSync(layout.data)) return
  mkdirSync(layout.data, { recursive: true })
  chmodSync(layout.data, 0o755)
}

function showDry(sentences: readonly string[]): number {
  if (sentences.length === 0) say('nothing would be done: all is as it should be')
  for (const sentence of sentences) say(`would ${sentence}`)
  return 0
}

/** All that is wrong at once, so that nobody mends one thing after the other. */
async function requireAll(machine: Machine, intents: readonly Intent[], wish: Wish): Promise<void> {
  const findings = (await Promise.all(intents.map((intent) => findPreconditions(machine, intent)))).flat()
  const bad = findings.filter(({ state }) => state !== 'ok')
  for (const finding of bad) say(inWords(finding))
  const failed = bad.filter(({ state }) => state === 'fails')
  if (failed.length === 0) return
  const hard = failed.filter(({ check: name }) => hardChecks.has(name))
  if (wish.isDry || (hard.length === 0 && (wish.force || wish.command === 'upgrade'))) {
    say(`going on although ${failed.length} ${failed.length === 1 ? 'check' : 'checks'} failed`)
    return
  }
  throw new ScriptError(
    'nothing was changed. Mend what failed, then run the same command again' +
      (hard.length > 0 ? '.' : ', or add --force to it.'),
  )
}

async function tellOutcome({ role, settings, keys }: Intent): Promise<void> {
  if (role === 'controller') return tellOfController(settings)
  if (keys.by === 'later') {
    say(
      'the agent runs, and waits until this host joins a controller. `gantry join-token` on the host of the controller',
    )
    say(
      'prints the line for that. It ends in a command for this host: echo TOKEN | gantry join https://... --ca sha256:...',
    )
    return
  }
  const port = settings['GANTRY_INTROSPECTION_PORT'] ?? '51678'
  const giveUpAt = Date.now() + registrationTimeoutMs
  while (Date.now() < giveUpAt) {
    const arn = await registeredAs(port)
    if (arn !== undefined) {
      say(`the agent runs: this host is ${arn}`)
      say(`its log: journalctl -u ${unitOf(role)}; its settings: ${envFileOf(role)}`)
      return
    }
    await sleep(500)
  }
  const log = await endOfJournal(unitOf(role))
  say(`the agent runs and is not registered yet; it goes on trying. The end of its log:\n${log}`)
}

async function registeredAs(port: string): Promise<string | undefined> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/metadata`, { signal: AbortSignal.timeout(2_000) })
    const { ContainerInstanceArn } = (await answer.json()) as { ContainerInstanceArn?: string | null }
    return ContainerInstanceArn ?? undefined
  } catch {
    return undefined
  }
}

function tellOfController(settings: Intent['settings']): void {
  const listen = settings['GANTRY_LISTEN'] || '127.0.0.1:51700'
  const tls = settings['GANTRY_TLS_LISTEN'] || '0.0.0.0:51443'
  const rootKeys = join(dataOf('controller'), 'root-credentials')
  say(`the controller runs: plain HTTP on ${listen} for this host, TLS ${tls === 'off' ? 'switched off' : `on ${tls}`}`)
  say(`  operators' key  ${rootKeys}`)
  say(`  log             journalctl -u ${unitOf('controller')}`)
  if (tls !== 'off') {
    say('  the line that lets another host join it, with a token that is good once:')
    say(`    AWS_SHARED_CREDENTIALS_FILE=${rootKeys} gantry join-token`)
  }
}

async function uninstall(machine: Machine, found: Found, wish: Wish): Promise<number> {
  if (!machine.isRoot) throw new ScriptError('this is not root: run it again as root, or with sudo.')
  const leaving = wish.role === undefined ? roles : [wish.role]
  const settings = readEnvFile(found.file(envFileOf('agent'))?.text ?? '')
  const dockerHost = settings['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock'
  const actions = planUninstall(found, { roles: leaving, purge: wish.purge, dockerHost })
  if (wish.isDry) return showDry(actions.map(describe))
  await perform(actions)
  if (actions.length === 0) say('nothing to do: it is not installed here')
  for (const line of whatStays(leaving)) say(line)
  return 0
}

function whatStays(leaving: readonly Role[]): readonly string[] {
  const paths = leaving.flatMap((role) => [envFileOf(role), dataOf(role)]).filter((path) => existsSync(path))
  const lines = paths.length === 0 ? [] : [`what stays: ${paths.join(', ')} (uninstall --purge removes it)`]
  if (leaving.includes('agent') && existsSync(dataOf('agent'))) {
    lines.push(
      'containers go on without an agent; an agent that is installed here again takes them up',
      'a host that does not come back: aws ecs deregister-container-instance --force --container-instance ID',
    )
  }
  return lines
}

await runScript(main)
