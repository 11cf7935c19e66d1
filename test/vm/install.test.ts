/** Gantry on a whole Debian 12: one story from an empty machine to a clean one. `npm run test:vm` runs it. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { CreateSecretCommand, GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import tap, { type Test, test } from 'tap'
import { parseSharedCredentials } from '../../controller/credentials.ts'
import { makeRelease } from '../../scripts/release.ts'
import { runCommand } from '../../scripts/run-command.ts'
import { callEcs, callRest, eventually } from '../support/controller.ts'
import { previousArchive } from '../support/previous-version.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { ensureGuestImage } from './guest-image.ts'
import { type Machine, startMachine } from './machine.ts'

const cache = process.env['GANTRY_VM_CACHE'] ?? join(homedir(), '.cache', 'gantry', 'vm')
const report = join(cache, 'last')
const directory = mkdtempSync(join(tmpdir(), 'vm-'))
const image = 'gantry-vm:1'
/** An emulated processor is some twenty times slower than a real one. */
const patienceMs = 600_000

const figures: Record<string, string | number> = {}
const note = (name: string, value: string | number): void => {
  figures[name] = value
  mkdirSync(report, { recursive: true })
  writeFileSync(join(report, 'figures.json'), `${JSON.stringify(figures, undefined, 2)}\n`)
}
const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
  const startedAt = Date.now()
  const result = await work()
  note(`${name}, s`, Number(((Date.now() - startedAt) / 1000).toFixed(1)))
  return result
}

async function packReleases(): Promise<string> {
  const release = await makeRelease('x86_64', join(directory, 'release'))
  note('release', release.id)
  copyFileSync(previousArchive, join(directory, 'previous.tar.gz'))
  const tar = join(directory, 'release.tar')
  const { code, output } = await runCommand('tar', ['-C', directory, '-cf', tar, 'release', 'previous.tar.gz'])
  if (code !== 0) throw new Error(output)
  return tar
}

const machine: Machine = await startMachine({
  image: await ensureGuestImage(cache),
  directory,
  tar: await packReleases(),
})
note('boot until ssh answers, s', machine.bootMs / 1000)
tap.teardown(async () => {
  const { output } = await machine.run('journalctl --no-pager -o short-precise -u gantry-controller -u gantry-agent')
  mkdirSync(report, { recursive: true })
  writeFileSync(join(report, 'journal.log'), output)
  await machine.end()
  copyFileSync(join(directory, 'serial.log'), join(report, 'serial.log'))
  rmSync(directory, { recursive: true, force: true })
})

/** Each step stands on those before it: once one has failed, the others would only tell of that. */
let reached = true
async function step(name: string, work: (t: Test) => Promise<void>): Promise<void> {
  if (!reached) return
  await test(name, async (t) => {
    reached = false
    await timed(name, () => work(t))
    reached = t.passing()
  })
}

const overTls = `https://127.0.0.1:${machine.ports.controller}`
/** Another one while the version from before TLS is installed. */
let endpoint = overTls
let key = { accessKeyId: '', secretAccessKey: '' }

async function ecs(operation: string, body: object): Promise<Readonly<Record<string, unknown>>> {
  const { status, json, text } = await callEcs(endpoint, key, operation, body)
  if (status !== 200) throw new Error(`${operation} answered ${status}: ${text}`)
  return json
}

interface Task {
  readonly taskArn: string
  readonly lastStatus: string
  readonly stoppedReason?: string
  readonly containers: readonly { readonly reason?: string; readonly runtimeId?: string }[]
}

async function describeTasks(taskArns: readonly string[]): Promise<readonly Task[]> {
  if (taskArns.length === 0) return []
  const { tasks } = await ecs('DescribeTasks', { tasks: taskArns })
  return tasks as readonly Task[]
}

/** Asked again where none is placed: a host gets no tasks while its engine is silent for 5 s, as a slow guest's may be. */
const runTask = (taskDefinition: string): Promise<string> =>
  eventually(
    `a task of ${taskDefinition} to be placed`,
    async () => {
      const [task] = (await ecs('RunTask', { taskDefinition }))['tasks'] as readonly Task[]
      return task?.taskArn
    },
    patienceMs,
  )

const reaches = (taskArn: string, status: string): Promise<Task> =>
  eventually(
    `${taskArn} to be ${status}`,
    async () => {
      const [task] = await describeTasks([taskArn])
      if (task?.lastStatus === 'STOPPED' && status !== 'STOPPED') throw new Error(JSON.stringify(task))
      return task?.lastStatus === status ? task : undefined
    },
    patienceMs,
  )

