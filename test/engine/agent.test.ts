/** What tasks do on a real Docker Engine, from RunTask to their end: real controller, real agent, real containers. */
import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { DescribeContainerInstancesCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { launchAgent } from '../support/agent.ts'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { agentOptions, eventually, startLab } from '../support/lab.ts'
import { freePort, startRegistry } from '../support/registry.ts'

tap.setTimeout(400_000)
const image = await busyboxImage()
// `sleep` as PID 1 has no handler for SIGTERM, so each stop lasts as long as it may.
const lab = await startLab({ environment: { ECS_CONTAINER_STOP_TIMEOUT: '1s' } })
tap.teardown(async () => {
  await lab.close()
  await removeBusyboxImage()
})

/** Ends at once on SIGTERM, with code 7, once it has said that it is ready; PID 1 has no such manners of its own. */
const polite = ['sh', '-c', "trap 'exit 7' TERM; echo ready; while true; do sleep 0.1; done"]
/** Ends well as soon as a test sends it SIGUSR1, after it has said that it is ready. */
const untilTold = ['sh', '-c', "trap 'exit 0' USR1; echo ready; while true; do sleep 0.1; done"]
const forever = ['sleep', '3600']
/** Serves its own host name; `nc` gives one answer for each connection. */
const serve = (port: number): string[] => ['httpd', '-f', '-p', String(port), '-h', '/www']

await tap.test('a container is made as the official agent makes it, and gets what its definition says', async (t) => {
  const arn = await lab.run({
    containers: [
      {
        name: 'web_1',
        image,
        cpu: 128,
        memory: 64,
        memoryReservation: 32,
        command: ['sh', '-c', 'echo started; sleep 3600'],
        environment: [{ name: 'COLOUR', value: 'blue' }],
        dockerLabels: { team: 'lab' },
      },
    ],
    run: { overrides: { containerOverrides: [{ name: 'web_1', environment: [{ name: 'SIZE', value: 'big' }] }] } },
  })
  const task = await lab.reaches(arn, 'RUNNING')
  const raw = await lab.inspect(arn, 'web_1')
  t.match(raw.Name, /^\/ecs-engine-\d+-\d+-1-web1-[0-9a-f]{20}$/)
  t.match(raw.Config.Labels, {
    'com.amazonaws.ecs.task-arn': arn,
    'com.amazonaws.ecs.container-name': 'web_1',
    'com.amazonaws.ecs.task-definition-version': '1',
    'com.amazonaws.ecs.cluster': /default/,
    'gantry.container-instance-arn': lab.agent.containerInstanceArn,
    team: 'lab',
  })
  t.ok(raw.Config.Env.includes('COLOUR=blue') && raw.Config.Env.includes('SIZE=big'))
  t.match(raw.HostConfig, { Memory: 64 * 1024 * 1024, MemoryReservation: 32 * 1024 * 1024, CpuShares: 128 })
  t.equal(raw.HostConfig.LogConfig.Type, 'json-file')
  t.ok(raw.HostConfig.LogConfig.Config['max-size'] !== undefined, 'logs rotate by default')
  t.match(task.containers?.[0], { lastStatus: 'RUNNING', runtimeId: raw.Id })
  t.ok(task.startedAt !== undefined && task.createdAt !== undefined && task.startedAt >= task.createdAt)

  await lab.client.send(new StopTaskCommand({ task: arn, reason: 'seen enough' }))
  t.match(await lab.reaches(arn, 'STOPPED'), { stopCode: 'UserInitiated', stoppedReason: 'seen enough' })
})

await tap.test('a command override replaces the command, and an exit code comes back', async (t) => {
  const arn = await lab.run({
    containers: [{ name: 'app', image, command: forever }],
    run: {
      overrides: {
        containerOverrides: [{ name: 'app', command: ['sh', '-c', 'echo out$((6*7)); echo err$((6*7)) >&2; exit 3'] }],
      },
    },
  })
  const task = await lab.reaches(arn, 'STOPPED')
  t.match(task, {
    stopCode: 'EssentialContainerExited',
    stoppedReason: 'Essential container in task exited',
    containers: [{ exitCode: 3, lastStatus: 'STOPPED' }],
  })
  t.ok(task.stoppedAt !== undefined && task.executionStoppedAt !== undefined)
  const why = JSON.stringify(await lab.rest(`/v1/tasks/${arn.split('/').at(-1)}/why`))
  t.match(why, /out42/)
  t.match(why, /err42/)
  t.notMatch(JSON.stringify(task), /out42|err42/, 'output does not show in a Describe answer')
})

await tap.test('an essential container that ends takes the others with it; another one does not', async (t) => {
  const arn = await lab.run({
    containers: [
      { name: 'main', image, command: untilTold },
      { name: 'side', image, command: polite, essential: false },
      { name: 'init', image, command: ['true'], essential: false },
    ],
  })
  await lab.reaches(arn, 'RUNNING')
  await Promise.all(['main', 'side'].map(async (name) => lab.says(arn, name, 'ready')))
  await eventually(async () => {
    const { State } = await lab.inspect(arn, 'init')
    return State.Status === 'exited' ? true : undefined
  }, 'the container that is not essential ends')
  t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
  await askEngine('POST', `/containers/${(await lab.inspect(arn, 'main')).Id}/kill?signal=USR1`)
  const task = await lab.reaches(arn, 'STOPPED')
  const codes = Object.fromEntries((task.containers ?? []).map(({ name, exitCode }) => [name, exitCode]))
  t.same(codes, { main: 0, side: 7, init: 0 })
})

await tap.test('a stop is SIGTERM first, then SIGKILL after the stop timeout', async (t) => {
  const [kind, stubborn] = await Promise.all([
    lab.run({ containers: [{ name: 'app', image, command: polite }] }),
    lab.run({
      containers: [
        {
          name: 'app',
          image,
          command: ['sh', '-c', "trap '' TERM; sleep 3600 & wait; wait; sleep 60"],
          stopTimeout: 2,
        },
      ],
    }),
  ])
  await Promise.all([kind, stubborn].map(async (arn) => lab.reaches(arn, 'RUNNING')))
  await lab.says(kind, 'app', 'ready')
  await Promise.all([kind, stubborn].map(async (task) => lab.client.send(new StopTaskCommand({ task }))))
  t.match(await lab.reaches(kind, 'STOPPED'), { containers: [{ exitCode: 7 }] })
  t.match(await lab.reaches(stubborn, 'STOPPED'), { containers: [{ exitCode: 137 }] })
})

await tap.test('bridge: a static port, a dynamic one and a range answer where the bindings say', async (t) => {
  const fixed = 31_190
  const arn = await lab.run({
    networkMode: 'bridge',
    containers: [
      { name: 'fixed', image, command: serve(80), portMappings: [{ containerPort: 80, hostPort: fixed }] },
      { name: 'dynamic', image, command: serve(80), portMappings: [{ containerPort: 80 }] },
      { name: 'range', image, command: serve(9001), portMappings: [{ containerPortRange: '9000-9002' }] },
    ],
  })
  const task = await lab.reaches(arn, 'RUNNING')
  const bindings = Object.fromEntries(
    (task.containers ?? []).map(({ name, networkBindings }) => [name, networkBindings]),
  )
  t.match(bindings['fixed'], [{ bindIP: '0.0.0.0', containerPort: 80, hostPort: fixed, protocol: 'tcp' }])
  const dynamic = bindings['dynamic']?.[0]?.hostPort ?? 0
  t.ok(dynamic >= 31_000 && dynamic <= 31_199 && dynamic !== fixed, `dynamic port ${dynamic} is in the range`)
  const range = bindings['range']?.[0]
  t.match(range, { containerPortRange: '9000-9002', hostPortRange: /^\d+-\d+$/ })
  const first = Number(range?.hostPortRange?.split('-')[0])
  for (const port of [fixed, dynamic, first + 1]) {
    const response = await eventually(
      async () => fetch(`http://127.0.0.1:${port}/`).catch(() => undefined),
      `port ${port} answers`,
    )
    t.equal(response.status, 404, `httpd answers on ${port}`)
  }
  await stopped(arn)
})

await tap.test('host and none: no bindings, and the network that was asked for', async (t) => {
  const port = await freePort()
  const [host, none] = await Promise.all([
    lab.run({
      networkMode: 'host',
      containers: [{ name: 'app', image, command: serve(port), portMappings: [{ containerPort: port }] }],
    }),
    lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] }),
  ])
  await Promise.all([host, none].map(async (arn) => lab.reaches(arn, 'RUNNING')))
  t.equal((await lab.inspect(host, 'app')).HostConfig.NetworkMode, 'host')
  t.equal((await lab.inspect(none, 'app')).HostConfig.NetworkMode, 'none')
  const response = await eventually(
    async () => fetch(`http://127.0.0.1:${port}/`).catch(() => undefined),
    'the host port answers',
  )
  t.equal(response.status, 404)
  t.same((await lab.describe(none)).containers?.[0]?.networkBindings ?? [], [])
  await Promise.all([stopped(host), stopped(none)])
})

