/** The installer's decisions, and what the units promise. What systemd makes of it is proven by `npm run test:vm`. */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { variables } from '../agent/config-variables.ts'
import { writeBundleJoinLine } from '../proto/joining.ts'
import { settings as controllerSettings } from '../controller/config.ts'
import { type Role, readWish } from '../scripts/install/arguments.ts'
import { readEnvFile, setInEnvFile } from '../scripts/install/env-file.ts'
import { type Machine, listeningInodes } from '../scripts/install/machine.ts'
import { type Action, type Found, type Source, describe, planInstall, planUninstall } from '../scripts/install/plan.ts'
import { type Intent, findPreconditions } from '../scripts/install/preconditions.ts'

const systemd = join(import.meta.dirname, '..', 'systemd')
const read = (name: string): string => readFileSync(join(systemd, name), 'utf8')

const source: Source = {
  directory: '/tmp/unpacked',
  id: '1.0-a',
  unit: (role) => `unit of ${role}\n`,
  example: (role) => read(`${role}.env.example`),
}

/** A machine as a plan sees it; `apply` does to it what the plan says, so that a second plan can be made. */
class FakeHost {
  readonly files = new Map<string, { text: string; mode: number }>()
  readonly users = new Set<string>()
  readonly units = new Map<string, { active: boolean; enabled: boolean }>()
  versions: string[] = []
  current: string | undefined

  found(): Found {
    return {
      hasUser: (name) => this.users.has(name),
      file: (path) => this.files.get(path),
      exists: (path) =>
        [...this.files.keys(), ...this.versions.map((version) => `${version}/release.json`)].some(
          (known) => known === path || known.startsWith(`${path}/`),
        ),
      current: this.current,
      versions: this.versions,
      isActive: (unit) => this.units.get(unit)?.active ?? false,
      isEnabled: (unit) => this.units.get(unit)?.enabled ?? false,
    }
  }

  apply(actions: readonly Action[]): void {
    for (const action of actions) {
      if (action.do === 'makeUser') this.users.add(action.name)
      if (action.do === 'copyRelease') this.versions.push(action.to)
      if (action.do === 'link') this.current = action.target
      if (action.do === 'write') this.files.set(action.path, { text: action.text, mode: action.mode })
      if (action.do === 'remove') this.#remove(action.path)
      if (action.do === 'run') this.#systemctl(action.command)
    }
  }

  #remove(path: string): void {
    for (const known of this.files.keys()) if (known === path || known.startsWith(`${path}/`)) this.files.delete(known)
    this.versions = this.versions.filter((version) => version !== path && !version.startsWith(`${path}/`))
    if (path === '/opt/gantry') this.current = undefined
  }

  #systemctl([program, verb, ...rest]: readonly string[]): void {
    const unit = rest.find((word) => word.endsWith('.service'))
    if (program === 'userdel') this.users.delete(verb ?? '')
    if (unit === undefined) return
    const state = this.units.get(unit) ?? { active: false, enabled: false }
    if (verb === 'start') state.active = true
    if (verb === 'enable') state.enabled = true
    if (verb === 'disable') Object.assign(state, { active: false, enabled: false })
    this.units.set(unit, state)
  }
}

const wanted = (roles: readonly Role[], settings: Record<string, string> = {}, credentials?: string) => ({
  roles,
  settings: () => settings,
  credentials,
})
const commands = (actions: readonly Action[]): string[] =>
  actions.flatMap((action) => (action.do === 'run' ? [action.command.join(' ')] : []))

