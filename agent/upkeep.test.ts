import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ApiCallError } from './ecs-api.ts'
import { imagesToRemove } from './decide/image-cleanup.ts'
import type { ImageCleanupPolicy, ImagesOfHost, ImageUse } from './decide/image-cleanup.ts'
import { drainHost, endDrain } from './drain.ts'
import type { DrainOptions } from './drain.ts'
import type { ListedImage } from './engine.ts'
import { createImageCleanup } from './image-cleanup.ts'
import type { ImageCleanupOptions } from './image-cleanup.ts'
import { fakeEngine } from '../test/support/fake-engine.ts'
import { fakeTime } from '../test/support/fake-time.ts'

const hourMs = 3_600_000
const now = 100 * hourMs
const gigabyte = 1e9

const policy: ImageCleanupPolicy = {
  minimumAgeMs: hourMs,
  imagesPerCycle: 2,
  untracked: false,
  untrackedMinimumAgeMs: hourMs,
  excludedNames: ['docker.io/library/base'],
}

function image(id: string, tags: readonly string[] = [`${id}:1`]): ListedImage {
  return { id, tags, digests: [], sizeBytes: gigabyte, createdAt: 0 }
}

function used(id: string, hoursAgo: number, sinceHoursAgo = 50): [string, ImageUse] {
  return [id, { id, since: now - sinceHoursAgo * hourMs, lastUsedAt: now - hoursAgo * hourMs }]
}

function host(of: Partial<ImagesOfHost>): ImagesOfHost {
  return { listed: [], inUseIds: new Set(), wantedNames: [], uses: new Map(), bytesNeeded: 0, ...of }
}

const removed = (of: Partial<ImagesOfHost>, by: Partial<ImageCleanupPolicy> = {}): readonly string[] =>
  imagesToRemove(host(of), { ...policy, ...by }, now).map(({ id }) => id)

await t.test('the least recently used go first, a few at a time', async (test) => {
  const listed = ['a', 'b', 'c'].map((id) => image(id))
  const uses = new Map([used('a', 1), used('b', 9), used('c', 5)])
  test.strictSame(removed({ listed, uses }), ['b', 'c'])
  test.strictSame(removed({ listed, uses }, { imagesPerCycle: 9 }), ['b', 'c', 'a'])
})

await t.test('what is used, waited for, excluded or young stays, whatever the need', async (test) => {
  const uses = new Map(['used', 'wanted', 'base', 'pinned', 'free'].map((id) => used(id, 2)))
  const listed = [
    image('used'),
    image('wanted', ['registry.lab:5000/wanted:latest']),
    image('base', ['base:latest', 'other:1']),
    { ...image('pinned', []), digests: ['web@sha256:1'] },
    image('free'),
  ]
  const kept = { inUseIds: new Set(['used']), wantedNames: ['registry.lab:5000/wanted', 'web@sha256:1'] }
  test.strictSame(removed({ listed, uses, ...kept }), ['free'])
  test.strictSame(removed({ listed, uses, ...kept, bytesNeeded: 99 * gigabyte }), ['free'])
  test.strictSame(removed({ listed: [image('free')], uses: new Map([used('free', 0.5, 0.5)]) }), [], 'it came just now')
})

await t.test('on a disk that is nearly full, as many go as it takes', async (test) => {
  const listed = ['a', 'b', 'c', 'd'].map((id) => image(id))
  const uses = new Map([used('a', 1, 0.5), used('b', 2, 0.5), used('c', 3, 0.5), used('d', 0, 0.5)])
  test.strictSame(removed({ listed, uses }), [], 'with room none is old enough')
  test.strictSame(removed({ listed, uses, bytesNeeded: 2.5 * gigabyte }), ['c', 'b', 'a'])
  test.strictSame(removed({ listed, uses, bytesNeeded: 9 * gigabyte }), ['c', 'b', 'a'], 'one of this minute stays')
  const ahead = new Map([used('a', -24, -24)])
  test.strictSame(removed({ listed, uses: ahead, bytesNeeded: gigabyte }), ['a'], 'the clock was set back by a day')
})

await t.test('images that no task used go only where that is asked for', async (test) => {
  const listed = [image('stranger'), { ...image('young'), createdAt: now - 1000 }, image('nameless', [])]
  test.strictSame(removed({ listed, bytesNeeded: gigabyte }), [])
  test.strictSame(removed({ listed }, { untracked: true }), ['nameless', 'stranger'])
})

await t.test(
  'the cleaner remembers uses over a restart, tells of the disk, and tasks wait for a removal',
  async (test) => {
    const time = fakeTime()
    const engine = fakeEngine(time)
    const directory = mkdtempSync(join(tmpdir(), 'gantry-images-'))
    let freeBytes = 50 * gigabyte
    const seen: boolean[] = []
    const options: ImageCleanupOptions = {
      engine,
      directory,
      rootDirectory: '/var/lib/docker',
      policy: { ...policy, minimumAgeMs: 0 },
      isEnabled: true,
      intervalMs: hourMs,
      pressurePercent: 85,
      wantedNames: () => [],
      onDiskUse: ({ isPressed }) => seen.push(isPressed),
      now: () => time.now(),
      timers: time,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
      readDisk: async () => ({ totalBytes: 100 * gigabyte, freeBytes }),
    }
    engine.local.set('web:1', { digest: 'sha256:1' })
    engine.local.set('stranger:1', {})
    const first = createImageCleanup(options)
    await Promise.all([first.engine.inspectImage('web:1'), time.pass(10)])
    first.close()

    const second = createImageCleanup(options)
    second.start()
    await time.pass(200_000)
    test.ok(engine.local.has('web:1'), 'there is room, and the hour is not over')
    test.notOk(seen.includes(true))
    freeBytes = 5 * gigabyte
    engine.latencyMs = 100
    const removing = second.run()
    await time.pass(150)
    const [removals, asked] = await Promise.all([removing, second.engine.inspectImage('web:1'), time.pass(5000)])
    test.strictSame(
      removals.map(({ names }) => names),
      [['web:1']],
      'it was used by the first life',
    )
    test.equal(asked, undefined, 'who asked during the removal is told what is true after it')
    test.notOk(engine.local.has('web:1'))
    test.ok(engine.local.has('stranger:1'), 'what no task used stays')
    test.equal(seen.at(-1), true)
    second.close()
  },
)

