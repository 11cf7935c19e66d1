/** A task's life on a real engine: restarts in place, orders of start, sudden ends, and days without a controller. */
import {
  CreateServiceCommand,
  DeleteServiceCommand,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  StopTaskCommand,
} from '@aws-sdk/client-ecs'
import type { ContainerDefinition } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { startController } from '../support/controller.ts'
import { askEngine, busyboxImage, inspectRaw, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'
import type { Lab } from '../support/lab.ts'

tap.setTimeout(380_000)
const image = await busyboxImage()
tap.teardown(async () => removeBusyboxImage())
const environment = { ECS_CONTAINER_STOP_TIMEOUT: '1s', GANTRY_ALONE_AFTER: '5s' }
/** PID 1 without a handler is deaf to SIGTERM; a shell that waits is not. */
const forever = ['sh', '-c', 'trap "exit 0" TERM; sleep 3600 & wait']
/**
 * From a container's end to the next start, by Docker's own clock. A machine on which Docker alone takes long for a start is
 * busy with other things, and says little: there it is a few times as long as that.
 */
const hopMostMs = 500
const busyFactor = 3
/** What the machine did beside it can make one try slow, and the next one not. What Gantry itself waits for makes all slow. */
const triesMost = 5

interface Shown {
  readonly Id: string
  readonly State: {
    readonly Status: string
    readonly Pid: number
    readonly StartedAt: string
    readonly FinishedAt: string
    readonly ExitCode: number
  }
  readonly NetworkSettings: {
    readonly Ports: Readonly<Record<string, readonly { readonly HostPort: string }[] | null>>
  }
}

await tap.test('restart policy, chains and sudden ends', async (suite) => {
  const lab = await startLab({ environment })
  suite.teardown(async () => lab.close())
  const restartPolicy = { enabled: true, ignoredExitCodes: [7], restartAttemptPeriod: 60 }
  const healthCheck = { command: ['CMD', 'true'], interval: 5, retries: 1, startPeriod: 0 }
  // Its attempt period is a minute at least: it runs while the other tests do.
  const twins = ['twin-1', 'twin-2', 'twin-3']
  const restarting = await lab.run({
    networkMode: 'bridge',
    containers: [
      { name: 'app', image, command: forever, restartPolicy, healthCheck, portMappings: [{ containerPort: 80 }] },
      ...twins.map((name) => ({ name, image, memory: 16, command: forever, restartPolicy, essential: false })),
      { name: 'side', image, command: forever, dependsOn: [{ containerName: 'app', condition: 'START' }] },
    ],
  })
  await lab.reaches(restarting, 'RUNNING')
  const first = await shown(lab, restarting, 'app')
  const side = await shown(lab, restarting, 'side')

  await suite.test('a chain of SUCCESS dependencies: each hop within half a second', async (t) => {
    const names = ['first', 'second', 'third', 'last']
    const isQuick = await anyTry(async () => {
      const hops = await hopsOfChain(lab)
      for (const [index, ms] of hops.entries()) {
        t.ok(ms >= 0, `${names[index + 1]} starts after the end of ${names[index]}`)
      }
      return Math.max(...hops)
    })
    t.ok(isQuick.holds, `the longest hop of each try: ${isQuick.told}`)

    const failing = await lab.run({
      networkMode: 'none',
      containers: [
        { name: 'app', image, command: forever, ...afterSuccessOf('init') },
        { name: 'init', image, essential: false, command: ['sh', '-c', 'exit 3'] },
      ],
    })
    const ended = await lab.reaches(failing, 'STOPPED')
    t.match(
      ended.containers?.find(({ name }) => name === 'app'),
      {
        exitCode: 143,
        reason: /^CannotStartContainerError: dependency graph: .*init exited with 3/,
      },
    )
  })

  await suite.test(
    'HEALTHY, in start and in reverse in stop, and what startTimeout does to those that wait',
    async (t) => {
      const needs = { dependsOn: [{ containerName: 'db', condition: 'HEALTHY' as const }] }
      const [good, never] = await Promise.all([
        lab.run({
          networkMode: 'none',
          containers: [
            { name: 'app', image, command: forever, ...needs },
            { name: 'db', image, command: forever, healthCheck: checkBy('true') },
          ],
        }),
        lab.run({
          networkMode: 'none',
          containers: [
            { name: 'app', image, command: forever, ...needs },
            { name: 'db', image, command: forever, healthCheck: checkBy('false'), startTimeout: 8 },
          ],
        }),
      ])
      await lab.reaches(good, 'RUNNING')
      const [app, db] = await Promise.all(['app', 'db'].map(async (name) => shown(lab, good, name)))
      t.ok(
        Date.parse(app?.State.StartedAt ?? '') - Date.parse(db?.State.StartedAt ?? '') >= 4000,
        'after its first check',
      )
      const ended = await lab.reaches(never, 'STOPPED')
      t.match(
        ended.containers?.find(({ name }) => name === 'app'),
        { reason: /db did not get HEALTHY within its startTimeout/ },
      )
      await stop(lab, good)
      const ends = await Promise.all(['app', 'db'].map(async (name) => (await shown(lab, good, name)).State.FinishedAt))
      t.ok(Date.parse(ends[0] ?? '') < Date.parse(ends[1] ?? ''), 'the one that depends stops first')
    },
  )

  await suite.test('kill -9 of a container: the truth within 1.2 s', async (t) => {
    const isQuick = await anyTry(
      async () => {
        const arn = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
        await lab.reaches(arn, 'RUNNING')
        const { Id } = await shown(lab, arn, 'app')
        const killed = Date.now()
        await askEngine('POST', `/containers/${Id}/kill?signal=KILL`)
        const task = await lab.reaches(arn, 'STOPPED')
        const afterMs = Date.now() - killed
        t.match(task, { stopCode: 'EssentialContainerExited', containers: [{ exitCode: 137 }] })
        return afterMs
      },
      { mostMs: 1200 },
    )
    t.ok(isQuick.holds, isQuick.told)
  })

  await suite.test('a stopping task, however slow, holds up no other', async (t) => {
    const deaf = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done']
    const slow = await lab.run({
      networkMode: 'none',
      containers: [{ name: 'app', image, command: deaf, stopTimeout: 120 }],
    })
    await lab.reaches(slow, 'RUNNING')
    await lab.client.send(new StopTaskCommand({ task: slow }))
    const quick = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
    await lab.reaches(quick, 'RUNNING')
    await stop(lab, quick)
    t.not((await lab.describe(slow)).lastStatus, 'STOPPED', 'another one has come and gone meanwhile')
    await askEngine('POST', `/containers/${(await shown(lab, slow, 'app')).Id}/kill?signal=KILL`)
    t.match(await lab.reaches(slow, 'STOPPED'), { containers: [{ exitCode: 137 }] })
  })

  await suite.test('a restart policy starts the same container again, and a stop wins over it', async (t) => {
    const all = await Promise.all(['app', ...twins].map(async (name) => shown(lab, restarting, name)))
    const lastStart = Math.max(...all.map(({ State }) => Date.parse(State.StartedAt)))
    const ranFor = lastStart + 61_000 - Date.now()
    if (ranFor > 0) await new Promise((resolve) => setTimeout(resolve, ranFor))
    await eventually(
      async () => (await lab.describe(restarting)).healthStatus === 'HEALTHY' || undefined,
      'it is healthy',
    )
    const before = await lab.describe(restarting)
    const again = await startedAgain(lab, restarting, 'app')
    t.equal(again.Id, first.Id, 'in place')
    // Each may be started again once a minute, so that each is a try of its own.
    const isQuick = await anyTry(
      async (number) => {
        const { State } = await startedAgain(lab, restarting, twins[number] ?? '')
        return Date.parse(State.StartedAt) - Date.parse(State.FinishedAt)
      },
      { tries: twins.length },
    )
    t.ok(isQuick.holds, `from the end to the next start: ${isQuick.told}`)
    t.equal((await shown(lab, restarting, 'side')).State.Pid, side.State.Pid, 'what depends on it goes on')

    const told = await eventually(async () => {
      const app = (await containersTold(lab, restarting)).find(({ name }) => name === 'app')
      return app?.['restartCount'] === 1 ? app : undefined
    }, 'its restart is told')
    t.match(told, { lastStatus: 'RUNNING', restartCount: 1, healthStatus: /UNKNOWN|HEALTHY/ })
    const hostPort = Number(again.NetworkSettings.Ports['80/tcp']?.[0]?.HostPort)
    t.match(told['networkBindings'], [{ hostPort }], 'with the ports that it has')
    const after = await lab.describe(restarting)
    t.same([after.lastStatus, after.startedAt], ['RUNNING', before.startedAt])
    const { facts } = (await lab.rest(`/v1/tasks/${idOf(restarting)}/why`)) as { readonly facts: readonly string[] }
    t.ok(
      facts.some((fact) => fact.startsWith('Container app was started again in place once')),
      facts.join(' '),
    )

    await askEngine('POST', `/containers/${first.Id}/kill?signal=KILL`)
    const ended = await lab.reaches(restarting, 'STOPPED')
    t.match(
      ended.containers?.find(({ name }) => name === 'app'),
      { exitCode: 137 },
      'too soon after its last start',
    )
  })
})

/** What the agent's log has once tasks of services are its own business. */
const alone = 'no controller: tasks of services are kept going in place'
/** The same for what takes several steps of Docker and both programs. */
const slowFactor = 10

await tap.test('without a controller', async (suite) => {
  const lab = await startLab({ environment })
  suite.teardown(async () => lab.close())
  const { port, dataDir } = lab.controller
  const family = `alone-${process.pid}`
  await lab.client.send(
    new RegisterTaskDefinitionCommand({
      family,
      networkMode: 'bridge',
      containerDefinitions: [
        {
          name: 'app',
          image,
          memory: 32,
          command: forever,
          portMappings: [{ containerPort: 80 }],
          dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }],
        },
        { name: 'init', image, memory: 32, command: ['true'], essential: false },
      ],
    }),
  )
  await lab.client.send(new CreateServiceCommand({ serviceName: 'kept', taskDefinition: family, desiredCount: 1 }))
  const arn = await eventually(async () => {
    const { taskArns } = await lab.client.send(new ListTasksCommand({ serviceName: 'kept' }))
    return taskArns?.[0]
  }, 'the service has a task')
  const standalone = await lab.run({ networkMode: 'none', containers: [{ name: 'app', image, command: forever }] })
  await Promise.all([arn, standalone].map(async (one) => lab.reaches(one, 'RUNNING')))
  const before = await shown(lab, arn, 'app')

  await suite.test('the task of a service is started again in place, a standalone one has ended', async (t) => {
    await lab.controller.kill9()
    await eventually(async () => (lab.agent.log().includes(alone) ? true : undefined), 'the agent is on its own')
    const killed = Date.now()
    const { Id } = await shown(lab, standalone, 'app')
    await Promise.all([before.Id, Id].map(async (one) => askEngine('POST', `/containers/${one}/kill?signal=KILL`)))
    const again = await eventually(async () => {
      const now = await shown(lab, arn, 'app')
      return now.State.Status === 'running' ? now : undefined
    }, 'it runs again')
    const afterMs = Date.now() - killed
    t.ok(afterMs < Math.max(5000, slowFactor * (await dockersOwnStartMs())), `${afterMs} ms after it was killed`)
    t.equal(again.Id, before.Id)
    t.same(again.NetworkSettings.Ports, before.NetworkSettings.Ports, 'with its ports')
    const init = await shown(lab, arn, 'init')
    t.ok(Date.parse(init.State.FinishedAt) <= Date.parse(again.State.StartedAt), 'after what it depends on')
    t.equal((await shown(lab, standalone, 'app')).State.Status, 'exited')
  })

  await suite.test('after a reboot too, by an agent that finds everything ended', async (t) => {
    const ids = [...(await lab.containersOf(arn)), ...(await lab.containersOf(standalone))]
    const earlier = (await shown(lab, arn, 'app')).State.Pid
    const restarted = lab.restartAgent({
      options: { environment },
      before: async () => void (await Promise.all(ids.map(async (id) => askEngine('POST', `/containers/${id}/kill`)))),
    })
    restarted.catch(() => undefined)
    await eventually(async () => {
      const { Status, Pid } = (await shown(lab, arn, 'app')).State
      return Status === 'running' && Pid !== earlier ? true : undefined
    }, 'it runs again')
    t.equal((await shown(lab, standalone, 'app')).State.Status, 'exited')

    const pid = (await shown(lab, arn, 'app')).State.Pid
    lab.controller = await startController({ port, dataDir })
    const back = Date.now()
    await restarted
    const app = await eventually(async () => {
      const told = await containersTold(lab, arn)
      const one = told.find(({ name }) => name === 'app')
      return one?.['restartCount'] === 2 ? one : undefined
    }, 'what happened is told')
    const afterMs = Date.now() - back
    t.ok(afterMs < Math.max(5000, slowFactor * (await dockersOwnStartMs())), `${afterMs} ms after its return`)
    t.equal(app['lastStatus'], 'RUNNING')
    t.equal((await lab.describe(arn)).lastStatus, 'RUNNING')
    t.match(await lab.reaches(standalone, 'STOPPED'), { containers: [{ exitCode: 137 }] })
    await new Promise((resolve) => setTimeout(resolve, 3000))
    t.equal((await shown(lab, arn, 'app')).State.Pid, pid, 'and nothing is restarted for its sake')
    const { taskArns } = await lab.client.send(new ListTasksCommand({ serviceName: 'kept' }))
    t.same(taskArns, [arn])
    await lab.client.send(new DeleteServiceCommand({ service: 'kept', force: true }))
    await lab.reaches(arn, 'STOPPED')
  })
})