await tap.test('what cannot run says why', async (t) => {
  const missing = await lab.run({ containers: [{ name: 'app', image: '127.0.0.1:9/no/such:1' }] })
  const task = await lab.reaches(missing, 'STOPPED')
  t.match(task.stopCode, 'TaskFailedToStart')
  t.match(task.containers?.[0]?.reason, /^CannotPull\w+Error: .*(127\.0\.0\.1:9|no such image)/i)
  t.equal(task.containers?.[0]?.exitCode, undefined)

  const bad = await lab.run({ containers: [{ name: 'app', image, entryPoint: ['/no/such/program'] }] })
  t.match((await lab.reaches(bad, 'STOPPED')).containers?.[0]?.reason, /^CannotStartContainerError: .*no such file/)

  // A program outside of Gantry holds the port, and the controller has not heard of it yet.
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '0.0.0.0', resolve))
  t.teardown(() => holder.close())
  const { port } = holder.address() as AddressInfo
  const id = lab.agent.containerInstanceArn
  const taken = await lab.run({
    containers: [{ name: 'app', image, command: forever, portMappings: [{ containerPort: 80, hostPort: port }] }],
  })
  t.match(
    (await lab.reaches(taken, 'STOPPED')).containers?.[0]?.reason,
    /^CannotStartContainerError: .*address already in use/,
  )
  await eventually(async () => {
    const { containerInstances } = await lab.client.send(
      new DescribeContainerInstancesCommand({ containerInstances: [id] }),
    )
    const ports = containerInstances?.[0]?.remainingResources?.find(({ name }) => name === 'PORTS')?.stringSetValue
    return ports?.includes(String(port)) === true ? port : undefined
  }, 'the controller learns of the port')
})

