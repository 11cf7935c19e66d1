/** What has to be so before Gantry can be installed: each check says what is wrong, and how to mend it. */
import type { Role } from './arguments.ts'
import { isLoopback } from '../../agent/controller-trust.ts'
import { layout, unitOf } from './layout.ts'
import type { Machine } from './machine.ts'

export interface Finding {
  readonly check: string
  /** `warns` is told and goes on. */
  readonly state: 'ok' | 'warns' | 'fails'
  readonly what: string
  /** What to do; empty where all is well. */
  readonly mend: string
}

/** The settings that will hold, those that are asked for and those that stand in the file. */
export interface Intent {
  readonly role: Role
  readonly settings: Readonly<Record<string, string | undefined>>
  readonly keys: AgentKeys
}

/** How the agent comes to its keys: by joining now, by a join of before, by a file, or not yet. */
export type AgentKeys =
  | { readonly by: 'joining'; readonly controllerUrl: string }
  | { readonly by: 'joined'; readonly controllerUrl: string }
  /** `text` is undefined where the file can't be read. */
  | { readonly by: 'file'; readonly path: string; readonly text: string | undefined }
  | { readonly by: 'later' }

const oldestSystemd = 240
/** Of the API 1.x. */
const oldestEngineMinor = 41
const bytesOfARelease = 400 * 2 ** 20
const bytesOfData = 200 * 2 ** 20
/** The controller refuses signatures beyond it (proto/sigv4-date.ts); a clock a minute off is on its way there. */
const skewFailsMs = 15 * 60_000
const skewWarnsMs = 60_000

const fine = (check: string, what: string): Finding => ({ check, state: 'ok', what, mend: '' })
const fails = (check: string, what: string, mend: string): Finding => ({ check, state: 'fails', what, mend })
const warns = (check: string, what: string, mend: string): Finding => ({ check, state: 'warns', what, mend })

export async function findPreconditions(machine: Machine, intent: Intent): Promise<readonly Finding[]> {
  const general = [checkRoot(machine), checkSystemd(machine), ...checkDisk(machine)]
  if (intent.role === 'controller') {
    return [...general, checkUser(machine), checkListen(intent), ...checkControllerPorts(machine, intent)]
  }
  return [
    ...general,
    checkControlGroups(machine),
    checkAppArmor(machine),
    ...checkPrograms(machine),
    await checkEngine(machine, intent),
    checkIntrospectionPort(machine, intent),
    checkKeys(intent),
    ...(await checkController(machine, intent)),
  ]
}

function checkRoot({ isRoot }: Machine): Finding {
  if (isRoot) return fine('user', 'root')
  return fails('user', 'this is not root', 'services, users and /opt need it: run it again as root, or with sudo')
}

function checkSystemd({ runsSystemd, systemdVersion }: Machine): Finding {
  if (systemdVersion === undefined || !runsSystemd) {
    return fails(
      'systemd',
      systemdVersion === undefined ? 'there is no systemd here' : 'systemd is installed, but did not boot this machine',
      'install on a machine that systemd runs (in a container it does not), or run the agent as a container: ' +
        'docs/install.md, "As a container"',
    )
  }
  if (systemdVersion >= oldestSystemd) return fine('systemd', `version ${systemdVersion}`)
  return fails('systemd', `version ${systemdVersion}`, `the units need ${oldestSystemd} or newer: upgrade the system`)
}

function checkDisk({ freeBytes }: Machine): readonly Finding[] {
  const needs = { versions: bytesOfARelease, data: bytesOfData } as const
  const places = { versions: layout.directory, data: layout.data } as const
  return (['versions', 'data'] as const).map((name) => {
    const what = `${mebibytes(freeBytes[name])} MiB free for ${places[name]}`
    if (freeBytes[name] >= needs[name]) return fine('disk', what)
    return fails(
      'disk',
      what,
      `${mebibytes(needs[name])} MiB are needed there: make room, or mount a disk at ${places[name]}`,
    )
  })
}

function mebibytes(bytes: number): number {
  return Math.floor(bytes / 2 ** 20)
}

function checkUser({ programs }: Machine): Finding {
  if (programs.useradd) return fine('useradd', 'is there')
  return fails(
    'useradd',
    'is missing',
    "the controller's own user needs it: apt-get install passwd, or dnf install shadow-utils",
  )
}

