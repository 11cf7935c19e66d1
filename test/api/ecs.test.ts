/** AWS's own SDK client as the judge of every ECS operation that is built, against the real controller process. */
import {
  ClientException,
  ClusterNotFoundException,
  CreateClusterCommand,
  DeleteClusterCommand,
  DeleteTaskDefinitionsCommand,
  DeregisterContainerInstanceCommand,
  DeregisterTaskDefinitionCommand,
  DescribeCapacityProvidersCommand,
  DescribeClustersCommand,
  DescribeContainerInstancesCommand,
  DescribeTaskDefinitionCommand,
  DescribeTasksCommand,
  DiscoverPollEndpointCommand,
  ECSClient,
  InvalidParameterException,
  ListClustersCommand,
  ListContainerInstancesCommand,
  ListTaskDefinitionFamiliesCommand,
  ListTaskDefinitionsCommand,
  ListTasksCommand,
  paginateListTasks,
  PutClusterCapacityProvidersCommand,
  RegisterContainerInstanceCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StartTaskCommand,
  StopTaskCommand,
  SubmitAttachmentStateChangesCommand,
  SubmitContainerStateChangeCommand,
  SubmitTaskStateChangeCommand,
  UnsupportedFeatureException,
  UpdateClusterCommand,
  UpdateClusterSettingsCommand,
  UpdateContainerInstancesStateCommand,
  waitUntilTasksRunning,
  waitUntilTasksStopped,
} from '@aws-sdk/client-ecs'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openSqliteStore } from '../../controller/state/sqlite.ts'
import { startAgentPeer } from '../support/agent-peer.ts'
import { eventually, getRest, type Key, type RunningController, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const ecs = clientOf(controller, controller.credentials)

const totalResources = [
  { name: 'CPU', type: 'INTEGER', integerValue: 1024 },
  { name: 'MEMORY', type: 'INTEGER', integerValue: 1024 },
]
const sleeper = { name: 'main', image: 'busybox', memory: 64, command: ['sleep', '600'] }

await t.test('a default cluster that was deleted, and forgotten since, does not come back at a start', async (test) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'gantry-controller-'))
  const store = await openSqliteStore(dataDir)
  await store.append({ at: 0, writes: [], archived: [] })
  await store.close()
  const later = await startController({ dataDir })
  test.teardown(() => later.stop())
  const { clusterArns } = await clientOf(later, later.credentials).send(new ListClustersCommand({}))
  test.same(clusterArns, [])
})

await t.test('clusters: seven operations', async (test) => {
  const created = await ecs.send(new CreateClusterCommand({ clusterName: 'blue', tags: [{ key: 'team', value: 'a' }] }))
  test.equal(created.cluster?.clusterArn, 'arn:aws:ecs:us-east-1:123456789012:cluster/blue')
  const listed = await ecs.send(new ListClustersCommand({ maxResults: 1 }))
  test.equal(listed.clusterArns?.length, 1)
  test.ok(listed.nextToken, 'a page of one has a next page')
  const rest = await ecs.send(new ListClustersCommand({ nextToken: listed.nextToken }))
  test.same(rest.clusterArns, ['arn:aws:ecs:us-east-1:123456789012:cluster/default'], 'the default cluster is there')

  const settings = [{ name: 'containerInsights' as const, value: 'enabled' }]
  const updated = await ecs.send(new UpdateClusterSettingsCommand({ cluster: 'blue', settings }))
  test.match(updated.cluster?.settings, settings)
  await ecs.send(
    new UpdateClusterCommand({ cluster: 'blue', settings: [{ name: 'containerInsights', value: 'disabled' }] }),
  )
  await ecs.send(
    new PutClusterCapacityProvidersCommand({
      cluster: 'blue',
      capacityProviders: [],
      defaultCapacityProviderStrategy: [],
    }),
  )
  const described = await ecs.send(
    new DescribeClustersCommand({ clusters: ['blue', 'nope'], include: ['TAGS', 'SETTINGS'] }),
  )
  test.match(described.clusters?.[0]?.tags, [{ key: 'team', value: 'a' }])
  test.match(described.failures, [{ reason: 'MISSING' }])

  const deleted = await ecs.send(new DeleteClusterCommand({ cluster: 'blue' }))
  test.equal(deleted.cluster?.status, 'INACTIVE')
  await test.rejects(ecs.send(new ListTasksCommand({ cluster: 'blue' })), ClusterNotFoundException)
})

