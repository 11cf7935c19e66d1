/** Volumes of every kind on a real engine, with a real FUSE file system behind the shared ones: docs/volumes.md. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ListTasksCommand, RegisterTaskDefinitionCommand, RunTaskCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import type { ContainerDefinition, Task, Volume } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { openDocker } from '../../agent/docker.ts'
import { labels } from '../../agent/engine.ts'
import { realTimers } from '../../agent/timers.ts'
import { createVolumes, volumeDefaults } from '../../agent/volumes.ts'
import { callRest } from '../support/controller.ts'
import { startDockerd } from '../support/dockerd.ts'
import { askEngine, busyboxImage, inspectRaw } from '../support/engine.ts'
import { mountFiles, sharedDirectory, startFileServer } from '../support/file-server.ts'
import { type AnyTask, eventually, startLab } from '../support/lab.ts'
import { startVolumePlugin } from '../support/volume-plugin.ts'

tap.setTimeout(400_000)
const pluginName = `gantry-test-${process.pid}`
const shared = sharedDirectory('gantry-volumes-')
const home = shared.path
const environment = {
  ECS_CONTAINER_STOP_TIMEOUT: '1s',
  ECS_CONTAINER_START_TIMEOUT: '45s',
  ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION: '1s',
  ECS_SHARED_VOLUME_MATCH_FULL_CONFIG: 'true',
}
// Plugins of this engine alone; it has no bridge, so tasks here have no network.
const pluginDirectory = mkdtempSync(join(tmpdir(), 'gantry-plugins-'))
const engine = await startDockerd({ liveRestore: false, pluginDirectory })
const ask = async (method: string, path: string, body?: object) => askEngine(method, path, body, engine.host)
const image = await busyboxImage(engine.host)
const [server, dying] = await Promise.all([startFileServer(), startFileServer()])
const plugin = await startVolumePlugin(pluginName, { sockets: pluginDirectory, mounts: join(home, 'plugin') }, server)
// The engine tells of a plugin once it was used.
await ask('POST', '/volumes/create', { Name: `${pluginName}-first`, Driver: pluginName })
const lab = await startLab({
  dockerHost: engine.host,
  environment,
})
tap.teardown(async () => {
  dying.wake()
  await lab.close()
  await engine.remove()
  await plugin.close()
  await Promise.all([server.close(), dying.close()])
  shared.unmount()
  rmSync(pluginDirectory, { recursive: true, force: true })
})

interface RawVolume {
  readonly Name: string
  readonly Driver: string
  readonly Labels: Readonly<Record<string, string>> | null
  readonly Options: Readonly<Record<string, string>> | null
}

async function volumeNames(label: string): Promise<readonly string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
  const { text } = await ask('GET', `/volumes?filters=${filters}`)
  return ((JSON.parse(text) as { Volumes: RawVolume[] | null }).Volumes ?? []).map(({ Name }) => Name)
}

async function volumeOf(name: string): Promise<RawVolume | undefined> {
  const answer = await ask('GET', `/volumes/${name}`)
  return answer.status === 200 ? (JSON.parse(answer.text) as RawVolume) : undefined
}

const ownVolumes = async (arn: string) => volumeNames(`${labels.taskArn}=${arn}`)
const sh = (script: string): string[] => ['sh', '-c', script]
const mount = (sourceVolume: string, containerPath = '/data', readOnly = false) => ({
  sourceVolume,
  containerPath,
  readOnly,
})

/** Runs to its end; answers the task and the exit codes by container. */
async function ends(volumes: Volume[], containers: readonly ContainerDefinition[], timeoutMs = 60_000) {
  const arn = await run({ volumes, containers: containers.map((one) => ({ image, ...one })) })
  const task = await lab.reaches(arn, 'STOPPED', timeoutMs)
  return { arn, task, codes: codesOf(task) }
}

const run = async (task: AnyTask): Promise<string> => lab.run({ networkMode: 'none', ...task })

function codesOf(task: Task): Readonly<Record<string, number | undefined>> {
  return Object.fromEntries((task.containers ?? []).map(({ name, exitCode }) => [name, exitCode]))
}

