/** Attributes, tags, account settings and UpdateContainerAgent, with AWS's own SDK client as their judge. */
import {
  AttributeLimitExceededException,
  ClusterNotFoundException,
  CreateClusterCommand,
  DeleteAccountSettingCommand,
  DeleteAttributesCommand,
  DeregisterTaskDefinitionCommand,
  DescribeContainerInstancesCommand,
  DescribeTasksCommand,
  ECSClient,
  InvalidParameterException,
  ListAttributesCommand,
  ListTagsForResourceCommand,
  MissingVersionException,
  NoUpdateAvailableException,
  paginateListAccountSettings,
  paginateListAttributes,
  PutAccountSettingCommand,
  PutAccountSettingDefaultCommand,
  PutAttributesCommand,
  PutClusterCapacityProvidersCommand,
  RegisterContainerInstanceCommand,
  RegisterTaskDefinitionCommand,
  ResourceNotFoundException,
  RunTaskCommand,
  type Setting,
  StopTaskCommand,
  TagResourceCommand,
  TargetNotFoundException,
  UntagResourceCommand,
  UpdateClusterSettingsCommand,
  UpdateContainerAgentCommand,
  waitUntilTasksRunning,
  waitUntilTasksStopped,
} from '@aws-sdk/client-ecs'
import t from 'tap'
import { startAgentPeer } from '../support/agent-peer.ts'
import { getRest, type Key, type RunningController, startController } from '../support/controller.ts'

t.setTimeout(400_000)
let controller = await startController()
t.teardown(() => controller.stop())
let ecs = clientOf(controller, controller.credentials)

const placed = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 }
const peer = await startAgentPeer({
  endpoint: controller.endpoint,
  key: controller.agentCredentials,
  gantryProtocol: true,
})
const target = { targetId: peer.instanceArn }
const clusterArn = 'arn:aws:ecs:us-east-1:123456789012:cluster/default'

await t.test('attributes', async (test) => {
  const short = { targetId: peer.instanceId, targetType: 'container-instance' as const }
  const put = await ecs.send(
    new PutAttributesCommand({
      attributes: [
        { name: 'rack', value: 'r1', ...target },
        { name: 'ssd', ...short },
      ],
    }),
  )
  test.same(put.attributes, [
    { name: 'rack', value: 'r1', ...target },
    { name: 'ssd', ...target },
  ])
  await ecs.send(new PutAttributesCommand({ attributes: [{ name: 'rack', value: 'r2', ...target }] }))
  const listed = await ecs.send(
    new ListAttributesCommand({ targetType: 'container-instance', attributeName: 'rack', attributeValue: 'r2' }),
  )
  test.same(listed.attributes, [{ name: 'rack', value: 'r2', ...target }])
  const names: string[] = []
  for await (const page of paginateListAttributes({ client: ecs, pageSize: 4 }, { targetType: 'container-instance' })) {
    names.push(...(page.attributes ?? []).map(({ name = '' }) => name))
  }
  test.same(
    names,
    names.toSorted((left, right) => (left < right ? -1 : 1)),
  )
  test.ok(names.includes('ecs.os-type') && names.includes('rack'), 'built-in and custom ones')

  const described = await ecs.send(new DescribeContainerInstancesCommand({ containerInstances: [peer.instanceId] }))
  const attributes = described.containerInstances?.[0]?.attributes ?? []
  test.match(
    attributes.find(({ name }) => name === 'rack'),
    { value: 'r2' },
  )
  const { json } = await getRest(controller.endpoint, controller.credentials, '/v1/clusters/default/instances')
  test.match(json, { instances: [{ attributes: { rack: 'r2', ssd: '' } }] })

  const ten = Array.from({ length: 9 }, (_, at) => ({ name: `n${at}`, ...target }))
  await test.rejects(ecs.send(new PutAttributesCommand({ attributes: ten })), AttributeLimitExceededException)
  await test.rejects(
    ecs.send(new PutAttributesCommand({ attributes: [{ name: 'ecs.os-type', value: 'x', ...target }] })),
    InvalidParameterException,
  )
  const nobody = { name: 'a', targetId: '0'.repeat(32), targetType: 'container-instance' as const }
  await test.rejects(ecs.send(new PutAttributesCommand({ attributes: [nobody] })), TargetNotFoundException)
  await test.rejects(ecs.send(new DeleteAttributesCommand({ attributes: [nobody] })), TargetNotFoundException)
  await test.rejects(
    ecs.send(new ListAttributesCommand({ cluster: 'nowhere', targetType: 'container-instance' })),
    ClusterNotFoundException,
  )

  const gone = await ecs.send(new DeleteAttributesCommand({ attributes: [{ name: 'ssd', ...target }] }))
  test.same(gone.attributes, [{ name: 'ssd', ...target }])
  const agent = clientOf(controller, controller.agentCredentials)
  await test.rejects(agent.send(new PutAttributesCommand({ attributes: [{ name: 'rack', ...target }] })), {
    name: 'AccessDeniedException',
  })
})

