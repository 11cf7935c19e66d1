import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Input, TaskDefinition } from '../../proto/model/types.ts'
import { aCall, aState, aTask, aTaskDefinition, aWorld, inTransaction, testNow } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import {
  aContainerDefinition,
  aRegistration,
  type Registration,
  withContainer,
} from '../../test/support/registrations.ts'
import { taskDefinitionDecider } from '../decide/task-definition.ts'
import type { State } from '../state/state.ts'
import { requireTaskDefinition, taskDefinitionHandlers as handlers } from './task-definitions.ts'

const arn = (name: string): string => `arn:aws:ecs:us-east-1:123456789012:task-definition/${name}`

const register = (state: State, input: Registration) =>
  inTransaction(state, (tx) => handlers.RegisterTaskDefinition.handle(tx, input, aCall(), aWorld()))
const deregister = (state: State, taskDefinition: string) =>
  inTransaction(state, (tx) => handlers.DeregisterTaskDefinition.handle(tx, { taskDefinition }, aCall(), aWorld()))
const remove = (state: State, ...taskDefinitions: string[]) =>
  inTransaction(state, (tx) => handlers.DeleteTaskDefinitions.handle(tx, { taskDefinitions }, aCall(), aWorld()))
const describe = (state: State, taskDefinition: string, include: 'TAGS'[] = []) =>
  handlers.DescribeTaskDefinition.handle(state, { taskDefinition, include }, aCall(), aWorld())
const list = (state: State, input: Input<'ListTaskDefinitions'> = {}) =>
  handlers.ListTaskDefinitions.handle(state, input, aCall(), aWorld())
const families = (state: State, input: Input<'ListTaskDefinitionFamilies'> = {}) =>
  handlers.ListTaskDefinitionFamilies.handle(state, input, aCall(), aWorld()).families

const namesOf = (definition: TaskDefinition | undefined): string[] =>
  (definition?.requiresAttributes ?? []).map((attribute) => attribute.name ?? '').toSorted()

const legacy = (name: string): string => `com.amazonaws.ecs.capability.${name}`
const capability = (name: string): string => `ecs.capability.${name}`
const remoteApi = (version: string): string => legacy(`docker-remote-api.${version}`)

// ---- what ECS answered for a real task definition --------------------------------------------------------------------

const described = JSON.parse(
  readFileSync(new URL('../../test/support/described-task-definition.json', import.meta.url), 'utf8'),
) as TaskDefinition & { tags: [] }

/** As deploy tools do: the members that only ECS writes are taken out, and the rest is registered again. */
function reRegistration(): Registration {
  const onlyEcsWrites = [
    'taskDefinitionArn',
    'revision',
    'status',
    'requiresAttributes',
    'compatibilities',
    'registeredAt',
    'registeredBy',
    'tags',
  ]
  const given = Object.entries(described).filter(([member]) => !onlyEcsWrites.includes(member))
  return Object.fromEntries(given) as Registration
}

await t.test('a described task definition, registered again', async (group) => {
  const { taskDefinition } = register(aState(), reRegistration())

  await group.test('gives the same members, its seven attributes and both launch types', async (test) => {
    test.same(namesOf(taskDefinition), namesOf(described))
    test.equal(namesOf(taskDefinition).length, 7)
    test.same(taskDefinition?.compatibilities, ['EC2', 'FARGATE'])
    const {
      requiresAttributes: _a,
      registeredAt,
      registeredBy,
      taskDefinitionArn,
      revision,
      ...rest
    } = {
      ...taskDefinition,
    }
    const written = ['requiresAttributes', 'registeredAt', 'registeredBy', 'taskDefinitionArn', 'revision', 'tags']
    test.same(rest, Object.fromEntries(Object.entries(described).filter(([member]) => !written.includes(member))))
    test.equal(registeredAt, testNow)
    test.equal(registeredBy, aCall().principalArn)
    test.equal(taskDefinitionArn, arn('ecs-td:1'))
    test.equal(revision, 1)
  })

  await group.test('asks for less, as members are taken away', async (test) => {
    const [container] = reRegistration().containerDefinitions ?? []
    const { logConfiguration: _log, ...quiet } = container ?? {}
    const { taskRoleArn: _task, ...withoutTaskRole } = reRegistration()
    const { executionRoleArn: _execution, requiresCompatibilities: _fargate, ...withoutExecution } = reRegistration()
    const { networkMode: _mode, requiresCompatibilities: _also, ...onBridge } = reRegistration()
    const lacking = (input: Registration): string[] => {
      const left = namesOf(register(aState(), input).taskDefinition)
      return namesOf(described).filter((name) => !left.includes(name))
    }
    test.same(lacking({ ...reRegistration(), containerDefinitions: [quiet] }), [
      remoteApi('1.19'),
      remoteApi('1.29'),
      legacy('logging-driver.awslogs'),
      capability('execution-role-awslogs'),
    ])
    test.same(lacking(withoutTaskRole), [legacy('task-iam-role')])
    test.same(lacking(withoutExecution), [capability('execution-role-awslogs')])
    test.same(lacking(onBridge), [remoteApi('1.18'), capability('task-eni')])
    test.same(register(aState(), onBridge).taskDefinition?.compatibilities, ['EXTERNAL', 'EC2'])
    test.same(register(aState(), withoutExecution).taskDefinition?.compatibilities, ['EC2'], 'awslogs needs the role')
  })
})