await t.test(
  'while many images are removed, tasks wait for one of them at most, and keep what they came for',
  async (test) => {
    const time = fakeTime()
    const engine = fakeEngine(time)
    const wanted: string[] = []
    const options: ImageCleanupOptions = {
      engine,
      directory: mkdtempSync(join(tmpdir(), 'gantry-images-')),
      rootDirectory: '/var/lib/docker',
      policy: { ...policy, minimumAgeMs: 0, imagesPerCycle: 9 },
      isEnabled: true,
      intervalMs: hourMs,
      pressurePercent: 85,
      wantedNames: () => wanted,
      onDiskUse: () => undefined,
      now: () => time.now(),
      timers: time,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
      readDisk: async () => ({ totalBytes: 100 * gigabyte, freeBytes: 50 * gigabyte }),
    }
    const cleanup = createImageCleanup(options)
    const names = ['a:1', 'b:1', 'c:1', 'd:1', 'e:1']
    for (const name of names) engine.local.set(name, { digest: `sha256:${name}` })
    for (const name of names) await Promise.all([cleanup.engine.inspectImage(name), time.pass(100)])
    engine.latencyMs = 1000
    const removing = cleanup.run()
    await time.pass(1500)
    wanted.push('e:1')
    let answered = false
    void cleanup.engine.inspectImage('e:1').then((facts) => (answered = facts !== undefined))
    await time.pass(1600)
    test.ok(answered, 'it waited for the removal of another, and no longer')
    const [removals] = await Promise.all([removing, time.pass(60_000)])
    test.strictSame(
      removals.map((one) => one.names[0]),
      ['a:1', 'b:1', 'c:1', 'd:1'],
    )
    test.ok(engine.local.has('e:1'))
    cleanup.close()
  },
)

interface Drained {
  readonly options: DrainOptions
  readonly calls: string[]
  status: string
  tasks: number
  silentFor: number
}

function draining(time: ReturnType<typeof fakeTime>): Drained {
  const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
  const scene: Drained = {
    calls: [],
    status: 'ACTIVE',
    tasks: 2,
    silentFor: 0,
    options: {
      async callApi(operation, input) {
        if (scene.silentFor > 0) {
          scene.silentFor -= 1
          throw new ApiCallError(undefined, 'nobody answers')
        }
        const { status } = input as { readonly status?: string }
        if (status !== undefined) scene.status = status
        scene.calls.push(status ?? operation)
        return { containerInstances: [{ status: scene.status }], failures: [] }
      },
      cluster: 'lab',
      containerInstanceArn: 'arn',
      directory: mkdtempSync(join(tmpdir(), 'gantry-drain-')),
      serviceTasks: () => scene.tasks,
      timeoutMs: 60_000,
      now: () => time.now(),
      timers: time,
      log: quiet,
    },
  }
  return scene
}

await t.test(
  'a host that is to be drained waits for the tasks of services, and is back at the next start',
  async (test) => {
    const time = fakeTime()
    const scene = draining(time)
    scene.silentFor = 2
    let ended = false
    const drained = drainHost(scene.options).then(() => (ended = true))
    await time.pass(20_000)
    test.strictSame(
      scene.calls,
      ['DescribeContainerInstances', 'DRAINING'],
      'the silence of the controller was outlasted',
    )
    test.notOk(ended, 'two tasks of services are still here')
    scene.tasks = 0
    await Promise.all([drained, time.pass(1000)])
    test.ok(ended)
    scene.silentFor = 7
    let over = false
    const asking = endDrain(scene.options, () => over)
    await time.pass(10_000)
    test.equal(scene.status, 'DRAINING', 'the controller is not back yet')
    over = true
    await Promise.all([asking, time.pass(60_000)])
    test.equal(scene.status, 'DRAINING', 'the host was to be drained again, and it stays so')
    await Promise.all([endDrain(scene.options), time.pass(300_000)])
    test.equal(scene.status, 'ACTIVE', 'the agent asks until it is heard')
    await endDrain(scene.options)
    test.equal(scene.calls.length, 3, 'once is enough')
  },
)

await t.test('what an operator drained stays so, and nobody waits for ever', async (test) => {
  const time = fakeTime()
  const scene = draining(time)
  scene.status = 'DRAINING'
  await Promise.all([drainHost(scene.options), time.pass(61_000)])
  await endDrain(scene.options)
  test.strictSame(scene.calls, ['DescribeContainerInstances'])

  const alone = draining(time)
  alone.silentFor = Number.POSITIVE_INFINITY
  await Promise.all([drainHost(alone.options), time.pass(61_000)])
  test.strictSame(alone.calls, [])
})