/** From the end of each container of a chain to the start of the next, in milliseconds. */
async function hopsOfChain(lab: Lab): Promise<readonly number[]> {
  const init = { image, essential: false, command: ['true'] }
  const arn = await lab.run({
    networkMode: 'none',
    containers: [
      { name: 'last', image, command: forever, ...afterSuccessOf('third') },
      { name: 'third', ...init, ...afterSuccessOf('second') },
      { name: 'second', ...init, ...afterSuccessOf('first') },
      { name: 'first', ...init },
    ],
  })
  await lab.reaches(arn, 'RUNNING')
  const names = ['first', 'second', 'third', 'last']
  const states = await Promise.all(names.map(async (name) => (await shown(lab, arn, name)).State))
  await stop(lab, arn)
  return states
    .slice(1)
    .map((state, index) => Date.parse(state.StartedAt) - Date.parse(states[index]?.FinishedAt ?? ''))
}

/** Kills a container that is to be started again; how it is then. */
async function startedAgain(lab: Lab, arn: string, name: string): Promise<Shown> {
  const { Id, State } = await shown(lab, arn, name)
  await askEngine('POST', `/containers/${Id}/kill?signal=KILL`)
  return eventually(async () => {
    const now = await shown(lab, arn, name)
    return now.State.Status === 'running' && now.State.Pid !== State.Pid ? now : undefined
  }, `${name} runs again`)
}

