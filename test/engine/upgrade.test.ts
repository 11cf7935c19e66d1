/**
 * An upgrade, and a step back, with the version before this one as it was released: no container restarts, nothing is
 * reported that did not happen, and what is on the disk can be read by both.
 */
import { CreateServiceCommand, DescribeServicesCommand, ListTasksCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { startAgent } from '../support/agent.ts'
import type { AgentOptions } from '../support/agent.ts'
import { startController } from '../support/controller.ts'
import { busyboxImage, engineHost, inspectRaw, removeBusyboxImage } from '../support/engine.ts'
import { agentOptions, eventually, Lab } from '../support/lab.ts'
import type { RawContainer } from '../support/lab.ts'
import { unpackPreviousVersion } from '../support/previous-version.ts'

tap.setTimeout(400_000)
const image = await busyboxImage()
tap.teardown(async () => removeBusyboxImage())
const previous = unpackPreviousVersion()
tap.teardown(() => previous.remove())
const environment = { ECS_CONTAINER_STOP_TIMEOUT: '1s' }

/** What an upgrade must not touch. */
interface Trace {
  readonly id: string
  readonly pid: number
  readonly startedAt: string
}

async function tracesOf(lab: Lab, taskArns: readonly string[]): Promise<readonly Trace[]> {
  const ids = (await Promise.all(taskArns.map(async (arn) => lab.containersOf(arn)))).flat().toSorted()
  return Promise.all(
    ids.map(async (id) => {
      const { State } = (await inspectRaw(id, lab.dockerHost)) as unknown as RawContainer
      return { id, pid: State.Pid, startedAt: State.StartedAt }
    }),
  )
}

/** A standalone task with a sidecar and a port, and a service of two; all are RUNNING. */
async function workload(lab: Lab): Promise<readonly string[]> {
  const standalone = await lab.run({
    containers: [
      { name: 'app', image, command: ['sleep', '3600'], portMappings: [{ containerPort: 80, hostPort: 0 }] },
      {
        name: 'sidecar',
        image,
        command: ['sleep', '3600'],
        essential: false,
        dependsOn: [{ containerName: 'app', condition: 'START' }],
      },
    ],
  })
  await lab.reaches(standalone, 'RUNNING')
  const { taskDefinitionArn } = await lab.describe(standalone)
  await lab.client.send(
    new CreateServiceCommand({ serviceName: 'web', taskDefinition: taskDefinitionArn, desiredCount: 2 }),
  )
  await eventually(async () => ((await runningOf(lab)) === 2 ? true : undefined), 'the service runs twice')
  const { taskArns = [] } = await lab.client.send(new ListTasksCommand({}))
  return taskArns
}

async function runningOf(lab: Lab): Promise<number | undefined> {
  const { services } = await lab.client.send(new DescribeServicesCommand({ services: ['web'] }))
  return services?.[0]?.runningCount
}

/** Ends the agent as systemd does, and starts `options.program` in its place. */
async function replaceAgent(lab: Lab, options: Partial<AgentOptions>): Promise<void> {
  const { dataDirectory } = lab.agent
  await lab.agent.stop()
  const { dockerHost } = lab
  lab.agent = await startAgent({ ...agentOptions(lab.controller), dataDirectory, dockerHost, environment, ...options })
}

await tap.test('an older agent, this one in its place, and back again', async (t) => {
  const controller = await startController()
  const agent = await startAgent({ ...agentOptions(controller), environment, program: previous.agent })
  const lab = new Lab(controller, agent, engineHost())
  t.teardown(async () => lab.close())
  const instance = lab.agent.containerInstanceArn
  const taskArns = await workload(lab)
  t.equal(taskArns.length, 3)
  const before = await tracesOf(lab, taskArns)
  t.equal(before.length, 6, 'the older agent works with this controller')

  await replaceAgent(lab, {})
  t.equal(lab.agent.containerInstanceArn, instance)
  t.same(await tracesOf(lab, taskArns), before, 'the upgrade restarted nothing')
  const fresh = await lab.run({ containers: [{ name: 'app', image, command: ['sleep', '3600'] }] })
  await lab.reaches(fresh, 'RUNNING')
  const all = await tracesOf(lab, [...taskArns, fresh])

  await replaceAgent(lab, { program: previous.agent })
  t.same(await tracesOf(lab, [...taskArns, fresh]), all, 'nor did the step back')
  for (const arn of [...taskArns, fresh]) t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
  await lab.client.send(new StopTaskCommand({ task: fresh }))
  t.match(
    await lab.reaches(fresh, 'STOPPED'),
    { stopCode: 'UserInitiated' },
    'the older agent ends what the newer began',
  )
})

await tap.test('an older controller, and this one in its place', async (t) => {
  const older = await startController({ program: previous.controller })
  const agent = await startAgent({ ...agentOptions(older), environment })
  const lab = new Lab(older, agent, engineHost())
  t.teardown(async () => lab.close())
  const taskArns = await workload(lab)
  const before = await tracesOf(lab, taskArns)
  t.equal(before.length, 6, 'this agent works with the older controller')

  await older.terminate()
  lab.controller = await startController({ dataDir: older.dataDir, port: older.port })
  await eventually(
    async () => (lab.agent.log().split('The control channel is open').length > 2 ? true : undefined),
    'the agent is connected to this controller',
  )
  for (const arn of taskArns) t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
  const fresh = await lab.run({ containers: [{ name: 'app', image, command: ['true'] }] })
  t.match(await lab.reaches(fresh, 'STOPPED'), { containers: [{ exitCode: 0 }] })
  t.equal(await runningOf(lab), 2)
  t.same(await tracesOf(lab, taskArns), before, 'nothing was restarted')
})
