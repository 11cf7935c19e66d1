/** The pause container on a real engine, and the networks that the agent makes there: see agent/pause-program.ts. */
import { readFileSync } from 'node:fs'
import tap from 'tap'
import type { PayloadNetwork } from '../../proto/acs.ts'
import { openDocker } from '../../agent/docker.ts'
import { labels } from '../../agent/engine.ts'
import type { EngineError } from '../../agent/engine.ts'
import { ensurePauseImage } from '../../agent/pause-image.ts'
import { createTaskNetworks, noHostInterfaces } from '../../agent/task-networks.ts'
import { networkNameOf } from '../../agent/decide/task-network.ts'
import { askEngine, busyboxImage, engineHost, inspectRaw, removeBusyboxImage } from '../support/engine.ts'
import { removeContainersWithLabel } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'

const mark = `pause-${process.pid}`
tap.setTimeout(400_000)
const engine = openDocker(engineHost())
const Labels = { [labels.taskArn]: mark }
tap.teardown(async () => {
  await removeContainersWithLabel(`${labels.taskArn}=${mark}`)
  await removeBusyboxImage()
})

await tap.test('the image is loaded where it is missing, and its container ends as soon as it is told', async (t) => {
  const image = await ensurePauseImage(engine)
  t.equal(await ensurePauseImage(engine), image)
  const id = await engine.createContainer(`${mark}-ends`, { Image: image, Labels })
  await engine.startContainer(id)
  await engine.stopContainer(id, 60)
  const ended = await engine.inspectContainer(id)
  t.equal(ended?.exitCode, 0, 'by TERM, not by the KILL that follows')
})

await tap.test('as the first process of a shared PID namespace it reaps what is left to it', async (t) => {
  const image = await ensurePauseImage(engine)
  const pause = await engine.createContainer(`${mark}-reaps`, { Image: image, Labels })
  await engine.startContainer(pause)
  // The shell leaves an orphan, which ends later: without somebody who waits for it, it stays as a zombie.
  const script = '(sleep 0.3 & sleep 0.2 & sleep 0.1 &) ; exec sleep 600'
  const HostConfig = { PidMode: `container:${pause}` }
  const app = { Image: await busyboxImage(), Cmd: ['sh', '-c', script], Labels, HostConfig }
  const id = await engine.createContainer(`${mark}-app`, app)
  await engine.startContainer(id)
  const { State } = (await inspectRaw(pause)) as { State: { Pid: number } }
  const children = (): string => readFileSync(`/proc/${State.Pid}/task/${State.Pid}/children`, 'utf8').trim()
  await eventually(async () => (children() === '' ? true : undefined), 'no child is left, dead or alive')
  t.equal((await engine.inspectContainer(pause))?.status, 'running')
  t.equal((await engine.inspectContainer(id))?.status, 'running')
})

await tap.test(
  'the network of a subnet is made, kept, made anew where it is outdated, and removed when idle',
  async (t) => {
    const madeBy = `instance-${mark}`
    const networks = createTaskNetworks(engine, noHostInterfaces, madeBy)
    const subnet: PayloadNetwork = {
      subnetId: `subnet-${process.pid}`,
      cidr: '10.213.7.0/24',
      gateway: '10.213.7.1',
      attachment: { kind: 'bridge' },
    }
    const name = networkNameOf(subnet.subnetId)
    t.teardown(async () => engine.removeNetwork(name))
    const task = (over: Partial<PayloadNetwork> = {}) => {
      return { subnet: { ...subnet, ...over }, address: '10.213.7.9', macAddress: '0a:00:0a:d5:07:09' }
    }
    await Promise.all([networks.prepare(task()), networks.prepare(task()), networks.prepare(task())])
    const made = await engine.inspectNetwork(name)
    t.match(made, { driver: 'bridge', cidr: '10.213.7.0/24', gateway: '10.213.7.1' })
    await networks.prepare(task())
    t.equal((await engine.inspectNetwork(name))?.id, made?.id, 'it is as wanted, so it stays')

    await networks.prepare(task({ mtu: 1400 }))
    const anew = await engine.inspectNetwork(name)
    t.not(anew?.id, made?.id, 'nobody was in it')
    t.equal(anew?.options['com.docker.network.driver.mtu'], '1400')

    const image = await ensurePauseImage(engine)
    const EndpointsConfig = { [name]: { IPAMConfig: { IPv4Address: '10.213.7.9' } } }
    const body = { Image: image, Labels, HostConfig: { NetworkMode: name }, NetworkingConfig: { EndpointsConfig } }
    const id = await engine.createContainer(`${mark}-net`, { ...body, MacAddress: '0a:00:0a:d5:07:09' })
    await engine.startContainer(id)
    const failure = await networks.prepare(task({ mtu: 1300 })).catch((error: EngineError) => error)
    t.match(failure, { kind: 'refused', message: /is 1400, not 1300.*a container runs in it/ })
    await networks.removeIdle(() => new Set())
    t.equal((await engine.inspectNetwork(name))?.id, anew?.id, 'who is in it keeps it')

    // Docker knows a container's network by its id, and so refuses what the restart of a task would start.
    await engine.stopContainer(id, 60)
    await networks.prepare(task({ mtu: 1300 }))
    t.match(await engine.startContainer(id).catch((error: EngineError) => error), { kind: 'notFound' })
    const again = await engine.createContainer(`${mark}-again`, { ...body, MacAddress: '0a:00:0a:d5:07:09' })
    await engine.startContainer(again)
    t.match(
      await inspectRaw(again),
      { NetworkSettings: { Networks: { [name]: { IPAddress: '10.213.7.9' } } } },
      'the address is free as soon as its container has ended',
    )
    await engine.stopContainer(again, 60)
    await networks.removeIdle(() => new Set([subnet.subnetId]))
    t.ok(await engine.inspectNetwork(name), 'a task waits for it')
    await networks.removeIdle(() => new Set())
    t.notOk(await engine.inspectNetwork(name))

    const overlapping = await networks
      .prepare({ ...task(), subnet: { ...subnet, cidr: await defaultBridgeCidr() } })
      .catch((error: EngineError) => error)
    t.match(overlapping, { kind: 'refused', message: /Another network of this engine has addresses of/ })
  },
)

async function defaultBridgeCidr(): Promise<string> {
  const answer = await askEngine('GET', '/networks/bridge')
  const { IPAM } = JSON.parse(answer.text) as { IPAM: { Config: readonly { Subnet: string }[] } }
  return IPAM.Config[0]?.Subnet ?? ''
}