// ---- required attributes ---------------------------------------------------------------------------------------------

const role = 'arn:aws:iam::123456789012:role/task'
const awslogs = { 'awslogs-group': 'g', 'awslogs-region': 'us-east-1' }
const ecrImage = '123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1'
const secretArn = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db'

const attributeCases: readonly [string, Registration, readonly string[]][] = [
  ['a plain container', aRegistration(), []],
  ['empty lists and maps', withContainer({ ulimits: [], dockerLabels: {}, dnsServers: [], dependsOn: [] }), []],
  ['a soft memory limit', withContainer({ memoryReservation: 32 }), [remoteApi('1.21')]],
  ['labels and ulimits', withContainer({ dockerLabels: { a: 'b' } }), [remoteApi('1.18')]],
  ['a user', withContainer({ user: 'nobody' }), [remoteApi('1.17')]],
  ['privilege', withContainer({ privileged: true }), [legacy('privileged-container')]],
  ['no privilege', withContainer({ privileged: false }), []],
  ['a stop timeout', withContainer({ stopTimeout: 5 }), [capability('container-ordering')]],
  [
    'a health check',
    withContainer({ healthCheck: { command: ['CMD', 'true'] } }),
    [remoteApi('1.24'), capability('container-health-check')],
  ],
  [
    'a health check with a start period',
    withContainer({ healthCheck: { command: ['CMD', 'true'], startPeriod: 1 } }),
    [remoteApi('1.29'), capability('container-health-check')],
  ],
  ['a restart policy', withContainer({ restartPolicy: { enabled: true } }), [capability('container-restart-policy')]],
  ['a restart policy that is off', withContainer({ restartPolicy: { enabled: false } }), []],
  [
    'a port range',
    withContainer({ portMappings: [{ containerPortRange: '8000-8010' }] }),
    [capability('network.container-port-range')],
  ],
  [
    'logs without options',
    withContainer({ logConfiguration: { logDriver: 'json-file' } }),
    [remoteApi('1.18'), legacy('logging-driver.json-file')],
  ],
  [
    'logs that may drop lines',
    withContainer({ logConfiguration: { logDriver: 'awslogs', options: { ...awslogs, mode: 'non-blocking' } } }),
    [remoteApi('1.19'), remoteApi('1.28'), legacy('logging-driver.awslogs')],
  ],
  ['an image in ECR', withContainer({ image: ecrImage }), [legacy('ecr-auth')]],
  [
    'an image in ECR with a role',
    { ...withContainer({ image: ecrImage }), executionRoleArn: role },
    [legacy('ecr-auth'), capability('execution-role-ecr-pull')],
  ],
  [
    'a role on the host network',
    aRegistration({ taskRoleArn: role, networkMode: 'host' }),
    [legacy('task-iam-role-network-host')],
  ],
  [
    'secrets of both kinds',
    {
      ...withContainer({
        secrets: [
          { name: 'A', valueFrom: '/parameter' },
          { name: 'B', valueFrom: secretArn },
        ],
      }),
      executionRoleArn: role,
    },
    [capability('secrets.asm.environment-variables'), capability('secrets.ssm.environment-variables')],
  ],
  ['an init process', withContainer({ linuxParameters: { initProcessEnabled: true } }), [remoteApi('1.25')]],
  ['swap', withContainer({ linuxParameters: { maxSwap: 0 } }), [remoteApi('1.32')]],
  ['tmpfs', withContainer({ linuxParameters: { tmpfs: [{ containerPath: '/t', size: 1 }] } }), [remoteApi('1.22')]],
  [
    'a docker volume',
    aRegistration({
      volumes: [{ name: 'data', dockerVolumeConfiguration: { scope: 'shared', driver: 'rexray/ebs:0.9' } }],
    }),
    [remoteApi('1.25'), capability('docker-plugin.rexray/ebs.0.9')],
  ],
  [
    "the host's processes",
    aRegistration({ pidMode: 'host' }),
    [remoteApi('1.18'), capability('pid-ipc-namespace-sharing')],
  ],
]

