import t from 'tap'
import { aCall, aState, aTask, aTaskDefinition, aWorld, inTransaction, testNow } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { aRegistration } from '../../test/support/registrations.ts'
import { payloadTask } from '../decide/payload.ts'
import type { CreationInfo, FileSystemRow, PosixUser } from '../state/file-system-tables.ts'
import type { State } from '../state/state.ts'
import type { TaskDefinitionRow } from '../state/tables.ts'
import {
  createAccessPoint,
  createFileSystem,
  deleteAccessPoint,
  deleteFileSystem,
  type FileSystemInput,
  updateFileSystem,
} from './file-systems.ts'
import type { FileSystemTargetInput } from './file-system-targets.ts'
import { taskDefinitionHandlers } from './task-definitions.ts'

const world = aWorld(3)

function refusalOf(act: () => unknown): { readonly code: string; readonly message: string } {
  const [code = '', ...words] = refusal(act).split(': ')
  return { code, message: words.join(': ') }
}

const nfs = { kind: 'nfs', server: '10.0.0.5', export: '/export' }
const path = { kind: 'path', path: '/mnt/shared' }
const sshfs = {
  kind: 'volume',
  driver: 'vieux/sshfs:latest',
  driverOpts: { sshcmd: 'files@10.0.0.5:/data{rootDirectory}', o: 'uid={uid},gid={gid}' },
}

const create = (state: State, target: FileSystemTargetInput, more: Partial<FileSystemInput> = {}): FileSystemRow =>
  inTransaction(state, (tx) => createFileSystem(tx, { target, ...more }, testNow, world))

const access = (
  state: State,
  { fileSystemId }: FileSystemRow,
  input: { path: string; posixUser?: PosixUser; creationInfo?: CreationInfo },
) => inTransaction(state, (tx) => createAccessPoint(tx, fileSystemId, input, testNow, world))

type Efs = Readonly<Record<string, unknown>>
type Container = Readonly<Record<string, unknown>>

/** Registers a definition whose container `app` mounts one file system. */
function register(state: State, efs: Efs, container: Container = {}, ...others: Container[]): TaskDefinitionRow {
  const app = {
    name: 'app',
    image: 'busybox',
    memory: 64,
    mountPoints: [{ sourceVolume: 'data', containerPath: '/d' }],
  }
  const registration = aRegistration({
    family: 'web',
    volumes: [{ name: 'data', efsVolumeConfiguration: efs }],
    containerDefinitions: [{ ...app, ...container }, ...others],
  } as never)
  const { taskDefinition } = inTransaction(state, (tx) =>
    taskDefinitionHandlers.RegisterTaskDefinition.handle(tx, registration, aCall(), world),
  )
  const row = state.get('taskDefinition', `web:${taskDefinition?.revision}`)
  if (row === undefined) throw new Error('it was not registered')
  return row
}

const told = (state: State, definition: TaskDefinitionRow) => {
  const task = aTask({ taskId: '2'.repeat(32), taskDefinitionArn: definition.taskDefinitionArn })
  const containers = definition.containerDefinitions.map(({ name = '' }) => ({
    ...task.containers[0],
    name,
    containerArn: 'arn',
    lastStatus: 'PENDING' as const,
    essential: true,
  }))
  const to = { gantryProtocol: true, region: 'us-east-1', fileSystems: state }
  return payloadTask({ ...task, containers }, definition, to)
}

const attributeNames = (row: TaskDefinitionRow) => (row.requiresAttributes ?? []).map(({ name }) => name)

