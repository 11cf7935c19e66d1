/**
 * Service deployments and revisions over the wire, judged by AWS's SDK client: what a deployment says while it goes on,
 * fails, is stopped and is rolled back. The agent is scripted: what becomes of a task is in its image's name.
 */
import {
  ConflictException,
  CreateServiceCommand,
  type CreateServiceCommandInput,
  DeleteServiceCommand,
  type DeploymentConfiguration,
  DescribeServiceDeploymentsCommand,
  DescribeServiceRevisionsCommand,
  DescribeServicesCommand,
  ECSClient,
  InvalidParameterException,
  ListServiceDeploymentsCommand,
  RegisterTaskDefinitionCommand,
  type Service,
  type ServiceDeployment,
  ServiceDeploymentNotFoundException,
  ServiceNotFoundException,
  StopServiceDeploymentCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs'
import t from 'tap'
import type { PayloadTask } from '../../proto/acs.ts'
import { startAgentPeer } from '../support/agent-peer.ts'
import { eventually, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const ecs = new ECSClient({
  region: 'us-east-1',
  endpoint: controller.endpoint,
  credentials: controller.credentials,
  maxAttempts: 1,
})
const peer = await startAgentPeer({
  endpoint: controller.endpoint,
  key: controller.agentCredentials,
  gantryProtocol: true,
  obeys: false,
  cpu: 8192,
  memory: 8192,
})
const digest = `sha256:${'c'.repeat(64)}`
const missing =
  'CannotPullContainerError: The image lab/missing:1 does not exist: Error response from daemon: manifest for ' +
  'lab/missing:1 not found: manifest unknown: manifest unknown'

/** What has been reported of each task. */
const told = new Map<string, string>()
const answering = setInterval(() => {
  for (const task of peer.tasks.values()) answer(task)
}, 25)
t.teardown(() => clearInterval(answering))

for (const [family, image] of [
  ['good', 'lab/good:1'],
  ['missing', 'lab/missing:1'],
  ['slow', 'lab/slow:1'],
  ['crash', 'lab/crash:1'],
]) {
  await ecs.send(
    new RegisterTaskDefinitionCommand({ family, containerDefinitions: [{ name: 'app', image, memory: 16 }] }),
  )
}
const withRollback: DeploymentConfiguration = { deploymentCircuitBreaker: { enable: true, rollback: true } }

await t.test('a deployment says where it goes from and to, and ends with its counts', async (test) => {
  await create({ serviceName: 'plain', desiredCount: 2 })
  const [first] = await history('plain')
  const done = await reaches(first?.serviceDeploymentArn, 'SUCCESSFUL')
  test.match(done, {
    serviceArn: /:service\/default\/plain$/,
    clusterArn: /:cluster\/default$/,
    sourceServiceRevisions: [],
    targetServiceRevision: { requestedTaskCount: 2, runningTaskCount: 2, pendingTaskCount: 0 },
    deploymentConfiguration: { maximumPercent: 200, minimumHealthyPercent: 100 },
    deploymentCircuitBreaker: { status: 'DISABLED' },
    alarms: { status: 'DISABLED' },
    createdAt: Date,
    startedAt: Date,
    finishedAt: Date,
  })
  const { serviceRevisions } = await ecs.send(
    new DescribeServiceRevisionsCommand({ serviceRevisionArns: [done.targetServiceRevision?.arn ?? ''] }),
  )
  test.match(serviceRevisions, [
    {
      serviceRevisionArn: done.targetServiceRevision?.arn,
      taskDefinition: /good:1$/,
      containerImages: [{ containerName: 'app', image: 'lab/good:1', imageDigest: digest }],
      createdAt: Date,
    },
  ])
  test.notOk(Object.keys(serviceRevisions?.[0] ?? {}).includes('serviceKey'))

  const under = await look(await deploy('plain', 'slow'))
  test.match(under, {
    status: 'IN_PROGRESS',
    sourceServiceRevisions: [{ arn: done.targetServiceRevision?.arn, runningTaskCount: 2 }],
    targetServiceRevision: { requestedTaskCount: 2, runningTaskCount: 0, pendingTaskCount: 2 },
  })
  await ecs.send(new DeleteServiceCommand({ service: 'plain', force: true }))
  await reaches(under.serviceDeploymentArn, 'STOPPED')
})

await t.test('a broken image is rolled back from at once, and never called a success', async (test) => {
  await create({ serviceName: 'careful', desiredCount: 2, deploymentConfiguration: withRollback })
  const [first] = await history('careful')
  await reaches(first?.serviceDeploymentArn, 'SUCCESSFUL')
  const before = await describe('careful')
  const back = await reaches(await deploy('careful', 'missing'), 'ROLLBACK_SUCCESSFUL')
  test.ok(pulled('missing') >= 1 && pulled('missing') <= 2, 'no task was tried again')
  test.match(back, {
    statusReason: /no retry can heal this\. Last failure: container app of task [0-9a-f]{32}: .*manifest unknown/,
    rollback: { reason: /manifest unknown/, startedAt: Date, serviceRevisionArn: first?.targetServiceRevisionArn },
    deploymentCircuitBreaker: { status: 'TRIGGERED', threshold: 3 },
  })
  const after = await describe('careful')
  test.match(after, {
    taskDefinition: /good:1$/,
    runningCount: 2,
    deployments: [
      { id: before.deployments?.[0]?.id, rolloutState: 'COMPLETED', rolloutStateReason: /rolling back to/ },
    ],
  })
  const messages = (after.events ?? []).map(({ message = '' }) => message)
  test.ok(messages.some((message) => /deployment failed: no retry can heal this/.test(message)))
  test.ok(messages.some((message) => /rolling back to deployment ecs-svc\/[0-9]{19}\.$/.test(message)))
  test.same(
    (await history('careful', { status: ['SUCCESSFUL'] })).map(({ serviceDeploymentArn }) => serviceDeploymentArn),
    [first?.serviceDeploymentArn],
  )
})

await t.test('the breaker counts crash loops, and its threshold can be set', async (test) => {
  const deploymentCircuitBreaker = {
    enable: true,
    rollback: false,
    thresholdConfiguration: { type: 'COUNT' as const, value: 2 },
  }
  await create({
    serviceName: 'crashing',
    taskDefinition: 'crash',
    desiredCount: 1,
    deploymentConfiguration: { deploymentCircuitBreaker },
  })
  const [only] = await history('crashing')
  const stopped = await reaches(only?.serviceDeploymentArn, 'STOPPED')
  test.match(stopped, {
    statusReason:
      /^ECS deployment circuit breaker: tasks failed to start\. .*\(exit code 3\)\. Nothing more is started until/,
    deploymentCircuitBreaker: { status: 'TRIGGERED', failureCount: 2, threshold: 2 },
    stoppedAt: Date,
  })
  test.match(await describe('crashing'), { deployments: [{ rolloutState: 'FAILED', failedTasks: 2 }] })
})

await t.test('StopServiceDeployment rolls back, or leaves things as they are', async (test) => {
  await create({ serviceName: 'stopped', desiredCount: 1, taskDefinition: 'slow' })
  const nowhere = (await describe('stopped')).currentServiceDeployment
  await test.rejects(stop(nowhere), ConflictException, 'nothing has completed')
  test.equal((await stop(nowhere, 'ABORT')).serviceDeploymentArn, nowhere)
  test.match(await look(nowhere), { status: 'STOPPED', statusReason: /StopServiceDeployment/ })
  await test.rejects(stop(nowhere, 'ABORT'), ConflictException, 'it is over')

  await reaches(await deploy('stopped', 'good'), 'SUCCESSFUL')
  const slow = await deploy('stopped', 'slow')
  await stop(slow)
  const stopping = await look(slow)
  test.match(stopping.status, /^ROLLBACK_(?:IN_PROGRESS|SUCCESSFUL)$/)
  const back = await reaches(slow, 'ROLLBACK_SUCCESSFUL')
  test.match(back, { rollback: { reason: /StopServiceDeployment/ }, deploymentCircuitBreaker: { status: 'DISABLED' } })
  test.match(await describe('stopped'), { taskDefinition: /good:1$/, runningCount: 1 })
  await test.rejects(
    stop('arn:aws:ecs:us-east-1:123456789012:service-deployment/default/stopped/none'),
    ServiceDeploymentNotFoundException,
  )
})

await t.test('histories have filters and pages, and what is not known is said', async (test) => {
  const all = await history('stopped')
  test.equal(all.length, 3)
  test.strictSame(
    all.map(({ createdAt }) => createdAt?.getTime()),
    all.map(({ createdAt }) => createdAt?.getTime()).toSorted((one = 0, other = 0) => other - one),
    'the newest first',
  )
  const paged: (string | undefined)[] = []
  let nextToken: string | undefined
  do {
    const page = await ecs.send(new ListServiceDeploymentsCommand({ service: 'stopped', maxResults: 1, nextToken }))
    paged.push(...(page.serviceDeployments ?? []).map(({ serviceDeploymentArn }) => serviceDeploymentArn))
    nextToken = page.nextToken
  } while (nextToken !== undefined)
  test.strictSame(
    paged,
    all.map(({ serviceDeploymentArn }) => serviceDeploymentArn),
  )
  test.equal((await history('stopped', { status: ['STOPPED'] })).length, 1)
  test.equal((await history('stopped', { createdAt: { after: new Date(Date.now() + 60_000) } })).length, 0)
  test.equal((await history('stopped', { createdAt: { before: all[0]?.createdAt } })).length, 2)
  await test.rejects(history('nobody'), ServiceNotFoundException)
  await test.rejects(history('stopped', { maxResults: 101 }), InvalidParameterException)
  const unknown = 'arn:aws:ecs:us-east-1:123456789012:service-revision/default/stopped/1'
  const revisions = await ecs.send(new DescribeServiceRevisionsCommand({ serviceRevisionArns: [unknown] }))
  test.match(revisions, { serviceRevisions: [], failures: [{ arn: unknown, reason: 'MISSING' }] })
  const deployments = await ecs.send(new DescribeServiceDeploymentsCommand({ serviceDeploymentArns: [unknown] }))
  test.match(deployments, { serviceDeployments: [], failures: [{ arn: unknown, reason: 'MISSING' }] })
  const many = Array.from({ length: 21 }, (_, at) => `${unknown}${at}`)
  await test.rejects(
    ecs.send(new DescribeServiceRevisionsCommand({ serviceRevisionArns: many })),
    InvalidParameterException,
  )
})

async function create(input: Omit<CreateServiceCommandInput, 'serviceName'> & { serviceName: string }): Promise<void> {
  await ecs.send(new CreateServiceCommand({ taskDefinition: 'good', launchType: 'EXTERNAL', ...input }))
}

/** Begins a deployment, and gives its ARN as the call's own answer has it: a moment later it may be over. */
async function deploy(service: string, taskDefinition: string): Promise<string> {
  const updated = await ecs.send(new UpdateServiceCommand({ service, taskDefinition }))
  return updated.service?.currentServiceDeployment ?? ''
}

/** How many tasks of an image the agent was ever given. */
function pulled(image: string): number {
  return [...peer.tasks.values()].filter(({ containers }) => containers[0]?.image.includes(image) === true).length
}

async function describe(service: string): Promise<Service> {
  const { services } = await ecs.send(new DescribeServicesCommand({ services: [service] }))
  if (services?.[0] === undefined) throw new Error(`service ${service} is not there`)
  return services[0]
}

async function history(service: string, filter: object = {}) {
  const { serviceDeployments } = await ecs.send(new ListServiceDeploymentsCommand({ service, ...filter }))
  return serviceDeployments ?? []
}

async function look(arn = ''): Promise<ServiceDeployment> {
  const { serviceDeployments } = await ecs.send(new DescribeServiceDeploymentsCommand({ serviceDeploymentArns: [arn] }))
  if (serviceDeployments?.[0] === undefined) throw new Error(`service deployment ${arn} is not there`)
  return serviceDeployments[0]
}

function reaches(arn: string | undefined, status: string): Promise<ServiceDeployment> {
  return eventually(`${arn} to be ${status}`, async () => {
    const found = await look(arn)
    return found.status === status ? found : undefined
  })
}

function stop(serviceDeploymentArn: string | undefined, stopType?: 'ABORT' | 'ROLLBACK') {
  return ecs.send(new StopServiceDeploymentCommand({ serviceDeploymentArn, stopType }))
}

/** The agent's part: `good` runs, `slow` never does, `missing` can't be pulled, `crash` ends as soon as it runs. */
function answer({ arn, desiredStatus, containers }: PayloadTask): void {
  const before = told.get(arn)
  if (before === 'STOPPED') return
  const image = containers[0]?.image ?? ''
  if (desiredStatus === 'STOPPED') return tell(arn, 'STOPPED', { exitCode: 143 })
  if (image.includes('missing')) return tell(arn, 'STOPPED', { reason: missing })
  if (image.includes('crash') && before === 'RUNNING') return tell(arn, 'STOPPED', { exitCode: 3 })
  if (before === undefined && !image.includes('slow')) tell(arn, 'RUNNING', { imageDigest: digest })
}

function tell(arn: string, status: 'RUNNING' | 'STOPPED', members: object): void {
  told.set(arn, status)
  const container = { containerName: 'app', status, runtimeId: 'f'.repeat(64), ...members }
  peer.report(arn, status, [container]).catch((error: unknown) => t.fail(String(error)))
}
