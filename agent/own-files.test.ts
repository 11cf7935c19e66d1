/** The agent's own files stay out of containers, by whichever way the host's places are mounted. */
import { mkdirSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import tap from 'tap'
import { EngineError } from './engine.ts'
import type { CreateBody, Engine, ObservedContainer, ObservedVolume } from './engine.ts'
import { keysPath, ownPaths, withOwnFilesHidden } from './own-files.ts'
import { realPaths } from './real-paths.ts'

const root = realpathSync(tap.testdir({ data: { metadata: {} }, etc: {}, other: {} }))
const data = join(root, 'data')
const keys = join(root, 'etc/keys')
writeFileSync(keys, 'canary')
symlinkSync(data, join(root, 'other/link'))
mkdirSync(join(data, 'metadata/mine'))

const hiding = 'ro,noexec,nosuid,nodev,size=4k,mode=0555'
const volumes: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  devious: { type: 'none', o: 'bind', device: root },
  plain: {},
  remote: { type: 'cifs', o: 'username=bind', device: '//server/share' },
  export: { type: 'nfs', o: 'addr=10.0.0.5,ro', device: ':/export' },
  memory: { type: 'tmpfs', device: 'tmpfs' },
  elsewhere: { type: 'overlay', o: `lowerdir=${root}/other:/usr`, device: 'overlay' },
  disk: { type: 'ext4', device: '/dev/another' },
  'own disk': { type: 'ext4', o: 'ro', device: '/dev/own' },
  slashes: { type: 'none', o: 'bind', device: `/${root}` },
  'as a share': { type: 'cifs', o: 'ro,rbind', device: `/${data}` },
  relative: { type: 'none', o: 'bind', device: data.slice(1) },
  layers: { type: 'overlay', o: `lowerdir=/usr:${root}`, device: 'overlay' },
  layer: { type: 'overlay', o: `lowerdir=/usr:${data.replace('data', String.raw`da\ta`)},ro`, device: 'overlay' },
  'upper layer': { type: 'overlay', o: `lowerdir=/usr,upperdir=${data}/up,workdir=/w`, device: 'overlay' },
}
const mounts = [{ name: '', source: root, destination: '/all' }]

const ownDisk = statSync(data).dev
const disks: Readonly<Record<string, { dev: number; rdev: number; isBlockDevice: () => boolean }>> = {
  '/dev/own': { dev: 0, rdev: ownDisk, isBlockDevice: () => true },
  '/dev/another': { dev: 0, rdev: ownDisk + 1, isBlockDevice: () => true },
}

/** Answers the host config with which the engine is asked for a container. */
async function asked(hostConfig: object): Promise<unknown> {
  let given: CreateBody = {}
  const engine = {
    async createContainer(_name: string, body: CreateBody) {
      given = body
      return 'id'
    },
    async inspectVolume(name: string): Promise<ObservedVolume | undefined> {
      const options = volumes[name]
      return options === undefined ? undefined : { name, driver: 'local', options, labels: {} }
    },
    inspectContainer: async (name: string) =>
      (name === 'source' ? { details: { mounts } } : undefined) as ObservedContainer | undefined,
  } as unknown as Engine
  const hidden = withOwnFilesHidden({
    engine,
    paths: [data, keys, join(root, 'gone')],
    metadataFiles: join(data, 'metadata'),
    look: (path) => disks[path] ?? statSync(path, { throwIfNoEntry: false }),
  })
  await hidden.createContainer('mine', { Image: 'x', HostConfig: hostConfig })
  return given['HostConfig']
}

await tap.test('a mount that holds them gets an empty directory, or an empty file, over their place', async (t) => {
  t.same(await asked({ Binds: [`${root}:/host:ro`] }), {
    Binds: [`${root}:/host:ro`, '/dev/null:/host/etc/keys:ro'],
    Tmpfs: { '/host/data': hiding },
  })
  t.match(await asked({ Binds: ['/:/host'] }), { Tmpfs: { [`/host${data}`]: hiding } })
  t.match(await asked({ Mounts: [{ Type: 'bind', Source: root, Target: '/m' }] }), { Tmpfs: { '/m/data': hiding } })
  t.match(await asked({ VolumesFrom: ['source:ro'] }), { Tmpfs: { '/all/data': hiding } }, 'as another has it')
  t.match(await asked({ Binds: [`${root}:/host`], Tmpfs: { '/run': '' } }), {
    Tmpfs: { '/run': '', '/host/data': hiding },
  })
})

