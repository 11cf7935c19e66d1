/**
 * A second host joins with the one line that the controller prints, changes its keys under load and under kills, is
 * revoked, and comes back as what it was; and a controller that shows another CA is believed by nobody. docs/joining.md.
 */
import { network } from './enter.ts'
import { StopTaskCommand } from '@aws-sdk/client-ecs'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import tap from 'tap'
import type { JoinedIdentity } from '../../agent/joined-identity.ts'
import { callEcs, callRest } from '../support/controller.ts'
import { eventually } from '../support/lab.ts'
import { startLab } from './lab.ts'
import { gantry, printedJoinLine, repository } from './operator.ts'

tap.setTimeout(400_000)
const lab = await startLab({
  network,
  hosts: 2,
  joined: 1,
  agentEnvironment: { GANTRY_KEY_ROTATION_INTERVAL: '2s', GANTRY_ALONE_AFTER: '5s' },
})
tap.teardown(async () => lab.close())
const { controller } = lab
const first = lab.host(1)
const second = lab.host(2)
const forever = await lab.define({ containers: [{ name: 'app', command: ['sleep', '3600'] }] })

/** What `gantry join-token` prints for a checkout, run on the second host as it is. */
async function runLine(line: string, ...more: readonly string[]): Promise<{ code: number | null; output: string }> {
  const command = `${line.replace('npx gantry', `sh ${repository}/cli/gantry`)} ${more.join(' ')}`
  const program = await second.machine.run(['sh', '-c', command], { ECS_DATADIR: second.agentDirectory })
  return { code: await program.ended, output: program.output() }
}

const joinedOf = (): JoinedIdentity =>
  JSON.parse(readFileSync(join(second.agentDirectory, 'joined.json'), 'utf8')) as JoinedIdentity

const keyOfSecond = (): string => joinedOf().keys.accessKeyId

/** Which containers run on the second host, and since when: what nothing of this may touch. */
async function whatRuns(): Promise<readonly string[]> {
  const all = await second.containers()
  return all.filter(({ isRunning }) => isRunning).map(({ id, startedAt, pid }) => `${id} ${startedAt} ${pid}`)
}

const connected = async (): Promise<true | undefined> =>
  (await lab.instance(second)).agentConnected === true ? true : undefined

const saysOfSecond = async (words: RegExp): Promise<string> =>
  eventually(
    async () =>
      second
        .log()
        .split('\n')
        .find((line) => words.test(line)),
    `the agent of the second host says ${words.source}`,
  )

let line = ''

await tap.test('a second host joins with one line, and runs a task', async (t) => {
  await t.rejects(fetch(`http://${controller.machine.address}:51700/healthz`), 'without TLS nobody else reaches it')
  await second.launchAgent()
  t.match(await saysOfSecond(/has not joined/), /join-token/, 'an agent without keys waits')
  line = await printedJoinLine(controller)
  const { code, output } = await runLine(line)
  t.equal(code, 0, output)
  t.match(output, /has joined https:\/\/10\.77\.0\.10:51443 as host2 \(host-\w+\), for the cluster default/)
  await second.agentReady()
  const arn = await lab.runOn(second, forever)
  await lab.reach([arn], 'RUNNING')
  t.equal((await whatRuns()).length, 1)
  t.notOk(output.includes(joinedOf().keys.secretAccessKey))
  t.notOk(second.log().includes(joinedOf().keys.secretAccessKey), 'and no log has its secret')
})

await tap.test('a token is good once, for its cluster, and until its end', async (t) => {
  t.match(await runLine(line), { code: 0, output: /joined .* already.*\n.*not used/ })
  const again = await runLine(line, '--replace')
  t.match(again, { code: 1, output: /did not let this host join/ }, again.output)
  const other = await runLine(await printedJoinLine(controller), '--replace', '--cluster', 'other')
  t.match(other, { code: 1, output: /did not let this host join.*cluster/s }, other.output)
  const wrongCa = (await printedJoinLine(controller)).replace(/sha256:..../, 'sha256:0000')
  t.match(await runLine(wrongCa, '--replace'), { code: 1, output: /shown: +sha256:.*\n +--ca: +sha256:0000/ })
  const refused = /"host2" was refused to join from 10\.77\.0\.12/
  await eventually(
    async () => (refused.test(await gantry(controller, 'hosts', 'events')) ? true : undefined),
    'that is written down',
  )
})

