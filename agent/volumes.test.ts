import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { PayloadFileSystem, PayloadTask } from '../proto/acs.ts'
import { fakeEngine } from '../test/support/fake-engine.ts'
import { fakeTime } from '../test/support/fake-time.ts'
import { anAgent } from '../test/support/fake-turn.ts'
import type { Agent } from '../test/support/fake-turn.ts'
import { aPayloadContainer, aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { mountableKinds } from './file-system-kinds.ts'
import { labels } from './engine.ts'
import { tarOf } from './tar.ts'
import { startVolumeSweep } from './volume-sweep.ts'
import { isMountPoint, readCredentials } from './volumes.ts'

const one = taskArnOf(1)
const mountPoints = [{ sourceVolume: 'data', containerPath: '/data', readOnly: true }]

const nfs: PayloadFileSystem = {
  fileSystemId: 'fs-1',
  described: 'nfs 10.0.0.5:/export',
  mount: { kind: 'volume', driver: 'local', driverOpts: { type: 'nfs', device: ':/export', o: 'addr=10.0.0.5' } },
  rootDirectory: '/',
}

const path: PayloadFileSystem = {
  fileSystemId: 'fs-2',
  described: 'path /mnt/a',
  mount: { kind: 'path', path: '/mnt/a' },
  rootDirectory: '/b',
}

function aTaskWith(fileSystem: PayloadFileSystem, over: Partial<PayloadTask> = {}): PayloadTask {
  return aPayloadTask({
    containers: [aPayloadContainer({ mountPoints })],
    volumes: [{ name: 'data', type: 'efs' }],
    gantry: { knownStatus: 'PENDING', fileSystems: { data: fileSystem } },
    ...over,
  })
}

async function reaches(agent: Agent, status: 'RUNNING' | 'STOPPED', withinMs = 10_000): Promise<void> {
  await agent.time.until(`${one} is ${status}`, () => agent.last(one)?.status === status, withinMs)
}

const named = (agent: Agent, end: string) => agent.engine.created.filter((name) => name.endsWith(end)).length

await t.test('a file system is looked at, mounted, and given back with its task', async (test) => {
  const agent = anAgent({ cleanupWaitMs: 60_000 })
  agent.payload([aTaskWith(nfs)])
  await reaches(agent, 'RUNNING')
  test.equal(named(agent, '-probe'), 1)
  const [volume] = agent.engine.volumes.values()
  test.match(volume, { driver: 'local', options: { device: ':/export' }, labels: { [labels.taskArn]: one } })
  const { body } = agent.engine.find('web')
  test.match(body['HostConfig'], { Binds: [`${volume?.name}:/data:ro,nocopy`] })
  agent.engine.exit('web', 0)
  await agent.time.until('nothing is left', () => agent.engine.volumes.size === 0, 180_000)
  test.equal(agent.engine.containers.size, 0)
})

await t.test(
  'a container that waits for another as well says so, and is woken when that has had its time',
  async (test) => {
    const agent = anAgent()
    const config = JSON.stringify({ Healthcheck: { Test: ['CMD', 'false'] } })
    const db = aPayloadContainer({
      name: 'db',
      startTimeout: 600,
      dockerConfig: { version: '1.19', config, hostConfig: '{}' },
    })
    const dependsOn = [{ containerName: 'db', condition: 'HEALTHY' as const }]
    agent.payload([aTaskWith(nfs, { containers: [db, aPayloadContainer({ mountPoints, dependsOn })] })])
    await agent.time.pass(120_000)
    test.match(agent.last(one)?.waitingFor, /^waits for container db to be healthy/)
    agent.turn.linkDown()
    await agent.time.pass(700_000)
    test.match(agent.turn.tasks(), [{ knownStatus: 'STOPPED' }])
  },
)

await t.test('a path is bound as it is, and never made', async (test) => {
  const agent = anAgent()
  agent.engine.paths.set('/fs/b', 'directory')
  agent.payload([aTaskWith(path)])
  await reaches(agent, 'RUNNING')
  test.match(agent.engine.find('web').body['HostConfig'], {
    Binds: [],
    Mounts: [{ Type: 'bind', Source: '/mnt/a/b', Target: '/data', ReadOnly: true }],
  })
  const missing = anAgent()
  missing.payload([aTaskWith(path)])
  await reaches(missing, 'STOPPED')
  test.equal(
    missing.last(one)?.reason,
    'ResourceInitializationError: failed to mount file system fs-2 (path /mnt/a, directory /b) for volume data: ' +
      'directory /b does not exist. Make the directory, or use an access point with creationInfo, which makes it.',
  )
  test.equal(named(missing, 'web'), 0)

  const made = anAgent()
  const creation = { ownerUid: 1, ownerGid: 2, permissions: '0750' }
  made.payload([aTaskWith({ ...path, rootDirectory: '/b/c', creation })])
  await reaches(made, 'RUNNING')
  test.same([...made.engine.paths.keys()], ['/fs/b', '/fs/b/c'])
})

await t.test('what does not answer ends its task within the time for it, and holds up no other', async (test) => {
  const agent = anAgent()
  agent.engine.fail('unpackInContainer', 'refused', { times: 1 })
  agent.payload([aTaskWith(nfs), aPayloadTask({ arn: taskArnOf(2) })])
  await reaches(agent, 'STOPPED')
  test.match(agent.last(one)?.reason, /^ResourceInitializationError: .*unpackInContainer failed as planned/)
  test.equal(agent.last(taskArnOf(2))?.status, 'RUNNING')

  const hung = anAgent()
  hung.payload([aPayloadTask({ arn: taskArnOf(2) })])
  await hung.time.pass(1000)
  hung.engine.latencyMs = 3_600_000
  hung.payload([aTaskWith(nfs)], { seqNum: 2 })
  await reaches(hung, 'STOPPED', 61_000)
  test.match(hung.last(one)?.reason, /: it did not answer within 60 s\. See that the server runs/)
})

await t.test('an engine that is away is waited for, and a host that was rebooted is looked at anew', async (test) => {
  const agent = anAgent()
  agent.engine.fail('createVolume', 'unreachable', { times: 2 })
  agent.engine.local.set('init:1', { exitsAfterMs: 300_000 })
  agent.payload([
    aTaskWith(nfs, {
      containers: [
        aPayloadContainer({ name: 'init', image: 'init:1', essential: false }),
        aPayloadContainer({ mountPoints, dependsOn: [{ containerName: 'init', condition: 'COMPLETE' }] }),
      ],
    }),
  ])
  await agent.time.pass(60_000)
  test.equal(agent.engine.started.length, 1)
  test.equal(named(agent, '-probe'), 1)
  // Minutes later the file system may be gone from under the host.
  agent.engine.fail('unpackInContainer', 'refused', { times: 2 })
  await reaches(agent, 'RUNNING', 400_000)
  test.equal(named(agent, '-probe'), 4, 'looked at until it was there, and only then started')
})

await t.test('a volume whose task nobody knows goes, at the second look, and only if it is ours', async (test) => {
  const time = fakeTime()
  const engine = fakeEngine(time)
  const ours = { [labels.instanceArn]: 'me' }
  await Promise.all([
    time.pass(1000),
    engine.createVolume('gone', 'local', {}, { ...ours, [labels.taskArn]: 'nobody' }),
    engine.createVolume('kept', 'local', {}, { ...ours, [labels.taskArn]: one }),
    engine.createVolume('foreign', 'local', {}, { [labels.instanceArn]: 'other', [labels.taskArn]: 'nobody' }),
  ])
  const silent = { debug() {}, info() {}, warn() {}, error() {} }
  const options = { engine, containerInstanceArn: 'me', taskArns: () => [one], timers: time, log: silent }
  const sweep = startVolumeSweep(options)
  await time.pass(130_000)
  test.equal(engine.volumes.size, 3, 'its payload may be on its way')
  await time.pass(700_000)
  test.same([...engine.volumes.keys()].toSorted(), ['foreign', 'kept'])
  sweep.close()
})

await t.test('credentials, mount tables, kernels and archives are read as they are', async (test) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-credentials-'))
  const file = join(directory, 'share')
  const read = async (text: string, mode = 0o600): Promise<string> => {
    writeFileSync(file, text)
    chmodSync(file, mode)
    return readCredentials(file)
  }
  test.equal(await read('# us\nuser=me\r\npassword=a=b:c d\ndomain=corp\n'), 'username=me,password=a=b:c d,domain=corp')
  await test.rejects(read('username=me\n', 0o640), /chmod 600 it/)
  await test.rejects(read('password=a,b\n'), { message: /has a comma in its password/ })
  await test.rejects(read('ssh-rsa AAAA\n'), { message: /is not a credentials file/ })
  await test.rejects(readCredentials(join(directory, 'none')), { message: /ENOENT\. Put it on every host/ })

  const table = [
    '36 35 98:0 / /mnt/with\\040space rw,noatime shared:1 - nfs4 10.0.0.5:/export rw',
    '37 35 0:40 / /mnt/auto rw - autofs systemd-1 rw',
  ].join('\n')
  test.ok(isMountPoint(table, '/mnt/with space'))
  test.notOk(isMountPoint(table, '/mnt/auto'), 'nothing is mounted there yet')
  test.notOk(isMountPoint(table, '/mnt'))

  test.same(mountableKinds('nodev\tsysfs\nnodev\tnfs4\n\text4\n', ''), ['nfs'])
  test.same(mountableKinds('', 'kernel/fs/smb/client/cifs.ko.zst: kernel/x.ko\nkernel/fs/nfsd/nfsd.ko:\n'), ['cifs'])
  test.same(mountableKinds('', 'kernel/fs/nfs/nfs.ko\n'), ['nfs'])

  const header = tarOf([{ path: 'a', mode: 0o755, uid: 4_000_000_000, gid: 7 }])
  test.equal(header.length, 3 * 512)
  test.equal(header.subarray(108, 116).toString('hex'), '80000000ee6b2800')
  test.equal(header.subarray(156, 157).toString(), '5')
})