await t.test('required attributes follow from the members', async (test) => {
  for (const [what, input, expected] of attributeCases) {
    test.same(namesOf(register(aState(), input).taskDefinition), expected.toSorted(), what)
  }
})

await t.test('compatibilities', async (test) => {
  const cases: readonly [string, Registration, readonly string[]][] = [
    ['no network mode', aRegistration(), ['EXTERNAL', 'EC2']],
    ['host', aRegistration({ networkMode: 'host' }), ['EXTERNAL', 'EC2']],
    ['awsvpc without a size', aRegistration({ networkMode: 'awsvpc' }), ['EC2']],
    ['awsvpc with a size', aRegistration({ networkMode: 'awsvpc', cpu: '256', memory: '512' }), ['EC2', 'FARGATE']],
    [
      'managed instances, asked for',
      aRegistration({ networkMode: 'host', requiresCompatibilities: ['MANAGED_INSTANCES'] }),
      ['EXTERNAL', 'EC2', 'MANAGED_INSTANCES'],
    ],
    [
      'a long stop timeout',
      aRegistration({
        networkMode: 'awsvpc',
        cpu: '256',
        memory: '512',
        containerDefinitions: [aContainerDefinition({ stopTimeout: 121 })],
      }),
      ['EC2'],
    ],
  ]
  for (const [what, input, expected] of cases) {
    test.same(register(aState(), input).taskDefinition?.compatibilities, expected, what)
  }
})

// ---- defaults --------------------------------------------------------------------------------------------------------

await t.test('exactly the documented defaults are filled in', async (test) => {
  const health = { command: ['CMD', 'true'] }
  const ports = [{ containerPort: 80 }, { containerPort: 53, hostPort: 53, protocol: 'udp' as const }]
  const registered = (networkMode?: 'awsvpc' | 'bridge') =>
    register(aState(), {
      family: 'web',
      networkMode,
      cpu: '.5 vCPU',
      memory: '2 GB',
      containerDefinitions: [{ name: 'app', image: 'busybox', portMappings: ports, healthCheck: health }],
    }).taskDefinition
  test.same(registered()?.containerDefinitions, [
    {
      name: 'app',
      image: 'busybox',
      cpu: 0,
      essential: true,
      environment: [],
      mountPoints: [],
      volumesFrom: [],
      systemControls: [],
      portMappings: [
        { containerPort: 80, hostPort: 0, protocol: 'tcp' },
        { containerPort: 53, hostPort: 53, protocol: 'udp' },
      ],
      healthCheck: { command: ['CMD', 'true'], interval: 30, timeout: 5, retries: 3 },
    },
  ])
  test.match(registered(), { cpu: '512', memory: '2048', volumes: [], placementConstraints: [] })
  test.notOk(registered()?.networkMode, 'an absent network mode stays absent')
  test.match(registered('awsvpc')?.containerDefinitions?.[0]?.portMappings, [{ hostPort: 80 }, { hostPort: 53 }])
  test.match(registered('bridge'), { networkMode: 'bridge' })
})

// ---- the life of a revision ------------------------------------------------------------------------------------------