async function rest(method: 'POST' | 'DELETE' | 'GET', path: string, body?: object) {
  const { endpoint, credentials } = lab.controller
  return callRest(endpoint, credentials, method, path, body === undefined ? undefined : JSON.stringify(body))
}

async function fileSystem(target: object): Promise<string> {
  const { status, json, text } = await rest('POST', '/v1/file-systems', { target })
  if (status !== 200) throw new Error(text)
  return String(json['fileSystemId'])
}

async function accessPoint(fileSystemId: string, input: object): Promise<string> {
  const { status, json, text } = await rest('POST', `/v1/file-systems/${fileSystemId}/access-points`, input)
  if (status !== 200) throw new Error(text)
  return String(json['accessPointId'])
}

const efs = (fileSystemId: string, more: object = {}): Volume => ({
  name: 'data',
  efsVolumeConfiguration: { fileSystemId, ...more },
})

const app = (script: string, readOnly = false) => [
  { name: 'app', command: sh(script), mountPoints: [mount('data', '/data', readOnly)] },
]

async function isGone(what: string, look: () => Promise<readonly string[]>): Promise<void> {
  await eventually(async () => ((await look()).length === 0 ? true : undefined), `${what} is gone`)
}

/** Begun first and looked at last: it takes the whole of the start timeout, and nobody else waits for it. */
mkdirSync(join(home, 'hung'))
const hungMount = await mountFiles(dying, join(home, 'hung'))
tap.teardown(() => hungMount.unmount())
dying.hang()
const hungId = await fileSystem({ kind: 'path', path: hungMount.path })
let hungSince = Date.now()
const hung = await run({
  volumes: [efs(hungId)],
  containers: [{ name: 'app', image, command: ['true'], mountPoints: [mount('data')] }],
})

await tap.test(
  'bind mounts, empty volumes, tmpfs and volumesFrom, shared between the containers of a task',
  async (t) => {
    const source = join(home, 'made/by/docker')
    const { arn, codes } = await ends(
      [{ name: 'etc', host: { sourcePath: source } }, { name: 'scratch', host: {} }, { name: 'bare' }],
      [
        {
          name: 'writer',
          essential: false,
          command: sh('echo hello > /scratch/a; echo kept > /host/b; until [ -e /scratch/read ]; do sleep 0.1; done'),
          mountPoints: [mount('etc', '/host'), mount('scratch', '/scratch')],
        },
        {
          name: 'reader',
          essential: false,
          command: sh(
            'until [ -s /in/a ]; do sleep 0.1; done; echo x > /in/b && exit 9; touch /bare/x || exit 8; touch /out/read; exit 0',
          ),
          mountPoints: [mount('scratch', '/in', true), mount('scratch', '/out'), mount('bare', '/bare')],
          linuxParameters: { tmpfs: [{ containerPath: '/tmp/fast', size: 1, mountOptions: ['noexec'] }] },
        },
        {
          name: 'taker',
          dependsOn: [{ containerName: 'reader', condition: 'SUCCESS' }],
          volumesFrom: [{ sourceContainer: 'writer', readOnly: true }],
          command: sh('until [ -s /scratch/a ]; do sleep 0.1; done; touch /scratch/c && exit 9; exit 0'),
        },
      ],
    )
    t.same({ reader: codes['reader'], taker: codes['taker'] }, { reader: 0, taker: 0 })
    t.equal(readFileSync(join(source, 'b'), 'utf8'), 'kept\n')
    t.equal(statSync(source).uid, 0, 'a missing directory of the host is made, as root')
    await isGone('what was the task its own', async () => ownVolumes(arn))
    t.equal(readFileSync(join(source, 'b'), 'utf8'), 'kept\n', "the host's directory stays")
  },
)