await tap.test('health is reported as Docker sees it', async (t) => {
  const healthCheck = { command: ['CMD-SHELL', 'test -e /tmp/healthy'], interval: 5, retries: 1, startPeriod: 0 }
  const script = "trap 'rm /tmp/healthy' USR1; touch /tmp/healthy; while true; do sleep 0.1; done"
  const arn = await lab.run({ containers: [{ name: 'app', image, command: ['sh', '-c', script], healthCheck }] })
  const becomes = async (status: string): Promise<string> =>
    eventually(async () => {
      const { healthStatus } = await lab.describe(arn)
      return healthStatus === status ? status : undefined
    }, `health ${status}`)
  t.equal(await becomes('HEALTHY'), 'HEALTHY')
  await askEngine('POST', `/containers/${(await lab.inspect(arn, 'app')).Id}/kill?signal=USR1`)
  t.equal(await becomes('UNHEALTHY'), 'UNHEALTHY')
  t.equal((await lab.describe(arn)).lastStatus, 'RUNNING', 'an agent does not stop what is unhealthy')
  await stopped(arn)
})

await tap.test('dependsOn is kept: an init container succeeds before the other starts', async (t) => {
  const arn = await lab.run({
    containers: [
      { name: 'init', image, command: ['sh', '-c', 'sleep 1'], essential: false },
      { name: 'app', image, command: forever, dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }] },
    ],
  })
  await lab.reaches(arn, 'RUNNING')
  const init = (await lab.inspect(arn, 'init')) as unknown as { State: { FinishedAt: string } }
  const app = await lab.inspect(arn, 'app')
  t.ok(init.State.FinishedAt <= app.State.StartedAt)
  await stopped(arn)
})