await tap.test('one of them is refused, by any name; everything else is left as it is', async (t) => {
  for (const path of [
    data,
    `${data}/`,
    join(data, 'metadata'),
    `${root}/etc/../data`,
    join(root, 'other/link'),
    keys,
  ]) {
    await t.rejects(asked({ Binds: [`${path}:/x`] }), { message: /one of the agent's own places/ }, path)
  }
  // Docker's own mount of them, among its files, would be hidden in no container.
  for (const volume of ['devious', 'slashes', 'layers']) {
    await t.rejects(asked({ Binds: [`${volume}:/v`] }), { message: new RegExp(`volume ${volume} shows`) })
  }
  for (const volume of ['as a share', 'layer', 'upper layer']) {
    await t.rejects(asked({ Binds: [`${volume}:/x`] }), { message: /one of the agent's own places/ }, volume)
  }
  await t.rejects(asked({ Binds: ['own disk:/x'] }), { kind: 'refused', message: /is the disk of the host on which/ })
  await t.rejects(asked({ Binds: ['relative:/x'] }), { kind: 'refused', message: /is no whole path/ })
  for (const volume of ['plain', 'remote', 'export', 'memory', 'elsewhere', 'disk', 'unknown']) {
    t.same(await asked({ Binds: [`${volume}:/v`] }), { Binds: [`${volume}:/v`] }, volume)
  }
  for (const bind of [`${root}/other:/x`, `${data}/metadata/mine:/m:ro`]) {
    t.same(await asked({ Binds: [bind] }), { Binds: [bind] }, bind)
  }
  t.same(await asked({}), {})
  t.same(ownPaths(data, keys, []), [data, join(root, 'etc')])
  t.same(ownPaths(data, '/no-keys-yet', ['/nor-this']), [data, '/no-keys-yet', '/nor-this'], 'it may come')
  t.same(ownPaths(data, undefined, [root, join(root, 'etc')]), [root], 'what lies within another is hidden with it')
  t.same(ownPaths(join(root, 'other/link'), undefined, [data]), [data], 'by whatever name')
  for (const [file, hidden] of [
    ['/home/ada/work/.gantry/controller/agent-credentials', '/home/ada/work/.gantry/controller'],
    ['/home/ada/.aws/credentials', '/home/ada/.aws'],
    ['/srv/gantry/keys', '/srv/gantry'],
    ['/home/ada/work/keys', '/home/ada/work/keys'],
    ['/home/ada/keys', '/home/ada/keys'],
    ['/root/keys', '/root/keys'],
    ['/srv/keys', '/srv/keys'],
    ['/srv/ada/keys', '/srv/ada/keys'],
  ] as const) {
    t.equal(keysPath(file, '/srv/ada'), hidden)
  }
})

await tap.test(
  'a file system that does not answer holds up the container alone, and the others of the agent not at all',
  async (t) => {
    const engine = { createContainer: async () => 'id' } as unknown as Engine
    const silent = new EngineError('deadline', 'a file system of the host does not answer')
    const looked: string[][] = []
    const hidden = withOwnFilesHidden({
      engine,
      paths: [data],
      metadataFiles: join(data, 'metadata'),
      async realPaths(paths) {
        looked.push([...paths])
        throw silent
      },
    })
    const mounting = hidden.createContainer('mine', { Image: 'x', HostConfig: { Binds: ['/mnt/dead:/data'] } })
    await t.rejects(mounting, silent)
    t.same(looked, [['/mnt/dead']], 'the agent itself does not look')
  },
)

await tap.test('links are followed by a program that looks for the agent', async (t) => {
  symlinkSync(join(root, 'other/loop'), join(root, 'other/loop'))
  const link = join(root, 'other/link')
  t.same(await realPaths([]), [])
  t.same(await realPaths([link, `${link}/nowhere/at/all`, '/']), [data, join(data, 'nowhere/at/all'), '/'])
  const loop = join(root, 'other/loop')
  t.same(await realPaths([loop, link]), [loop, data], 'one that leads nowhere hides no other')
})
