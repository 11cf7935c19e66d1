import t from 'tap'
import type { Input, Output, Service } from '../../proto/model/types.ts'
import {
  aCall,
  aCluster,
  aDeployment,
  anInstance,
  aService,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { startDeployment } from '../decide/deployment-start.ts'
import { taskDefinitionDecider } from '../decide/task-definition.ts'
import type { State } from '../state/state.ts'
import { type TableName, tableNames } from '../state/tables.ts'
import { clusterHandlers } from './clusters.ts'
import { serviceHandlers } from './services.ts'
import { tagHandlers } from './tag-resource.ts'
import { taskDefinitionHandlers } from './task-definitions.ts'
import { taskHandlers } from './tasks.ts'

const world = aWorld(7)
const arn = (resource: string): string => `arn:aws:ecs:us-east-1:123456789012:${resource}`
const definitionArn = (revision: number): string => arn(`task-definition/web:${revision}`)

/** What tools send: the shapes that the types don't allow included. */
type Loose<T> = { [K in keyof T]?: unknown }

function create(state: State, input: Loose<Input<'CreateService'>> = {}, now = testNow): Service {
  const whole = { serviceName: 'web', taskDefinition: 'web:1', desiredCount: 2, ...input } as Input<'CreateService'>
  return serviceOf(inTransaction(state, (tx) => serviceHandlers.CreateService.handle(tx, whole, aCall({ now }), world)))
}

function update(state: State, input: Loose<Input<'UpdateService'>>, now = testNow + 1000): Service {
  const whole = { service: 'web', ...input } as Input<'UpdateService'>
  return serviceOf(inTransaction(state, (tx) => serviceHandlers.UpdateService.handle(tx, whole, aCall({ now }), world)))
}

function remove(state: State, input: Loose<Input<'DeleteService'>> = {}): Service {
  const whole = { service: 'web', ...input } as Input<'DeleteService'>
  return serviceOf(inTransaction(state, (tx) => serviceHandlers.DeleteService.handle(tx, whole, aCall(), world)))
}

function describe(state: State, input: Partial<Input<'DescribeServices'>> = {}): Output<'DescribeServices'> {
  return serviceHandlers.DescribeServices.handle(state, { services: ['web'], ...input }, aCall(), world)
}

function serviceOf({ service }: { service?: Service | undefined }): Service {
  if (service === undefined) throw new Error('the answer holds no service')
  return service
}

/** Two revisions of `web`, a deregistered third one, and one for each reason to refuse a definition. */
function withDefinitions(rows: Parameters<typeof aState>[0] = {}): State {
  return aState({
    taskDefinition: [
      aTaskDefinition(),
      aTaskDefinition({ revision: 2 }),
      aTaskDefinition({ revision: 3, status: 'INACTIVE' }),
      aTaskDefinition({ family: 'vpc', networkMode: 'awsvpc' }),
      aTaskDefinition({ family: 'cloud', compatibilities: ['FARGATE'] }),
      aTaskDefinition({ family: 'edge', compatibilities: ['EXTERNAL'] }),
    ],
    ...rows,
  })
}

/** Every row of every table, to show that a refusal left nothing behind. */
function everything(state: State): unknown {
  return tableNames.map((table: TableName) => state.all(table))
}

await t.test('CreateService answers a service as ECS shows it', async (test) => {
  const state = withDefinitions()
  const service = create(state)
  test.match(service, {
    serviceArn: arn('service/default/web'),
    serviceName: 'web',
    clusterArn: arn('cluster/default'),
    status: 'ACTIVE',
    taskDefinition: definitionArn(1),
    desiredCount: 2,
    runningCount: 0,
    pendingCount: 0,
    loadBalancers: [],
    serviceRegistries: [],
    schedulingStrategy: 'REPLICA',
    deploymentController: { type: 'ECS' },
    deploymentConfiguration: {
      deploymentCircuitBreaker: { enable: false, rollback: false },
      maximumPercent: 200,
      minimumHealthyPercent: 100,
      strategy: 'ROLLING',
    },
    placementConstraints: [],
    placementStrategy: [],
    healthCheckGracePeriodSeconds: 0,
    availabilityZoneRebalancing: 'ENABLED',
    enableECSManagedTags: false,
    enableExecuteCommand: false,
    propagateTags: 'NONE',
    createdBy: arn('root').replace('ecs:us-east-1', 'iam:'),
    createdAt: testNow,
    tags: [],
  })
  const [deployment] = service.deployments ?? []
  test.match(deployment, {
    id: /^ecs-svc\/[1-9][0-9]{18}$/,
    status: 'PRIMARY',
    taskDefinition: definitionArn(1),
    desiredCount: 2,
    runningCount: 0,
    pendingCount: 0,
    failedTasks: 0,
    rolloutState: 'IN_PROGRESS',
  })
  test.equal(service.deployments?.length, 1)
  test.match(service.currentServiceDeployment, new RegExp(`^${arn('service-deployment/default/web/')}`))
  test.match(service.currentServiceRevisions, [{ arn: /:service-revision\/default\/web\//, requestedTaskCount: 2 }])
  test.notOk('launchType' in service, 'none was named: any instance that the definition goes with')
  test.notOk('taskSets' in service)
})

await t.test('every member is kept and answered', async (test) => {
  const members = {
    launchType: 'EC2',
    desiredCount: 5,
    deploymentConfiguration: {
      deploymentCircuitBreaker: {
        enable: true,
        rollback: true,
        resetOnHealthyTask: false,
        thresholdConfiguration: { type: 'COUNT', value: 7 },
      },
      maximumPercent: 150,
      minimumHealthyPercent: 50,
      strategy: 'ROLLING',
      bakeTimeInMinutes: 0,
      alarms: { alarmNames: ['too-slow'], enable: true, rollback: true },
    },
    deploymentController: { type: 'ECS' },
    schedulingStrategy: 'REPLICA',
    placementConstraints: [{ type: 'distinctInstance' }],
    placementStrategy: [
      { type: 'spread', field: 'attribute:ecs.availability-zone' },
      { type: 'binpack', field: 'memory' },
    ],
    healthCheckGracePeriodSeconds: 2_147_483_647,
    availabilityZoneRebalancing: 'DISABLED',
    enableECSManagedTags: true,
    enableExecuteCommand: false,
    propagateTags: 'SERVICE',
    tags: [{ key: 'team', value: 'lab' }],
  } as const
  const state = withDefinitions()
  // What tools send for members that they don't use changes nothing.
  const unused = {
    loadBalancers: [],
    serviceRegistries: [],
    volumeConfigurations: [],
    vpcLatticeConfigurations: [],
    gatewayConnectors: [],
    capacityProviderStrategy: [],
    serviceConnectConfiguration: { enabled: false },
    platformVersion: '',
    role: '',
  }
  test.match(create(state, { ...members, ...unused, serviceName: 'full-1' }), members)
  test.match(describe(state, { services: ['full-1'], include: ['TAGS'] }).services, [members])
  test.match(create(state, { serviceName: 'edge', taskDefinition: 'edge', launchType: 'EXTERNAL' }), {
    launchType: 'EXTERNAL',
    taskDefinition: arn('task-definition/edge:1'),
    availabilityZoneRebalancing: 'DISABLED',
  })
  test.match(create(state, { serviceName: 'newest', taskDefinition: 'web' }), { taskDefinition: definitionArn(2) })
  test.match(create(state, { serviceName: 'packed', placementStrategy: [{ type: 'random' }] }), {
    availabilityZoneRebalancing: 'DISABLED',
  })
})

await t.test('a daemon has no count of its own, and other percentages', async (test) => {
  const state = withDefinitions()
  const daemon = { serviceName: 'agent', schedulingStrategy: 'DAEMON', desiredCount: undefined }
  const service = create(state, daemon)
  test.match(service, {
    schedulingStrategy: 'DAEMON',
    desiredCount: 0,
    deploymentConfiguration: { minimumHealthyPercent: 0, maximumPercent: 100 },
    availabilityZoneRebalancing: 'DISABLED',
  })
  test.match(update(state, { service: 'agent', deploymentConfiguration: { minimumHealthyPercent: 50 } }), {
    deploymentConfiguration: { minimumHealthyPercent: 50, maximumPercent: 100 },
  })
})

await t.test('an EXTERNAL service waits for its task sets', async (test) => {
  const state = withDefinitions()
  const external = {
    serviceName: 'ext',
    taskDefinition: undefined,
    desiredCount: undefined,
    deploymentController: { type: 'EXTERNAL' },
  }
  const service = create(state, external)
  test.match(service, { desiredCount: 0, deployments: [], taskSets: [], deploymentController: { type: 'EXTERNAL' } })
  test.notOk('taskDefinition' in service)
  test.notOk('currentServiceDeployment' in service)
  test.match(update(state, { service: 'ext', desiredCount: 4, propagateTags: 'SERVICE' }), {
    desiredCount: 4,
    propagateTags: 'SERVICE',
    deployments: [],
  })
  for (const [input, message] of [
    [{ taskDefinition: 'web:2' }, /Unable to update task definition on services with a EXTERNAL deployment controller/],
    [{ forceNewDeployment: true }, /Cannot force a new deployment on services with a EXTERNAL deployment controller/],
    [{ networkConfiguration: {} }, /Unable to update networkConfiguration on services with a EXTERNAL/],
  ] as const) {
    test.match(
      refusal(() => update(state, { service: 'ext', ...input })),
      message,
    )
  }
})

function breaker(thresholdConfiguration: object): object {
  return {
    deploymentConfiguration: { deploymentCircuitBreaker: { enable: true, rollback: false, thresholdConfiguration } },
  }
}

await t.test('what CreateService refuses, by member, and nothing is left of it', async (test) => {
  const external = { deploymentController: { type: 'EXTERNAL' }, taskDefinition: undefined }
  const daemon = { schedulingStrategy: 'DAEMON', desiredCount: undefined }
  const constraint = { type: 'distinctInstance' }
  const provider = { capacityProvider: 'FARGATE', weight: 1 }
  const cases: readonly (readonly [Loose<Input<'CreateService'>>, RegExp])[] = [
    [{ cluster: 'nowhere' }, /^ClusterNotFoundException: Cluster not found\.$/],
    [{ serviceName: '' }, /^InvalidParameterException: serviceName can not be blank/],
    [{ serviceName: 'a b' }, /^InvalidParameterException: Invalid serviceName 'a b'\. It takes 1 to 255 letters/],
    [{ serviceName: 'x'.repeat(256) }, /^InvalidParameterException: Invalid serviceName/],
    [{ clientToken: 'x'.repeat(37) }, /^InvalidParameterException: clientToken must be 1 to 36 printable/],
    [{ taskDefinition: undefined }, /^ClientException: TaskDefinition can not be blank/],
    [{ taskDefinition: 'nobody' }, /^ClientException: TaskDefinition not found/],
    [{ taskDefinition: 'web:3' }, /^ClientException: TaskDefinition is inactive$/],
    [
      { taskDefinition: 'vpc' },
      /^InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc'/,
    ],
    [{ taskDefinition: 'cloud' }, /^InvalidParameterException: Task definition does not support launch_type EC2/],
    [
      { taskDefinition: 'edge', launchType: 'EC2' },
      /does not support launch_type EC2\. It is compatible with EXTERNAL/,
    ],
    [{ desiredCount: undefined }, /^InvalidParameterException: desiredCount is required/],
    [{ desiredCount: -1 }, /^InvalidParameterException: Task count can not be lesser than 0: desiredCount is -1/],
    [{ desiredCount: 1.5 }, /^InvalidParameterException: desiredCount must be a whole number/],
    [{ desiredCount: 5001 }, /^InvalidParameterException: desiredCount is 5001, and a service can have at most 5000/],
    [
      { launchType: 'EC2', capacityProviderStrategy: [provider] },
      /^InvalidParameterException: Specifying both a launch type and capacity provider strategy is not supported/,
    ],
    [{ capacityProviderStrategy: [provider] }, /^UnsupportedFeatureException: .*\(capacityProviderStrategy\)/],
    [{ cluster: 'fargate' }, /^UnsupportedFeatureException: Cluster fargate by default asks for a capacity provider/],
    [{ launchType: 'FARGATE' }, /^UnsupportedFeatureException: Launch type FARGATE is not available/],
    [{ launchType: 'MANAGED_INSTANCES' }, /^UnsupportedFeatureException: Launch type MANAGED_INSTANCES/],
    [{ platformVersion: 'LATEST' }, /^InvalidParameterException: The platform version must be null/],
    [{ role: 'ecsServiceRole' }, /^InvalidParameterException: Unable to assume role.*there is no role ecsServiceRole/],
    [
      { role: 'ecsServiceRole', networkConfiguration: { awsvpcConfiguration: { subnets: ['subnet-1'] } } },
      /^InvalidParameterException: You cannot specify an IAM role for services that require a service linked role/,
    ],
    [{ loadBalancers: [{ targetGroupArn: 'x' }] }, /^UnsupportedFeatureException: loadBalancers needs load balancing/],
    [{ serviceRegistries: [{ registryArn: 'x' }] }, /^UnsupportedFeatureException: serviceRegistries needs service d/],
    [{ serviceConnectConfiguration: { enabled: true } }, /^UnsupportedFeatureException: serviceConnectConfiguration/],
    [{ volumeConfigurations: [{ name: 'x' }] }, /^UnsupportedFeatureException: volumeConfigurations needs/],
    [{ vpcLatticeConfigurations: [{}] }, /^UnsupportedFeatureException: vpcLatticeConfigurations needs VPC Lattice/],
    [{ gatewayConnectors: [{}] }, /^UnsupportedFeatureException: gatewayConnectors needs gateways/],
    [{ monitoring: {} }, /^UnsupportedFeatureException: monitoring needs metrics/],
    [{ deploymentController: { type: 'CODE_DEPLOY' } }, /^UnsupportedFeatureException: deploymentController CODE_DEP/],
    [{ ...external, taskDefinition: 'web:1' }, /^InvalidParameterException: taskDefinition is not valid with .* EXTER/],
    [{ ...external, networkConfiguration: {} }, /^InvalidParameterException: networkConfiguration is not valid with/],
    [{ ...external, ...daemon }, /^InvalidParameterException: The daemon .* deployment controller EXTERNAL/],
    [
      { networkConfiguration: { awsvpcConfiguration: { subnets: ['subnet-1'] } } },
      /^InvalidParameterException: Network Configuration is not valid for the given networkMode/,
    ],
    [{ ...daemon, desiredCount: 0 }, /^InvalidParameterException: The daemon .* not support a desired count for serv/],
    [{ ...daemon, placementStrategy: [{ type: 'random' }] }, /The daemon .* does not support placement strategies/],
    [{ ...daemon, placementConstraints: [constraint] }, /The daemon .* placement constraint distinctInstance/],
    [{ ...daemon, deploymentConfiguration: { maximumPercent: 200 } }, /maximumPercent must be 100 with .* DAEMON/],
    [{ ...daemon, capacityProviderStrategy: [provider] }, /is not supported when you create a service using the DAEM/],
    [{ ...daemon, availabilityZoneRebalancing: 'ENABLED' }, /can't be ENABLED where the scheduling strategy is DAEMON/],
    [{ deploymentConfiguration: { minimumHealthyPercent: -1 } }, /minimumHealthyPercent must be .* from 0 to 100/],
    [{ deploymentConfiguration: { minimumHealthyPercent: 101 } }, /minimumHealthyPercent must be .* and is 101/],
    [{ deploymentConfiguration: { maximumPercent: 99 } }, /maximumPercent must be a whole number of at least 100/],
    [
      { deploymentConfiguration: { maximumPercent: 100 } },
      /^InvalidParameterException: Both maximumPercent and minimu/,
    ],
    [{ deploymentConfiguration: { strategy: 'BLUE_GREEN' } }, /^UnsupportedFeatureException: .*strategy BLUE_GREEN/],
    [{ deploymentConfiguration: { strategy: 'LINEAR' } }, /^UnsupportedFeatureException: .*strategy LINEAR/],
    [{ deploymentConfiguration: { strategy: 'CANARY' } }, /^UnsupportedFeatureException: .*strategy CANARY/],
    [{ deploymentConfiguration: { bakeTimeInMinutes: 5 } }, /^UnsupportedFeatureException: .*bakeTimeInMinutes/],
    [{ deploymentConfiguration: { lifecycleHooks: [{}] } }, /^UnsupportedFeatureException: .*lifecycleHooks/],
    [{ deploymentConfiguration: { linearConfiguration: {} } }, /linearConfiguration is not valid for strategy ROLLING/],
    [{ deploymentConfiguration: { canaryConfiguration: {} } }, /canaryConfiguration is not valid for strategy ROLLING/],
    [{ deploymentConfiguration: { earlySuccessCriteria: { enable: true } } }, /^Unsupported.*earlySuccessCriteria/],
    [{ deploymentConfiguration: { alarms: { enable: true, alarmNames: [] } } }, /alarmNames must name at least one/],
    [breaker({ type: 'COUNT', value: 0 }), /thresholdConfiguration\.value must be a whole number of at least 1/],
    [breaker({ type: 'BOUNDED_PERCENT', value: 101 }), /thresholdConfiguration\.value is in percent for BOUNDED_PER/],
    [
      {
        ...external,
        deploymentConfiguration: { deploymentCircuitBreaker: { enable: true, rollback: false } },
      },
      /deploymentCircuitBreaker can only be used with the deployment controller ECS/,
    ],
    [{ healthCheckGracePeriodSeconds: -1 }, /^InvalidParameterException: healthCheckGracePeriodSeconds must be/],
    [{ healthCheckGracePeriodSeconds: 2_147_483_648 }, /^InvalidParameterException: healthCheckGracePeriodSeconds/],
    [
      { placementConstraints: [{ type: 'sameInstance' }] },
      /^InvalidParameterException: Placement constraint type must/,
    ],
    [
      { placementConstraints: [constraint, constraint] },
      /^InvalidParameterException: The placement constraint distinct/,
    ],
    [{ placementStrategy: [{ type: 'spread', field: 'attributes:x' }] }, /^InvalidParameterException: .*spread/],
    [
      { availabilityZoneRebalancing: 'ENABLED', placementStrategy: [{ type: 'binpack', field: 'cpu' }] },
      /^InvalidParameterException: availabilityZoneRebalancing can't be ENABLED where the first placement strategy/,
    ],
    [{ tags: [{ key: 'aws:x', value: '' }] }, /^InvalidParameterException: Tag\.key 'aws:x' starts with 'aws:'/],
  ]
  const fargate = aCluster({
    clusterName: 'fargate',
    defaultCapacityProviderStrategy: [{ capacityProvider: 'FARGATE' }],
  })
  const state = withDefinitions({ cluster: [fargate] })
  const before = everything(state)
  for (const [input, expected] of cases) {
    test.match(
      refusal(() => create(state, input)),
      expected,
      JSON.stringify(input).slice(0, 120),
    )
  }
  test.same(everything(state), before)
})

await t.test('a name is one service: repeats, other parameters, draining and gone', async (test) => {
  const state = withDefinitions()
  const first = create(state, { clientToken: 'once' })
  test.equal(create(state, { clientToken: 'once' }, testNow + 1).deployments?.[0]?.id, first.deployments?.[0]?.id)
  test.match(
    refusal(() => create(state, { clientToken: 'twice' })),
    /^InvalidParameterException: Creation of service was not idempotent\./,
  )
  test.match(
    refusal(() => create(state, { clientToken: 'once', desiredCount: 3 })),
    /Creation of service was not idempotent\./,
  )
  update(state, { desiredCount: 4 })
  test.match(
    create(state, { clientToken: 'once' }),
    { desiredCount: 4 },
    'with its token it is known after changes too',
  )

  create(state, { serviceName: 'plain' })
  test.match(create(state, { serviceName: 'plain', cluster: arn('cluster/default') }), { desiredCount: 2 })
  update(state, { service: 'plain', desiredCount: 4 })
  test.match(
    refusal(() => create(state, { serviceName: 'plain' })),
    /Creation of service was not idempotent\./,
    'without a token, what was changed since is another service',
  )

  remove(state, { force: true })
  test.equal(
    refusal(() => create(state, { clientToken: 'once' })),
    'InvalidParameterException: Unable to Start a service that is still Draining.',
  )
  const events = describe(state).services?.[0]?.events?.map(({ id }) => id) ?? []
  test.ok(events.length > 0)
  drained(state, 'default/web')
  const again = create(state, { desiredCount: 1 }, testNow + 5000)
  test.match(again, { status: 'ACTIVE', desiredCount: 1, createdAt: testNow + 5000 })
  test.equal(again.deployments?.length, 1)
  test.notOk(
    again.events?.some(({ id }) => events.includes(id)),
    'its events are its own',
  )
})

/** What the scheduler does once the last task of a draining service has stopped. */
function drained(state: State, serviceKey: string): void {
  inTransaction(state, (tx) => {
    const row = tx.get('service', serviceKey)
    if (row === undefined) throw new Error(`no service ${serviceKey}`)
    tx.put('service', serviceKey, { ...row, status: 'INACTIVE', inactiveSince: testNow })
    for (const deployment of tx.find('deployment', 'liveByService', serviceKey)) {
      tx.put('deployment', deployment.id, { ...deployment, status: 'INACTIVE' })
    }
  })
}

await t.test('which updates start a deployment', async (test) => {
  const state = withDefinitions()
  create(state)
  const primary = (): string | undefined => describe(state).services?.[0]?.deployments?.[0]?.id
  const quiet: readonly Loose<Input<'UpdateService'>>[] = [
    {},
    { desiredCount: 3 },
    { taskDefinition: 'web:1' },
    { taskDefinition: definitionArn(1), forceNewDeployment: false },
    { deploymentConfiguration: { maximumPercent: 150, minimumHealthyPercent: 50 } },
    { deploymentConfiguration: { deploymentCircuitBreaker: { enable: true, rollback: true } } },
    { healthCheckGracePeriodSeconds: 30 },
    { enableECSManagedTags: true, propagateTags: 'TASK_DEFINITION', enableExecuteCommand: false },
    { availabilityZoneRebalancing: 'DISABLED' },
    { placementConstraints: [{ type: 'distinctInstance' }], placementStrategy: [{ type: 'binpack', field: 'cpu' }] },
    { loadBalancers: [], serviceRegistries: [], capacityProviderStrategy: [], deploymentController: { type: 'ECS' } },
  ]
  const first = primary()
  for (const input of quiet) update(state, input, testNow + 2000)
  test.equal(primary(), first, 'none of these does')
  const [kept] = describe(state).services ?? []
  test.match(kept, {
    desiredCount: 3,
    deploymentConfiguration: {
      maximumPercent: 150,
      minimumHealthyPercent: 50,
      deploymentCircuitBreaker: { enable: true, rollback: true },
      strategy: 'ROLLING',
    },
    healthCheckGracePeriodSeconds: 30,
    enableECSManagedTags: true,
    propagateTags: 'TASK_DEFINITION',
    availabilityZoneRebalancing: 'DISABLED',
    placementConstraints: [{ type: 'distinctInstance' }],
    placementStrategy: [{ type: 'binpack', field: 'cpu' }],
    deployments: [{ desiredCount: 3, updatedAt: testNow + 2000 }],
  })

  test.match(update(state, { placementConstraints: [], placementStrategy: [{}] }), {
    placementConstraints: [],
    placementStrategy: [],
  })
  const forced = update(state, { forceNewDeployment: true })
  test.match(forced.deployments, [
    { status: 'PRIMARY', taskDefinition: definitionArn(1) },
    { id: first, status: 'ACTIVE' },
  ])
  const second = update(state, { taskDefinition: 'web' }, testNow + 3000)
  test.match(second, { taskDefinition: definitionArn(2) })
  test.equal(second.deployments?.length, 3, 'a deployment in the middle of another')
  const back = update(state, { taskDefinition: 'web:1' }, testNow + 4000)
  test.match(back.deployments?.[0], { status: 'PRIMARY', taskDefinition: definitionArn(1), createdAt: testNow + 4000 })
  test.not(back.deployments?.[0]?.id, first, 'a rollback by hand is a deployment of its own')
  test.not(back.currentServiceDeployment, second.currentServiceDeployment)
})

await t.test('a change that rebalancing does not go with turns it off, and says so', async (test) => {
  const state = withDefinitions()
  test.match(create(state), { availabilityZoneRebalancing: 'ENABLED' })
  const deploymentConfiguration = { minimumHealthyPercent: 50, maximumPercent: 100 }
  const updated = update(state, { deploymentConfiguration })
  test.match(updated, { availabilityZoneRebalancing: 'DISABLED', deploymentConfiguration })
  test.match(updated.events?.[0], {
    message:
      /has availabilityZoneRebalancing DISABLED from now on, because deploymentConfiguration.maximumPercent is 100/,
  })
  const again = update(state, { desiredCount: 3 })
  test.equal(again.events?.length, updated.events?.length, 'once')
})

await t.test('an update in the middle of a rollback takes its place', async (test) => {
  const state = withDefinitions()
  create(state, { taskDefinition: 'web:2' })
  const failed = state.find('deployment', 'liveByService', 'default/web')[0] ?? aDeployment()
  const back = inTransaction(state, (tx) => {
    const service = tx.get('service', 'default/web') ?? aService()
    const rollback = { from: failed, to: 'ecs-svc/1', reason: 'rolling back' }
    return startDeployment(tx, { ...service, taskDefinition: definitionArn(1) }, { rollback }, testNow + 1, world)
  })
  const updated = update(state, { taskDefinition: 'web:2', desiredCount: 7 })
  test.match(updated, { taskDefinition: definitionArn(2), desiredCount: 7 })
  const [primary, ...former] = updated.deployments ?? []
  test.match(primary, { status: 'PRIMARY', rolloutState: 'IN_PROGRESS', taskDefinition: definitionArn(2) })
  test.match(new Set(former.map(({ id }) => id)), new Set([back.id, failed.id]))
  test.equal(state.get('deployment', primary?.id ?? '')?.rollbackOf, undefined)
  test.match(state.get('serviceDeployment', failed.serviceDeploymentId), { finishedAt: testNow + 1000 })
})

await t.test('a cluster has its quota of services', async (test) => {
  const service = Array.from({ length: 5000 }, (_, index) => aService({ serviceName: `s${index}` }))
  const state = withDefinitions({ service, cluster: [aCluster({ clusterName: 'lab' })] })
  test.match(
    refusal(() => create(state)),
    /^InvalidParameterException: Cluster default has 5000 services, the most that a cluster can have/,
  )
  test.match(create(state, { cluster: 'lab' }), { status: 'ACTIVE' })
})

await t.test('what UpdateService refuses, and nothing is lost of the service', async (test) => {
  const state = withDefinitions({
    service: [
      aService({ serviceName: 'draining', status: 'DRAINING', desiredCount: 0 }),
      aService({ serviceName: 'gone', status: 'INACTIVE', desiredCount: 0 }),
      aService({ serviceName: 'agent', schedulingStrategy: 'DAEMON' }),
      aService({ serviceName: 'edge', launchType: 'EC2' }),
    ],
  })
  create(state)
  const before = everything(state)
  const cases: readonly (readonly [Loose<Input<'UpdateService'>>, RegExp])[] = [
    [{ service: '' }, /^InvalidParameterException: Service can not be blank/],
    [{ service: 'nobody' }, /^ServiceNotFoundException: Service not found\.$/],
    [{ cluster: 'nowhere' }, /^ClusterNotFoundException/],
    [
      { service: arn('service/lab/web') },
      /^InvalidParameterException: Identifier is for cluster lab\. Your cluster is/,
    ],
    [{ service: arn('service/default/web').replace('us-east', 'eu-west') }, /^ServiceNotFoundException/],
    [{ service: 'draining' }, /^ServiceNotActiveException: Service was not ACTIVE\.$/],
    [{ service: 'gone' }, /^ServiceNotActiveException/],
    [{ taskDefinition: 'web:3' }, /^ClientException: TaskDefinition is inactive/],
    [{ taskDefinition: 'nobody' }, /^ClientException: TaskDefinition not found/],
    [{ service: 'edge', taskDefinition: 'edge' }, /does not support launch_type EC2/],
    [{ desiredCount: -1 }, /Task count can not be lesser than 0/],
    [{ desiredCount: 5001 }, /at most 5000/],
    [{ service: 'agent', desiredCount: 1 }, /The daemon scheduling strategy does not support a desired count/],
    [{ service: 'agent', placementStrategy: [{ type: 'random' }] }, /does not support placement strategies/],
    [{ service: 'agent', deploymentConfiguration: { maximumPercent: 200 } }, /must be 100 with .* DAEMON/],
    [{ deploymentConfiguration: { maximumPercent: 100 } }, /Both maximumPercent and minimumHealthyPercent cannot be/],
    [{ deploymentConfiguration: { strategy: 'CANARY' } }, /^UnsupportedFeatureException/],
    [{ deploymentController: { type: 'EXTERNAL' } }, /deploymentController can't be changed from ECS to EXTERNAL/],
    [{ capacityProviderStrategy: [{ capacityProvider: 'FARGATE' }] }, /^UnsupportedFeatureException/],
    [{ platformVersion: '1.4.0' }, /The platform version must be null/],
    [{ networkConfiguration: { awsvpcConfiguration: { subnets: ['s'] } } }, /Network Configuration is not valid/],
    [{ loadBalancers: [{}] }, /^UnsupportedFeatureException: loadBalancers/],
    [
      { availabilityZoneRebalancing: 'ENABLED', placementStrategy: [{ type: 'binpack', field: 'cpu' }] },
      /Rebalancing DISABLED, or change that/,
    ],
    [{ desiredCount: 9, placementConstraints: [{ type: 'memberOf' }] }, /memberOf placement constraint needs an expr/],
  ]
  for (const [input, expected] of cases) {
    test.match(
      refusal(() => update(state, input)),
      expected,
      JSON.stringify(input),
    )
  }
  test.same(everything(state), before)
})

await t.test('DeleteService: scaled down or forced, draining, and the same again', async (test) => {
  const state = withDefinitions()
  create(state)
  test.match(
    refusal(() => remove(state)),
    /^InvalidParameterException: The service cannot be stopped while it is scaled above 0\./,
  )
  test.match(
    refusal(() => remove(state, { service: 'nobody' })),
    /^ServiceNotFoundException/,
  )
  update(state, { desiredCount: 0, taskDefinition: 'web:2' })
  test.match(
    refusal(() => remove(state)),
    /^InvalidParameterException: The service cannot be stopped while deployments are active\./,
  )
  const deleted = remove(state, { force: true })
  test.match(deleted, { status: 'DRAINING', desiredCount: 0 })
  test.match(remove(state), { status: 'DRAINING' }, 'a repeat answers the same')
  test.match(describe(state).services, [{ status: 'DRAINING' }])
  drained(state, 'default/web')
  test.match(remove(state, { force: true }), { status: 'INACTIVE' })
  test.match(describe(state).services, [{ status: 'INACTIVE', deployments: [] }])

  create(state, { serviceName: 'zero', desiredCount: 0 })
  test.match(remove(state, { service: 'zero' }), { status: 'DRAINING' })
  create(state, { serviceName: 'forced' })
  test.match(remove(state, { service: arn('service/default/forced'), force: true }), { desiredCount: 0 })
  create(state, { serviceName: 'agent', schedulingStrategy: 'DAEMON', desiredCount: undefined })
  test.match(remove(state, { service: 'agent' }), { status: 'DRAINING' }, 'a daemon needs no force')
})

function of(deploymentId: string, over: Parameters<typeof aTask>[0]): ReturnType<typeof aTask> {
  return aTask({ serviceKey: 'default/web', deploymentId, startedBy: deploymentId, group: 'service:web', ...over })
}

await t.test('DescribeServices counts by deployment, newest events first, and leaks nothing', async (test) => {
  const primary = aDeployment({ createdAt: testNow + 1 })
  const former = aDeployment({ status: 'ACTIVE', taskDefinition: definitionArn(2), rolloutState: 'COMPLETED' })
  const done = aDeployment({ status: 'INACTIVE' })
  const tasks = [
    of(primary.id, { lastStatus: 'RUNNING' }),
    of(primary.id, { lastStatus: 'PENDING' }),
    of(primary.id, { lastStatus: 'PROVISIONING' }),
    of(primary.id, { lastStatus: 'RUNNING', lostSince: testNow }),
    of(former.id, { lastStatus: 'RUNNING' }),
    of(former.id, { lastStatus: 'RUNNING', desiredStatus: 'STOPPED' }),
    of(former.id, { lastStatus: 'STOPPING', desiredStatus: 'STOPPED' }),
    of(former.id, { lastStatus: 'STOPPED', desiredStatus: 'STOPPED' }),
  ]
  const service = aService({
    desiredCount: 4,
    tags: [{ key: 'team', value: 'lab' }],
    clientToken: 'secret-token',
    inputHash: 'a-hash',
    wakeAt: testNow,
    lastCompletedRevisionId: former.serviceRevisionId,
  })
  const state = aState({ service: [service], deployment: [former, done, primary], task: tasks })
  inTransaction(state, (tx) => {
    for (let seq = 1; seq <= 3; seq += 1) {
      const id = `event-${seq}`
      const row = { serviceKey: 'default/web', seq, id, createdAt: testNow + seq, message: id, eventName: 'hidden' }
      tx.put('serviceEvent', `default/web/${String(seq).padStart(9, '0')}`, row)
    }
  })
  const { services = [], failures } = describe(state, { services: ['web', arn('service/default/web')] })
  test.same(failures, [])
  test.equal(services.length, 2)
  const [shown] = services
  test.match(shown, { desiredCount: 4, runningCount: 3, pendingCount: 2 })
  test.match(shown?.deployments, [
    { id: primary.id, status: 'PRIMARY', desiredCount: 4, runningCount: 1, pendingCount: 2 },
    { id: former.id, status: 'ACTIVE', desiredCount: 1, runningCount: 2, pendingCount: 0, rolloutState: 'COMPLETED' },
  ])
  test.equal(shown?.deployments?.length, 2)
  test.same(
    shown?.events?.map(({ id }) => id),
    ['event-3', 'event-2', 'event-1'],
  )
  test.same(Object.keys(shown?.events?.[0] ?? {}), ['id', 'createdAt', 'message'])
  const text = JSON.stringify(shown)
  for (const word of [
    'secret-token',
    'a-hash',
    'wakeAt',
    'serviceKey',
    'eventSeq',
    'healthyTasks',
    'images',
    'hidden',
  ]) {
    test.notOk(text.includes(word), word)
  }
  test.notOk('tags' in (shown ?? {}))
  test.same(describe(state, { include: ['TAGS'] }).services?.[0]?.tags, [{ key: 'team', value: 'lab' }])

  test.same(describe(state, { services: ['nobody'] }), {
    services: [],
    failures: [{ arn: arn('service/default/nobody'), reason: 'MISSING' }],
  })
  test.match(
    refusal(() => describe(state, { services: [] })),
    /^InvalidParameterException: Services cannot be empty\./,
  )
  test.match(
    refusal(() => describe(state, { services: Array.from({ length: 11 }, (_, index) => `s${index}`) })),
    /^InvalidParameterException: At most 10 services can be described at once/,
  )
  test.match(
    refusal(() => describe(state, { cluster: 'nowhere' })),
    /^ClusterNotFoundException/,
  )
})

await t.test('ListServices narrows and gives pages', async (test) => {
  const plain = Array.from({ length: 12 }, (_, index) =>
    aService({ serviceName: `s${String(index).padStart(2, '0')}` }),
  )
  const state = aState({
    cluster: [aCluster({ clusterName: 'lab' })],
    service: [
      ...plain,
      aService({ serviceName: 'agent', schedulingStrategy: 'DAEMON', launchType: 'EC2' }),
      aService({ serviceName: 'leaving', status: 'DRAINING' }),
      aService({ serviceName: 'gone', status: 'INACTIVE' }),
      aService({ serviceName: 'other', clusterName: 'lab', launchType: 'EXTERNAL' }),
    ],
  })
  const list = (input: Input<'ListServices'> = {}): Output<'ListServices'> =>
    serviceHandlers.ListServices.handle(state, input, aCall(), world)
  const first = list()
  test.equal(first.serviceArns?.length, 10, 'ten on a page unless asked for more')
  const second = list({ nextToken: first.nextToken })
  test.equal(second.serviceArns?.length, 4)
  test.notOk('nextToken' in second)
  test.equal(new Set([...(first.serviceArns ?? []), ...(second.serviceArns ?? [])]).size, 14)
  test.equal(list({ maxResults: 100 }).serviceArns?.length, 14, 'draining ones are listed, inactive ones not')
  test.same(list({ schedulingStrategy: 'DAEMON' }).serviceArns, [arn('service/default/agent')])
  test.same(list({ cluster: 'lab', launchType: 'EXTERNAL' }).serviceArns, [arn('service/lab/other')])
  test.same(list({ cluster: 'lab', launchType: 'EC2' }).serviceArns, [])
  test.same(list({ resourceManagementType: 'ECS' }).serviceArns, [])
  test.match(
    refusal(() => list({ maxResults: 101 })),
    /^InvalidParameterException: maxResults/,
  )
})

await t.test('tags of a service, and its place in its cluster', async (test) => {
  const state = withDefinitions({ service: [aService({ serviceName: 'gone', status: 'INACTIVE' })] })
  create(state, { tags: [{ key: 'team', value: 'lab' }] })
  const resourceArn = arn('service/default/web')
  const tags = () => tagHandlers.ListTagsForResource.handle(state, { resourceArn }, aCall(), world).tags
  inTransaction(state, (tx) => {
    tagHandlers.TagResource.handle(tx, { resourceArn, tags: [{ key: 'stage', value: 'prod' }] }, aCall(), world)
    tagHandlers.UntagResource.handle(tx, { resourceArn, tagKeys: ['team'] }, aCall(), world)
  })
  test.same(tags(), [{ key: 'stage', value: 'prod' }])
  const refused = (resource: string): string =>
    refusal(() => tagHandlers.ListTagsForResource.handle(state, { resourceArn: resource }, aCall(), world))
  test.match(refused(arn('service/default/gone')), /The specified service is inactive\. Specify an active service/)
  test.match(refused(arn('service/default/nobody')), /The specified service could not be found/)
  test.match(refused(arn('service/web')), /Long arn format must be used/)
  test.match(
    refusal(() =>
      inTransaction(state, (tx) => clusterHandlers.DeleteCluster.handle(tx, { cluster: 'default' }, aCall(), world)),
    ),
    /^ClusterContainsServicesException/,
  )
})

await t.test('a deregistered definition: its service goes on, and it stays until no service needs it', async (test) => {
  const state = withDefinitions()
  create(state)
  inTransaction(state, (tx) => {
    const taskDefinition = 'web:1'
    taskDefinitionHandlers.DeregisterTaskDefinition.handle(tx, { taskDefinition }, aCall(), world)
    taskDefinitionHandlers.DeleteTaskDefinitions.handle(tx, { taskDefinitions: [taskDefinition] }, aCall(), world)
  })
  const decide = (table: TableName, key: string, before?: unknown): void =>
    inTransaction(state, (tx) => taskDefinitionDecider.decide(tx, table, key, before as never, testNow, world))
  const isThere = (): boolean => state.get('taskDefinition', 'web:1') !== undefined
  decide('taskDefinition', 'web:1')
  test.ok(isThere(), 'the service names it')
  test.match(update(state, { desiredCount: 9 }), { desiredCount: 9 }, 'and still scales')
  test.match(
    refusal(() => create(state, { serviceName: 'another' })),
    /^ClientException: TaskDefinition is inactive/,
  )
  const before = state.get('service', 'default/web')
  update(state, { taskDefinition: 'web:2' })
  decide('service', 'default/web', before)
  test.ok(isThere(), 'the former deployment still runs it')
  const former = state.find('deployment', 'liveByService', 'default/web').find(({ status }) => status === 'ACTIVE')
  if (former === undefined) throw new Error('there is no former deployment')
  inTransaction(state, (tx) => {
    tx.put('deployment', former.id, { ...former, status: 'INACTIVE' })
    const service = tx.get('service', 'default/web') ?? aService()
    tx.put('service', 'default/web', { ...service, lastCompletedRevisionId: former.serviceRevisionId })
  })
  decide('deployment', former.id, former)
  test.ok(isThere(), 'a rollback would go back to it')
  const completed = state.get('service', 'default/web') ?? aService()
  inTransaction(state, (tx) => tx.put('service', 'default/web', { ...completed, lastCompletedRevisionId: undefined }))
  decide('service', 'default/web', completed)
  test.notOk(isThere())
})

await t.test("StopTask and RunTask leave services' groups to services", async (test) => {
  const instance = anInstance()
  const task = aTask({
    instanceId: instance.instanceId,
    lastStatus: 'RUNNING',
    group: 'service:web',
    serviceKey: 'default/web',
    startedBy: 'ecs-svc/1234567890123456789',
  })
  const state = withDefinitions({ instance: [instance], task: [task], service: [aService()] })
  const stopped = inTransaction(state, (tx) =>
    taskHandlers.StopTask.handle(tx, { task: task.taskId }, aCall(), world),
  ).task
  test.match(stopped, { desiredStatus: 'STOPPED', stopCode: 'UserInitiated', startedBy: 'ecs-svc/1234567890123456789' })
  test.match(
    refusal(() =>
      inTransaction(state, (tx) =>
        taskHandlers.RunTask.handle(tx, { taskDefinition: 'web', group: 'service:web' }, aCall(), world),
      ),
    ),
    /^InvalidParameterException: Group must not start with 'service:'/,
  )
})