async function serviceTasks(count: number): Promise<readonly string[]> {
  return eventually(
    `${count} running tasks of web`,
    async () => {
      const { taskArns } = await ecs('ListTasks', { serviceName: 'web' })
      const tasks = await describeTasks(taskArns as readonly string[])
      const running = tasks.filter(({ lastStatus }) => lastStatus === 'RUNNING')
      return running.length === count ? running.map(({ taskArn }) => taskArn).toSorted() : undefined
    },
    patienceMs,
  )
}

/** Ids and start times of the containers that run: the same before and after whatever must not touch them. */
const containersNow = (): Promise<string> =>
  machine.ok("docker ps -q --no-trunc | sort | xargs -r docker inspect -f '{{.Id}} {{.State.StartedAt}}'")

const idOf = (taskArn: string): string => taskArn.split('/').at(-1) ?? ''

async function registerTaskDefinition(family: string, more: object, command: readonly string[], container = {}) {
  const base = { name: 'main', image, essential: true, stopTimeout: 2, command, ...container }
  await ecs('RegisterTaskDefinition', { family, containerDefinitions: [base], ...more })
}

/** What is on the machine beside Gantry's releases, and what others of its services change by themselves. */
const listFiles = (file: string): string =>
  `find /etc /opt /usr /var /srv -xdev ! -path '/var/lib/docker/*' ! -path '/var/lib/containerd/*' ! -path '/var/log/*' \
    ! -path '/var/lib/systemd/*' ! -path '/var/lib/nfs/*' ! -path '/var/cache/*' ! -path '/var/tmp/systemd-private-*' \
    ! -path '/etc/*-' | sort > ${file}`

await step('the guest is what it is meant to be', async (t) => {
  await machine.ok(`mkdir -p /root/gantry && tar -xf /dev/vdb -C /root/gantry &&
    cp -al /root/gantry/release /root/gantry/next && cd /root/gantry/next &&
    sed -i 's/"id": "\\([^"]*\\)"/"id": "\\1-next"/' release.json && sed -i '1s/$/ (next)/' CHANGELOG.md
    cp -al /root/gantry/release /root/gantry/previous && cd /root/gantry/previous &&
    rm -rf agent cli controller proto scripts systemd package.json && tar -xzf ../previous.tar.gz &&
    sed -i 's/"id": "[^"]*"/"id": "previous"/' release.json`)
  t.match(await machine.ok("docker info -f '{{.CgroupDriver}} {{.CgroupVersion}}'"), 'systemd 2')
  t.not(
    (await machine.run('command -v node || ls /usr/lib/*/libatomic.so.1')).code,
    0,
    'there is no Node, nor what it needs',
  )
  await machine.ok(`cd /tmp && mkdir -p root/bin && cp /bin/busybox root/bin/ &&
    (cd root/bin; for name in sh sleep tail grep wget ls; do ln -s busybox $name; done) &&
    tar -C root -c . | docker import -c 'ENV PATH=/bin' - ${image}`)
  await machine.ok(listFiles('/root/files-before'))
  note('kernel', await machine.ok('uname -r'))
  note('docker', await machine.ok("docker version -f '{{.Server.Version}} API {{.Server.APIVersion}}'"))
})

