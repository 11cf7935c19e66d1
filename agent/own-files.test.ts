/** The agent's own files stay out of containers, by whichever way the host's places are mounted. */
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import tap from 'tap'
import { EngineError } from './engine.ts'
import type { CreateBody, Engine, ObservedContainer, ObservedVolume } from './engine.ts'
import { ownPaths, withOwnFilesHidden } from './own-files.ts'
import { realPaths } from './real-paths.ts'

const root = realpathSync(tap.testdir({ data: { metadata: {} }, etc: {}, other: {} }))
const data = join(root, 'data')
const keys = join(root, 'etc/keys')
writeFileSync(keys, 'canary')
symlinkSync(data, join(root, 'other/link'))
mkdirSync(join(data, 'metadata/mine'))

const hiding = 'ro,noexec,nosuid,nodev,size=4k,mode=0555'
const deviceOf: Readonly<Record<string, string>> = { devious: root, plain: '', remote: '//server/share' }
const mounts = [{ name: '', source: root, destination: '/all' }]

/** Answers the host config with which the engine is asked for a container. */
async function asked(hostConfig: object): Promise<unknown> {
  let given: CreateBody = {}
  const engine = {
    async createContainer(_name: string, body: CreateBody) {
      given = body
      return 'id'
    },
    async inspectVolume(name: string): Promise<ObservedVolume | undefined> {
      const device = deviceOf[name]
      if (device === undefined) return undefined
      return { name, driver: 'local', options: { type: 'none', o: 'bind', device }, labels: {} }
    },
    inspectContainer: async (name: string) =>
      (name === 'source' ? { details: { mounts } } : undefined) as ObservedContainer | undefined,
  } as unknown as Engine
  const hidden = withOwnFilesHidden({
    engine,
    paths: [data, keys, join(root, 'gone')],
    metadataFiles: join(data, 'metadata'),
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
  t.match(await asked({ Binds: ['devious:/v'] }), { Tmpfs: { '/v/data': hiding } }, 'a volume that is a directory')
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
  for (const bind of ['plain:/v', 'remote:/v', 'unknown:/v', `${root}/other:/x`, `${data}/metadata/mine:/m:ro`]) {
    t.same(await asked({ Binds: [bind] }), { Binds: [bind] }, bind)
  }
  t.same(await asked({}), {})
  t.same(ownPaths(data, keys, []), [data, join(root, 'etc')])
  t.same(ownPaths(data, '/keys-that-are-not-there', ['/nor-is-this']), [data])
  t.same(ownPaths(data, undefined, [root, join(root, 'etc')]), [root], 'what lies within another is hidden with it')
  t.same(ownPaths(join(root, 'other/link'), undefined, [data]), [data], 'by whatever name')
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
