/**
 * All of the agent at once: a service whose tasks have addresses, a shared volume and a sidecar lives through an agent's
 * upgrade, an engine's restart, a host's reboot, and a time without a controller in which a container dies and a host reboots.
 */
import { network } from './enter.ts'
import { type Task, CreateServiceCommand, DescribeServicesCommand, ListTasksCommand } from '@aws-sdk/client-ecs'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { type Test } from 'tap'
import { callRest } from '../support/controller.ts'
import { askEngine } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'
import type { Host } from './host.ts'
import { startLab } from './lab.ts'

tap.setTimeout(400_000)
const lab = await startLab({ network, hosts: 3, agentEnvironment: { GANTRY_ALONE_AFTER: '5s' } })
/** The same directory on each host, as an operator would mount it. */
const shared = mkdtempSync(join(tmpdir(), 'gantry-whole-'))
tap.teardown(async () => {
  await lab.close()
  rmSync(shared, { recursive: true, force: true })
})

async function made(path: string, body: object, id: string): Promise<string> {
  const { endpoint, credentials } = lab.controller
  const answer = await callRest(endpoint, credentials, 'POST', path, JSON.stringify(body))
  if (answer.status !== 200) throw new Error(`POST ${path}: ${answer.text}`)
  return String(answer.json[id])
}

const subnet = await made(
  '/v1/subnets',
  {
    cidr: '10.77.0.0/24',
    gateway: '10.77.0.1',
    ranges: ['10.77.0.100-10.77.0.119'],
    attachment: { kind: 'macvlan', parent: 'eth0' },
  },
  'subnetId',
)
mkdirSync(join(shared, 'data'))
const target = { kind: 'path', path: join(shared, 'data'), mustBeMounted: false }
const fileSystemId = await made('/v1/file-systems', { target }, 'fileSystemId')

/** The app serves what its own address is; the sidecar writes down, under that address, what the app answers on localhost. */
const app = 'hostname -i > /www/index.html; httpd -f -p 80 -h /www'
const sidecar =
  'while true; do a=$(hostname -i); nc 127.0.0.1 80 -w 1 < /dev/null; echo $(date +%s) >> /data/$a; sleep 0.5; done'
const family = await lab.define({
  networkMode: 'awsvpc',
  volumes: [{ name: 'data', efsVolumeConfiguration: { fileSystemId } }],
  containers: [
    { name: 'app', command: ['sh', '-c', app], portMappings: [{ containerPort: 80 }] },
    {
      name: 'sidecar',
      command: ['sh', '-c', sidecar],
      dependsOn: [{ containerName: 'app', condition: 'START' }],
      mountPoints: [{ sourceVolume: 'data', containerPath: '/data' }],
    },
  ],
})

interface Member {
  readonly arn: string
  readonly host: Host
  readonly address: string
}

function memberOf(task: Task): Member {
  const details = task.attachments?.[0]?.details ?? []
  const address = details.find(({ name }) => name === 'privateIPv4Address')?.value ?? ''
  return { arn: task.taskArn ?? '', host: lab.hostOf(task), address }
}

/** The running tasks of the service, one on each host, in the order of the hosts. */
async function members(): Promise<readonly Member[]> {
  return eventually(async () => {
    const { taskArns = [] } = await lab.client.send(new ListTasksCommand({ serviceName: 'whole' }))
    if (taskArns.length !== 3) return undefined
    const tasks = await lab.describe(...taskArns)
    if (tasks.some(({ lastStatus }) => lastStatus !== 'RUNNING')) return undefined
    const found = tasks.map(memberOf).toSorted((a, b) => a.host.number - b.host.number)
    // Of a host that was away the controller may still say what it heard last.
    const run = await Promise.all(found.map(async ({ host, arn }) => host.containers(arn)))
    return run.every((containers) => containers.length >= 3 && containers.every(({ isRunning }) => isRunning))
      ? found
      : undefined
  }, 'three tasks of the service run')
}