await tap.test('keys change under load, and the agent is killed meanwhile', async (t) => {
  const seen = new Set([keyOfSecond()])
  const arns = await lab.run(forever, { count: 6 })
  for (let round = 0; round < 4; round += 1) {
    const short = await lab.run(forever, { count: 4 })
    await lab.reach(short, 'RUNNING')
    if (round % 2 === 1) await second.restartAgent()
    await Promise.all(short.map(async (task) => lab.client.send(new StopTaskCommand({ task }))))
    await lab.reach(short, 'STOPPED')
    seen.add(keyOfSecond())
  }
  await eventually(async () => (seen.add(keyOfSecond()).size > 3 ? true : undefined), 'keys change on')
  await lab.reach(arns, 'RUNNING')
  t.notMatch(second.log(), /UnrecognizedClientException|revoked/, 'no call was refused for its keys')
  t.notMatch(first.log(), /UnrecognizedClientException|revoked/)
  await Promise.all(arns.map(async (task) => lab.client.send(new StopTaskCommand({ task }))))
  await lab.reach(arns, 'STOPPED')
})

await tap.test('a revoked host is out at once; what runs there goes on', async (t) => {
  const before = await whatRuns()
  t.equal(before.length, 1)
  const { keys, hostId } = joinedOf()
  t.equal((await callEcs(controller.endpoint, keys, 'DiscoverPollEndpoint', {})).status, 200)
  await gantry(controller, 'hosts', 'revoke', hostId)
  const refused = await callEcs(controller.endpoint, joinedOf().keys, 'DiscoverPollEndpoint', {})
  t.match(refused, { status: 403, text: /UnrecognizedClientException/ })
  t.match(await saysOfSecond(/does not take the keys of this host/), /Containers go on.*--replace/)
  await eventually(async () => ((await lab.instance(second)).agentConnected === false ? true : undefined), 'it is out')
  t.same(await whatRuns(), before, 'no container was touched')
  t.ok((await lab.instance(first)).agentConnected, 'and the other host is as it was')
})

await tap.test('it comes back as what it was, with the same containers', async (t) => {
  const before = await whatRuns()
  const { instanceArn } = second
  const { hostId } = joinedOf()
  const id = instanceArn.split('/').at(-1) ?? ''
  const { code, output } = await runLine(await printedJoinLine(controller, '--instance', id), '--replace')
  t.equal(code, 0, output)
  t.not(joinedOf().hostId, hostId)
  await saysOfSecond(/has joined anew/)
  await second.startAgent()
  t.equal(second.instanceArn, instanceArn)
  t.same(await whatRuns(), before)
  const [arn = ''] = await lab.run(forever)
  await lab.reach([arn], 'RUNNING')
  t.equal((await callRest(controller.endpoint, controller.credentials, 'DELETE', `/v1/hosts/${hostId}`)).status, 204)
})

await tap.test('new certificates of the same CA are taken, another CA is told of loudly', async (t) => {
  const before = await whatRuns()
  const directory = join(controller.dataDir, 'tls')
  await controller.kill9()
  for (const kind of ['rsa', 'ecdsa']) rmSync(join(directory, `${kind}.pem`))
  await controller.start()
  await eventually(connected, 'the agent takes other certificates of its CA')

  await controller.kill9()
  renameSync(directory, `${directory}.kept`)
  await controller.start()
  t.match(await saysOfSecond(/no certificate of a CA that this host trusts/), /Nothing was sent.*--replace/)
  t.same(await whatRuns(), before, 'its containers go on')
  await controller.kill9()
  rmSync(directory, { recursive: true })
  renameSync(`${directory}.kept`, directory)
  await controller.start()
  await eventually(connected, 'with its CA it is back')
  t.same(await whatRuns(), before)
})

await tap.test(
  'a host that was away until it was forgotten comes as a new instance, and ends what ran before',
  async (t) => {
    const old = second.instanceArn
    await second.killAgent()
    const running = await whatRuns()
    t.ok(running.length > 0)
    const gone = { containerInstance: old, force: true }
    t.match(await callEcs(controller.endpoint, controller.credentials, 'DeregisterContainerInstance', gone), {
      status: 200,
    })
    // A day later nobody knows it: no row has this id.
    const identity = join(second.agentDirectory, 'identity.json')
    writeFileSync(identity, readFileSync(identity, 'utf8').replace(/\/[0-9a-f]{32}/, `/${'0'.repeat(32)}`))
    // As a service manager does: on a busy machine the agent begins alone with what it has, and learns of it later.
    await second.startAgent().catch(async (error: unknown) => {
      if (!String(error).includes('the agent has to start anew')) throw error
      await second.startAgent()
    })
    t.not(second.instanceArn, old)
    t.notMatch(second.instanceArn, /0{32}/)
    const isEnded = async (): Promise<true | undefined> => ((await whatRuns()).length === 0 ? true : undefined)
    await eventually(isEnded, 'what ran as the former instance is stopped')
    const arn = await lab.runOn(second, forever)
    await lab.reach([arn], 'RUNNING')
  },
)
