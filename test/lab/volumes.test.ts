/** Hosts that share a file system: what one writes the other reads, and what becomes of both when the server dies. */
import { network } from './enter.ts'
import { StopTaskCommand, type Task } from '@aws-sdk/client-ecs'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap from 'tap'
import { callRest, getRest } from '../support/controller.ts'
import { sshfsCommand, startFileServer } from '../support/file-server.ts'
import { eventually } from '../support/lab.ts'
import type { Host } from './host.ts'
import { startLab } from './lab.ts'
import { bridgeAddress } from './machine.ts'

tap.setTimeout(400_000)
const lab = await startLab({ network, hosts: 2 })
/** The same path on each host, as an operator mounts it: a directory of the one disk, and a mount of each host's own. */
const home = mkdtempSync(join(tmpdir(), 'gantry-shared-'))
const server = await startFileServer(bridgeAddress)
tap.teardown(async () => {
  server.die()
  await lab.close()
  await server.close()
  rmSync(home, { recursive: true, force: true })
})

async function post(path: string, body: object): Promise<Readonly<Record<string, unknown>>> {
  const { endpoint, credentials } = lab.controller
  const answer = await callRest(endpoint, credentials, 'POST', path, JSON.stringify(body))
  if (answer.status !== 200) throw new Error(answer.text)
  return answer.json
}

/** A definition of one container that has the file system at `/data`. */
async function define(fileSystemId: string, script: string, more: { user?: string; accessPointId?: string } = {}) {
  const { user, accessPointId } = more
  return lab.define({
    networkMode: 'none',
    volumes: [
      {
        name: 'data',
        efsVolumeConfiguration: { fileSystemId, ...(accessPointId && { authorizationConfig: { accessPointId } }) },
      },
    ],
    containers: [
      {
        name: 'app',
        command: ['sh', '-c', script],
        mountPoints: [{ sourceVolume: 'data', containerPath: '/data' }],
        ...(user && { user }),
      },
    ],
  })
}

async function exitOn(host: Host, family: string): Promise<Task | undefined> {
  return (await lab.reach([await lab.runOn(host, family)], 'STOPPED'))[0]
}

/** Writes a file, and ends once it sees the other one's. */
const meet = (mine: string, other: string) =>
  `echo ${mine} > /data/${mine}; until [ "$(cat /data/${other} 2>/dev/null)" = ${other} ]; do sleep 0.1; done`

const exitCode = (task: Task | undefined) => task?.containers?.[0]?.exitCode

await tap.test('a path that all hosts mount: both write, both read, each as the access point says', async (t) => {
  const path = join(home, 'plain')
  mkdirSync(path)
  const { fileSystemId } = await post('/v1/file-systems', { target: { kind: 'path', path, mustBeMounted: false } })
  const id = String(fileSystemId)
  const { accessPointId } = await post(`/v1/file-systems/${id}/access-points`, {
    path: '/team/app',
    posixUser: { uid: 4321, gid: 8765 },
    creationInfo: { ownerUid: 4321, ownerGid: 8765, permissions: '0750' },
  })
  const more = { user: '4321:8765', accessPointId: String(accessPointId) }
  const [one, two] = await Promise.all([
    define(id, meet('one', 'two'), more).then(async (family) => exitOn(lab.host(1), family)),
    define(id, meet('two', 'one'), more).then(async (family) => exitOn(lab.host(2), family)),
  ])
  t.same([exitCode(one), exitCode(two)], [0, 0], `${one?.stoppedReason} ${two?.stoppedReason}`)
  for (const name of ['one', 'two']) {
    t.match(statSync(join(path, 'team/app', name)), { uid: 4321, gid: 8765 }, `${name} has its owner on both hosts`)
  }
})

await tap.test(
  'a server that hangs and dies while two hosts write: both tasks end, and nothing else does',
  async (t) => {
    const path = join(home, 'served')
    mkdirSync(path)
    const { fileSystemId } = await post('/v1/file-systems', { target: { kind: 'path', path } })
    const id = String(fileSystemId)
    const writers = await Promise.all(
      lab.hosts.map(async (host) => {
        const family = await define(id, `while echo x >> /data/${host.name}; do sleep 0.05; done; exit 5`)
        return { host, family, file: join(server.directory, host.name) }
      }),
    )
    const early = await exitOn(lab.host(1), writers[0]?.family ?? '')
    t.match(
      early?.stoppedReason,
      /^ResourceInitializationError: .* is no mount point on this host, so nothing is written/,
    )

    const arns = await Promise.all(
      writers.map(async ({ host, family }) => {
        await host.machine.run(sshfsCommand(server, path, bridgeAddress), {})
        return eventually(async () => {
          const [task] = await lab.until([await lab.runOn(host, family)], 'it runs or not', ({ lastStatus }) =>
            ['RUNNING', 'STOPPED'].includes(lastStatus ?? ''),
          )
          return task?.lastStatus === 'RUNNING' ? task.taskArn : undefined
        }, `${host.name} has mounted it`)
      }),
    )
    const isWritten = () => writers.every(({ file }) => existsSync(file) && statSync(file).size > 20)
    await eventually(async () => (isWritten() ? true : undefined), 'both write to the server')

    server.hang()
    await new Promise((resolve) => setTimeout(resolve, 300))
    await Promise.all(arns.map(async (task) => lab.client.send(new StopTaskCommand({ task }))))
    const beside = await lab.define({ networkMode: 'none', containers: [{ name: 'app', command: ['true'] }] })
    const others = await Promise.all(lab.hosts.map(async (host) => exitOn(host, beside)))
    t.same(others.map(exitCode), [0, 0], 'both agents and both engines go on')
    for (const arn of arns) {
      const why = await eventually(async () => {
        const { endpoint, credentials } = lab.controller
        const { text } = await getRest(endpoint, credentials, `/v1/tasks/${arn.split('/').at(-1)}/why`)
        return text.includes('SIGKILL does not end') ? text : undefined
      }, 'why says what holds the task')
      t.match(why, /while a file system hangs: fs-/)
    }

    server.die()
    await lab.reach(arns, 'STOPPED')
    const after = await Promise.all(writers.map(async ({ host, family }) => exitOn(host, family)))
    for (const task of after)
      t.match(task, { stopCode: 'TaskFailedToStart', stoppedReason: /^ResourceInitializationError/ })
  },
)