await tap.test('an image of a registry is pulled, and its digest is told', async (t) => {
  const registry = await startRegistry()
  t.teardown(() => registry.end())
  const name = `127.0.0.1:${registry.port}/lab/app`
  const digest = await registry.push(image, `${name}:1`)

  const arn = await lab.run({ containers: [{ name: 'app', image: `${name}:1`, command: forever }] })
  const task = await lab.reaches(arn, 'RUNNING')
  t.equal(task.containers?.[0]?.imageDigest, digest)
  t.ok(task.pullStartedAt !== undefined && task.pullStoppedAt !== undefined)

  const missing = await lab.run({ containers: [{ name: 'app', image: `${name}:none`, command: forever }] })
  t.match(
    (await lab.reaches(missing, 'STOPPED')).containers?.[0]?.reason,
    /^CannotPullContainerError: .*manifest unknown/,
  )
  await stopped(arn)
  await askEngine('DELETE', `/images/${name}:1?force=1`)
})

await tap.test('introspection shows the tasks of this agent', async (t) => {
  const arn = await lab.run({ containers: [{ name: 'app', image, command: forever }] })
  await lab.reaches(arn, 'RUNNING')
  const { Id } = await lab.inspect(arn, 'app')
  const get = async (path: string): Promise<unknown> => (await fetch(`${lab.agent.introspection}${path}`)).json()
  t.match(await get('/v1/metadata'), { Cluster: 'default', ContainerInstanceArn: lab.agent.containerInstanceArn })
  t.match(await get(`/v1/tasks?taskarn=${encodeURIComponent(arn)}`), {
    Arn: arn,
    KnownStatus: 'RUNNING',
    Containers: [{ DockerId: Id, Name: 'app' }],
  })
  t.match(await get(`/v1/tasks?dockerid=${Id.slice(0, 12)}`), { Arn: arn })
  await stopped(arn)
})

await tap.test('a second agent in the same directory is refused with the pid of the first', async (t) => {
  const second = launchAgent({ ...agentOptions(lab.controller), dataDirectory: lab.agent.dataDirectory })
  t.equal(await second.ended, 1)
  t.match(second.log(), new RegExp(`in use by another agent, process ${lab.agent.pid}`))
})

await tap.test('a cluster that does not exist is explained, and waited for', async (t) => {
  const lost = launchAgent({ ...agentOptions(lab.controller), environment: { ECS_CLUSTER: 'nowhere' } })
  t.teardown(async () => {
    lost.child.kill('SIGKILL')
    await lost.ended
    rmSync(lost.dataDirectory, { recursive: true, force: true })
  })
  await eventually(
    async () => (lost.log().includes('create-cluster --cluster-name nowhere') ? true : undefined),
    'the hint',
  )
  t.equal(lost.child.exitCode, null, 'it keeps trying')
})

await tap.test('no secret and no output of a container stands in a log', async (t) => {
  const { secretAccessKey } = lab.controller.agentCredentials
  t.notOk(lab.agent.log().includes(secretAccessKey))
  t.notOk(lab.agent.log().includes('COLOUR=blue'))
  t.ok(lab.agent.log().includes('Gantry agent ready'))
})

async function stopped(arn: string): Promise<void> {
  await lab.client.send(new StopTaskCommand({ task: arn }))
  for (const id of await lab.containersOf(arn)) await askEngine('POST', `/containers/${id}/kill`)
  await lab.reaches(arn, 'STOPPED')
}
