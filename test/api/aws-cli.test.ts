/** Debian's `aws` command as the judge of the main flows: the lines that the README tells people to paste. */
import t from 'tap'
import { startAgentPeer } from '../support/agent-peer.ts'
import { awsCommand } from '../support/aws-command.ts'
import { startController } from '../support/controller.ts'

// Each call starts a Python program: on a busy machine that takes seconds.
t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const aws = awsCommand(controller)
const peer = await startAgentPeer({
  endpoint: controller.endpoint,
  key: controller.agentCredentials,
  gantryProtocol: true,
})

await t.test('from an empty cluster to a task that ran and stopped', async (test) => {
  test.match(await ecs('list-clusters'), { clusterArns: [/cluster\/default$/] })
  const containers = JSON.stringify([
    { name: 'main', image: 'busybox', memory: 64, portMappings: [{ containerPort: 80 }] },
  ])
  const registered = await ecs('register-task-definition', '--family', 'web', '--container-definitions', containers)
  test.match(registered, { taskDefinition: { revision: 1, status: 'ACTIVE', compatibilities: ['EXTERNAL', 'EC2'] } })
  test.match(await ecs('list-container-instances'), { containerInstanceArns: [peer.instanceArn] })

  const ran = await ecs('run-task', '--task-definition', 'web', '--count', '2')
  const arns = (ran['tasks'] as readonly { taskArn: string }[]).map(({ taskArn }) => taskArn)
  test.equal(arns.length, 2)
  await ecs('wait', 'tasks-running', '--tasks', ...arns)
  test.match(await ecs('describe-tasks', '--tasks', ...arns), {
    tasks: [{ lastStatus: 'RUNNING' }, { lastStatus: 'RUNNING' }],
  })
  test.same(((await ecs('list-tasks'))['taskArns'] as string[]).toSorted(), arns.toSorted())
  test.match(await ecs('describe-clusters'), {
    clusters: [{ runningTasksCount: 2, registeredContainerInstancesCount: 1 }],
  })

  for (const task of arns) await ecs('stop-task', '--task', task, '--reason', 'enough')
  await ecs('wait', 'tasks-stopped', '--tasks', ...arns)
  test.match(await ecs('describe-tasks', '--tasks', ...arns), {
    tasks: [{ stoppedReason: 'enough', containers: [{ exitCode: 143 }] }, {}],
  })
})

await t.test('attributes, tags and account settings', async (test) => {
  const rack = ['--attributes', `name=rack,value=r1,targetId=${peer.instanceArn}`]
  test.match(await ecs('put-attributes', ...rack), { attributes: [{ name: 'rack', value: 'r1' }] })
  const named = ['--target-type', 'container-instance', '--attribute-name', 'rack']
  test.match(await ecs('list-attributes', ...named), { attributes: [{ targetId: peer.instanceArn, value: 'r1' }] })
  const filtered = await ecs(
    'list-container-instances',
    '--filter',
    "attribute:rack =~ 'r[0-9]' and runningTasksCount < 5",
  )
  test.same(filtered['containerInstanceArns'], [peer.instanceArn])
  // JSON, since the shorthand form of the command takes a comma or a bracket for its own.
  const constraints = JSON.stringify([{ type: 'memberOf', expression: 'attribute:rack in [r2]' }])
  test.match(await ecs('run-task', '--task-definition', 'web', '--placement-constraints', constraints), {
    tasks: [],
    failures: [
      {
        reason: 'MemberOf placement constraint unsatisfied.',
        detail: 'no instance matched: 1 fails memberOf attribute:rack in [r2] (found r1)',
      },
    ],
  })
  const resource = ['--resource-arn', peer.instanceArn]
  await ecs('tag-resource', ...resource, '--tags', 'key=team,value=lab')
  test.same(await ecs('list-tags-for-resource', ...resource), { tags: [{ key: 'team', value: 'lab' }] })
  const driver = ['--name', 'defaultLogDriverMode']
  await ecs('put-account-setting-default', ...driver, '--value', 'non-blocking')
  test.match(await ecs('list-account-settings', ...driver, '--effective-settings'), {
    settings: [{ value: 'non-blocking' }],
  })
})

await t.test('errors reach the terminal in words', async (test) => {
  await test.rejects(ecs('describe-task-definition', '--task-definition', 'nobody'), /\(ClientException\)/)
  await test.rejects(ecs('list-tasks', '--cluster', 'nope'), /\(ClusterNotFoundException\).*Cluster not found/)
  await test.rejects(
    ecs('update-container-agent', '--container-instance', peer.instanceArn),
    /\(NoUpdateAvailableException\).*There is no update available/,
  )
  await test.rejects(ecs('describe-capacity-providers'), /\(UnsupportedFeatureException\).*DescribeCapacityProviders/)
})

function ecs(...words: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  return aws('ecs', ...words)
}