await tap.test(
  'Docker volumes: of the task, shared, asked for as they are, and by a driver that is not there',
  async (t) => {
    const sharedName = `${pluginName}-shared`
    const command = sh('cat /data/count; echo x >> /data/count')
    const config = {
      scope: 'shared' as const,
      autoprovision: true,
      driver: 'local',
      driverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' },
      labels: { 'gantry-test': pluginName },
    }
    const absent = await ends(
      [{ name: sharedName, dockerVolumeConfiguration: { ...config, autoprovision: false } }],
      [{ name: 'app', command, mountPoints: [mount(sharedName)] }],
    )
    t.match(
      absent.task.stoppedReason,
      /CannotCreateVolumeError: volume .* does not exist, and its definition has no autoprovision/,
    )
    t.equal(absent.task.stopCode, 'TaskFailedToStart')

    const first = await ends(
      [{ name: sharedName, dockerVolumeConfiguration: config }],
      [{ name: 'app', command, mountPoints: [mount(sharedName)] }],
    )
    t.equal(first.codes['app'], 0)
    t.match(await volumeOf(sharedName), { Driver: 'local', Labels: config.labels, Options: config.driverOpts })
    const other = await ends(
      [{ name: sharedName, dockerVolumeConfiguration: { ...config, labels: {}, driverOpts: { type: 'tmpfs' } } }],
      [{ name: 'app', command, mountPoints: [mount(sharedName)] }],
    )
    t.match(other.task.stoppedReason, /exists on this host with other driverOpts and labels than its definition gives/)

    const arn = await run({
      volumes: [
        { name: 'own', dockerVolumeConfiguration: { driver: 'local', labels: { team: 'lab' } } },
        { name: sharedName, dockerVolumeConfiguration: { ...config, autoprovision: false } },
      ],
      containers: [
        { name: 'app', image, command: ['sleep', '3600'], mountPoints: [mount('own'), mount(sharedName, '/s')] },
      ],
    })
    await lab.reaches(arn, 'RUNNING')
    const [own = ''] = await ownVolumes(arn)
    t.match(await volumeOf(own), { Name: /^ecs-engine-/, Labels: { team: 'lab', [labels.taskArn]: arn } })
    await lab.restartAgent({ options: { environment } })
    await lab.client.send(new StopTaskCommand({ task: arn }))
    await isGone('the volume of scope task', async () => ownVolumes(arn))
    t.ok(await volumeOf(sharedName), 'a shared one is never removed')

    const family = `${pluginName}-nobody`
    await lab.client.send(
      new RegisterTaskDefinitionCommand({
        family,
        volumes: [{ name: 'v', dockerVolumeConfiguration: { driver: 'rexray/ebs' } }],
        containerDefinitions: [{ name: 'app', image, memory: 32 }],
      }),
    )
    const { failures } = await lab.client.send(new RunTaskCommand({ taskDefinition: family }))
    t.match(failures?.[0], { reason: 'ATTRIBUTE', detail: /ecs\.capability\.docker-plugin\.rexray\/ebs/ })
  },
)

await tap.test('what a task that never started leaves, and one that its agent forgot, goes too', async (t) => {
  const { arn, task } = await ends(
    [{ name: 'scratch', host: {} }],
    [{ name: 'app', command: ['/no/such/program'], mountPoints: [mount('scratch')] }],
  )
  t.match(task.containers?.[0]?.reason, /CannotStartContainerError/)
  await isGone('the volume of a task that failed to start', async () => ownVolumes(arn))

  const running = await run({
    volumes: [{ name: 'scratch', host: {} }],
    containers: [{ name: 'app', image, command: ['sleep', '3600'], mountPoints: [mount('scratch')] }],
  })
  await lab.reaches(running, 'RUNNING')
  t.equal((await ownVolumes(running)).length, 1)
  const { dataDirectory } = lab.agent
  await lab.restartAgent({
    options: { environment },
    before: async () => {
      for (const end of ['', '-wal', '-shm']) rmSync(join(dataDirectory, `journal.db${end}`), { force: true })
    },
  })
  hungSince = Date.now()
  await lab.client.send(new StopTaskCommand({ task: running }))
  await isGone('the volume of a task whose journal was lost', async () => ownVolumes(running))
})