await t.test('tags of a cluster, an instance, a task definition and a task', async (test) => {
  const registered = await ecs.send(
    new RegisterTaskDefinitionCommand({
      family: 'sleep',
      containerDefinitions: [{ name: 'main', image: 'busybox', memory: 64 }],
      tags: [{ key: 'team', value: 'lab' }],
    }),
  )
  const definition = registered.taskDefinition?.taskDefinitionArn ?? ''
  const ran = await ecs.send(
    new RunTaskCommand({ taskDefinition: 'sleep', propagateTags: 'TASK_DEFINITION', enableECSManagedTags: true }),
  )
  const task = ran.tasks?.[0]?.taskArn ?? ''
  await waitUntilTasksRunning({ client: ecs, ...placed }, { tasks: [task] })
  const ofTask = [
    { key: 'team', value: 'lab' },
    { key: 'aws:ecs:clusterName', value: 'default' },
  ]
  const before = new Map([
    [clusterArn, []],
    [peer.instanceArn, []],
    [definition, [{ key: 'team', value: 'lab' }]],
    [task, ofTask],
  ])
  const tagsOf = async (resourceArn: string) => (await ecs.send(new ListTagsForResourceCommand({ resourceArn }))).tags
  for (const [resourceArn, tags] of before) {
    test.same(await tagsOf(resourceArn), tags)
    const added = { key: 'added', value: 'here' }
    await ecs.send(new TagResourceCommand({ resourceArn, tags: [added, { key: 'also', value: '' }] }))
    await ecs.send(new UntagResourceCommand({ resourceArn, tagKeys: ['also'] }))
    test.same(await tagsOf(resourceArn), [...tags, added])
    await test.rejects(
      ecs.send(new TagResourceCommand({ resourceArn, tags: [{ key: 'aws:mine', value: '' }] })),
      InvalidParameterException,
    )
  }
  const described = await ecs.send(new DescribeTasksCommand({ tasks: [task], include: ['TAGS'] }))
  test.same(described.tasks?.[0]?.tags, [...ofTask, { key: 'added', value: 'here' }])
  const agent = clientOf(controller, controller.agentCredentials)
  const seen = await agent.send(new ListTagsForResourceCommand({ resourceArn: task }))
  test.equal(seen.tags?.length, 3, "an agent asks for its task's tags, for the metadata endpoint")

  await ecs.send(new StopTaskCommand({ task }))
  await waitUntilTasksStopped({ client: ecs, ...placed }, { tasks: [task] })
  await test.rejects(tagsOf(task), { name: 'InvalidParameterException', message: /The specified task is stopped/ })
  const unknown = `${task.slice(0, -32)}${'0'.repeat(32)}`
  await test.rejects(
    ecs.send(new TagResourceCommand({ resourceArn: unknown, tags: [{ key: 'a', value: 'b' }] })),
    ResourceNotFoundException,
  )
  await test.rejects(tagsOf(`${clusterArn}x`), ClusterNotFoundException)
  await test.rejects(tagsOf(`${definition}9`), { name: 'ClientException' })
  await ecs.send(new DeregisterTaskDefinitionCommand({ taskDefinition: definition }))
  test.equal((await tagsOf(definition))?.length, 2, 'an INACTIVE revision keeps its tags')
})

