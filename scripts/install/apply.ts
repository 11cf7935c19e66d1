/** Reads what is on the machine, and does what a plan says. */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { askVersion, listContainers, removeContainer, removeNetworks } from '../engine-api.ts'
import { ScriptError, lastLines, say } from '../report.ts'
import { runCommand } from '../run-command.ts'
import { roles } from './arguments.ts'
import { layout, unitOf } from './layout.ts'
import { type Action, type Found, describe } from './plan.ts'

/** Labels of the containers that Gantry's agent makes. */
const ownLabel = 'gantry.container-instance-arn'

export async function look(): Promise<Found> {
  const passwd = readFileSync('/etc/passwd', 'utf8')
  const states = new Map<string, { active: boolean; enabled: boolean }>()
  for (const role of roles) {
    const unit = unitOf(role)
    const active = (await runCommand('systemctl', ['is-active', '--quiet', unit])).code === 0
    const enabled = (await runCommand('systemctl', ['is-enabled', '--quiet', unit])).code === 0
    states.set(unit, { active, enabled })
  }
  return {
    hasUser: (name) => passwd.split('\n').some((line) => line.startsWith(`${name}:`)),
    file: (path) =>
      existsSync(path) ? { text: readFileSync(path, 'utf8'), mode: statSync(path).mode & 0o777 } : undefined,
    exists: (path) => existsSync(path),
    current: readLink(layout.current),
    versions: existsSync(layout.versions)
      ? readdirSync(layout.versions)
          .filter((name) => !name.startsWith('.'))
          .map((name) => join(layout.versions, name))
      : [],
    isActive: (unit) => states.get(unit)?.active ?? false,
    isEnabled: (unit) => states.get(unit)?.enabled ?? false,
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** In order; the first that fails ends it with a ScriptError. What is done already is found done by the next run. */
export async function perform(actions: readonly Action[]): Promise<void> {
  for (const action of actions) {
    say(describe(action))
    await performOne(action)
  }
}

async function performOne(action: Action): Promise<void> {
  if (action.do === 'makeUser') await makeUser(action.name)
  else if (action.do === 'copyRelease') await copyRelease(action.from, action.to)
  else if (action.do === 'link') switchLink(action.path, action.target)
  else if (action.do === 'write') writeWhole(action.path, action.text, action.mode)
  else if (action.do === 'remove') rmSync(action.path, { recursive: true, force: true })
  else if (action.do === 'run') await run(action.command)
  else await removeContainers(action.dockerHost)
}

async function makeUser(name: string): Promise<void> {
  const shell = ['/usr/sbin/nologin', '/sbin/nologin'].find((path) => existsSync(path)) ?? '/bin/false'
  const options = ['--system', '--user-group', '--no-create-home', '--home-dir', layout.data, '--shell', shell]
  await run(['useradd', ...options, name])
}

/** In one step, so that there is no moment without a version. */
function switchLink(path: string, target: string): void {
  rmSync(`${path}.new`, { force: true })
  symlinkSync(target, `${path}.new`)
  renameSync(`${path}.new`, path)
}

/** Beside its place first: a directory of a version is whole, or it is not there. */
async function copyRelease(from: string, to: string): Promise<void> {
  const part = join(dirname(to), `.${process.pid}.part`)
  rmSync(part, { recursive: true, force: true })
  mkdirSync(dirname(to), { recursive: true, mode: 0o755 })
  try {
    cpSync(from, part, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
    chmodSync(part, 0o755)
    rmSync(to, { recursive: true, force: true })
    renameSync(part, to)
    // Where SELinux is (RHEL, Fedora), systemd starts only what is labelled as a program.
    await runCommand('restorecon', ['-R', to])
  } catch (error) {
    rmSync(part, { recursive: true, force: true })
    const message = error instanceof Error ? error.message : String(error)
    throw new ScriptError(`the release could not be copied to ${to}: ${message}. Make room there, then run this again.`)
  }
}

function writeWhole(path: string, text: string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  const part = `${path}.new`
  rmSync(part, { force: true })
  writeFileSync(part, text, { mode })
  chmodSync(part, mode)
  renameSync(part, path)
}

async function run(command: readonly string[]): Promise<void> {
  const [program = '', ...args] = command
  const { code, output } = await runCommand(program, args)
  if (code === 0) return
  const unit = program === 'systemctl' ? args.find((arg) => arg.endsWith('.service')) : undefined
  const log = unit === undefined ? '' : `\nThe end of its log (journalctl -u ${unit}):\n${await endOfJournal(unit)}`
  throw new ScriptError(`\`${command.join(' ')}\` failed (exit ${code}): ${output.trim()}${log}`)
}

export async function endOfJournal(unit: string): Promise<string> {
  const { output } = await runCommand('journalctl', ['--unit', unit, '--lines', '15', '--output', 'cat', '--no-pager'])
  return lastLines(output, 15)
}

async function removeContainers(dockerHost: string): Promise<void> {
  if ((await askVersion(dockerHost)) === undefined) {
    say(`  the Docker Engine at ${dockerHost} does not answer: what the agent made there stays`)
    return
  }
  const containers = await listContainers(dockerHost, ownLabel)
  for (const { Id } of containers) await removeContainer(dockerHost, Id)
  const networks = await removeNetworks(dockerHost, 'gantry.')
  // The slices of tasks, where Docker leaves control groups to systemd; otherwise there is none, and nothing to stop.
  await runCommand('systemctl', ['stop', '--quiet', 'ecstasks.slice'])
  say(`  removed ${containers.length} containers and ${networks.length} networks; images and volumes stay`)
}