await tap.test('a path: two tasks see the same, and only what the definition names', async (t) => {
  const path = join(home, 'nas')
  mkdirSync(join(path, 'app'), { recursive: true })
  symlinkSync('/etc', join(path, 'link'))
  const id = await fileSystem({ kind: 'path', path, mustBeMounted: false })
  const wrote = await ends([efs(id, { rootDirectory: '/app' })], app('echo one > /data/file'))
  const read = await ends([efs(id)], app('grep -q one /data/app/file 2>/dev/null || [ "$(cat /data/app/file)" = one ]'))
  const readOnly = await ends([efs(id)], app('echo x > /data/x && exit 9; exit 0', true))
  t.same([wrote.codes['app'], read.codes['app'], readOnly.codes['app']], [0, 0, 0])

  const missing = await ends([efs(id, { rootDirectory: '/app/none' })], app('true'))
  t.match(missing.task, {
    stopCode: 'TaskFailedToStart',
    stoppedReason:
      /^ResourceInitializationError: failed to mount file system fs-\w+ \(path .*nas, directory \/app\/none\) for volume data: directory \/app\/none does not exist\. Make the directory, or/,
  })
  const linked = await ends([efs(id, { rootDirectory: '/link' })], app('true'))
  t.match(linked.task.stoppedReason, /\/link is a symbolic link, which is not followed/)
  const bare = await fileSystem({ kind: 'path', path })
  t.match(
    (await ends([efs(bare)], app('true'))).task.stoppedReason,
    /nas is no mount point on this host, so nothing is written there\. Mount/,
  )
  const nowhere = await fileSystem({ kind: 'path', path: join(home, 'nowhere'), mustBeMounted: false })
  t.match((await ends([efs(nowhere)], app('true'))).task.stoppedReason, /nowhere/)
  t.throws(() => statSync(join(home, 'nowhere')), 'it is not made')
  t.same(await probes(), [], 'what looked at it is gone')
})

async function probes(): Promise<readonly string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [labels.probeOf] }))
  const { text } = await ask('GET', `/containers/json?all=1&filters=${filters}`)
  const all = JSON.parse(text) as { readonly Names: string[]; readonly Labels: Readonly<Record<string, string>> }[]
  return all.filter(({ Labels }) => Labels[labels.probeOf] !== hung).flatMap(({ Names }) => Names)
}

await tap.test("an access point: made with its owner, and used as its user, whoever the image's is", async (t) => {
  const path = join(home, 'homes')
  mkdirSync(path)
  const id = await fileSystem({ kind: 'path', path, mustBeMounted: false })
  const posixUser = { uid: 4321, gid: 8765, secondaryGids: [777] }
  const point = await accessPoint(id, {
    path: '/users/app',
    posixUser,
    creationInfo: { ownerUid: 4321, ownerGid: 8765, permissions: '2750' },
  })
  const volumes = [efs(id, { authorizationConfig: { accessPointId: point } })]
  await t.rejects(
    run({ volumes, containers: [{ name: 'app', image, mountPoints: [mount('data')] }] }),
    /set its user to '4321:8765'/,
  )
  const wrote = await ends(volumes, [
    { name: 'app', user: '4321:8765', command: sh('echo mine > /data/file'), mountPoints: [mount('data')] },
  ])
  t.equal(wrote.codes['app'], 0, wrote.task.stoppedReason ?? '')
  t.match(statSync(join(path, 'users/app')), { uid: 4321, gid: 8765, mode: 0o42750 })
  t.match(statSync(join(path, 'users/app/file')), { uid: 4321, gid: 8765 })
  chmodSync(join(path, 'users/app'), 0o2777)
  const arn = await run({
    volumes,
    containers: [{ name: 'app', image, user: '4321:8765', command: ['sleep', '3600'], mountPoints: [mount('data')] }],
  })
  await lab.reaches(arn, 'RUNNING')
  const raw = (await inspectRaw((await lab.inspect(arn, 'app')).Id, engine.host)) as {
    HostConfig: { GroupAdd: string[]; SecurityOpt: string[] }
  }
  t.match(raw.HostConfig, { GroupAdd: ['777'], SecurityOpt: ['no-new-privileges'] })
  t.equal(statSync(join(path, 'users/app')).mode, 0o42777, 'what is there already is left as it is')
  await lab.client.send(new StopTaskCommand({ task: arn }))
  const refused = await rest('DELETE', `/v1/file-systems/${id}/access-points/${point}`)
  t.match(refused.json, { code: 'ResourceInUseException', message: /is used by task definition engine-/ })
})