await t.test('each kind is mounted as its own', (test) => {
  const state = aState()
  const mountOf = (target: FileSystemTargetInput, efs: Efs = {}) => {
    const { fileSystemId } = create(state, target)
    test.match(fileSystemId, /^fs-[0-9a-f]{17}$/)
    return told(state, register(state, { fileSystemId, ...efs })).gantry?.fileSystems?.['data']
  }
  test.same(mountOf(nfs, { rootDirectory: '/app/data' })?.mount, {
    kind: 'volume',
    driver: 'local',
    driverOpts: {
      type: 'nfs',
      device: ':/export/app/data',
      o: 'addr=10.0.0.5,nfsvers=4.1,rsize=1048576,wsize=1048576,soft,timeo=150,retrans=2',
    },
  })
  const hard = { ...nfs, options: 'hard,timeo=600,vers=3,nolock' }
  test.match(mountOf(hard)?.mount, {
    driverOpts: {
      device: ':/export',
      o: 'addr=10.0.0.5,rsize=1048576,wsize=1048576,retrans=2,hard,timeo=600,vers=3,nolock',
    },
  })
  const root = mountOf({ ...nfs, export: '/' })
  test.match(root, { described: 'nfs 10.0.0.5:/', rootDirectory: '/', mount: { driverOpts: { device: ':/' } } })
  test.match(mountOf({ ...nfs, export: '/' }, { rootDirectory: '/a' })?.mount, { driverOpts: { device: ':/a' } })
  test.same(
    mountOf(
      { kind: 'cifs', server: 'nas', share: 'media', credentialsFile: '/etc/gantry/nas' },
      { rootDirectory: '/a' },
    )?.mount,
    {
      kind: 'volume',
      driver: 'local',
      driverOpts: { type: 'cifs', device: '//nas/media/a', o: 'addr=nas,vers=3.0,soft,echo_interval=10' },
      credentialsFile: '/etc/gantry/nas',
    },
  )
  test.same(mountOf({ kind: 'glusterfs', servers: ['a', 'b'], volume: 'v' }, { rootDirectory: '/x' })?.mount, {
    kind: 'volume',
    driver: 'glusterfs',
    driverOpts: { glusteropts: '--volfile-server=a --volfile-server=b --volfile-id=v --subdir-mount=/x' },
  })
  const volume = mountOf(sshfs, { rootDirectory: '/x' })?.mount
  test.match(volume, {
    driver: 'vieux/sshfs:latest',
    driverOpts: { sshcmd: 'files@10.0.0.5:/data/x', o: 'uid=0,gid=0' },
    name: /^gantry-fs-[0-9a-f]{17}-[0-9a-f]{12}$/,
  })
  test.match(mountOf(path, { rootDirectory: '/x' }), {
    described: 'path /mnt/shared',
    mount: { kind: 'path', path: '/mnt/shared', mustBeMounted: true },
    rootDirectory: '/x',
  })
  test.same(mountOf({ ...path, mustBeMounted: false })?.mount, { kind: 'path', path: '/mnt/shared' })
  test.end()
})

await t.test('what can not be is not registered, and no secret is', (test) => {
  const cases: readonly (readonly [FileSystemTargetInput, RegExp])[] = [
    [{ kind: 'efs' }, /^kind must be one of nfs, cifs, glusterfs, volume, path, and is 'efs'/],
    [{ kind: 'toString' }, /^kind must be one of/],
    [{ kind: 'nfs', export: '/e' }, /^server must be a host name or an address/],
    [{ ...nfs, server: '-o' }, /^server must be/],
    [{ ...nfs, export: 'e' }, /^export must be an absolute path/],
    [{ ...nfs, export: '/e/../etc' }, /^export must be an absolute path/],
    [{ ...nfs, export: '/a,b' }, /holds a comma/],
    [{ ...nfs, export: '/a\u001b[31m' }, /^export must be an absolute path/],
    [{ ...nfs, options: 'a'.repeat(9000) }, /^target can have at most 8192 characters/],
    [{ ...nfs, options: 'ip=1.2.3.4' }, /server says it/],
    [{ ...nfs, path: '/mnt' }, /^A file system of kind nfs takes kind, server, export, options, not path/],
    [{ ...nfs, options: 'addr=1.2.3.4' }, /server says it/],
    [{ ...nfs, options: 'hard, soft' }, /holds ' soft', which is no mount option/],
    [{ kind: 'cifs', server: 'nas', share: '/x' }, /^share must be/],
    [{ kind: 'cifs', server: 'nas', share: 'x', options: 'password=hunter2' }, /'password'.*credentialsFile/],
    [{ kind: 'cifs', server: 'nas', share: 'x', options: 'username=me' }, /'username'.*credentialsFile/],
    [{ kind: 'cifs', server: 'nas', share: 'x', options: 'password2=hunter2' }, /'password2'.*credentialsFile/],
    [{ kind: 'glusterfs', servers: [], volume: 'v' }, /^servers must name/],
    [{ kind: 'volume' }, /^driver must be/],
    [{ kind: 'volume', driver: 'x', driverOpts: { password: 'hunter2' } }, /^driverOpts.password looks like a secret/],
    [{ kind: 'volume', driver: 'local', driverOpts: { o: 'username=a,password=hunter2' } }, /looks like a secret/],
    [{ kind: 'volume', driver: 'local', driverOpts: { o: 'vers=3,password2=hunter2' } }, /looks like a secret/],
    [{ kind: 'volume', driver: 'local', driverOpts: { device: '//me:hunter2@nas/x' } }, /looks like a secret/],
    [{ kind: 'volume', driver: 's3', driverOpts: { secret_key: 'hunter2' } }, /looks like a secret/],
    [{ ...sshfs, volumeName: 'one' }, /leave one of them out/],
    [{ kind: 'path', path: '/' }, /^path must be an absolute path other than/],
    [{ kind: 'path', path: '/mnt/a:/etc' }, /^path must be/],
  ]
  const state = aState()
  for (const [target, message] of cases) {
    const { code, message: given } = refusalOf(() => create(state, target))
    test.equal(code, 'InvalidParameterException')
    test.match(given, message)
    test.notMatch(given, /hunter2/)
  }
  test.same(state.all('fileSystem'), [])
  test.end()
})