await t.test('task definitions: six operations', async (test) => {
  const first = await ecs.send(
    new RegisterTaskDefinitionCommand({
      family: 'books',
      containerDefinitions: [sleeper],
      tags: [{ key: 'k', value: 'v' }],
    }),
  )
  test.equal(first.taskDefinition?.revision, 1)
  test.ok(first.taskDefinition?.registeredAt instanceof Date)
  await ecs.send(new RegisterTaskDefinitionCommand({ family: 'books', containerDefinitions: [sleeper] }))
  const described = await ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: 'books:1', include: ['TAGS'] }))
  test.match(described.tags, [{ key: 'k', value: 'v' }])
  const newest = await ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: 'books' }))
  test.equal(newest.taskDefinition?.revision, 2)
  const listed = await ecs.send(new ListTaskDefinitionsCommand({ familyPrefix: 'books', sort: 'DESC' }))
  test.match(listed.taskDefinitionArns, [/books:2$/, /books:1$/])
  const families = await ecs.send(new ListTaskDefinitionFamiliesCommand({ familyPrefix: 'bo' }))
  test.same(families.families, ['books'])
  const gone = await ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition: 'books:1' }))
  test.equal(gone.taskDefinition?.status, 'INACTIVE')
  const deleted = await ecs.send(new DeleteTaskDefinitionsCommand({ taskDefinitions: ['books:1', 'books:2'] }))
  test.equal(deleted.taskDefinitions?.length, 1, 'the INACTIVE one goes')
  test.equal(deleted.failures?.length, 1, 'the ACTIVE one stays')
  await test.rejects(ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: 'nobody' })), ClientException)
  const faulty = new RegisterTaskDefinitionCommand({ family: 'books', containerDefinitions: [{ name: 'x' }] })
  await test.rejects(ecs.send(faulty), ClientException, 'no image')
})

await t.test('tasks run and stop on an agent, and the waiters see it', async (test) => {
  for (const gantryProtocol of [false, true]) {
    const peer = await startAgentPeer({
      endpoint: controller.endpoint,
      key: controller.agentCredentials,
      gantryProtocol,
    })
    await ecs.send(new RegisterTaskDefinitionCommand({ family: 'sleep', containerDefinitions: [sleeper] }))
    const ran = await ecs.send(new RunTaskCommand({ taskDefinition: 'sleep', count: 2, startedBy: 'me' }))
    test.equal(ran.tasks?.length, 2)
    const tasks = (ran.tasks ?? []).map((task) => task.taskArn ?? '')
    const waiter = { client: ecs, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }
    test.equal((await waitUntilTasksRunning(waiter, { tasks })).state, 'SUCCESS')
    const started = await ecs.send(
      new StartTaskCommand({ taskDefinition: 'sleep', containerInstances: [peer.instanceArn], startedBy: 'me' }),
    )
    tasks.push(started.tasks?.[0]?.taskArn ?? '')
    const pages: string[][] = []
    for await (const page of paginateListTasks({ client: ecs, pageSize: 2 }, { startedBy: 'me' })) {
      pages.push(page.taskArns ?? [])
    }
    test.same(pages.flat().toSorted(), tasks.toSorted(), 'pages of two hold the three tasks once each')

    for (const task of tasks) await ecs.send(new StopTaskCommand({ task, reason: 'enough' }))
    test.equal((await waitUntilTasksStopped(waiter, { tasks })).state, 'SUCCESS')
    const described = await ecs.send(new DescribeTasksCommand({ tasks: [...tasks, 'f'.repeat(32)], include: ['TAGS'] }))
    test.equal(described.tasks?.length, 3)
    test.match(described.tasks?.[0], {
      stoppedReason: 'enough',
      stopCode: 'UserInitiated',
      containers: [{ exitCode: 143 }],
    })
    test.match(described.failures, [{ reason: 'MISSING' }])
    const why = await getRest(
      controller.endpoint,
      controller.credentials,
      `/v1/tasks/${tasks[0]?.split('/').at(-1)}/why`,
    )
    test.equal(why.json['state'], 'stopped')

    await peer.disconnect('close')
    await ecs.send(new DeregisterContainerInstanceCommand({ containerInstance: peer.instanceArn, force: true }))
  }
})