/** What must not change where nothing was started again: ids, processes and instants of all the task's containers. */
async function tracesOf({ host, arn }: Member): Promise<readonly string[]> {
  return (await host.containers(arn)).map(({ id, pid, startedAt }) => `${id} ${pid} ${startedAt}`).toSorted()
}

/** Each has an address of its own, answers under it, and writes into what all share. */
async function allIsWell(t: Test, of: readonly Member[], when: string): Promise<void> {
  t.equal(new Set(of.map(({ address }) => address)).size, 3, `${when}: each has an address of its own`)
  for (const { address } of of) {
    const text = await eventually(
      async () => (await fetch(`http://${address}/`).catch(() => undefined))?.text(),
      `${address} answers ${when}`,
    )
    t.equal(text.trim(), address, `${when}: it answers under its address`)
    const before = linesOf(address)
    await eventually(async () => (linesOf(address) > before ? true : undefined), `${address} writes ${when}`)
  }
}

function linesOf(address: string): number {
  try {
    return readFileSync(join(shared, 'data', address), 'utf8').split('\n').length
  } catch {
    return 0
  }
}

await lab.client.send(
  new CreateServiceCommand({
    serviceName: 'whole',
    taskDefinition: family,
    desiredCount: 3,
    placementConstraints: [{ type: 'distinctInstance' }],
    networkConfiguration: { awsvpcConfiguration: { subnets: [subnet] } },
  }),
)

await tap.test('an agent is upgraded and an engine restarted: nothing is started again', async (t) => {
  const before = await members()
  await allIsWell(t, before, 'at first')
  const traces = await Promise.all(before.map(tracesOf))
  await Promise.all([lab.host(1).upgradeAgent('99.2.0'), lab.host(2).restartEngine()])
  const after = await members()
  t.same(after, before, 'the same tasks with the same addresses')
  await allIsWell(t, after, 'after upgrade and restart')
  t.same(await Promise.all(after.map(tracesOf)), traces)
})

await tap.test('a host reboots: its part of the service is back, the others are as they were', async (t) => {
  const before = await members()
  const [one, two] = before.slice(0, 2)
  const traces = [one && (await tracesOf(one)), two && (await tracesOf(two))]
  await lab.host(3).powerOff()
  await lab.host(3).powerOn()
  const after = await members()
  t.same(after.slice(0, 2), before.slice(0, 2))
  await allIsWell(t, after, 'after the reboot')
  t.same([one && (await tracesOf(one)), two && (await tracesOf(two))], traces)
})

await tap.test(
  'without a controller a container dies and a host reboots; on its return nothing is disturbed',
  async (t) => {
    const before = await members()
    const [one, two, three] = before
    if (one === undefined || two === undefined || three === undefined) throw new Error('a task is missing')
    const untouched = await tracesOf(three)
    await lab.controller.powerOff()
    for (const host of lab.hosts) {
      const alone = 'no controller: tasks of services are kept going in place'
      await eventually(async () => (host.log().includes(alone) ? true : undefined), `${host.name} is on its own`)
    }

    const victim = (await one.host.containers(one.arn)).find(({ name }) => name === 'app')
    await askEngine('POST', `/containers/${victim?.id}/kill`, undefined, one.host.engine.host)
    await two.host.powerOff()
    await two.host.boot()
    await two.host.launchAgent()
    await allIsWell(t, before, 'without a controller')
    t.same(await tracesOf(three), untouched)
    const alone = await Promise.all(before.map(tracesOf))

    await lab.controller.powerOn()
    const after = await members()
    t.same(after, before, 'the same tasks with the same addresses: none was replaced')
    await allIsWell(t, after, 'with a controller again')
    t.same(await Promise.all(after.map(tracesOf)), alone, 'its return started nothing again')
    const { services = [] } = await lab.client.send(new DescribeServicesCommand({ services: ['whole'] }))
    t.match(services, [{ runningCount: 3, pendingCount: 0 }])
  },
)