await test('install, again, upgrade, uninstall', async (t) => {
  const host = new FakeHost()
  const agent = wanted(['agent'], { ECS_BACKEND_HOST: 'http://10.0.0.5:51700' }, '[default]\nkeys')
  const first = planInstall(host.found(), source, agent)
  host.apply(first)
  t.notMatch(first.map(describe).join('\n'), 'keys', 'no secret in what is said')
  t.equal(host.files.get('/etc/gantry/agent-credentials')?.mode, 0o600)
  t.match(readEnvFile(host.files.get('/etc/gantry/agent.env')?.text ?? ''), {
    ECS_BACKEND_HOST: 'http://10.0.0.5:51700',
    ECS_CLUSTER: 'default',
    AWS_SHARED_CREDENTIALS_FILE: '/etc/gantry/agent-credentials',
  })
  t.same(planInstall(host.found(), source, agent), [], 'a second run has nothing to do')
  const theirs = { text: '#!/bin/sh\necho theirs\n', mode: 0o755 }
  host.files.set('/usr/local/bin/gantry', theirs)
  t.same(planInstall(host.found(), source, agent), [], "somebody else's command is left alone")
  host.files.delete('/usr/local/bin/gantry')

  t.same(commands(planInstall(host.found(), source, wanted(['agent'], { ECS_RESERVED_MEMORY: '256' }))), [
    'systemctl restart gantry-agent.service',
  ])

  const joining = planInstall(host.found(), source, { ...wanted(['agent']), joins: true })
  t.match(joining.map(describe).join('\n'), /agent\.env[^]*restart[^]*remove \/etc\/gantry\/agent-credentials/)
  host.apply(joining)
  const afterwards = host.files.get('/etc/gantry/agent.env')?.text ?? ''
  t.same(readEnvFile(afterwards), {}, 'nothing comes before what the host is given')
  t.match(afterwards, '#ECS_BACKEND_HOST=http://10.0.0.5:51700', 'and what was there can be read')
  t.same(planInstall(host.found(), source, { ...wanted(['agent']), joins: true }), [], 'a second run has nothing to do')

  host.apply(planInstall(host.found(), source, wanted(['controller'])))
  t.ok(host.users.has('gantry'))
  const next = { ...source, id: '1.0-b', unit: (role: Role) => `newer unit of ${role}\n` }
  const upgrade = planInstall(host.found(), next, wanted(['controller', 'agent']))
  t.same(commands(upgrade), [
    'systemctl daemon-reload',
    'systemctl restart gantry-controller.service',
    'systemctl restart gantry-agent.service',
  ])
  const order = upgrade.map((action) => action.do)
  t.ok(order.indexOf('copyRelease') < order.indexOf('link') && order.indexOf('link') < order.lastIndexOf('run'))
  host.apply(upgrade)
  t.same(host.versions, ['/opt/gantry/versions/1.0-a', '/opt/gantry/versions/1.0-b'])
  host.apply(planInstall(host.found(), { ...next, id: '1.0-c' }, wanted(['controller', 'agent'])))
  t.same(host.versions, ['/opt/gantry/versions/1.0-b', '/opt/gantry/versions/1.0-c'], 'one former version is kept')
  t.same(planInstall(host.found(), { ...next, id: '1.0-c' }, wanted(['controller', 'agent'])), [])

  const leave = (roles: readonly Role[], purge: boolean) =>
    planUninstall(host.found(), { roles, purge, dockerHost: 'unix:///d' })
  host.apply(leave(['agent'], false))
  t.equal(host.current, '/opt/gantry/versions/1.0-c', 'the controller still needs it')
  t.ok(host.files.has('/etc/gantry/agent.env'), 'settings stay')
  host.apply(leave(['controller', 'agent'], false))
  t.equal(host.current, undefined)
  t.same(leave(['controller', 'agent'], false), [], 'a second run has nothing to do')
  host.apply(leave(['controller', 'agent'], true))
  t.same([...host.files.keys(), ...host.users], [], 'with --purge nothing is left')
})

await test('an upgrade does not drain a host, also where a stop would', async (t) => {
  const host = new FakeHost()
  host.apply(planInstall(host.found(), source, wanted(['agent'], { GANTRY_DRAIN_ON_STOP: 'true' })))
  const upgrade = planInstall(host.found(), { ...source, id: '1.0-b' }, wanted(['agent']))
  t.match(commands(upgrade)[0], /systemctl kill .*--signal=SIGKILL gantry-agent\.service/)
})

await test('environment files keep what operators wrote', async (t) => {
  const text = '# mine\nA=1\n#B=example\n\nC="x y"\n'
  t.equal(setInEnvFile(text, { A: '1', C: 'x y' }), text, 'what is so already stays as it is written')
  const changed = setInEnvFile(text, { A: '2', B: '{"rack":"r 1"}', D: "it's $5" })
  t.equal(changed, '# mine\nA=2\n#B=example\nB=\'{"rack":"r 1"}\'\n\nC="x y"\nD="it\'s \\$5"\n')
  t.same(readEnvFile(changed), { A: '2', B: '{"rack":"r 1"}', C: 'x y', D: "it's $5" }, 'and is read as it was given')
})

