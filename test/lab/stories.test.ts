/** What happens to a cluster of three real hosts, told with real containers: docs/lab.md. */
import { network } from './enter.ts'
import { type RunTaskCommandInput, type Task, ECSClient, ListTasksCommand } from '@aws-sdk/client-ecs'
import { RunTaskCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import tap, { type Test } from 'tap'
import { isRunning as isProcessRunning } from '../../scripts/processes.ts'
import { getRest, region } from '../support/controller.ts'
import { askEngine } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'
import type { Host } from './host.ts'
import { startLab } from './lab.ts'

tap.setTimeout(400_000)
const abandoned = await abandonLab()
const lab = await startLab({ network, hosts: 3 })
tap.teardown(async () => lab.close())

const forever = await lab.define({ containers: [{ name: 'app', command: ['sleep', '3600'] }] })
const arnsOf = (tasks: readonly Task[]) => tasks.map(({ taskArn = '' }) => taskArn)
const hostNames = (tasks: readonly Task[]) => tasks.map((task) => lab.hostOf(task).name).toSorted()

async function stop(arns: readonly string[]): Promise<void> {
  await Promise.all(arns.map(async (task) => lab.client.send(new StopTaskCommand({ task }))))
  await lab.reach(arns, 'STOPPED')
}

/** What must not change where nothing was started again: who runs of these tasks, since when, and as which process. */
async function whatRuns(host: Host, arns: readonly string[]): Promise<readonly string[]> {
  const all = await host.containers()
  const running = all.filter(({ isRunning, taskArn }) => isRunning && arns.includes(taskArn))
  return running.map(({ id, startedAt, pid }) => `${id} ${startedAt} ${pid}`).toSorted()
}

/** One container for each task, ever: a second start would have left a second one. */
async function containersPerTask(arns: readonly string[], hosts = lab.hosts): Promise<readonly number[]> {
  const all = (await Promise.all(hosts.map(async (host) => host.containers()))).flat()
  return [...new Set(arns.map((arn) => all.filter(({ taskArn }) => taskArn === arn).length))]
}

await tap.test('of a lab whose test was killed nothing is left', async (t) => {
  t.not(abandoned.network, network, 'it was in a network of its own')
  await eventually(async () => (isProcessRunning(abandoned.pid) ? undefined : true), 'the kernel ends what ran there')
  t.notOk(existsSync(abandoned.directory), 'the next lab removed its directory')
})

await tap.test('spread puts tasks on all hosts alike, binpack on as few as it can', async (t) => {
  const spread = await lab.run(forever, { count: 6, placementStrategy: [{ type: 'spread', field: 'instanceId' }] })
  t.same(hostNames(await lab.reach(spread, 'RUNNING')), ['host1', 'host1', 'host2', 'host2', 'host3', 'host3'])
  const onHosts = await Promise.all(lab.hosts.map(async (host) => (await whatRuns(host, spread)).length))
  t.same(onHosts, [2, 2, 2], 'and the engines run what the controller says')
  await stop(spread)

  const half = await lab.define({ containers: [{ name: 'app', cpu: 1024, command: ['sleep', '3600'] }] })
  const { registeredResources = [] } = await lab.instance(lab.host(1))
  const fitsOnOne = Math.floor((registeredResources.find(({ name }) => name === 'CPU')?.integerValue ?? 0) / 1024)
  t.ok(fitsOnOne >= 1, `a host takes ${fitsOnOne} of them`)
  const packed = await lab.run(half, {
    count: Math.min(10, fitsOnOne + 1),
    placementStrategy: [{ type: 'binpack', field: 'cpu' }],
  })
  const names = hostNames(await lab.reach(packed, 'RUNNING'))
  t.equal(new Set(names).size, Math.ceil(packed.length / fitsOnOne), `packed as ${names.join(', ')}`)
  await stop(packed)
})

await tap.test('a container on one host reaches a published port of another', async (t) => {
  const web = await lab.define({
    containers: [
      {
        name: 'web',
        command: ['sh', '-c', 'echo hello from afar > /www/index.html; exec httpd -f -p 80 -h /www'],
        portMappings: [{ containerPort: 80, hostPort: 8080 }],
      },
    ],
  })
  const server = await lab.runOn(lab.host(2), web)
  await lab.reach([server], 'RUNNING')
  const ask = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc ${lab.host(2).address} 8080 | busybox grep -q 'hello from afar'`
  const reader = await lab.define({
    containers: [{ name: 'reader', command: ['sh', '-c', `until ${ask}; do sleep 0.2; done; exit 42`] }],
  })
  const client = await lab.runOn(lab.host(1), reader)
  t.match(await lab.reach([client], 'STOPPED'), [{ containers: [{ exitCode: 42 }] }])
  await stop([server])
})

const untilTold = 'trap "exit 5" USR1; while true; do sleep 0.1; done'

/** Its tasks go on unheard, and nobody claims to know how they are; once it is back, all is told. */
async function linkIsCut(t: Test): Promise<void> {
  const host = lab.host(1)
  const [stays, isStopped, ends] = await Promise.all([
    lab.runOn(host, forever),
    lab.runOn(host, forever),
    lab.runOn(host, await lab.define({ containers: [{ name: 'app', command: ['sh', '-c', untilTold] }] })),
  ])
  const arns = [stays, isStopped, ends]
  await lab.reach(arns, 'RUNNING')
  const before = await whatRuns(host, arns)

  host.cut()
  await lab.until(arns, 'disconnected', ({ connectivity }) => connectivity === 'DISCONNECTED')
  t.equal((await lab.instance(host)).agentConnected, false)
  t.match(
    await lab.describe(...arns),
    Array.from({ length: 3 }, () => ({ lastStatus: 'RUNNING' })),
    'what was heard last is still shown',
  )
  const { json } = await getRest(lab.controller.endpoint, lab.controller.credentials, `/v1/tasks/${idOf(stays)}`)
  t.match(json, { fresh: false }, 'and not as if it were fresh')
  await lab.client.send(new StopTaskCommand({ task: isStopped }))
  await eventually(async () => {
    // It may not have come to its trap when it is told first.
    const [container] = await host.containers(ends)
    await askEngine('POST', `/containers/${container?.id}/kill?signal=USR1`, undefined, host.engine.host)
    return (await whatRuns(host, arns)).length === 2 ? true : undefined
  }, 'a task ends unheard')
  t.ok(
    (await whatRuns(host, arns)).every((one) => before.includes(one)),
    'the containers go on as they were',
  )

  host.heal()
  await lab.until(arns, 'connected', ({ connectivity, lastStatus }) => {
    return lastStatus === 'STOPPED' || connectivity === 'CONNECTED'
  })
  t.match(await lab.reach([isStopped, ends], 'STOPPED'), [
    { stopCode: 'UserInitiated' },
    { stopCode: 'EssentialContainerExited', containers: [{ exitCode: 5 }] },
  ])
  t.match(await lab.describe(stays), [{ lastStatus: 'RUNNING', connectivity: 'CONNECTED' }])
  const after = await whatRuns(host, arns)
  t.ok(after.length === 1 && before.includes(after[0] ?? ''), 'the one that stays was never touched')
  t.same(await containersPerTask(arns, [host]), [1], 'nothing was started twice')
}

/** New tasks go elsewhere meanwhile. It comes back as the same container instance, and its tasks have ended. */
async function hostIsLost(t: Test): Promise<void> {
  const host = lab.host(2)
  const instanceArn = host.instanceArn
  const lost = [await lab.runOn(host, forever), await lab.runOn(host, forever)]
  await lab.reach(lost, 'RUNNING')

  await host.powerOff()
  await lab.until(lost, 'disconnected', ({ connectivity }) => connectivity === 'DISCONNECTED')
  t.match(
    await lab.describe(...lost),
    Array.from({ length: 2 }, () => ({ lastStatus: 'RUNNING', desiredStatus: 'RUNNING' })),
  )
  const elsewhere = await lab.run(forever, {
    count: 2,
    placementStrategy: [{ type: 'spread', field: 'instanceId' }],
  })
  t.notOk(hostNames(await lab.describe(...elsewhere)).includes(host.name), 'nothing is placed on a host that is lost')

  await host.powerOn()
  t.equal(host.instanceArn, instanceArn, 'it is the same container instance')
  t.match(
    await lab.reach(lost, 'STOPPED'),
    Array.from({ length: 2 }, () => ({ stopCode: 'EssentialContainerExited' })),
  )
  const next = await lab.runOn(host, forever)
  await lab.reach([next], 'RUNNING')
  t.same(
    await whatRuns(host, [...lost, next]).then((running) => running.length),
    1,
    'a standalone task that ended has ended',
  )
  t.same(await containersPerTask([...lost, next], [host]), [1])
  await stop([...elsewhere, next])
}

await tap.test('a link is cut and healed, while another host is lost and comes back', async (t) => {
  await Promise.all([linkIsCut(t), hostIsLost(t)])
})

await tap.test('the controller is killed during a burst of RunTask', async (t) => {
  const startedBy = 'burst'
  const inputs = Array.from({ length: 20 }, (_, at): RunTaskCommandInput => {
    const spread = [{ type: 'spread' as const, field: 'instanceId' }]
    return { taskDefinition: forever, count: 2, startedBy, clientToken: `burst-${at}`, placementStrategy: spread }
  })
  const { endpoint, credentials } = lab.controller
  const impatient = new ECSClient({ endpoint, region, credentials, maxAttempts: 1 })
  t.teardown(() => impatient.destroy())
  const answered = new Map<string, readonly string[]>()
  let killed: Promise<void> | undefined
  // In pairs, so that the kill comes in the middle: what arrives together is committed together.
  for (let at = 0; at < inputs.length; at += 2) {
    await Promise.all(
      inputs.slice(at, at + 2).map(async (input) => {
        const answer = await impatient.send(new RunTaskCommand(input)).catch(() => undefined)
        if (answer?.tasks !== undefined) answered.set(input.clientToken ?? '', arnsOf(answer.tasks))
        if (answered.size >= 7) killed ??= lab.controller.kill9()
      }),
    )
  }
  await killed
  await lab.controller.restart()
  t.ok(answered.size >= 7 && answered.size < inputs.length)
  t.comment(`${answered.size} of ${inputs.length} calls were answered before the kill`)

  await lab.describe(...[...answered.values()].flat())
  t.pass('every answered task exists')
  const again = await Promise.all(inputs.map(async (input) => lab.client.send(new RunTaskCommand(input))))
  for (const [at, { clientToken = '' }] of inputs.entries()) {
    const first = answered.get(clientToken)
    if (first !== undefined) t.same(arnsOf(again[at]?.tasks ?? []), first, `${clientToken} gives the same ARNs`)
  }
  const arns = again.flatMap(({ tasks = [] }) => arnsOf(tasks))
  const { taskArns = [] } = await lab.client.send(new ListTasksCommand({ startedBy }))
  t.same(taskArns.toSorted(), arns.toSorted(), 'and there are no others')
  t.equal(new Set(arns).size, 40)
  await lab.reach(arns, 'RUNNING')
  t.same(await containersPerTask(arns), [1])
  await stop(arns)
})

await tap.test('an engine is restarted: containers go on, and new ones start', async (t) => {
  const host = lab.host(3)
  const arn = await lab.runOn(host, forever)
  await lab.reach([arn], 'RUNNING')
  const before = await whatRuns(host, [arn])
  await host.restartEngine()
  const next = await lab.runOn(host, forever)
  await lab.reach([next], 'RUNNING')
  t.match(await lab.describe(arn), [{ lastStatus: 'RUNNING' }])
  t.ok((await whatRuns(host, [arn])).includes(before[0] ?? 'none'), 'the container never stopped')
  t.same(await containersPerTask([arn, next]), [1])
  await stop([arn, next])
})

await tap.test('an agent is upgraded, then killed: containers go on', async (t) => {
  const host = lab.host(3)
  const arn = await lab.runOn(host, forever)
  await lab.reach([arn], 'RUNNING')
  const before = await whatRuns(host, [arn])
  const { versionInfo } = await lab.instance(host)
  await host.upgradeAgent('99.1.0')
  t.not(versionInfo?.agentVersion, '99.1.0')
  t.match(await lab.instance(host), { agentConnected: true, versionInfo: { agentVersion: '99.1.0' } })
  t.same(await whatRuns(host, [arn]), before)
  await host.restartAgent()
  t.same(await whatRuns(host, [arn]), before)
  t.match(await lab.until([arn], 'connected', ({ connectivity }) => connectivity === 'CONNECTED'), [
    { lastStatus: 'RUNNING' },
  ])
  await stop([arn])
  t.same(await containersPerTask([arn]), [1])
})

await tap.test('a cluster of which everything was switched off comes back by itself', async (t) => {
  const arns = await lab.run(forever, { count: 3, placementStrategy: [{ type: 'spread', field: 'instanceId' }] })
  await lab.reach(arns, 'RUNNING')
  await Promise.all([lab.controller, ...lab.hosts].map(async (one) => one.powerOff()))
  await Promise.all([lab.controller, ...lab.hosts].map(async (one) => one.powerOn()))
  await lab.reach(arns, 'STOPPED')
  const next = await lab.run(forever, { count: 3, placementStrategy: [{ type: 'spread', field: 'instanceId' }] })
  t.same(hostNames(await lab.reach(next, 'RUNNING')), ['host1', 'host2', 'host3'])
})

/** A lab of one machine, killed in the midst of its work. */
async function abandonLab(): Promise<{ network: string; directory: string; pid: number }> {
  const { GANTRY_LAB_OUTSIDE: _inside, ...environment } = process.env
  const child = spawn(process.execPath, [join(import.meta.dirname, 'abandoned.ts')], {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve)
    child.once('exit', (code) => reject(new Error(`abandoned.ts ended with ${code}`)))
  })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
  return JSON.parse(line) as { network: string; directory: string; pid: number }
}

function idOf(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1)
}
