import t from 'tap'
import { containerInstanceArn } from '../../proto/arn.ts'
import { readInput } from '../../proto/codec/json.ts'
import type { ErrorCode } from '../../proto/errors.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import {
  aCall,
  aCluster,
  anInstance,
  aState,
  aTask,
  aWorld,
  inTransaction,
  place,
  testNow,
} from '../../test/support/builders.ts'
import { instanceDecider } from '../decide/instance.ts'
import type { State } from '../state/state.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { describeInstance, instanceHandlers } from './instances.ts'
import { containerAgentHandlers } from './update-container-agent.ts'

type Registration = Input<'RegisterContainerInstance'> & { readonly clientToken?: string }

const totalResources: NonNullable<Registration['totalResources']> = [
  { name: 'CPU', type: 'INTEGER', integerValue: 2048 },
  { name: 'MEMORY', type: 'INTEGER', integerValue: 4096 },
  { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22', '51678'] },
  { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
]
const attributes: NonNullable<Registration['attributes']> = [
  { name: 'rack', value: 'r1' },
  { name: 'ecs.capability.external' },
  { name: 'ecs.os-type', value: 'linux' },
]

let worldSeed = 100

function register(
  state: State,
  over: Registration = {},
): NonNullable<Output<'RegisterContainerInstance'>['containerInstance']> {
  worldSeed += 1
  const input: Registration = { cluster: 'default', totalResources, attributes, ...over }
  const { containerInstance } = inTransaction(state, (tx) =>
    instanceHandlers.RegisterContainerInstance.handle(tx, input, aCall(), aWorld(worldSeed)),
  )
  if (containerInstance === undefined) throw new Error('no instance in the answer')
  return containerInstance
}

function arnOf(cluster: string, id: string): string {
  return containerInstanceArn(place, cluster, id)
}

function rowOf(state: State, arn: string | undefined): InstanceRow {
  const row = state.all('instance').find((candidate) => candidate.containerInstanceArn === arn)
  if (row === undefined) throw new Error(`${arn} is not stored`)
  return row
}

function refusal(run: () => unknown): { code: ErrorCode; message: string } {
  try {
    run()
  } catch (error) {
    return error as { code: ErrorCode; message: string }
  }
  throw new Error('it was not refused')
}

await t.test(
  'a host registers: every attribute is echoed, a zone is added, and the row carries the facts',
  async (test) => {
    const state = aState()
    const answer = register(state, {
      attributes: [
        ...attributes,
        { name: 'gantry.protocol', value: '1' },
        { name: 'gantry.dynamic-host-port-range', value: '40000-40100' },
      ],
      platformDevices: [
        { id: 'GPU-1', type: 'GPU' },
        { id: 'GPU-1', type: 'GPU' },
      ],
      tags: [{ key: 'room', value: '12' }],
    })
    test.match(answer, {
      status: 'ACTIVE',
      agentConnected: false,
      version: 1,
      runningTasksCount: 0,
      pendingTasksCount: 0,
    })
    test.match(
      answer.containerInstanceArn,
      /^arn:aws:ecs:us-east-1:123456789012:container-instance\/default\/[0-9a-f]{32}$/,
    )
    test.match(answer.ec2InstanceId, /^mi-[0-9a-f]{17}$/)
    test.same(answer.attributes?.slice(0, 3), attributes)
    test.same(answer.attributes?.at(-1), { name: 'ecs.availability-zone', value: 'us-east-1a' })
    test.same(answer.registeredResources?.at(-1), { name: 'GPU', type: 'STRINGSET', stringSetValue: ['GPU-1'] })
    test.same(answer.tags, [{ key: 'room', value: '12' }])
    test.match(rowOf(state, answer.containerInstanceArn), {
      launchType: 'EXTERNAL',
      gantryProtocol: true,
      dynamicPorts: { first: 40000, last: 40100 },
      seqNum: 0,
    })

    const plain = register(state, { attributes: [{ name: 'ecs.availability-zone', value: 'attic' }] })
    test.same(plain.attributes, [{ name: 'ecs.availability-zone', value: 'attic' }], "an agent's own zone stands")
    test.match(rowOf(state, plain.containerInstanceArn), {
      launchType: 'EC2',
      gantryProtocol: false,
      dynamicPorts: { first: 32768, last: 60999 },
    })
    const onEc2 = register(state, {
      instanceIdentityDocument:
        '{"instanceId":"i-0123456789abcdef0","instanceType":"m5.large","availabilityZone":"us-east-1c"}',
    })
    test.equal(onEc2.ec2InstanceId, 'i-0123456789abcdef0')
    test.match(JSON.stringify(onEc2.attributes), /m5\.large.*us-east-1c/)
  },
)

await t.test('a host never turns into two', async (test) => {
  const state = aState()
  const sent = readInput('RegisterContainerInstance', { clientToken: 'token-1' })
  test.match(
    sent,
    { clientToken: 'token-1' },
    "the token, which AWS's published model leaves out, is read off the wire",
  )
  const first = register(state, sent)
  const repeated = register(state, { clientToken: 'token-1' })
  test.equal(repeated.containerInstanceArn, first.containerInstanceArn, 'the same clientToken is the same instance')
  test.equal(repeated.version, 1, 'and a repeat changes nothing')
  const arn = first.containerInstanceArn
  const again = register(state, {
    containerInstanceArn: arn,
    clientToken: 'token-2',
    attributes: [{ name: 'ecs.os-type', value: 'linux' }],
    totalResources: totalResources.map((r) => (r.name === 'MEMORY' ? { ...r, integerValue: 8192 } : r)),
  })
  test.equal(again.containerInstanceArn, arn)
  test.equal(again.version, 2)
  test.same(
    again.attributes?.find(({ name }) => name === 'rack')?.value,
    'r1',
    'custom attributes, sent once, are kept',
  )
  test.notOk(
    again.attributes?.some(({ name }) => name === 'ecs.capability.external'),
    'a capability that went is gone',
  )
  test.equal(rowOf(state, arn).registeredResources.find(({ name }) => name === 'MEMORY')?.integerValue, 8192)
  test.equal(state.all('instance').length, 1)

  const lost = containerInstanceArn(place, 'default', 'ab'.repeat(16))
  test.equal(register(state, { containerInstanceArn: lost }).containerInstanceArn, lost, 'unknown, and taken as it is')
})

await t.test('what can not be registered is refused, and says why', async (test) => {
  const state = aState({
    cluster: [aCluster({ clusterName: 'lab' })],
    instance: [anInstance({ instanceId: 'cd'.repeat(16), status: 'INACTIVE', inactiveSince: testNow })],
  })
  const cases: readonly (readonly [Registration, ErrorCode, RegExp])[] = [
    [{ cluster: 'nowhere' }, 'ClusterNotFoundException', /^Cluster not found\.$/],
    [{ containerInstanceArn: arnOf('default', 'cd'.repeat(16)) }, 'ClientException', /INACTIVE.*data directory/],
    [{ containerInstanceArn: arnOf('lab', 'ef'.repeat(16)) }, 'ClientException', /belongs to cluster lab/],
    [
      { containerInstanceArn: 'arn:aws:ecs:eu-west-1:1:container-instance/default/x' },
      'ClientException',
      /region and account/,
    ],
    [{ totalResources: [] }, 'InvalidParameterException', /lacks CPU/],
    [
      { totalResources: [{ name: 'CPU', integerValue: 0 }] },
      'InvalidParameterException',
      /CPU must be an INTEGER greater/,
    ],
    [{ totalResources: [...totalResources, ...totalResources] }, 'InvalidParameterException', /CPU twice/],
    [{ totalResources: [{ name: 'PORTS', stringSetValue: ['0'] }] }, 'InvalidParameterException', /holds '0'/],
    [{ attributes: [{ name: '' }] }, 'InvalidParameterException', /Attribute name/],
    [{ attributes: [{ name: 'a', value: 'x'.repeat(129) }] }, 'InvalidParameterException', /at most 128/],
    [{ attributes: [{ name: 'a' }, { name: 'a' }] }, 'InvalidParameterException', /unique/],
    [
      { attributes: Array.from({ length: 11 }, (_, at) => ({ name: `custom${at}` })) },
      'InvalidParameterException',
      /10 custom attributes/,
    ],
    [
      { attributes: [{ name: 'gantry.dynamic-host-port-range', value: '9-1' }] },
      'InvalidParameterException',
      /range such as/,
    ],
    [{ instanceIdentityDocument: '{' }, 'InvalidParameterException', /not JSON/],
  ]
  for (const [input, code, message] of cases) {
    test.match(
      refusal(() => register(state, input)),
      { code, message },
      JSON.stringify(input).slice(0, 80),
    )
  }
  test.equal(state.all('instance').length, 1)
})

await t.test('an instance is described with what its tasks leave of it', async (test) => {
  const instance = anInstance({ tags: [{ key: 'a', value: 'b' }], hostTcpPorts: [8080] })
  const running = aTask({
    instanceId: instance.instanceId,
    lastStatus: 'RUNNING',
    reserved: { cpuUnits: 256, memoryMiB: 1024, tcpPorts: [80], udpPorts: [53], dynamicPortsAwaited: 0 },
  })
  const pending = aTask({ instanceId: instance.instanceId })
  const stopped = aTask({ instanceId: instance.instanceId, lastStatus: 'STOPPED' })
  const state = aState({ instance: [instance], task: [running, pending, stopped] })
  const describe = (input: Partial<Input<'DescribeContainerInstances'>>) =>
    instanceHandlers.DescribeContainerInstances.handle(
      state,
      { containerInstances: [instance.instanceId], ...input },
      aCall(),
      aWorld(),
    )
  const [plain] = describe({}).containerInstances ?? []
  test.match(plain, { runningTasksCount: 1, pendingTasksCount: 1 })
  const left = Object.fromEntries(
    (plain?.remainingResources ?? []).map((r) => [r.name, r.integerValue ?? r.stringSetValue]),
  )
  test.match(left, { CPU: 2048 - 512, MEMORY: 4096 - 1536, PORTS_UDP: ['53'] })
  test.ok(
    ['22', '80', '8080'].every((port) => JSON.stringify(left['PORTS']).includes(`"${port}"`)),
    'taken ports are listed',
  )
  test.notOk('tags' in (plain ?? {}) || 'healthStatus' in (plain ?? {}), 'tags and health are only told when asked for')
  const [full] = describe({ include: ['TAGS', 'CONTAINER_INSTANCE_HEALTH'] }).containerInstances ?? []
  test.match(full, { tags: [{ key: 'a', value: 'b' }], healthStatus: { overallStatus: 'INSUFFICIENT_DATA' } })

  const mixed = describe({ containerInstances: ['nope', instance.containerInstanceArn, instance.containerInstanceArn] })
  test.equal(mixed.containerInstances?.length, 1)
  test.same(mixed.failures, [{ arn: containerInstanceArn(place, 'default', 'nope'), reason: 'MISSING' }])
  test.match(
    refusal(() => describe({ containerInstances: [] })),
    { code: 'InvalidParameterException' },
  )
  const tooMany = Array.from({ length: 101 }, String)
  test.match(
    refusal(() => describe({ containerInstances: tooMany })),
    { message: /at most 100/ },
  )
  test.match(
    refusal(() => describe({ cluster: 'nowhere' })),
    { code: 'ClusterNotFoundException' },
  )
})

await t.test('instances are listed by status and page by page; they drain and come back', async (test) => {
  const rows = [anInstance(), anInstance({ status: 'DRAINING' }), anInstance({ status: 'INACTIVE' }), anInstance()]
  const state = aState({ instance: rows })
  const list = (input: Input<'ListContainerInstances'> = {}) =>
    instanceHandlers.ListContainerInstances.handle(state, input, aCall(), aWorld())
  const arns = rows.map((row) => row.containerInstanceArn)
  test.same(list().containerInstanceArns, [arns[0], arns[1], arns[3]], 'all but INACTIVE by default')
  test.same(list({ status: 'DRAINING' }).containerInstanceArns, [arns[1]])
  const first = list({ maxResults: 2 })
  test.same(first.containerInstanceArns, [arns[0], arns[1]])
  test.same(list({ maxResults: 2, nextToken: first.nextToken }).containerInstanceArns, [arns[3]])
  const tagged = anInstance({ attributes: [{ name: 'stack', value: 'prod' }] })
  const busy = anInstance({ attributes: [{ name: 'stack', value: 'dev' }], status: 'DRAINING' })
  const task = [
    aTask({ instanceId: busy.instanceId, lastStatus: 'RUNNING' }),
    aTask({ instanceId: busy.instanceId, lastStatus: 'PENDING' }),
  ]
  const filtered = (input: Input<'ListContainerInstances'>) =>
    instanceHandlers.ListContainerInstances.handle(
      aState({ instance: [...rows, tagged, busy], task }),
      input,
      aCall(),
      aWorld(),
    ).containerInstanceArns
  test.same(filtered({ filter: 'attribute:stack == prod' }), [tagged.containerInstanceArn])
  test.same(filtered({ filter: 'attribute:stack exists', status: 'DRAINING' }), [busy.containerInstanceArn])
  test.same(filtered({ filter: 'runningTasksCount == 1' }), [busy.containerInstanceArn], 'the PENDING one runs not yet')
  test.same(filtered({ filter: 'task:group == family:web' }), [busy.containerInstanceArn])
  test.same(filtered({ filter: 'attribute:stack exists', maxResults: 1 })?.length, 1)
  test.match(
    refusal(() => list({ filter: 'attributes:a == b' })),
    { code: 'InvalidParameterException', message: /^filter: Invalid expression at column 1: .* Write attribute:a\./ },
  )

  const update = (input: Partial<Input<'UpdateContainerInstancesState'>>) =>
    inTransaction(state, (tx) =>
      instanceHandlers.UpdateContainerInstancesState.handle(
        tx,
        { containerInstances: [], status: 'DRAINING', ...input },
        aCall(),
        aWorld(),
      ),
    )
  const given = [rows[0]?.instanceId ?? '', rows[2]?.instanceId ?? '', 'nope']
  const drained = update({ containerInstances: given })
  test.match(drained.containerInstances, [{ status: 'DRAINING', version: 2 }])
  test.match(drained.failures, [{ reason: 'INACTIVE' }, { reason: 'MISSING' }])
  test.match(update({ containerInstances: given.slice(0, 1), status: 'ACTIVE' }).containerInstances, [
    { status: 'ACTIVE' },
  ])
  test.match(
    refusal(() => update({ containerInstances: given, status: 'REGISTERING' })),
    { message: /\[ACTIVE,DRAINING\]/ },
  )
  test.match(
    refusal(() => update({ containerInstances: Array.from({ length: 11 }, String) })),
    { message: /at most 10/ },
  )
})

await t.test('an instance leaves: not with live tasks, unless by force, which orphans them', async (test) => {
  const instance = anInstance()
  const task = aTask({ instanceId: instance.instanceId, lastStatus: 'RUNNING', startedAt: testNow })
  const state = aState({ instance: [instance], task: [task] })
  const deregister = (force?: boolean) =>
    inTransaction(state, (tx) =>
      instanceHandlers.DeregisterContainerInstance.handle(
        tx,
        { containerInstance: instance.containerInstanceArn, force },
        aCall(),
        aWorld(),
      ),
    ).containerInstance
  const decide = (table: 'instance' | 'task', key: string): TaskRow | undefined => {
    inTransaction(state, (tx) => instanceDecider.decide(tx, table, key, undefined, testNow + 5, aWorld()))
    return state.get('task', task.taskId)
  }
  test.equal(decide('instance', instance.instanceId), task, 'an instance that is there leaves its tasks alone')
  test.match(
    refusal(() => deregister()),
    {
      code: 'InvalidParameterException',
      message: 'Found running tasks on the instance.',
    },
  )
  test.match(deregister(true), { status: 'INACTIVE', agentConnected: false })
  test.match(deregister(), { status: 'INACTIVE', version: 2 }, 'a repeat answers the same')
  test.match(decide('instance', instance.instanceId), {
    lastStatus: 'STOPPED',
    stoppedAt: testNow + 5,
    stoppedReason: /deregistered by force.*may still run/,
  })
  const orphan = state.get('task', task.taskId)
  test.equal(decide('task', task.taskId), orphan, 'deciding twice changes nothing')
  test.match(describeInstance(state, rowOf(state, instance.containerInstanceArn)), { runningTasksCount: 0 })
})

await t.test('the poll endpoint is where the caller came in', async (test) => {
  const call = aCall({ origin: 'https://gantry.example:51443' })
  test.same(instanceHandlers.DiscoverPollEndpoint.handle(aState(), {}, call, aWorld()), {
    endpoint: 'https://gantry.example:51443/acs',
    telemetryEndpoint: 'https://gantry.example:51443/tcs',
  })
})

await t.test('no update of an agent is promised that nobody would perform', async (test) => {
  const versionInfo = { agentVersion: '1.2.3' }
  const ours = anInstance({ versionInfo })
  const official = anInstance({ versionInfo, gantryProtocol: false })
  const silent = anInstance({ versionInfo: {} })
  const gone = anInstance({ status: 'INACTIVE', versionInfo })
  const state = aState({ instance: [ours, official, silent, gone] })
  const update = (containerInstance: string, cluster?: string) =>
    refusal(() => {
      const input = readInput('UpdateContainerAgent', { containerInstance, cluster })
      containerAgentHandlers.UpdateContainerAgent.handle(state, input, aCall(), aWorld())
    })
  test.match(update(ours.instanceId), {
    code: 'NoUpdateAvailableException',
    message:
      /^There is no update available for your container agent\. It is Gantry's, version 1\.2\.3, and is upgraded/,
  })
  test.match(update(official.containerInstanceArn), {
    code: 'NoUpdateAvailableException',
    message: /It is not Gantry's, has version 1\.2\.3/,
  })
  test.match(update(silent.instanceId), { code: 'MissingVersionException', message: /has not told its version yet/ })
  test.match(update(gone.instanceId), { code: 'InvalidParameterException', message: /INACTIVE/ })
  test.match(update('nobody'), { code: 'InvalidParameterException', message: /not found in cluster default/ })
  test.match(update(''), { code: 'InvalidParameterException', message: /cannot be empty/ })
  test.match(update(ours.instanceId, 'nowhere'), { code: 'ClusterNotFoundException' })
})
