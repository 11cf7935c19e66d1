/** What deployments make of a real engine's words, and of a real registry's images: controller, agent, docker-registry. */
import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  CreateServiceCommand,
  DescribeServicesCommand,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  type Service,
  type Task,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs'
import tap from 'tap'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'
import { startRegistry } from '../support/registry.ts'

tap.setTimeout(400_000)
const image = await busyboxImage()
const lab = await startLab({ environment: { ECS_CONTAINER_STOP_TIMEOUT: '1s' } })
const registry = await startRegistry()
const foreign = `gantry-test/foreign:${process.pid}`
tap.teardown(async () => {
  await lab.close()
  await registry.end()
  await removeRepository(`127.0.0.1:${registry.port}/lab/app`)
  await askEngine('DELETE', `/images/${foreign}?force=1`)
  await askEngine('DELETE', `/images/gantry-test/local:${process.pid}?force=1`)
  await removeBusyboxImage()
})
const name = `127.0.0.1:${registry.port}/lab/app`
const forever = ['sleep', '3600']

await tap.test('what no retry can heal fails a deployment with its first task', async (t) => {
  await registry.push(image, `${name}:1`)
  await importForeign()
  const broken = [
    ['tag', `${name}:none`, forever, /manifest unknown/],
    ['repository', `127.0.0.1:${registry.port}/lab/nothing:1`, forever, /name unknown|manifest unknown/],
    ['architecture', foreign, undefined, /exec format error/],
    ['command', image, ['no-such-program'], /executable file not found/],
  ] as const
  for (const [what, from, command, cause] of broken) {
    await create(`broken-${what}`, from, command === undefined ? undefined : [...command])
    const service = await rollout(`broken-${what}`, 'FAILED')
    t.match(service.deployments, [{ rolloutStateReason: cause, failedTasks: 1 }], what)
    const [deployment] = service.deployments ?? []
    const tried = { startedBy: deployment?.id, desiredStatus: 'STOPPED' as const }
    const { taskArns } = await lab.client.send(new ListTasksCommand(tried))
    t.equal(taskArns?.length, 1, `${what}: no second try was made`)
  }
})

await tap.test('one image for a deployment, though its tag moves; forceNewDeployment takes the new one', async (t) => {
  const first = await registry.push(image, `${name}:moving`)
  await create('moving', `${name}:moving`, forever)
  await rollout('moving', 'COMPLETED')
  const second = await registry.push(await otherImage(), `${name}:moving`)
  t.not(first, second)
  // As on a host that has yet to pull it.
  await removeRepository(name)
  t.equal((await askEngine('GET', `/images/${name}@${first}/json`)).status, 404)
  await scale('moving', 2)
  t.strictSame(await digestsOf('moving', 2), [first, first])

  await lab.client.send(new UpdateServiceCommand({ service: 'moving', forceNewDeployment: true }))
  await eventually(async () => {
    const digests = await digestsOf('moving', 2).catch(() => [])
    return digests.every((digest) => digest === second) && digests.length === 2 ? true : undefined
  }, 'all tasks to run the new image')
  await scale('moving', 0)
})

await tap.test(
  'an image that is here by its digest needs no registry; one that is only here keeps its name',
  async (t) => {
    const digest = await registry.push(image, `${name}:kept`)
    await create('kept', `${name}:kept`, forever)
    await rollout('kept', 'COMPLETED')
    await askEngine('POST', `/images/${name}@${digest}/tag?repo=gantry-test%2Flocal&tag=${process.pid}`)
    await registry.end()
    await scale('kept', 2)
    t.strictSame(await digestsOf('kept', 2), [digest, digest])
    await create('local', `gantry-test/local:${process.pid}`, forever)
    await rollout('local', 'COMPLETED')
    await scale('local', 2)
    t.strictSame(
      await digestsOf('local', 2),
      [undefined, undefined],
      "another repository's digest is not told as its own",
    )
  },
)

async function create(serviceName: string, from: string, command: string[] | undefined): Promise<void> {
  const family = `deploy-${process.pid}-${serviceName}`
  const container = { name: 'app', image: from, memory: 16, ...(command !== undefined && { command }) }
  await lab.client.send(new RegisterTaskDefinitionCommand({ family, containerDefinitions: [container] }))
  await lab.client.send(new CreateServiceCommand({ serviceName, taskDefinition: family, desiredCount: 1 }))
}

async function scale(service: string, desiredCount: number): Promise<void> {
  await lab.client.send(new UpdateServiceCommand({ service, desiredCount }))
}

function rollout(service: string, state: string): Promise<Service> {
  return eventually(async () => {
    const { services } = await lab.client.send(new DescribeServicesCommand({ services: [service] }))
    return services?.[0]?.deployments?.[0]?.rolloutState === state ? services[0] : undefined
  }, `${service} to be ${state}`)
}

/** The digests that the service's tasks report, once `count` of them run. */
async function digestsOf(serviceName: string, count: number): Promise<(string | undefined)[]> {
  const tasks = await eventually(async () => {
    const { taskArns = [] } = await lab.client.send(new ListTasksCommand({ serviceName }))
    const found: Task[] = []
    for (const arn of taskArns) found.push(await lab.describe(arn))
    const running = found.filter(({ lastStatus }) => lastStatus === 'RUNNING')
    return running.length === count && found.length === count ? running : undefined
  }, `${count} tasks of ${serviceName}`)
  return tasks.map((task) => task.containers?.[0]?.imageDigest)
}

/** The same programs under another id. */
async function otherImage(): Promise<string> {
  const other = `gantry-test/other:${process.pid}`
  const path = `/commit?container=${await aContainer()}&repo=gantry-test/other&tag=${process.pid}`
  const made = await askEngine('POST', path, { Labels: { other: 'true' } })
  if (made.status !== 201) throw new Error(`The engine did not commit: ${made.text}`)
  return other
}

async function aContainer(): Promise<string> {
  const made = await askEngine('POST', '/containers/create', { Image: image, Cmd: ['true'] })
  const { Id } = JSON.parse(made.text) as { Id: string }
  tap.teardown(async () => {
    await askEngine('DELETE', `/containers/${Id}?force=1`)
    await askEngine('DELETE', `/images/gantry-test/other:${process.pid}?force=1`)
  })
  return Id
}

/** An image whose program is for no machine at all. */
async function importForeign(): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'gantry-foreign-'))
  try {
    writeFileSync(join(root, 'app'), 'no program\n')
    chmodSync(join(root, 'app'), 0o755)
    const tar = await promisify(execFile)('tar', ['-C', root, '-c', '.'], { encoding: 'buffer' })
    const changes = encodeURIComponent('ENTRYPOINT ["/app"]')
    const path = `/images/create?fromSrc=-&repo=gantry-test/foreign&tag=${process.pid}&changes=${changes}`
    const made = await askEngine('POST', path, tar.stdout)
    if (made.status !== 200) throw new Error(`The engine did not import the image: ${made.text}`)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** Images that were pulled by a digest have no tag to be removed by. */
async function removeRepository(repository: string): Promise<void> {
  const filters = encodeURIComponent(JSON.stringify({ reference: [repository] }))
  const { text } = await askEngine('GET', `/images/json?digests=1&filters=${filters}`)
  for (const { RepoDigests, RepoTags } of JSON.parse(text) as { RepoDigests?: string[]; RepoTags?: string[] }[]) {
    const names = [...(RepoTags ?? []), ...(RepoDigests ?? [])].filter((one) => one.startsWith(repository))
    for (const one of names) await askEngine('DELETE', `/images/${one}?force=1`)
  }
}
