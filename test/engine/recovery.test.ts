/** What outlives a kill, a lost file, a silent controller and an engine that goes away: everything that runs, and the truth. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import {
  DescribeContainerInstancesCommand,
  ListTasksCommand,
  RunTaskCommand,
  StopTaskCommand,
} from '@aws-sdk/client-ecs'
import tap from 'tap'
import { startController } from '../support/controller.ts'
import { startDockerd } from '../support/dockerd.ts'
import type { Dockerd } from '../support/dockerd.ts'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'
import type { Lab } from '../support/lab.ts'

tap.setTimeout(380_000)
const image = await busyboxImage()
tap.teardown(async () => removeBusyboxImage())
const environment = { ECS_CONTAINER_STOP_TIMEOUT: '1s' }
const forever = ['sleep', '3600']

await tap.test('kill -9 of the agent', async (suite) => {
  const lab = await startLab({ environment })
  suite.teardown(async () => lab.close())
  const keep = { options: { environment } }

  await suite.test('containers go on, the same agent takes them up, nothing starts twice', async (t) => {
    const arn = await lab.run({ containers: [{ name: 'app', image, command: forever }] })
    await lab.reaches(arn, 'RUNNING')
    const before = await lab.inspect(arn, 'app')
    const instance = lab.agent.containerInstanceArn
    await lab.restartAgent(keep)
    t.equal(lab.agent.containerInstanceArn, instance)
    const after = await lab.inspect(arn, 'app')
    t.same([after.Id, after.State.Pid, after.State.StartedAt], [before.Id, before.State.Pid, before.State.StartedAt])
    await stop(lab, arn)
    t.equal((await lab.containersOf(arn)).length, 1)
  })

  await suite.test('an end that happened meanwhile is told, with its exit code', async (t) => {
    const arn = await lab.run({ containers: [{ name: 'app', image, command: ['sh', '-c', 'sleep 1; exit 9'] }] })
    await lab.reaches(arn, 'RUNNING')
    await lab.restartAgent({ ...keep, before: async () => gone(lab, arn) })
    t.match(await lab.reaches(arn, 'STOPPED'), { containers: [{ exitCode: 9 }] })
  })

  await suite.test('at any moment of a start, each task still runs once', async (t) => {
    for (const delayMs of [0, 20, 60, 120, 250, 500]) {
      const arns = await Promise.all(
        [1, 2, 3].map(async () => lab.run({ containers: [{ name: 'app', image, command: forever }] })),
      )
      await new Promise((resolve) => setTimeout(resolve, delayMs))
      await lab.restartAgent(keep)
      for (const arn of arns) {
        await lab.reaches(arn, 'RUNNING')
        t.equal((await lab.containersOf(arn)).length, 1, `after ${delayMs} ms`)
      }
      await Promise.all(arns.map(async (arn) => stop(lab, arn)))
    }
  })

  await suite.test('a lost journal: the same instance, and its containers are adopted', async (t) => {
    const arn = await lab.run({ containers: [{ name: 'app', image, command: forever }] })
    await lab.reaches(arn, 'RUNNING')
    const { Id } = await lab.inspect(arn, 'app')
    const instance = lab.agent.containerInstanceArn
    const before = async (): Promise<void> => {
      for (const suffix of ['', '-wal', '-shm']) {
        rmSync(join(lab.agent.dataDirectory, `journal.db${suffix}`), { force: true })
      }
    }
    await lab.restartAgent({ ...keep, before })
    t.equal(lab.agent.containerInstanceArn, instance)
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    t.same(await lab.containersOf(arn), [Id], 'nothing was started a second time')
    t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
    await askEngine('POST', `/containers/${Id}/kill`)
    t.match(await lab.reaches(arn, 'STOPPED'), { containers: [{ exitCode: 137 }] })
  })

  await suite.test('SIGTERM ends the agent and leaves the containers', async (t) => {
    const arn = await lab.run({ containers: [{ name: 'app', image, command: forever }] })
    await lab.reaches(arn, 'RUNNING')
    t.equal(await lab.agent.stop(), 0)
    t.equal((await lab.inspect(arn, 'app')).State.Status, 'running')
    await lab.restartAgent(keep)
    await stop(lab, arn)
  })
})

await tap.test('the controller goes away and comes back', async (t) => {
  const lab = await startLab({ environment })
  t.teardown(async () => lab.close())
  const [stays, ends] = await Promise.all([
    lab.run({ containers: [{ name: 'app', image, command: forever }] }),
    lab.run({ containers: [{ name: 'app', image, command: ['sh', '-c', 'sleep 3; exit 5'] }] }),
  ])
  await Promise.all([stays, ends].map(async (arn) => lab.reaches(arn, 'RUNNING')))
  const { port, dataDir } = lab.controller
  await lab.controller.kill9()
  await gone(lab, ends)
  t.equal((await lab.inspect(stays, 'app')).State.Status, 'running')
  // An agent that starts while there is no controller waits for it, and loses nothing by that.
  const restarted = lab.restartAgent({ options: { environment } })
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  lab.controller = await startController({ port, dataDir })
  await restarted
  t.match(await lab.reaches(ends, 'STOPPED'), { containers: [{ exitCode: 5 }] })
  t.match(await lab.describe(stays), { lastStatus: 'RUNNING', connectivity: 'CONNECTED' })
  const { taskArns } = await lab.client.send(new ListTasksCommand({}))
  t.same(taskArns, [stays])
  await stop(lab, stays)
})

await tap.test('the engine goes away and comes back', async (suite) => {
  for (const liveRestore of [true, false]) {
    await suite.test(liveRestore ? 'with live-restore' : 'without live-restore', async (t) => {
      const { dockerd, lab } = await ownEngine(liveRestore)
      t.teardown(async () => {
        await lab.close()
        await dockerd.remove()
      })
      const arn = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
      await lab.reaches(arn, 'RUNNING')
      const before = await lab.inspect(arn, 'app')
      await dockerd.terminate()
      if (liveRestore) {
        await eventually(async () => (await runtimeStatus(lab)) === 'IMPAIRED' || undefined, 'the instance is IMPAIRED')
        const { taskDefinitionArn: taskDefinition } = await lab.describe(arn)
        const refused = await lab.client.send(new RunTaskCommand({ taskDefinition }))
        t.match(refused.failures, [{ reason: 'AGENT' }], 'it is given no tasks')
      } else await new Promise((resolve) => setTimeout(resolve, 1_000))
      t.equal((await lab.describe(arn)).lastStatus, 'RUNNING', 'silence of the engine is no end of a task')
      await dockerd.start()
      if (liveRestore) {
        await eventually(async () => (await runtimeStatus(lab)) === 'OK' || undefined, 'the instance is OK again')
        const next = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
        await lab.reaches(next, 'RUNNING')
        t.equal((await lab.inspect(arn, 'app')).State.Pid, before.State.Pid)
        t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
      } else {
        const task = await lab.reaches(arn, 'STOPPED')
        t.match(task, { stopCode: 'EssentialContainerExited', containers: [{ exitCode: 137 }] })
      }
    })
  }

  await suite.test('an engine that hangs: nothing is lost, and work goes on when it answers', async (t) => {
    const { dockerd, lab } = await ownEngine(true)
    t.teardown(async () => {
      await lab.close()
      await dockerd.remove()
    })
    const runs = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
    await lab.reaches(runs, 'RUNNING')
    dockerd.pause()
    const waits = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
    await new Promise((resolve) => setTimeout(resolve, 6_000))
    t.equal((await lab.describe(runs)).lastStatus, 'RUNNING')
    t.not((await lab.describe(waits)).lastStatus, 'STOPPED')
    const { containerInstances } = await lab.client.send(
      new DescribeContainerInstancesCommand({ containerInstances: [lab.agent.containerInstanceArn] }),
    )
    t.equal(containerInstances?.[0]?.agentConnected, true, 'the agent itself does not hang')
    dockerd.resume()
    await lab.reaches(waits, 'RUNNING')
    t.equal((await lab.containersOf(waits)).length, 1)
  })
})

async function ownEngine(liveRestore: boolean): Promise<{ dockerd: Dockerd; lab: Lab }> {
  const dockerd = await startDockerd({ liveRestore })
  try {
    await busyboxImage(dockerd.host)
    return { dockerd, lab: await startLab({ dockerHost: dockerd.host, environment }) }
  } catch (error) {
    await dockerd.remove()
    throw error
  }
}

/** What CONTAINER_INSTANCE_HEALTH says of the container runtime. */
async function runtimeStatus(lab: Lab): Promise<string | undefined> {
  const { containerInstances } = await lab.client.send(
    new DescribeContainerInstancesCommand({
      containerInstances: [lab.agent.containerInstanceArn],
      include: ['CONTAINER_INSTANCE_HEALTH'],
    }),
  )
  return containerInstances?.[0]?.healthStatus?.details?.find(({ type }) => type === 'CONTAINER_RUNTIME')?.status
}

async function stop(lab: Lab, arn: string): Promise<void> {
  await lab.client.send(new StopTaskCommand({ task: arn }))
  await lab.reaches(arn, 'STOPPED')
}

/** Waits until Docker has no running container of the task. */
async function gone(lab: Lab, arn: string): Promise<void> {
  await eventually(async () => {
    const { State } = await lab.inspect(arn, 'app')
    return State.Status === 'running' ? undefined : true
  }, 'the container ends')
}
