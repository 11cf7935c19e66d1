/** File systems on REST, and task definitions that name them by the SDK. Against the real controller process. */
import { ClientException, ECSClient, RegisterTaskDefinitionCommand, RunTaskCommand } from '@aws-sdk/client-ecs'
import type { Volume } from '@aws-sdk/client-ecs'
import t from 'tap'
import { startAgentPeer } from '../support/agent-peer.ts'
import { callRest, type RawAnswer, region, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const { endpoint, credentials } = controller
const client = new ECSClient({ endpoint, region, credentials })
t.teardown(() => client.destroy())

async function rest(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<RawAnswer> {
  return callRest(endpoint, credentials, method, path, body === undefined ? undefined : JSON.stringify(body))
}

const register = async (volume: Volume, container: object = {}) =>
  client.send(
    new RegisterTaskDefinitionCommand({
      family: 'files',
      volumes: [{ name: 'data', ...volume }],
      containerDefinitions: [
        {
          name: 'app',
          image: 'busybox',
          memory: 32,
          mountPoints: [{ sourceVolume: 'data', containerPath: '/data' }],
          ...container,
        },
      ],
    }),
  )

const nfs = { kind: 'nfs', server: '10.0.0.5', export: '/export', options: 'nfsvers=4.2' }

await t.test('file systems and access points are made, shown, changed and taken away', async (test) => {
  const made = await rest('POST', '/v1/file-systems', { name: 'home', target: nfs })
  test.equal(made.status, 200, made.text)
  const id = String(made.json['fileSystemId'])
  test.match(made.json, { name: 'home', target: nfs, description: 'nfs 10.0.0.5:/export', encryptedInTransit: false })
  const point = await rest('POST', `/v1/file-systems/${id}/access-points`, {
    path: '/app',
    posixUser: { uid: 1000, gid: 1000 },
    creationInfo: { ownerUid: 1000, ownerGid: 1000, permissions: '0750' },
  })
  test.match(point.json, { accessPointId: /^fsap-[0-9a-f]{17}$/, fileSystemId: id, posixUser: { uid: 1000 } })
  const accessPointId = String(point.json['accessPointId'])
  test.match((await rest('GET', `/v1/file-systems/${id}/access-points/${accessPointId}`)).json, { path: '/app' })
  test.match((await rest('GET', `/v1/file-systems/${id}/access-points`)).json, { accessPoints: [{ accessPointId }] })

  const changed = await rest('PATCH', `/v1/file-systems/${id}`, { target: { ...nfs, server: '10.0.0.6' } })
  test.match(changed.json, { name: 'home', target: { server: '10.0.0.6' } })
  const efs = { efsVolumeConfiguration: { fileSystemId: id, authorizationConfig: { accessPointId } } }
  await test.rejects(register(efs), { name: 'ClientException', message: /set its user to '1000:1000'/ })
  const { taskDefinition } = await register(efs, { user: '1000:1000' })
  test.match(taskDefinition?.volumes?.[0]?.efsVolumeConfiguration, { rootDirectory: '/', fileSystemId: id })
  test.match((await rest('GET', `/v1/file-systems/${id}`)).json, { usedBy: ['files:1'], accessPoints: 1 })
  test.match((await rest('GET', '/v1/file-systems')).json, { fileSystems: [{ fileSystemId: id }] })

  const points: readonly (readonly [object, RegExp])[] = [
    [{ path: '/a', posixUser: { uid: null, gid: 0 } }, /body\/posixUser\/uid must be integer/],
    [{ path: '/a', posixUser: { uid: 1, gid: false } }, /body\/posixUser\/gid must be integer/],
    [{ path: '/a', posixUser: { uid: 1, gid: 1, secondaryGids: ['1'] } }, /secondaryGids\/0 must be integer/],
    [{ path: '/a', posixuser: { uid: 1, gid: 1 } }, /An access point has no member posixuser/],
    [{ path: '/a', posixUser: { uid: 1, gid: 1, groups: [] } }, /posixUser has no member groups/],
  ]
  for (const [body, message] of points) {
    const answer = await rest('POST', `/v1/file-systems/${id}/access-points`, body)
    test.match({ ...answer.json, status: answer.status }, { status: 400, code: 'InvalidParameterException', message })
  }
  const strange = await rest('PATCH', `/v1/file-systems/${id}`, { tags: [] })
  test.match(strange.json, { message: /A file system has no member tags/ })
  for (const path of [`/v1/file-systems/${id}/access-points/${accessPointId}`, `/v1/file-systems/${id}`]) {
    const refused = await rest('DELETE', path)
    test.equal(refused.status, 400)
    test.match(refused.json, { code: 'ResourceInUseException' })
  }
  const free = await rest('POST', '/v1/file-systems', { target: { kind: 'path', path: '/mnt/free' } })
  test.match(free.json, { target: { kind: 'path', path: '/mnt/free', mustBeMounted: true } })
  const gone = await rest('DELETE', `/v1/file-systems/${String(free.json['fileSystemId'])}`)
  test.equal(gone.status, 204)
  test.equal((await rest('GET', `/v1/file-systems/${String(free.json['fileSystemId'])}`)).status, 404)
})

await t.test('what can not be is refused, and no secret is kept or said', async (test) => {
  const cases = [
    [{ kind: 'efs' }, /^kind must be one of/],
    [{ kind: 'cifs', server: 'nas', share: 'x', options: 'username=me,password=hunter2' }, /credentialsFile/],
    [{ kind: 'volume', driver: 'sshfs', driverOpts: { password: 'hunter2' } }, /looks like a secret/],
    [{ kind: 'path', path: 'relative' }, /^path must be an absolute path/],
  ] as const
  for (const [target, message] of cases) {
    const answer = await rest('POST', '/v1/file-systems', { target })
    test.equal(answer.status, 400)
    test.match(answer.json, { code: 'InvalidParameterException', message })
    test.notMatch(answer.text, /hunter2/)
  }
  test.match((await rest('POST', '/v1/file-systems', {})).json, {
    code: 'InvalidParameterException',
    message: /target/,
  })
  const refused = async (volume: Volume, message: RegExp) => {
    const error = await register(volume).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    test.ok(error instanceof ClientException, `${message}`)
    test.match((error as Error | undefined)?.message, message)
  }
  await refused({ efsVolumeConfiguration: { fileSystemId: 'fs-12345678' } }, /File system 'fs-12345678' does not exist/)
  await refused({ configuredAtLaunch: true }, /Amazon EBS volume that is attached at launch/)
  const fsx = {
    fileSystemId: 'fs-1',
    rootDirectory: 'share',
    authorizationConfig: { credentialsParameter: 'arn', domain: 'corp' },
  }
  await refused({ fsxWindowsFileServerVolumeConfiguration: fsx }, /only supported on Windows container instances/)
  const volumeConfigurations = [{ name: 'data', managedEBSVolume: { roleArn: 'arn:aws:iam::123456789012:role/x' } }]
  await test.rejects(client.send(new RunTaskCommand({ taskDefinition: 'files', volumeConfigurations })), {
    message: /Amazon EBS/,
  })
})

await t.test('hosts that can not mount it, and agents that are not ours, get no such task', async (test) => {
  await startAgentPeer({ endpoint, key: controller.agentCredentials, gantryProtocol: false })
  const made = await rest('POST', '/v1/file-systems', { target: nfs })
  await register({ efsVolumeConfiguration: { fileSystemId: String(made.json['fileSystemId']) } })
  const { failures } = await client.send(new RunTaskCommand({ taskDefinition: 'files' }))
  test.match(failures?.[0], { reason: 'ATTRIBUTE', detail: /gantry\.capability\.file-system/ })
})