await t.test('revisions', async (group) => {
  await group.test('are found by family, revision and ARN', async (test) => {
    const state = aState()
    register(state, { ...aRegistration(), tags: [{ key: 'team', value: 'web' }] })
    register(state, aRegistration())
    test.equal(describe(state, 'web').taskDefinition?.revision, 2)
    test.equal(describe(state, 'web:1').taskDefinition?.revision, 1)
    test.equal(describe(state, arn('web:1')).taskDefinition?.revision, 1)
    test.same(describe(state, 'web:1', ['TAGS']).tags, [{ key: 'team', value: 'web' }])
    test.notOk('tags' in describe(state, 'web:1'), 'tags show only where they are asked for')
    const elsewhere = 'arn:aws:ecs:eu-west-1:123456789012:task-definition/web'
    for (const unknown of ['db', 'web:3', elsewhere, `${elsewhere}:1`, 'a b', '']) {
      test.equal(
        refusal(() => describe(state, unknown)),
        'ClientException: Unable to describe task definition.',
      )
      test.equal(
        refusal(() => requireTaskDefinition(state, unknown)),
        'ClientException: TaskDefinition not found.',
      )
    }
  })

  await group.test('become INACTIVE, and the family then means the newest that is ACTIVE', async (test) => {
    const state = aState()
    register(state, aRegistration())
    register(state, aRegistration())
    test.match(deregister(state, 'web:2').taskDefinition, { status: 'INACTIVE', deregisteredAt: testNow })
    test.match(deregister(state, 'web:2').taskDefinition, { status: 'INACTIVE' }, 'a repeat answers the same')
    test.equal(requireTaskDefinition(state, 'web').revision, 1)
    test.equal(requireTaskDefinition(state, 'web:2').status, 'INACTIVE')
    test.match(
      refusal(() => deregister(state, 'web')),
      /^InvalidParameterException: Revision is missing\./,
    )
    test.match(
      refusal(() => deregister(state, 'web:9')),
      /^ClientException: The specified task definition does not exist/,
    )
  })

  await group.test(
    'are deleted once nothing runs on them, and their numbers are never given out again',
    async (test) => {
      const used = aTaskDefinition({ revision: 1, status: 'INACTIVE' })
      const free = aTaskDefinition({ revision: 2, status: 'INACTIVE' })
      const active = aTaskDefinition({ revision: 3 })
      const task = aTask({ taskDefinitionArn: used.taskDefinitionArn, lastStatus: 'RUNNING' })
      const state = aState({ taskDefinition: [used, free, active], task: [task] })
      const decide = (table: 'task' | 'taskDefinition', key: string): void =>
        inTransaction(state, (tx) => taskDefinitionDecider.decide(tx, table, key, undefined, testNow, aWorld()))

      const answer = remove(state, 'web:1', 'web:2', 'web:3', 'web:4')
      test.match(answer.taskDefinitions, [
        { revision: 1, status: 'DELETE_IN_PROGRESS', deleteRequestedAt: testNow },
        { revision: 2, status: 'DELETE_IN_PROGRESS' },
      ])
      test.match(answer.failures, [
        { arn: arn('web:3'), reason: /still in ACTIVE status/ },
        { arn: arn('web:4'), reason: /does not exist/ },
      ])

      for (const key of ['web:1', 'web:2', 'web:3']) decide('taskDefinition', key)
      test.equal(state.get('taskDefinition', 'web:2'), undefined)
      test.same(list(state, { status: 'DELETE_IN_PROGRESS' }).taskDefinitionArns, [arn('web:1')])

      inTransaction(state, (tx) => tx.put('task', task.taskId, { ...task, lastStatus: 'STOPPED' }))
      decide('task', task.taskId)
      test.equal(state.get('taskDefinition', 'web:1'), undefined)

      deregister(state, 'web:3')
      remove(state, 'web:3')
      decide('taskDefinition', 'web:3')
      test.same(families(state), [], 'a family without revisions is not listed')
      test.equal(register(state, aRegistration()).taskDefinition?.revision, 4)
      test.match(
        refusal(() => remove(state)),
        /^InvalidParameterException: .*1 to 10/,
      )
      const eleven = Array.from({ length: 11 }, (_, index) => `web:${index + 1}`)
      test.match(
        refusal(() => remove(state, ...eleven)),
        /^InvalidParameterException: /,
      )
    },
  )
})

await t.test('lists', async (test) => {
  const revisions = Array.from({ length: 11 }, (_, index) => aTaskDefinition({ family: 'web', revision: index + 1 }))
  const others = [
    aTaskDefinition({ family: 'web-api' }),
    aTaskDefinition({ family: 'db', status: 'INACTIVE' }),
    aTaskDefinition({ family: 'db', revision: 2, status: 'DELETE_IN_PROGRESS' }),
  ]
  const state = aState({ taskDefinition: [...revisions, ...others] })

  const first = list(state, { maxResults: 10 })
  test.same(first.taskDefinitionArns?.slice(-2), [arn('web:9'), arn('web:10')], 'revisions count as numbers')
  const second = list(state, { maxResults: 10, nextToken: first.nextToken })
  test.same(second.taskDefinitionArns, [arn('web:11'), arn('web-api:1')])
  test.notOk(second.nextToken)
  const newest = list(state, { sort: 'DESC', familyPrefix: 'web', maxResults: 2 })
  test.same(newest.taskDefinitionArns, [arn('web:11'), arn('web:10')])
  const next = list(state, { sort: 'DESC', familyPrefix: 'web', maxResults: 1, nextToken: newest.nextToken })
  test.same(next.taskDefinitionArns, [arn('web:9')])
  test.same(list(state, { status: 'INACTIVE' }).taskDefinitionArns, [arn('db:1')])

  test.same(families(state), ['db', 'web', 'web-api'])
  test.same(families(state, { status: 'ACTIVE', familyPrefix: 'web' }), ['web', 'web-api'])
  test.same(families(state, { status: 'INACTIVE' }), ['db'])
})