await test('what the operator asks for is understood, or refused with a sentence', async (t) => {
  t.match(readWish(['agent', '--controller', 'http://10.0.0.5:51700/', '--cluster', 'c', '--credentials', 'f']), {
    command: 'install',
    role: 'agent',
    settings: { ECS_BACKEND_HOST: 'http://10.0.0.5:51700', ECS_CLUSTER: 'c' },
  })
  const ca = `sha256:${'ab'.repeat(32)}`
  const joining = ['agent', '--join', 'https://10.0.0.5:51443']
  const target = { controllerUrl: 'https://10.0.0.5:51443', caFingerprint: ca }
  t.same(readWish([...joining, '--ca', ca])?.join, { ...target, replaces: false })
  t.same(readWish([...joining, '--ca', ca, '--replace'])?.join, { ...target, replaces: true })
  const lineOfController = writeBundleJoinLine({ controllerUrl: 'https://a:1', caFingerprint: ca, token: 'x' })
  const [, wordsOfLine = ''] = lineOfController.split('install.sh ')
  t.ok(readWish(wordsOfLine.split(' '))?.join, 'the line that the controller prints')
  t.match(readWish(['uninstall', 'agent', '--purge']), { command: 'uninstall', role: 'agent', purge: true })
  t.equal(readWish(['--help']), undefined)
  const refused = {
    'say what to do': [],
    "agent can't follow upgrade": ['upgrade', 'agent'],
    'takes scheme, host and port': ['agent', '--controller', '10.0.0.5'],
    'for `install.sh agent`': ['controller', '--cluster', 'c'],
    'are for `install.sh controller`': ['agent', '--tls-listen', '0.0.0.0:1'],
    '--ca takes': joining,
    '--ca goes with --join': ['agent', '--ca', ca],
    '--replace goes with --join': ['agent', '--replace'],
    'takes an address such as https': ['agent', '--join', 'http://10.0.0.5:51700', '--ca', ca],
    'brings address and keys': [...joining, '--ca', ca, '--credentials', 'f'],
    '--purge is for': ['agent', '--purge'],
    'changes no settings': ['upgrade', '--set', 'A=1'],
    '--set takes NAME=VALUE': ['agent', '--set', 'lower'],
    Unknown: ['agent', '--sett', 'A=1'],
  }
  for (const [words, args] of Object.entries(refused)) t.throws(() => readWish(args), { message: new RegExp(words) })
})

const goodMachine: Machine = {
  isRoot: true,
  runsSystemd: true,
  systemdVersion: 252,
  hasControlGroups: true,
  hasAppArmor: true,
  programs: {
    dockerd: true,
    apparmor_parser: true,
    ip: true,
    unshare: true,
    nsenter: true,
    busctl: true,
    useradd: true,
  },
  freeBytes: { versions: 2 ** 40, data: 2 ** 40 },
  askEngine: async () => ({ version: '20.10.24', apiVersion: '1.41' }),
  holderOf: () => undefined,
  askController: async () => ({ error: undefined, aheadMs: 300 }),
  readText: () => '',
}
const intent: Intent = {
  role: 'agent',
  settings: { ECS_BACKEND_HOST: 'http://127.0.0.1:51700' },
  keys: { by: 'file', path: '/f', text: 'aws_access_key_id = a\naws_secret_access_key = b' },
}
const file = (text: string | undefined): Partial<Intent> => ({ keys: { by: 'file', path: '/f', text } })
const engine = (apiVersion: string) => async () => ({ version: 'x', apiVersion })
const clock = (aheadMs: number) => async () => ({ error: undefined, aheadMs })
const away = async () => ({ error: 'connect ECONNREFUSED', aheadMs: undefined })