await tap.test('a volume driver mounts it where it is needed: two tasks, one server', async (t) => {
  mkdirSync(join(server.directory, 'team'))
  const id = await fileSystem({ kind: 'volume', driver: pluginName, driverOpts: { below: '{rootDirectory}' } })
  const point = await accessPoint(id, {
    path: '/team/new',
    creationInfo: { ownerUid: 0, ownerGid: 0, permissions: '0755' },
  })
  const both = await Promise.all(
    ['one', 'two'].map(async (text) =>
      ends(
        [efs(id, { rootDirectory: '/team' })],
        [
          {
            name: 'app',
            command: sh(`echo ${text} > /data/${text}; until [ -s /data/one ] && [ -s /data/two ]; do sleep 0.1; done`),
            mountPoints: [mount('data')],
          },
        ],
      ),
    ),
  )
  t.same(
    both.map(({ codes }) => codes['app']),
    [0, 0],
  )
  t.equal(readFileSync(join(server.directory, 'team/two'), 'utf8'), 'two\n', 'it is on the server')
  const made = await ends(
    [efs(id, { authorizationConfig: { accessPointId: point } })],
    [{ name: 'app', command: sh('echo x > /data/file'), mountPoints: [mount('data')] }],
  )
  t.equal(made.codes['app'], 0, made.task.stoppedReason ?? '')
  t.equal(readFileSync(join(server.directory, 'team/new/file'), 'utf8'), 'x\n')
  t.ok(
    [...plugin.volumes.keys()].some((name) => name.startsWith(`gantry-${id}-`)),
    "a driver's volume is left alone",
  )
  await eventually(
    async () => ([...plugin.volumes.values()].every(({ users }) => users === 0) ? true : undefined),
    'nobody holds a mount any more',
  )
})