/** Whether one of a few tries takes no longer than `mostMs`, or than a few of Docker's own starts just then. */
async function anyTry(
  measure: (number: number) => Promise<number>,
  { mostMs = hopMostMs, tries = triesMost } = {},
): Promise<{ holds: boolean; told: string }> {
  const told: string[] = []
  for (let number = 0; number < tries; number += 1) {
    const rawMs = await dockersOwnStartMs()
    const tookMs = await measure(number)
    const boundMs = Math.max(mostMs, busyFactor * Math.max(rawMs, await dockersOwnStartMs()))
    told.push(`${tookMs} ms of ${boundMs}`)
    if (tookMs <= boundMs) return { holds: true, told: told.join(', ') }
  }
  return { holds: false, told: told.join(', ') }
}

/** What a start costs right now without anybody's agent. */
async function dockersOwnStartMs(): Promise<number> {
  const made = await askEngine('POST', '/containers/create', { Image: image, Cmd: forever })
  const { Id } = JSON.parse(made.text) as { readonly Id: string }
  const begun = Date.now()
  await askEngine('POST', `/containers/${Id}/start`)
  const tookMs = Date.now() - begun
  await askEngine('DELETE', `/containers/${Id}?force=1&v=1`)
  return tookMs
}

function afterSuccessOf(containerName: string): Pick<ContainerDefinition, 'dependsOn'> {
  return { dependsOn: [{ containerName, condition: 'SUCCESS' }] }
}

function checkBy(command: string): NonNullable<ContainerDefinition['healthCheck']> {
  return { command: ['CMD-SHELL', command], interval: 5, retries: 1, timeout: 2 }
}

async function shown(lab: Lab, arn: string, name: string): Promise<Shown> {
  const { Id } = await lab.inspect(arn, name)
  return (await inspectRaw(Id, lab.dockerHost)) as unknown as Shown
}

async function containersTold(lab: Lab, arn: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const task = (await lab.rest(`/v1/tasks/${idOf(arn)}`)) as {
    readonly containers?: readonly Readonly<Record<string, unknown>>[]
  }
  return task.containers ?? []
}

async function stop(lab: Lab, arn: string): Promise<void> {
  await lab.client.send(new StopTaskCommand({ task: arn }))
  await lab.reaches(arn, 'STOPPED')
}

function idOf(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1)
}