await step('what is missing is told with what to do, and nothing is changed', async (t) => {
  const early = await machine.run('/root/gantry/release/systemd/install.sh agent --credentials /root/none')
  t.equal(early.code, 1)
  t.match(early.output, /FAILED keys: \/root\/none can't be read\n.*to mend it: `gantry join-token`/)
  t.match(early.output, /FAILED controller: http:\/\/127\.0\.0\.1:51700 can't be reached/)
  t.match(early.output, /nothing was changed/)

  const skewed = `d=$(date -u -d '40 minutes ago' '+%a, %d %b %Y %H:%M:%S GMT')
    export LD_LIBRARY_PATH=/root/gantry/release/lib
    answer='require("http").createServer((q, r) => r.writeHead(200, { date: process.argv[1] }).end()).listen(51999)'
    /root/gantry/release/bin/node -e "$answer" "$d" &
    busybox nc -l -p 51678 127.0.0.1 & sleep 6
    /root/gantry/release/systemd/install.sh check agent --controller http://127.0.0.1:51999
    code=$?; kill %1 %2; exit $code`
  const { code, output } = await machine.run(skewed)
  t.equal(code, 1)
  t.match(output, /FAILED clock: this clock is 24\d\d s ahead of the controller's, and calls would be refused/)
  t.match(output, /FAILED port: 51678 is taken by process \d+ \(.*(busybox nc|ssh).*\)/)

  const noDocker = await machine.run(`systemctl stop docker.socket docker
    /root/gantry/release/systemd/install.sh check agent; systemctl start docker`)
  t.match(noDocker.output, /FAILED Docker: Docker Engine is installed, and does not answer/)
  t.notOk((await machine.run('ls -d /opt/gantry /etc/gantry /var/lib/gantry')).code === 0, 'nothing was made')
})

const rootKeys = '/var/lib/gantry/controller/root-credentials'
/** What `gantry join-token` prints, and its line for this guest, stay there: what ssh is told to run is an argument. */
const printed = '/root/printed'
const joinLine = '/root/join-line'

/** Looks at all processes again and again; a decoy proves that it sees. */
async function watchForTokens(): Promise<void> {
  const look = 'grep -azoh "gantry-joi[n]-[0-9a-z-]*" /proc/[0-9]*/cmdline /proc/[0-9]*/environ'
  await machine.ok(`rm -f /root/seen /root/stop
    (while [ ! -e /root/stop ]; do ${look} 2>/dev/null | tr '\\0' '\\n'; sleep 0.3; done) </dev/null >/root/seen 2>&1 &
    sh -c ': gantry-join-decoy; sleep 5'`)
}

/** The token, the keys of this host, of operators and of the local agent, and the key of secrets: in a file there. */
const noteSecrets = (): Promise<string> =>
  machine.ok(`umask 077; cd /var/lib/gantry/controller
    { sed -n 's/.*gantry-join-[0-9a-f]*-\\([0-9a-f]*\\).*/\\1/p' ${printed}
    sed -n 's/.*"secretAccessKey": "\\(.*\\)".*/\\1/p' ../agent/joined.json
    sed -n 's/^aws_secret_access_key *= *//p' root-credentials agent-credentials
    grep -v '^#' secret-key 2>/dev/null; true; } >> /root/secrets && sort -uo /root/secrets /root/secrets`)

async function tokensSeen(): Promise<readonly string[]> {
  const seen = await machine.ok('touch /root/stop; sort -u /root/seen')
  return seen.split('\n').filter((line) => line !== '')
}

const install = '/root/gantry/release/systemd/install.sh'

/** The line that `gantry join-token` prints for a host, as it stands there but for its place, is written to `joinLine`. */
const printJoinLine = (options: string, more: string): Promise<string> =>
  machine.ok(`umask 077; AWS_SHARED_CREDENTIALS_FILE=${rootKeys} gantry join-token ${options} > ${printed}
    { grep 'install.sh agent --join' ${printed} | sed 's#\\$(command -v sudo) ./systemd/install.sh#${install}#' | tr -d '\\n'
    cat <<'END'
 ${more}
END
} > ${joinLine}`)

const trustControllersCa = async (): Promise<void> =>
  setDefaultCACertificates([
    ...getCACertificates('bundled'),
    await machine.ok('cat /var/lib/gantry/controller/tls/ca.pem'),
  ])

async function readRootKey(): Promise<void> {
  key = parseSharedCredentials(await machine.ok(`cat ${rootKeys}`), 'root-credentials')
}

const instanceArns = async (filter: object = {}): Promise<readonly string[]> =>
  (await ecs('ListContainerInstances', filter))['containerInstanceArns'] as readonly string[]

const statusSays = (words: RegExp): Promise<true> =>
  eventually(
    `the agent's status says ${words.source}`,
    async () => words.test(await machine.ok('systemctl show -p StatusText gantry-agent')) || undefined,
    patienceMs,
  )

await step(
  'the controller by one command, whatever the umask; a host that does not join stays as it was',
  async (t) => {
    const plainOnLan = await machine.run(`${install} controller --listen 0.0.0.0:51700`)
    t.match(plainOnLan, { code: 1, output: /FAILED listen: .*plain HTTP for other hosts/ })
    const away = await machine.run(
      `${install} agent --join https://10.0.2.15:51443 --ca sha256:${'0'.repeat(64)} </dev/null`,
    )
    t.match(away, { code: 1, output: /FAILED controller: .*can't be reached[^]*nothing was changed/ })
    await timed('install of the controller', () => machine.ok(`umask 077; ${install} controller`))
    await printJoinLine('--expires 60s', '')
    const wrongCa = await machine.run(`sed 's/sha256:......../sha256:00000000/' ${joinLine} | sh`)
    t.match(wrongCa, { code: 1, output: /is not the one that --ca names[^]*no service and no setting was touched/ })
    await machine.ok('sleep 60')
    const late = await machine.run(`sh ${joinLine}`)
    t.match(late, {
      code: 1,
      output: /did not let this host join .*expired at[^]*no service and no setting was touched/,
    })
    const left = 'ls /etc/gantry/agent.env /etc/systemd/system/gantry-agent.service /var/lib/gantry/agent/joined.json'
    t.notMatch((await machine.run(left)).output, /^\//m)
    const before = await machine.ok(`stat -c %a /var/lib/gantry`)
    t.equal(before, '755', "the controller's user gets to its directory")
  },
)

await step('an agent that joins by one command; a second run finds nothing to do', async (t) => {
  const settings = `--set ECS_IMAGE_PULL_BEHAVIOR=prefer-cached --set 'ECS_INSTANCE_ATTRIBUTES={"rack":"r 1"}'`
  await watchForTokens()
  await printJoinLine('', settings)
  const said = await timed('install of the agent', () => machine.ok(`sh ${joinLine}`))
  t.same(await tokensSeen(), ['gantry-join-decoy'], 'no program had the token in its arguments or environment')
  t.match(said, /has joined https:\/\/10\.0\.2\.15:51443/)
  t.match(said, /the agent runs: this host is arn:/)
  await trustControllersCa()
  t.match(await machine.ok('gantry --help'), /gantry logs/)
  t.match(await machine.ok(`sh ${joinLine}`), /already, and the token was not used[^]*nothing to do/)

  await readRootKey()
  const racked = await instanceArns({ filter: 'attribute:rack == "r 1"' })
  t.equal(racked.length, 1, 'registered, with an attribute from the environment file')

  t.match(
    await machine.ok("stat -c '%a %U' /etc/gantry/agent.env /var/lib/gantry/agent/joined.json"),
    /^600 root\n600 root$/,
  )
  t.match(await machine.ok("stat -c '%a %U' /var/lib/gantry/controller /var/lib/gantry/agent"), '700 gantry\n700 root')
  t.match(await machine.ok('systemctl show -p StatusText gantry-controller'), 'serves at 127.0.0.1:51700')
  await statusSays(/connected to/)
})

await step('the units are right, and as closed as they are meant to be', async (t) => {
  const units = '/etc/systemd/system/gantry-controller.service /etc/systemd/system/gantry-agent.service'
  t.equal(await machine.ok(`systemd-analyze verify ${units} 2>&1`), '')
  const exposure = async (name: string) =>
    Number(/level for \S+ ([\d.]+)/.exec(await machine.ok(`systemd-analyze security --no-pager ${name}`))?.[1])
  const found = { controller: await exposure('gantry-controller'), agent: await exposure('gantry-agent') }
  note('exposure of the controller', found.controller)
  note('exposure of the agent', found.agent)
  t.ok(found.controller < 5, `controller ${found.controller}: ok is below 5`)
  t.ok(found.agent < 7, `agent ${found.agent}: medium is below 7`)
})

await step('keys are for their owners alone, and only what is meant to listens', async (t) => {
  const files = await machine.ok('ls -l /proc/$(systemctl show -p MainPID --value gantry-agent)/fd')
  t.match(files, /socket:/, "the agent's open files are seen")
  t.notMatch(files, 'kmsg', "and the kernel's log, which version 2 of cgroups does not need, is none of them")
  const identity = await machine.ok("cd /var/lib/gantry/agent && stat -c '%a %U %n' joined.json identity.json")
  t.equal(identity, '600 root joined.json\n600 root identity.json')
  const open = await machine.ok("find /etc/gantry /var/lib/gantry -type f -perm /077 -printf '%m %p\\n'")
  t.equal(open, '644 /var/lib/gantry/controller/tls/ca.pem', 'what others may read is the CA alone')
  const listening = await machine.ok("ss -Hltunp | grep '\"node' | awk '{ print $1, $5 }' | sort")
  t.same(listening.split('\n'), ['tcp 0.0.0.0:51443', 'tcp 127.0.0.1:51678', 'tcp 127.0.0.1:51700'])
})

await step('tasks run in slices that hold them to their limits', async (t) => {
  await registerTaskDefinition('web', { cpu: '256', memory: '128' }, ['sleep', '100000'])
  await ecs('CreateService', { serviceName: 'web', taskDefinition: 'web', desiredCount: 2 })
  const taskArns = await timed('a service of two tasks', () => serviceTasks(2))
  for (const taskArn of taskArns) {
    const slice = await machine.ok(`find /sys/fs/cgroup -type d -name 'ecstasks-${idOf(taskArn)}.slice'`)
    t.not(slice, '', `${idOf(taskArn)} has a slice`)
    t.equal(await machine.ok(`cat ${slice}/memory.max`), String(128 * 2 ** 20))
    t.equal(await machine.ok(`cat ${slice}/cpu.max`), '25000 100000')
    t.match(await machine.ok(`ls -d ${slice}/docker-*.scope`), /docker-[0-9a-f]{64}\.scope/)
  }
  await registerTaskDefinition('hog', { memory: '64' }, ['tail', '/dev/zero'])
  const { containers } = await reaches(await runTask('hog'), 'STOPPED')
  t.match(containers[0]?.reason, /OutOfMemoryError/)
})

/** What its container printed, once the task is over. */
async function outputOf(taskArn: string): Promise<string> {
  const { containers } = await reaches(taskArn, 'STOPPED')
  return machine.ok(`docker logs ${containers[0]?.runtimeId ?? ''} 2>&1`)
}

const mounting = (sourcePath: string): object => ({ volumes: [{ name: 'host', host: { sourcePath } }] })

await step("a task has its secret, its role's keys and its metadata, and nothing of the agent's", async (t) => {
  const roles = rolesAt(endpoint, key)
  const taskRoleArn = await roles.role('task', [allowed('ecs:ListTasks')])
  const executionRoleArn = await roles.role('execution', [allowed('secretsmanager:GetSecretValue')])
  const valueFrom = await roles.secret('of-task', 'only in the task')
  roles.close()
  const script = `[ "$SECRET" = "only in the task" ] && echo secret
    wget -qO- "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" | grep -q SecretAccessKey && echo keys
    wget -qO- "$ECS_CONTAINER_METADATA_URI_V4/task" | grep -q TaskARN && echo metadata
    ls /host/etc | grep -x fstab
    echo "own: $(ls -A /host/var/lib/gantry /host/etc/gantry | grep -v :)"`
  const secrets = [{ name: 'SECRET', valueFrom }]
  const mountPoints = [{ sourceVolume: 'host', containerPath: '/host', readOnly: true }]
  for (const networkMode of ['bridge', 'host']) {
    const more = { memory: '64', networkMode, taskRoleArn, executionRoleArn, ...mounting('/') }
    await registerTaskDefinition('roles', more, ['sh', '-c', script], { secrets, mountPoints })
    const seen = (await outputOf(await runTask('roles'))).split('\n').map((line) => line.trim())
    t.same(
      seen.filter((line) => line !== ''),
      ['secret', 'keys', 'metadata', 'fstab', 'own:'],
      networkMode,
    )
  }
  await machine.ok('ln -s /var/lib/gantry /tmp/way')
  const led = { memory: '64', ...mounting('/tmp/way') }
  await registerTaskDefinition('led', led, ['ls', '-A', '/host'], { mountPoints })
  const { containers } = await reaches(await runTask('led'), 'STOPPED')
  t.match(
    containers[0]?.reason,
    /one of the agent's own places/,
    'a link of /tmp leads the agent where it leads Docker',
  )
  await machine.ok('rm /tmp/way')
})

await step('a file system of a real NFS server is mounted into a task', async (t) => {
  await machine.ok(`mkdir -p /srv/share && systemctl start nfs-server &&
    exportfs -o rw,no_root_squash,no_subtree_check 10.0.2.0/24:/srv/share`)
  const target = { kind: 'nfs', server: '10.0.2.15', export: '/srv/share' }
  const made = await callRest(endpoint, key, 'POST', '/v1/file-systems', JSON.stringify({ name: 'share', target }))
  t.equal(made.status < 300, true, made.text)
  const fileSystemId = String(made.json['fileSystemId'])
  const volumes = [{ name: 'data', efsVolumeConfiguration: { fileSystemId } }]
  const mountPoints = [{ sourceVolume: 'data', containerPath: '/data' }]
  const script = 'grep " /data " /proc/mounts > /data/mounted; echo done >> /data/mounted; sleep 100000'
  await registerTaskDefinition('nfs', { memory: '64', volumes }, ['sh', '-c', script], { mountPoints })
  const taskArn = await runTask('nfs')
  await reaches(taskArn, 'RUNNING')
  const seen = await eventually(
    'the file on the server',
    async () => {
      const { output } = await machine.run('cat /srv/share/mounted')
      return /done/.test(output) ? output : undefined
    },
    patienceMs,
  )
  t.match(seen, /:\/srv\/share \/data nfs4 .*\baddr=10\.0\.2\.15\b/)
  await ecs('StopTask', { task: taskArn })
  await reaches(taskArn, 'STOPPED')
})

await step('an agent that hangs is started again, and its containers go on', async (t) => {
  const before = await containersNow()
  const pid = await machine.ok('systemctl show -p MainPID --value gantry-agent')
  await timed('a stopped agent until it is ready again', async () => {
    await machine.ok(`kill -STOP ${pid}`)
    await eventually(
      'another agent process',
      async () => {
        const state = await machine.ok('systemctl show -p MainPID -p ActiveState --value gantry-agent')
        return !state.includes(pid) && /^active$/m.test(state) ? true : undefined
      },
      patienceMs,
    )
  })
  t.match(await machine.ok('journalctl --no-pager -u gantry-agent -o cat'), /Watchdog timeout/)
  t.equal(await containersNow(), before, 'no container was touched')
})

await step('exit code 5 is not started again', async (t) => {
  const before = await containersNow()
  await machine.ok('echo ECS_CLUSTER=other >> /etc/gantry/agent.env; systemctl restart gantry-agent')
  const failed = async () => {
    const state = await machine.ok('systemctl show -p ActiveState -p ExecMainStatus --value gantry-agent')
    return /failed/.test(state) ? state : undefined
  }
  t.match(await eventually('the agent to give up', failed, patienceMs), /^5$/m)
  await machine.ok(`sed -i '/^ECS_CLUSTER=other/d' /etc/gantry/agent.env
    echo GANTRY_KEY_ROTATION_INTERVAL=45s >> /etc/gantry/agent.env; systemctl restart gantry-agent`)
  await serviceTasks(2)
  t.equal(await containersNow(), before, 'no container was touched')
})

const joinedMember = (name: string): Promise<string> =>
  machine.ok(`sed -n 's/.*"${name}": "\\(.*\\)".*/\\1/p' /var/lib/gantry/agent/joined.json`)

await step('keys change within the sandbox, and from here on again and again', async (t) => {
  const [first] = (await joinedMember('accessKeyId')).split('\n')
  const changed = async () => ((await joinedMember('accessKeyId')).includes(first ?? '') ? undefined : true)
  await eventually('two changes of keys', changed, patienceMs)
  t.equal(await machine.ok("stat -c '%a %U' /var/lib/gantry/agent/joined.json"), '600 root')
  await statusSays(/connected to/)
  t.equal(
    await machine.ok("journalctl --no-pager -u gantry-agent -o cat | grep -c 'could not be changed' || true"),
    '0',
  )
})

await step('an upgrade in place leaves every container alone', async (t) => {
  const before = await containersNow()
  const next = '/root/gantry/next/systemd/install.sh'
  const said = await timed('upgrade of both', () => machine.ok(`${next} upgrade`))
  t.match(said, /the agent restarts; containers go on/)
  t.match(await machine.ok('readlink /opt/gantry/current'), /-next$/)
  t.equal((await machine.ok('ls /opt/gantry/versions')).split('\n').length, 2, 'the former version is kept')
  t.match(await machine.ok(`${next} upgrade`), /nothing to do/)
  await serviceTasks(2)
  t.equal(await containersNow(), before, 'no container was touched')
  for (const name of ['controller', 'agent']) {
    const pid = `$(systemctl show -p MainPID --value gantry-${name})`
    const exe = await machine.ok(`readlink /proc/${pid}/exe`)
    t.match(exe, /-next\/bin\/node$/, `the ${name} is the new one`)
    const resident = Number(/(\d+)/.exec(await machine.ok(`grep VmRSS /proc/${pid}/status`))?.[1])
    note(`resident memory of the ${name}, MB`, Math.round((resident * 1024) / 1e5) / 10)
  }
})

const sealedValue = async (): Promise<string | undefined> => {
  const client = new SecretsManagerClient({ endpoint, region: 'us-east-1', credentials: key })
  return (await client.send(new GetSecretValueCommand({ SecretId: 'sealed' }))).SecretString
}
const keyFile = '/var/lib/gantry/controller/secret-key'

await step('systemd hands in the key of secrets, from a file and sealed for this machine', async (t) => {
  const client = new SecretsManagerClient({ endpoint, region: 'us-east-1', credentials: key })
  await client.send(new CreateSecretCommand({ Name: 'sealed', SecretString: 'opened' }))
  await noteSecrets()
  const dropIn = '/etc/systemd/system/gantry-controller.service.d'
  const handIn = (line: string): string =>
    `mkdir -p ${dropIn} && printf '[Service]\\n${line}\\n' > ${dropIn}/secret-key.conf && systemctl daemon-reload`
  await machine.ok(`mv ${keyFile} /etc/gantry/secret-key && chown root:root /etc/gantry/secret-key
    ${handIn('LoadCredential=gantry-secret-key:/etc/gantry/secret-key')} && systemctl restart gantry-controller`)
  t.equal(await sealedValue(), 'opened')
  t.not((await machine.run(`ls ${keyFile}`)).code, 0, 'no other key was made')

  // The reboot that comes next opens this one.
  await machine.ok(`cd /etc/gantry && systemd-creds encrypt --name=gantry-secret-key secret-key secret-key.cred &&
    rm secret-key && ${handIn('LoadCredentialEncrypted=gantry-secret-key:/etc/gantry/secret-key.cred')}`)
})

/** As a machine whose battery is empty comes up, where nothing waits for a time server: two years ago, for this boot alone. */
const wrongClockOnce = `cat > /etc/systemd/system/wrong-clock.service <<'END'
[Unit]
Before=docker.service gantry-controller.service gantry-agent.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'rm /etc/systemd/system/multi-user.target.wants/wrong-clock.service; date -s "2 years ago"'
[Install]
WantedBy=multi-user.target
END
systemctl enable --quiet wrong-clock`

await step('after a reboot by a wrong clock the service runs again, and the standalone task is reported', async (t) => {
  const standalone = await runTask('web')
  await reaches(standalone, 'RUNNING')
  const before = await instanceArns()
  const served = await serviceTasks(2)
  await machine.ok(wrongClockOnce)
  note('reboot until ssh answers, s', (await machine.reboot()) / 1000)
  const early = await eventually(
    'the controller to tell of the clock',
    async () => {
      const { output } = await machine.run(
        "journalctl --no-pager -u gantry-controller -o cat | grep 'clock of this machine'",
      )
      return output === '' ? undefined : output
    },
    patienceMs,
  )
  t.match(early, /The clock of this machine says 20\d\d-/, 'and does not serve by it')
  await machine.ok(`date -s @${Math.round(Date.now() / 1000)}`)
  await timed('from there until the service runs again', async () => {
    await eventually('the controller', () => ecs('ListClusters', {}).catch(() => undefined), patienceMs)
    const stopped = await reaches(standalone, 'STOPPED')
    note('the standalone task says', stopped.stoppedReason ?? '')
    note(
      'service tasks that are the same after the reboot',
      (await serviceTasks(2)).filter((arn) => served.includes(arn)).length,
    )
  })
  t.same(await instanceArns(), before, 'the host is who it was')
  t.equal(await sealedValue(), 'opened', 'the key that only this machine opens was handed in')
  t.not((await machine.run(`ls ${keyFile} /etc/gantry/secret-key`)).code, 0, 'it stands nowhere in the clear')
  t.equal((await machine.ok('docker ps -q')).split('\n').length, 2, 'two containers run')
  const journal = await machine.ok('journalctl --no-pager -b -u gantry-agent -o cat')
  t.match(journal, /"msg":"Gantry agent ready/, 'the journal has its log')
})

await step('a revoked host is out, its containers go on, and its line brings it back as what it was', async (t) => {
  await noteSecrets()
  const before = await containersNow()
  const [instance = ''] = await instanceArns()
  const hostId = await joinedMember('hostId')
  await machine.ok(`AWS_SHARED_CREDENTIALS_FILE=${rootKeys} gantry hosts revoke ${hostId}`)
  const told = async () => {
    const { code } = await machine.run(
      "journalctl -b -u gantry-agent -o cat | grep 'does not take the keys of this host'",
    )
    return code === 0 ? true : undefined
  }
  await eventually('the agent to tell of it', told, patienceMs)
  t.equal(await containersNow(), before, 'no container was touched')
  t.match(await machine.ok('systemctl is-active gantry-agent'), 'active', 'and the agent goes on asking')
  await printJoinLine(`--instance ${idOf(instance)}`, '--replace')
  const said = await timed('a revoked host until it is back', () => machine.ok(`sh ${joinLine}`))
  t.match(said, /has joined https:.*\n/)
  t.not(await joinedMember('hostId'), hostId)
  await statusSays(/connected to/)
  t.same(await instanceArns(), [instance])
  await serviceTasks(2)
  const now = (await containersNow()).split('\n')
  note('containers that ran through the revocation', before.split('\n').filter((one) => now.includes(one)).length)
})

await step('no line of the journal, and no field of one, has a token or a key', async (t) => {
  const found = await machine.ok(`journalctl --no-pager --all -o verbose > /root/journal
    wc -l < /root/secrets; grep -c 'Gantry agent ready' /root/journal; grep -cFf /root/secrets /root/journal || true`)
  const [secrets, ready, leaks] = found.split('\n').map(Number)
  t.ok(Number(secrets) >= 7, 'keys of two hosts and two tokens among them')
  t.ok(Number(ready) > 0, 'the whole journal was searched')
  t.equal(leaks, 0)
  t.equal(
    await machine.ok("grep -c 'Got notification message from PID' /root/journal || true"),
    '0',
    'children say nothing',
  )
})

await step('uninstalled: services go, data and containers stay; with --purge nothing is left', async (t) => {
  const containers = await containersNow()
  const said = await machine.ok('/opt/gantry/current/systemd/install.sh uninstall 2>&1')
  t.match(said, /what stays: \/etc\/gantry\/controller\.env, \/var\/lib\/gantry\/controller/)
  t.match(said, /containers go on without an agent/)
  t.equal(await machine.ok("systemctl list-unit-files --no-legend 'gantry*' | wc -l"), '0')
  t.not((await machine.run('ls -d /opt/gantry')).code, 0)
  t.equal(await containersNow(), containers)
  const uninstall = '/root/gantry/release/systemd/install.sh uninstall'
  await machine.ok(`${uninstall} --purge`)
  const left = await machine.run(
    `ls -d /opt/gantry /etc/gantry /etc/systemd/system/gantry* /var/lib/gantry /usr/local/bin/gantry
    id gantry; docker ps -aq`,
  )
  t.notMatch(left.output, /^(\/|uid=|[0-9a-f]{12}$)/m, 'no directory, user or container is left')
  // What this story itself put there: a unit, and the directory that its NFS server gave out.
  await machine.ok(`rm -rf /etc/systemd/system/wrong-clock.service /srv/share; ${listFiles('/root/files-after')}`)
  const more = await machine.ok(`comm -13 /root/files-before /root/files-after
    ip -o link | grep -i gantry; ip netns; ls /run | grep -i gantry; grep -i gantry /proc/mounts; pgrep -a node
    iptables-save | grep -i gantry; find /sys/fs/cgroup -iname '*ecstasks*' -o -iname '*gantry*'; true`)
  t.equal(more, '', 'nor a file, interface, mount, rule, process or control group')
})

/** The story of docs/install.md, "From 0.2", with that release. */
await step(
  'a host of the version from before TLS comes here, and joins as what it is; no container notices',
  async (t) => {
    const previous = '/root/gantry/previous/systemd/install.sh'
    await machine.ok(`${previous} controller --listen 0.0.0.0:51700 && ${previous} agent`)
    endpoint = `http://127.0.0.1:${machine.ports.plain}`
    await readRootKey()
    await registerTaskDefinition('web', { cpu: '256', memory: '128' }, ['sleep', '100000'])
    await ecs('CreateService', { serviceName: 'web', taskDefinition: 'web', desiredCount: 2 })
    await serviceTasks(2)
    const [instance = ''] = await instanceArns()
    const before = await containersNow()

    const early = await machine.run(`${install} upgrade`)
    t.match(early, { code: 1, output: /FAILED listen: [^]*From 0\.2[^]*nothing was changed/ })
    await machine.ok("sed -i '/^GANTRY_LISTEN=/d' /etc/gantry/controller.env")
    await timed('upgrade from the version before', () => machine.ok(`${install} upgrade`))
    endpoint = overTls
    await trustControllersCa()
    await statusSays(/connected to http:/)
    await serviceTasks(2)
    t.equal(await containersNow(), before)

    await printJoinLine(`--instance ${idOf(instance)}`, '')
    t.match(await machine.ok(`sh ${joinLine}`), /has joined https:[^]*the agent runs: this host is /)
    await statusSays(/connected to https:/)
    t.same(await instanceArns(), [instance], 'it is the instance that it was')
    await serviceTasks(2)
    t.equal(await containersNow(), before)
    t.not((await machine.run('ls /etc/gantry/agent-credentials')).code, 0, 'the key of before TLS is gone')
    await machine.ok(`${install} uninstall --purge`)
  },
)