await tap.test('a server that is not there ends the task with a reason, in words that help', async (t) => {
  // What any kernel answers: without the module that there is none, with it that nobody listens.
  const o = 'addr=127.0.0.1,nfsvers=4.1,soft,timeo=10,retrans=1'
  const nobody = await fileSystem({
    kind: 'volume',
    driver: 'local',
    driverOpts: { type: 'nfs', device: ':/export', o },
  })
  const { task } = await ends([efs(nobody)], [{ name: 'app', command: ['true'], mountPoints: [mount('data')] }])
  t.match(task, {
    stopCode: 'TaskFailedToStart',
    stoppedReason:
      /^ResourceInitializationError: failed to mount file system fs-\w+ \(volume driver local\) for volume data: .*\. (?:This host's kernel has no module|See that the server runs)/,
  })

  const nfs = await fileSystem({ kind: 'nfs', server: '127.0.0.1', export: '/export' })
  const family = `${pluginName}-nfs`
  await lab.client.send(
    new RegisterTaskDefinitionCommand({
      family,
      networkMode: 'none',
      volumes: [efs(nfs)],
      containerDefinitions: [{ name: 'app', image, memory: 32, mountPoints: [mount('data')] }],
    }),
  )
  const { failures, tasks } = await lab.client.send(new RunTaskCommand({ taskDefinition: family }))
  const refused = failures?.[0]
  if (refused !== undefined) t.match(refused, { reason: 'ATTRIBUTE', detail: /gantry\.capability\.file-system\.nfs/ })
  else t.match(await lab.reaches(tasks?.[0]?.taskArn ?? '', 'STOPPED'), { stoppedReason: /ResourceInit/ })
})

await tap.test('the password of a share goes to the engine, and into no message', async (t) => {
  const door = openDocker(engine.host)
  const volumes = createVolumes({ ...volumeDefaults, engine: door, timers: realTimers })
  const credentialsFile = join(home, 'credentials')
  writeFileSync(credentialsFile, '# of the share\nusername=me\npassword=hunter2 with : and spaces\n', { mode: 0o644 })
  const dockerName = `${pluginName}-cifs`
  const args = {
    volume: 'data',
    dockerName,
    labels: { 'gantry-test': pluginName },
    fileSystem: {
      fileSystemId: 'fs-1',
      described: 'cifs //127.0.0.1/x',
      rootDirectory: '/',
      mount: {
        kind: 'volume' as const,
        driver: 'local',
        driverOpts: { type: 'cifs', device: '//127.0.0.1/x', o: 'addr=127.0.0.1,vers=3.0' },
        credentialsFile,
      },
    },
  }
  await t.rejects(volumes.mount(args), { message: /credentialsFile .*chmod 600 it/ })
  chmodSync(credentialsFile, 0o600)
  const failure = await volumes.mount(args).then(
    () => undefined,
    (error: unknown) => error as Error,
  )
  t.match(failure?.message, /username=me,password=\*\*\*,addr=127\.0\.0\.1/)
  t.notMatch(JSON.stringify([failure?.message, failure?.cause, failure?.stack]), /hunter2|with : and/)
  t.match((await volumeOf(dockerName))?.Options?.['o'], /password=hunter2/, 'the engine has it, for root alone')
  await volumes.release({ volume: 'data', dockerName, ours: true })
  t.equal(await volumeOf(dockerName), undefined)
})

await tap.test('a server that dies under a task harms that task alone', async (t) => {
  const stale = await startFileServer()
  const mounted = await mountFiles(stale, join(home, 'dies'))
  t.teardown(async () => {
    mounted.unmount()
    await stale.close()
  })
  const id = await fileSystem({ kind: 'path', path: mounted.path })
  const writes = {
    name: 'app',
    image,
    command: sh('while echo x >> /data/log; do sleep 0.05; done'),
    mountPoints: [mount('data')],
  }
  const arn = await run({ volumes: [efs(id)], containers: [writes] })
  await lab.reaches(arn, 'RUNNING')
  await eventually(async () => (statSync(join(stale.directory, 'log')).size > 20 ? true : undefined), 'it writes')
  stale.hang()
  await new Promise((resolve) => setTimeout(resolve, 300))
  await lab.client.send(new StopTaskCommand({ task: arn }))
  const beside = await ends(
    [{ name: 'scratch', host: {} }],
    [
      {
        name: 'app',
        command: sh('echo x > /data/x'),
        mountPoints: [mount('data')].map((one) => ({ ...one, sourceVolume: 'scratch' })),
      },
    ],
  )
  t.equal(beside.codes['app'], 0, 'other tasks of the host go on')
  t.not((await lab.describe(arn)).lastStatus, 'STOPPED', 'what can not be killed is not called stopped')
  const why = await eventually(async () => {
    const answer = JSON.stringify(await lab.rest(`/v1/tasks/${arn.split('/').at(-1)}/why`))
    return answer.includes('file system hangs') ? answer : undefined
  }, 'why says what it waits for')
  t.match(why, /waits for container app to stop, which SIGKILL does not end while a file system hangs: fs-\w+ \(path /)
  stale.die()
  await lab.reaches(arn, 'STOPPED')

  const again = await ends([efs(id)], [{ ...writes }])
  t.match(
    again.task.stoppedReason,
    /^ResourceInitializationError: .*(?:is no mount point|not connected|input\/output error)/i,
  )
})

await tap.test('a server that hangs ends the task within the start timeout, and nobody waited for it', async (t) => {
  const task = await lab.reaches(hung, 'STOPPED')
  t.match(task, {
    stopCode: 'TaskFailedToStart',
    stoppedReason:
      /^ResourceInitializationError: .* for volume data: it did not answer within 45 s\. See that the server runs and that this host reaches it/,
  })
  const seconds = ((task.stoppedAt?.getTime() ?? 0) - hungSince) / 1000
  t.ok(seconds < 2 * 45, `${seconds} s after the agent last started`)
  dying.wake()
  const { taskArns } = await lab.client.send(new ListTasksCommand({ desiredStatus: 'RUNNING' }))
  t.same(taskArns, [])
})