await t.test('container instances and what agents call', async (test) => {
  const peer = await startAgentPeer({ endpoint: controller.endpoint, key: controller.agentCredentials })
  const listed = await ecs.send(new ListContainerInstancesCommand({ status: 'ACTIVE' }))
  test.same(listed.containerInstanceArns, [peer.instanceArn])
  const described = await ecs.send(
    new DescribeContainerInstancesCommand({
      containerInstances: [peer.instanceId],
      include: ['CONTAINER_INSTANCE_HEALTH'],
    }),
  )
  test.match(described.containerInstances?.[0], { agentConnected: true, versionInfo: { agentVersion: '1.105.1' } })
  const drained = await ecs.send(
    new UpdateContainerInstancesStateCommand({ containerInstances: [peer.instanceArn], status: 'DRAINING' }),
  )
  test.equal(drained.containerInstances?.[0]?.status, 'DRAINING')
  const refused = await ecs.send(new RunTaskCommand({ taskDefinition: 'sleep' }))
  test.equal(refused.tasks?.length, 0)
  test.match(refused.failures?.[0]?.detail, /drain/i, 'the failure says why')
  await ecs.send(new UpdateContainerInstancesStateCommand({ containerInstances: [peer.instanceArn], status: 'ACTIVE' }))

  const agent = clientOf(controller, controller.agentCredentials)
  const found = await agent.send(new DiscoverPollEndpointCommand({ containerInstance: peer.instanceArn }))
  test.equal(found.endpoint, `${controller.endpoint}/acs`)
  test.equal(found.telemetryEndpoint, `${controller.endpoint}/tcs`)
  const ran = await ecs.send(new RunTaskCommand({ taskDefinition: 'sleep' }))
  const task = ran.tasks?.[0]?.taskArn ?? ''
  await eventually('the payload', () => peer.tasks.get(task))
  await agent.send(new SubmitTaskStateChangeCommand({ task, status: 'RUNNING', containers: [] }))
  await agent.send(new SubmitContainerStateChangeCommand({ task, containerName: 'main', status: 'RUNNING' }))
  await agent.send(
    new SubmitAttachmentStateChangesCommand({ attachments: [{ attachmentArn: 'arn:x', status: 'ATTACHED' }] }),
  )
  await test.rejects(agent.send(new StopTaskCommand({ task })), { name: 'AccessDeniedException' })
  await test.rejects(
    ecs.send(new DeregisterContainerInstanceCommand({ containerInstance: peer.instanceArn })),
    InvalidParameterException,
    'not without force while a task runs',
  )
  await ecs.send(new StopTaskCommand({ task }))
  await eventually('the end of the task', async () => {
    const { tasks } = await ecs.send(new DescribeTasksCommand({ tasks: [task] }))
    return tasks?.[0]?.lastStatus === 'STOPPED' ? true : undefined
  })
  await ecs.send(new DeregisterContainerInstanceCommand({ containerInstance: peer.instanceArn }))
  await eventually('the channel of a deregistered instance to be closed', () => peer.closeCode())
  await test.rejects(peer.connect(false), /InactiveInstanceException/)
  const again = await agent.send(new RegisterContainerInstanceCommand({ totalResources, attributes: [] }))
  test.not(again.containerInstance?.containerInstanceArn, peer.instanceArn)
})

await t.test('what is modelled and not built says so', async (test) => {
  await test.rejects(ecs.send(new DescribeCapacityProvidersCommand({})), UnsupportedFeatureException)
})

function clientOf({ endpoint }: RunningController, credentials: Key): ECSClient {
  const client = new ECSClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
  t.teardown(() => client.destroy())
  return client
}