/** The controller itself refuses it as well; here it is said before anything is changed. */
function checkListen({ settings }: Intent): Finding {
  const listen = settings['GANTRY_LISTEN'] || '127.0.0.1:51700'
  const url = URL.parse(`http://${listen}`)
  if (url === null || isLoopback(url.origin) || settings['GANTRY_INSECURE_LISTEN'] === 'true') {
    return fine('listen', `plain HTTP on ${listen}`)
  }
  return fails(
    'listen',
    `GANTRY_LISTEN is ${listen}: plain HTTP for other hosts, which the controller refuses`,
    'remove it from /etc/gantry/controller.env: other hosts come by TLS, on GANTRY_TLS_LISTEN (0.0.0.0:51443), and join ' +
      'with a line of `gantry join-token`; docs/install.md, "From 0.2"',
  )
}

function checkControllerPorts(machine: Machine, { settings }: Intent): readonly Finding[] {
  const portOf = (name: string, otherwise: number): number =>
    Number(/:(\d+)$/.exec(settings[name] ?? '')?.[1] ?? otherwise)
  const plain = checkPort(machine, portOf('GANTRY_LISTEN', 51_700), 'controller', '--listen 127.0.0.1:PORT')
  if (settings['GANTRY_TLS_LISTEN'] === 'off') return [plain]
  return [plain, checkPort(machine, portOf('GANTRY_TLS_LISTEN', 51_443), 'controller', '--tls-listen HOST:PORT')]
}

function checkIntrospectionPort(machine: Machine, { settings }: Intent): Finding {
  const port = Number(settings['GANTRY_INTROSPECTION_PORT'] ?? 51678)
  return checkPort(machine, port, 'agent', '--set GANTRY_INTROSPECTION_PORT=PORT')
}

function checkPort(machine: Machine, port: number, role: Role, other: string): Finding {
  const holder = machine.holderOf(port)
  if (holder === undefined || holder.unit === unitOf(role)) {
    return fine('port', `${port} is ${holder === undefined ? 'free' : 'our own'}`)
  }
  const who = holder.pid === undefined ? holder.name : `process ${holder.pid} (${holder.unit ?? holder.name})`
  const official = /ecs/.test(holder.unit ?? '') ? ' (the official ECS agent: one of the two can run on a host)' : ''
  return fails('port', `${port} is taken by ${who}${official}`, `stop that, or choose another port: ${other}`)
}

function checkControlGroups({ hasControlGroups }: Machine): Finding {
  if (hasControlGroups) return fine('cgroups', 'are mounted')
  return fails(
    'cgroups',
    'no control groups are mounted under /sys/fs/cgroup',
    'mount them: mount -t cgroup2 none /sys/fs/cgroup; systemd does it at boot where the kernel has CONFIG_CGROUPS',
  )
}

/** Debian's docker.io only recommends it, and without it no container starts. */
function checkAppArmor({ hasAppArmor, programs }: Machine): Finding {
  if (!hasAppArmor || programs.apparmor_parser) return fine('AppArmor', hasAppArmor ? 'can be used' : 'is off')
  const what = 'the kernel has it on, and apparmor_parser is missing: Docker Engine would start no container'
  return fails('AppArmor', what, 'apt-get install apparmor, or boot with apparmor=0')
}

function checkPrograms({ programs }: Machine): readonly Finding[] {
  const packages = { ip: 'iproute2', unshare: 'util-linux', nsenter: 'util-linux', busctl: 'systemd' } as const
  const uses = {
    ip: 'tasks with addresses of their own (awsvpc), and the task endpoint, need it',
    unshare: 'the task endpoint (metadata, credentials) needs it',
    nsenter: 'the task endpoint (metadata, credentials) needs it',
    busctl: "cgroups of tasks need it under Docker's systemd driver",
  } as const
  return (['ip', 'unshare', 'nsenter', 'busctl'] as const).map((name) =>
    programs[name] ? fine(name, 'is there') : warns(name, 'is missing', `${uses[name]}: install ${packages[name]}`),
  )
}