await t.test('there are so many, and no more', (test) => {
  const state = aState()
  const row = create(state, path)
  inTransaction(state, (tx) => {
    for (let number = 1; number < 1000; number += 1) createFileSystem(tx, { target: path }, testNow, world)
    for (let number = 0; number < 1000; number += 1) {
      createAccessPoint(tx, row.fileSystemId, { path: `/${number}` }, testNow, world)
    }
  })
  test.match(
    refusalOf(() => create(state, path)),
    { code: 'LimitExceededException', message: /1000 file systems/ },
  )
  test.match(
    refusalOf(() => access(state, row, { path: '/more' })),
    { code: 'LimitExceededException', message: /1000 access points of fs-/ },
  )
  test.end()
})

await t.test('a definition names what is there, and promises what is true', (test) => {
  const state = aState()
  const { fileSystemId } = create(state, nfs)
  const refused = (efs: Efs, container: Container = {}, ...others: Container[]) => {
    const { code, message } = refusalOf(() => register(state, efs, container, ...others))
    test.equal(code, 'ClientException')
    test.match(message, /^Invalid 'efsVolumeConfiguration' of volume 'data'\. /)
    return message
  }
  test.match(refused({ fileSystemId: 'fs-1' }), /File system 'fs-1' does not exist\. Register it/)
  test.match(refused({ fileSystemId, rootDirectory: 'x' }), /rootDirectory: .*absolute path/)
  test.match(refused({ fileSystemId, rootDirectory: '/a b' }), /comma or a space/)
  test.match(refused({ fileSystemId, authorizationConfig: { iam: 'ENABLED' } }), /iam ENABLED is not available yet/)
  test.match(refused({ fileSystemId, transitEncryptionPort: 2049 }), /transitEncryptionPort/)
  test.match(refused({ fileSystemId, transitEncryption: 'ENABLED' }), /can't be kept.*xprtsec=tls/)
  const plain = create(state, { kind: 'volume', driver: 'rexray/efs', driverOpts: { host: 'a' } })
  test.match(refused({ ...plain, target: undefined, rootDirectory: '/x' }), /put {rootDirectory} into the value/)

  const ap = access(state, create(state, path), { path: '/app' })
  const authorizationConfig = { accessPointId: ap.accessPointId }
  test.match(refused({ fileSystemId, authorizationConfig }), /does not exist on file system/)
  test.match(
    refused({ fileSystemId: ap.fileSystemId, rootDirectory: '/x', authorizationConfig }),
    /When using an EFS access point, the root directory must either be set to "\/" or be omitted\./,
  )
  for (const target of [
    { ...nfs, options: 'xprtsec=tls' },
    { ...nfs, options: 'sec=krb5p' },
    { kind: 'cifs', server: 'nas', share: 'x', options: 'seal' },
  ]) {
    const encrypted = create(state, target)
    test.ok(register(state, { fileSystemId: encrypted.fileSystemId, transitEncryption: 'ENABLED' }))
  }
  const byVpn = create(state, nfs, { encryptedInTransit: true })
  const row = register(state, { fileSystemId: byVpn.fileSystemId, transitEncryption: 'ENABLED' })
  test.equal(row.volumes?.[0]?.efsVolumeConfiguration?.rootDirectory, '/', 'as ECS fills it in')
  test.ok(row.compatibilities?.includes('EXTERNAL'), 'on any host, which ECS Anywhere has not')
  test.end()
})

await t.test('hosts that can not mount it never get the task', (test) => {
  const state = aState()
  const of = (target: FileSystemTargetInput) =>
    attributeNames(register(state, { fileSystemId: create(state, target).fileSystemId }))
  for (const name of ['ecs.capability.efs', 'gantry.capability.file-system', 'gantry.capability.file-system.nfs']) {
    test.ok(of(nfs).includes(name), name)
  }
  test.ok(of({ kind: 'cifs', server: 'a', share: 'b' }).includes('gantry.capability.file-system.cifs'))
  test.ok(of(sshfs).includes('ecs.capability.docker-plugin.vieux/sshfs.latest'))
  test.ok(of({ kind: 'glusterfs', servers: ['a'], volume: 'v' }).includes('ecs.capability.docker-plugin.glusterfs'))
  test.ok(of(path).includes('gantry.capability.file-system'))
  test.end()
})

await t.test("an access point's user is seen on every host, or the definition is refused", (test) => {
  const state = aState()
  const posixUser = { uid: 1000, gid: 2000, secondaryGids: [3000] }
  const creationInfo = { ownerUid: 1000, ownerGid: 2000, permissions: '0750' }
  const onNfs = access(state, create(state, nfs), { path: '/app', posixUser, creationInfo })
  test.match(onNfs.accessPointId, /^fsap-[0-9a-f]{17}$/)
  const efs = { fileSystemId: onNfs.fileSystemId, authorizationConfig: { accessPointId: onNfs.accessPointId } }
  const refused = (container: Container, ...others: Container[]) =>
    refusalOf(() => register(state, efs, container, ...others)).message
  test.match(
    refused({}),
    /is for user 1000:2000, .* container 'app' runs, which names no user: set its user to '1000:2000'/,
  )
  test.match(refused({ user: 'root' }), /which runs as 'root'/)
  test.match(refused({ user: '1000:2000', privileged: true }), /neither privileged/)
  const side = { name: 'side', image: 'busybox', memory: 64, volumesFrom: [{ sourceContainer: 'app' }] }
  test.match(refused({ user: '1000:2000' }, side), /container 'side' runs, which names no user/)

  const row = register(state, efs, { user: '1000:2000' }, { ...side, user: '1000:2000' })
  const task = told(state, row)
  for (const { dockerConfig } of task.containers) {
    test.match(JSON.parse(dockerConfig.hostConfig), { SecurityOpt: ['no-new-privileges'], GroupAdd: ['3000'] })
  }
  test.match(task.gantry?.fileSystems?.['data'], {
    rootDirectory: '/app',
    creation: creationInfo,
    mount: { driverOpts: { device: ':/export/app' } },
    rootOpts: { device: ':/export' },
  })

  const user = { uid: 1000, gid: 2000 }
  const share = access(state, create(state, { kind: 'cifs', server: 'nas', share: 'x' }), {
    path: '/a',
    posixUser: user,
  })
  const cifs = { fileSystemId: share.fileSystemId, authorizationConfig: { accessPointId: share.accessPointId } }
  test.match(told(state, register(state, cifs)).gantry?.fileSystems?.['data'], {
    mount: { driverOpts: { o: /,uid=1000,forceuid,gid=2000,forcegid$/ } },
  })
  const driver = access(state, create(state, sshfs), { path: '/a', posixUser: user })
  const volume = { fileSystemId: driver.fileSystemId, authorizationConfig: { accessPointId: driver.accessPointId } }
  test.match(told(state, register(state, volume)).gantry?.fileSystems?.['data'], {
    mount: { driverOpts: { sshcmd: 'files@10.0.0.5:/data/a', o: 'uid=1000,gid=2000' } },
  })

  const wrong = (input: Parameters<typeof access>[2]) =>
    refusalOf(() => access(state, create(state, sshfs), input)).message
  test.match(wrong({ path: 'x' }), /^path 'x':/)
  test.match(wrong({ path: '/x', posixUser }), /secondaryGids has no effect/)
  test.match(wrong({ path: '/x', posixUser: { uid: -1, gid: 0 } }), /^posixUser.uid must be a whole number/)
  test.match(wrong({ path: '/x', creationInfo: { ...creationInfo, permissions: 'rwx' } }), /must be octal/)
  test.end()
})

await t.test('what is used can not be taken away, and the answer says by whom', (test) => {
  const state = aState()
  const fileSystem = create(state, sshfs, { name: 'data' })
  const { fileSystemId } = fileSystem
  const { accessPointId } = access(state, fileSystem, { path: '/a' })
  const remove = () => inTransaction(state, (tx) => deleteFileSystem(tx, fileSystemId))
  const removeAccessPoint = () => inTransaction(state, (tx) => deleteAccessPoint(tx, fileSystemId, accessPointId))
  const update = (input: Partial<FileSystemInput>) =>
    inTransaction(state, (tx) => updateFileSystem(tx, fileSystemId, input))
  test.match(refusalOf(remove), { code: 'ResourceInUseException', message: new RegExp(accessPointId) })
  register(state, { fileSystemId, authorizationConfig: { accessPointId } })
  test.match(refusalOf(removeAccessPoint), { code: 'ResourceInUseException', message: /used by task definition web:1/ })

  test.match(
    refusalOf(() => update({ target: nfs })),
    { message: /is of kind volume with driver vieux\/sshfs:latest/ },
  )
  const fixed = { ...sshfs, driverOpts: { sshcmd: 'files@10.0.0.5:/data' } }
  test.match(
    refusalOf(() => update({ target: fixed })),
    { message: /rootDirectory}/ },
  )
  const moved = { ...sshfs, driverOpts: { sshcmd: 'files@10.0.0.6:/data{rootDirectory}' } }
  test.match(update({ target: moved }), { name: 'data', target: moved })

  const arn = 'arn:aws:ecs:us-east-1:123456789012:task-definition/web:1'
  inTransaction(state, (tx) => {
    tx.put('taskDefinition', 'web:1', {
      ...aTaskDefinition(),
      ...tx.get('taskDefinition', 'web:1'),
      status: 'INACTIVE',
    })
    tx.put('task', 'a', aTask({ taskId: 'a', taskDefinitionArn: arn, lastStatus: 'RUNNING' }))
  })
  test.match(refusalOf(removeAccessPoint), { code: 'ResourceInUseException' }, 'a task of it still runs')
  inTransaction(state, (tx) =>
    tx.put('task', 'a', aTask({ taskId: 'a', taskDefinitionArn: arn, lastStatus: 'STOPPED' })),
  )
  removeAccessPoint()
  remove()
  test.match(refusalOf(remove), {
    code: 'ResourceNotFoundException',
    message: `File system '${fileSystemId}' does not exist.`,
  })
  test.end()
})

await t.test('volumes that need a service of Amazon are refused by name', (test) => {
  const state = aState()
  const refused = (volume: object) =>
    refusalOf(() =>
      inTransaction(state, (tx) =>
        taskDefinitionHandlers.RegisterTaskDefinition.handle(
          tx,
          aRegistration({ volumes: [{ name: 'data', ...volume }] }),
          aCall(),
          world,
        ),
      ),
    ).message
  test.match(refused({ configuredAtLaunch: true }), /^configuredAtLaunch of volume 'data' \(an Amazon EBS volume/)
  test.match(refused({ s3filesVolumeConfiguration: {} }), /S3 Files/)
  test.match(
    refused({ fsxWindowsFileServerVolumeConfiguration: {} }),
    /^fsxWindowsFileServerVolumeConfiguration .*Windows/,
  )
  test.end()
})
