/** A host that is kept in order: images that nothing needs go, a full disk is told of, and an agent that ends drains it first. */
import {
  CreateServiceCommand,
  DescribeContainerInstancesCommand,
  DescribeServicesCommand,
  type ContainerInstance,
} from '@aws-sdk/client-ecs'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap from 'tap'
import { startAgent } from '../support/agent.ts'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { agentOptions, eventually, startLab } from '../support/lab.ts'
import type { Lab } from '../support/lab.ts'

tap.setTimeout(400_000)
const image = await busyboxImage()
tap.teardown(async () => removeBusyboxImage())
const forever = ['sleep', '3600']
const hourMs = 3_600_000

async function instanceOf(lab: Lab): Promise<ContainerInstance | undefined> {
  const { containerInstances } = await lab.client.send(
    new DescribeContainerInstancesCommand({
      containerInstances: [lab.agent.containerInstanceArn],
      include: ['CONTAINER_INSTANCE_HEALTH'],
    }),
  )
  return containerInstances?.[0]
}

/** Another image of the same content, under a name of the test's own; its id. */
async function copyOf(name: string): Promise<string> {
  const changes = encodeURIComponent(`LABEL gantry.test=${name}`)
  const made = await askEngine('POST', `/images/create?fromSrc=-&repo=${name}&tag=1&changes=${changes}`, emptyTar)
  if (made.status !== 200) throw new Error(`The engine did not import ${name}: ${made.text}`)
  const shown = await askEngine('GET', `/images/${name}:1/json`)
  return (JSON.parse(shown.text) as { Id: string }).Id
}

const emptyTar = Buffer.alloc(1024)

async function isThere(name: string): Promise<boolean> {
  return (await askEngine('GET', `/images/${name}:1/json`)).status === 200
}

await tap.test('on a disk that is nearly full, images that tasks used and nothing needs go at once', async (t) => {
  const unused = `gantry-test/unused-${process.pid}`
  const excluded = `gantry-test/excluded-${process.pid}`
  const stranger = `gantry-test/stranger-${process.pid}`
  t.teardown(async () => {
    for (const name of [unused, excluded, stranger]) await askEngine('DELETE', `/images/${name}:1`)
  })
  const uses = []
  for (const name of [unused, excluded]) {
    uses.push({ id: await copyOf(name), since: Date.now() - 9 * hourMs, lastUsedAt: Date.now() - 9 * hourMs })
  }
  await copyOf(stranger)
  const dataDirectory = mkdtempSync(join(tmpdir(), 'gantry-agent-'))
  writeFileSync(join(dataDirectory, 'images.json'), JSON.stringify({ images: uses }))
  const environment = { GANTRY_DISK_PRESSURE_PERCENT: '1', ECS_EXCLUDE_UNTRACKED_IMAGE: `${excluded}:1` }
  const lab = await startLab({ dataDirectory, environment })
  t.teardown(async () => lab.close())
  const arn = await lab.run({ containers: [{ name: 'app', image, command: forever }] })
  await lab.reaches(arn, 'RUNNING')

  await eventually(async () => ((await isThere(unused)) ? undefined : true), 'the unused image is gone')
  t.ok(await isThere(excluded), 'one that is excluded stays')
  t.ok(await isThere(stranger), 'one that no task used is not ours to remove')
  t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
  const instance = await eventually(async () => {
    const shown = await instanceOf(lab)
    return shown?.healthStatus?.details?.some(({ status }) => status === 'IMPAIRED') ? shown : undefined
  }, 'the instance says that its disk is nearly full')
  const disk = instance.healthStatus?.details?.find(({ status }) => status === 'IMPAIRED')
  t.equal(String(disk?.type), 'STORAGE')
})

await tap.test(
  'an agent that is told to end drains its host first, and takes tasks again at its next start',
  async (t) => {
    const environment = { GANTRY_DRAIN_ON_STOP: 'true', ECS_CONTAINER_STOP_TIMEOUT: '1s' }
    const lab = await startLab({ environment })
    t.teardown(async () => lab.close())
    const standalone = await lab.run({ containers: [{ name: 'app', image, command: forever }] })
    await lab.reaches(standalone, 'RUNNING')
    const { taskDefinitionArn } = await lab.describe(standalone)
    const deploymentConfiguration = { minimumHealthyPercent: 0, maximumPercent: 100 }
    const service = { serviceName: 'web', taskDefinition: taskDefinitionArn, desiredCount: 2, deploymentConfiguration }
    await lab.client.send(new CreateServiceCommand(service))
    const running = async (): Promise<number | undefined> =>
      (await lab.client.send(new DescribeServicesCommand({ services: ['web'] }))).services?.[0]?.runningCount
    await eventually(async () => ((await running()) === 2 ? true : undefined), 'the service runs')

    const { dataDirectory } = lab.agent
    t.equal(await lab.agent.stop(), 0)
    t.equal(await running(), 0, 'the service had left before the agent ended')
    t.equal((await lab.describe(standalone)).lastStatus, 'RUNNING', 'a task of no service goes on')
    t.equal((await instanceOf(lab))?.status, 'DRAINING')

    lab.agent = await startAgent({ ...agentOptions(lab.controller), dataDirectory, environment })
    await eventually(async () => ((await running()) === 2 ? true : undefined), 'the service is back')
    t.equal((await instanceOf(lab))?.status, 'ACTIVE')
  },
)