async function checkEngine(machine: Machine, { settings }: Intent): Promise<Finding> {
  const dockerHost = settings['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock'
  const engine = await machine.askEngine(dockerHost)
  const install =
    'install Docker Engine: apt-get install docker.io (Debian, Ubuntu), dnf install moby-engine (Fedora), or as ' +
    'docs.docker.com/engine/install says'
  if (engine === undefined) {
    if (!machine.programs.dockerd) return fails('Docker', `there is no Docker Engine at ${dockerHost}`, install)
    return fails(
      'Docker',
      `Docker Engine is installed, and does not answer at ${dockerHost}`,
      'start it (systemctl enable --now docker), read why it does not run (journalctl -u docker), or name its ' +
        'socket: --set DOCKER_HOST=unix:///path',
    )
  }
  const [major = 0, minor = 0] = engine.apiVersion.split('.').map(Number)
  if (major > 1 || minor >= oldestEngineMinor) {
    return fine('Docker', `Engine ${engine.version}, API ${engine.apiVersion}`)
  }
  return fails(
    'Docker',
    `Engine ${engine.version} speaks API ${engine.apiVersion}; the oldest that will do is 1.${oldestEngineMinor} (20.10)`,
    `upgrade it: ${install}`,
  )
}

function checkKeys({ keys }: Intent): Finding {
  if (keys.by === 'joining') return fine('keys', `come from ${keys.controllerUrl} when this host joins`)
  if (keys.by === 'joined') return fine('keys', `this host has joined ${keys.controllerUrl}`)
  const mend = '`gantry join-token` on the controller prints the line that lets this host join; run it here'
  if (keys.by === 'later') return warns('keys', 'this host has not joined a controller: the agent waits for that', mend)
  const { path, text } = keys
  if (text === undefined) return fails('keys', `${path} can't be read`, mend)
  if (!/aws_access_key_id/.test(text) || !/aws_secret_access_key/.test(text)) {
    return fails('keys', `${path} holds no keys`, mend)
  }
  return fine('keys', path)
}

function originOf({ settings, keys }: Intent): string | undefined {
  if (keys.by === 'joining') return keys.controllerUrl
  const named = settings['ECS_BACKEND_HOST']
  if (named) return named
  if (keys.by === 'joined') return keys.controllerUrl
  return keys.by === 'file' ? 'http://127.0.0.1:51700' : undefined
}

async function checkController(machine: Machine, intent: Intent): Promise<readonly Finding[]> {
  const origin = originOf(intent)
  if (origin === undefined) return []
  if (URL.parse(origin)?.protocol === 'http:' && !isLoopback(origin) && !isInsecure(intent)) {
    return [
      fails(
        'plain HTTP',
        `ECS_BACKEND_HOST is ${origin}: plain HTTP to another host, which agents refuse`,
        '`gantry join-token` on the controller prints a line for this host, `echo TOKEN | ./systemd/install.sh agent ' +
          '--join https://... --ca sha256:...`, which brings this release and joins; docs/install.md, "From 0.2"',
      ),
    ]
  }
  const { error, aheadMs } = await machine.askController(origin)
  if (error !== undefined) {
    return [
      fails(
        'controller',
        `${origin} can't be reached: ${error}`,
        'start it, open its port in the firewall (51443, GANTRY_TLS_LISTEN), or mend the address; --force installs an ' +
          'agent that waits for it',
      ),
    ]
  }
  if (aheadMs === undefined) return [fine('controller', `${origin} answers`)]
  const seconds = Math.abs(Math.round(aheadMs / 1000))
  const off = `this clock is ${seconds} s ${aheadMs > 0 ? 'ahead of' : 'behind'} the controller's`
  const mend = 'let both set their clocks: timedatectl set-ntp true (apt-get install systemd-timesyncd or chrony)'
  if (Math.abs(aheadMs) > skewFailsMs) {
    return [fine('controller', `${origin} answers`), fails('clock', `${off}, and calls would be refused`, mend)]
  }
  if (Math.abs(aheadMs) > skewWarnsMs) return [fine('controller', `${origin} answers`), warns('clock', off, mend)]
  return [fine('controller', `${origin} answers`), fine('clock', 'agrees with the controller')]
}

function isInsecure({ settings }: Intent): boolean {
  return /^(?:1|t|true)$/i.test(settings['GANTRY_INSECURE_BACKEND'] ?? '')
}