await test('each precondition that fails says what to do', async (t) => {
  const found = async (machine: Partial<Machine>, change: Partial<Intent> = {}) => {
    const all = await findPreconditions({ ...goodMachine, ...machine }, { ...intent, ...change })
    return all.filter(({ state }) => state !== 'ok').map(({ state, check, what, mend }) => [state, check, what, mend])
  }
  t.same(await found({}), [])
  t.same(await found({}, { role: 'controller' }), [])
  t.same(await found({ askEngine: engine('1.54') }), [])
  t.match(await found({ askEngine: engine('1.9') }), [['fails', 'Docker', /speaks API 1\.9/, /upgrade it/]])
  t.match(await found({ askEngine: async () => undefined }), [['fails', 'Docker', /does not answer/, /systemctl/]])
  const without = { ...goodMachine.programs, dockerd: false }
  t.match(await found({ askEngine: async () => undefined, programs: without }), [
    ['fails', 'Docker', /there is no Docker Engine/, /apt-get install docker\.io/],
  ])
  t.match(await found({ programs: { ...goodMachine.programs, ip: false } }), [['warns', 'ip', /missing/, /iproute2/]])
  const noParser = { ...goodMachine.programs, apparmor_parser: false }
  t.match(await found({ programs: noParser }), [['fails', 'AppArmor', /no container/, /apt-get install apparmor/]])
  t.same(await found({ programs: noParser, hasAppArmor: false }), [])
  t.match(await found({ isRoot: false }), [['fails', 'user', /not root/, /sudo/]])
  t.match(await found({ runsSystemd: false }), [['fails', 'systemd', /did not boot/, /as a container/]])
  t.match(await found({ systemdVersion: 219 }), [['fails', 'systemd', /219/, /240/]])
  t.match(await found({ hasControlGroups: false }), [['fails', 'cgroups', /no control groups/, /mount -t cgroup2/]])
  t.match(await found({ freeBytes: { versions: 1, data: 2 ** 40 } }), [['fails', 'disk', /0 MiB free/, /make room/]])
  const ecs = { pid: 7, name: '/usr/libexec/amazon-ecs-init', unit: 'ecs.service' }
  t.match(await found({ holderOf: () => ecs }), [['fails', 'port', /51678 is taken by process 7 .*official/, /stop/]])
  t.same(await found({ holderOf: () => ({ ...ecs, unit: 'gantry-agent.service' }) }), [], 'our own is no obstacle')
  t.match(await found({ askController: clock(-16 * 60_000) }), [['fails', 'clock', /960 s behind/, /timedatectl/]])
  t.match(await found({ askController: clock(90_000) }), [['warns', 'clock', /90 s ahead/, /timedatectl/]])
  t.match(await found({ askController: away }), [['fails', 'controller', /ECONNREFUSED/, /51443/]])
  t.match(await found({}, file(undefined)), [['fails', 'keys', /read/, /join-token/]])
  t.match(await found({}, file('x')), [['fails', 'keys', /no keys/, /join-token/]])
  const elsewhere = { ECS_BACKEND_HOST: 'http://10.0.0.5:51700' }
  t.match(await found({}, { settings: elsewhere }), [['fails', 'plain HTTP', /agents refuse/, /--join/]])
  t.same(await found({}, { settings: { ...elsewhere, GANTRY_INSECURE_BACKEND: 'true' } }), [])
  const joining = { settings: {}, keys: { by: 'joining', controllerUrl: 'https://10.0.0.5:51443' } } as const
  t.same(await found({}, joining), [])
  t.match(await found({ askController: away }, joining), [['fails', 'controller', /10\.0\.0\.5:51443 can't/, /51443/]])
  const later = { settings: {}, keys: { by: 'later' } } as const
  t.match(await found({ askController: away }, later), [['warns', 'keys', /waits/, /join-token/]])
  const onLan = { role: 'controller', settings: { GANTRY_LISTEN: '0.0.0.0:51700' } } as const
  t.match(await found({}, onLan), [['fails', 'listen', /plain HTTP for other hosts/, /GANTRY_TLS_LISTEN/]])
  t.same(await found({}, { ...onLan, settings: { ...onLan.settings, GANTRY_INSECURE_LISTEN: 'true' } }), [])
})

await test('the listener of a port is found by its socket', async (t) => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:C9DE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:C9DE 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0`
  t.same(listeningInodes(table, 51678), ['4711'], 'and not a connection of it')
  t.same(listeningInodes(table, 51679), [])
})

/** The lines of a unit by their names; a name may stand there more than once. */
function linesOf(unit: string): ReadonlyMap<string, readonly string[]> {
  const lines = unit.split('\n').filter((line) => /^[A-Z]\w+=/.test(line))
  return Map.groupBy(lines, (line) => line.slice(0, line.indexOf('='))) as ReadonlyMap<string, readonly string[]>
}

await test('the part in sh says why it can not go on', async (t) => {
  const run = (machine: string, system = 'Linux') => {
    const uname = `#!/bin/sh\ncase $1 in -s) echo ${system};; *) echo ${machine};; esac\n`
    const bin = t.testdir({ uname, systemd: {} })
    chmodSync(join(bin, 'uname'), 0o755)
    copyFileSync(join(systemd, 'install.sh'), join(bin, 'systemd', 'install.sh'))
    writeFileSync(join(bin, 'release.json'), '{\n  "architecture": "x86_64"\n}\n')
    const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` }
    const { status, stderr } = spawnSync('sh', [join(bin, 'systemd', 'install.sh'), 'agent'], { env, encoding: 'utf8' })
    return { status, stderr }
  }
  t.match(run('x86_64', 'Darwin'), { status: 1, stderr: /runs Linux, and this one runs Darwin/ })
  t.match(run('riscv64'), { status: 1, stderr: /x86_64 and arm64, and this machine is riscv64/ })
  t.match(run('aarch64'), {
    status: 1,
    stderr: /for x86_64, and this machine is arm64: take the\n.*linux-arm64\.tar\.gz/,
  })
  t.match(run('x86_64'), { status: 1, stderr: /Node does not run on this machine: [^]*to mend it: / }, 'there is none')
})

await test('from a checkout the release is made where nobody else can write, and is gone afterwards', async (t) => {
  const checkout = t.testdir({ bin: {}, systemd: {}, scratch: {}, 'bootstrap.mjs': '' })
  copyFileSync(join(systemd, 'install.sh'), join(checkout, 'systemd', 'install.sh'))
  const command = (name: string, script: string): void => {
    writeFileSync(join(checkout, 'bin', name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(checkout, 'bin', name), 0o755)
  }
  command('npm', '')
  command('node', 'echo "$4" >"$TOLD"; stat -c %a "$(dirname "$4")" >>"$TOLD"; exit 1')
  const told = join(checkout, 'told')
  const env = {
    PATH: `${join(checkout, 'bin')}:${process.env['PATH'] ?? ''}`,
    TMPDIR: join(checkout, 'scratch'),
    TOLD: told,
  }
  const run = spawnSync('sh', [join(checkout, 'systemd', 'install.sh'), 'controller'], { env, encoding: 'utf8' })
  t.match(run.stderr, /no release could be made/)
  const [made = '', mode] = readFileSync(told, 'utf8').split('\n')
  t.match(made, /\/scratch\/gantry-release-[^/]+\/release$/)
  t.equal(mode, '700')
  t.same(readdirSync(join(checkout, 'scratch')), [])
})

await test('the units keep their promises', async (t) => {
  t.match(read('install.sh'), 'scripts/install.ts', 'the part in sh leads to the rest')
  for (const role of ['controller', 'agent'] as const) {
    const unit = linesOf(read(`gantry-${role}.service`))
    const value = (name: string) => unit.get(name)?.map((line) => line.slice(name.length + 1))
    t.same(value('Type'), ['notify'])
    t.same(value('NotifyAccess'), ['main'])
    t.same(value('WatchdogSec'), ['60'])
    t.same(value('Restart'), ['on-failure'])
    t.same(value('KillMode'), ['mixed'])
    t.same(value('NoNewPrivileges'), ['yes'])
    t.same(value('LimitCORE'), ['0'], 'memory holds keys')
    t.same(value('StateDirectory'), [`gantry/${role}`])
    t.same(value('EnvironmentFile'), [`/etc/gantry/${role}.env`])
    t.same(value('ExecStart'), [`/opt/gantry/current/bin/node --liftoff-only /opt/gantry/current/${role}/main.ts`])
    t.equal(value('MemoryDenyWriteExecute'), undefined, 'Node compiles at run time')
    t.match(value('MemoryMax'), [/./])
  }
  const agent = linesOf(read('gantry-agent.service'))
  t.same(agent.get('RestartPreventExitStatus'), ['RestartPreventExitStatus=5'], 'as exitForGood of agent/program.ts')
  t.equal(agent.get('Requires') ?? agent.get('BindsTo'), undefined, 'an engine that restarts must not end the agent')
  t.match(agent.get('After')?.join(' '), /docker\.service/)
  t.equal(agent.get('ProtectControlGroups'), undefined, 'tasks get control groups')
  for (const name of ['PrivateTmp', 'RootDirectory', 'TemporaryFileSystem', 'InaccessiblePaths', 'BindPaths']) {
    t.equal(agent.get(name), undefined, `without ${name}= links of the host lead the agent where they lead Docker`)
  }
  t.match(agent.get('ReadWritePaths'), [/\/sys\/fs\/cgroup/])
  const controller = linesOf(read('gantry-controller.service'))
  t.same(controller.get('User'), ['User=gantry'])
  t.same(controller.get('CapabilityBoundingSet'), ['CapabilityBoundingSet='])
})

await test('every example of a setting names one that there is', async (t) => {
  const known = {
    agent: Object.values(variables).map(({ name }) => name),
    controller: Object.values(controllerSettings).map(({ variable }) => variable),
  }
  for (const role of ['controller', 'agent'] as const) {
    const names = [...read(`${role}.env.example`).matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].map(([, name = '']) => name)
    t.ok(names.length >= 6, `${names.length} examples were read`)
    t.same(
      names.filter((name) => !known[role].includes(name)),
      [],
    )
  }
})