await t.test('account settings', async (test) => {
  const principalArn = 'arn:aws:iam::123456789012:user/ann'
  const settings = async (over: object): Promise<readonly Setting[]> => {
    const found: Setting[] = []
    for await (const page of paginateListAccountSettings({ client: ecs }, over)) found.push(...(page.settings ?? []))
    return found
  }
  test.same(await settings({}), [])
  test.equal((await settings({ effectiveSettings: true })).length, 11)
  const put = await ecs.send(new PutAccountSettingDefaultCommand({ name: 'containerInsights', value: 'enabled' }))
  const ofRoot = { name: 'containerInsights', principalArn: 'arn:aws:iam::123456789012:root', type: 'user' }
  test.same(put.setting, { ...ofRoot, value: 'enabled' })
  await ecs.send(new PutAccountSettingCommand({ name: 'containerInsights', value: 'enhanced', principalArn }))
  test.same(await settings({ principalArn }), [{ ...ofRoot, value: 'enhanced', principalArn }])
  const deleted = await ecs.send(new DeleteAccountSettingCommand({ name: 'containerInsights', principalArn }))
  test.same(deleted.setting, { ...ofRoot, value: 'enabled', principalArn }, "the account's holds again")
  await test.rejects(ecs.send(new PutAccountSettingDefaultCommand({ name: 'taskLongArnFormat', value: 'disabled' })), {
    name: 'InvalidParameterException',
    message: /You can no longer disable Long Arn settings/,
  })

  const created = await ecs.send(new CreateClusterCommand({ clusterName: 'watched' }))
  test.same(created.cluster?.settings, [{ name: 'containerInsights', value: 'enabled' }])
  const updated = await ecs.send(
    new UpdateClusterSettingsCommand({
      cluster: 'watched',
      settings: [{ name: 'containerInsights', value: 'disabled' }],
    }),
  )
  test.same(updated.cluster?.settings, [{ name: 'containerInsights', value: 'disabled' }])
  const providers = await ecs.send(
    new PutClusterCapacityProvidersCommand({
      cluster: 'watched',
      capacityProviders: ['FARGATE'],
      defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE', weight: 1 }],
    }),
  )
  test.match(providers.cluster, { capacityProviders: ['FARGATE'], settings: [{ value: 'disabled' }] })
})

await t.test('an agent is upgraded by whoever has its host', async (test) => {
  await test.rejects(updateAgent(peer.instanceId), NoUpdateAvailableException)
  const agent = clientOf(controller, controller.agentCredentials)
  const totalResources = [
    { name: 'CPU', type: 'INTEGER', integerValue: 1024 },
    { name: 'MEMORY', type: 'INTEGER', integerValue: 1024 },
  ]
  const { containerInstance } = await agent.send(new RegisterContainerInstanceCommand({ totalResources }))
  await test.rejects(updateAgent(containerInstance?.containerInstanceArn ?? ''), MissingVersionException)
  await test.rejects(updateAgent('nobody'), InvalidParameterException)
})

await t.test('all of it outlives a kill -9, and the next registration', async (test) => {
  await controller.kill9()
  controller = await startController({ dataDir: controller.dataDir })
  ecs = clientOf(controller, controller.credentials)
  const agent = clientOf(controller, controller.agentCredentials)
  const totalResources = [
    { name: 'CPU', type: 'INTEGER', integerValue: 1024 },
    { name: 'MEMORY', type: 'INTEGER', integerValue: 1024 },
  ]
  const sent = [{ name: 'rack', value: 'of the agent' }]
  const again = await agent.send(
    new RegisterContainerInstanceCommand({
      containerInstanceArn: peer.instanceArn,
      attributes: sent,
      tags: [{ key: 'added', value: 'by the agent' }],
      totalResources,
    }),
  )
  test.match(again.containerInstance?.attributes, sent, 'the agent gets its own back')
  const rack = { targetType: 'container-instance' as const, attributeName: 'rack' }
  const listed = await ecs.send(new ListAttributesCommand(rack))
  test.same(listed.attributes, [{ name: 'rack', value: 'r2', ...target }])
  for (const resourceArn of [peer.instanceArn, clusterArn]) {
    const { tags } = await ecs.send(new ListTagsForResourceCommand({ resourceArn }))
    test.same(tags, [{ key: 'added', value: 'here' }])
  }
  const { cluster } = await ecs.send(new CreateClusterCommand({ clusterName: 'later' }))
  test.same(cluster?.settings, [{ name: 'containerInsights', value: 'enabled' }])
})

function updateAgent(containerInstance: string) {
  return ecs.send(new UpdateContainerAgentCommand({ containerInstance }))
}

function clientOf({ endpoint }: RunningController, credentials: Key): ECSClient {
  const client = new ECSClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
  t.teardown(() => client.destroy())
  return client
}
