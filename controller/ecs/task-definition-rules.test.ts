import { readFileSync } from 'node:fs'
import t from 'tap'
import { ecsModel } from '../../proto/model/model.ts'
import type { ContainerDefinition } from '../../proto/model/types.ts'
import { aCall, aState, aWorld, inTransaction } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import {
  aContainerDefinition,
  aRegistration,
  onFargate,
  type Registration,
  withContainer,
  withContainers,
} from '../../test/support/registrations.ts'
import { isFargateSize, parseCpuUnits, parseMemoryMiB } from '../decide/task-size.ts'
import type { State } from '../state/state.ts'
import { taskDefinitionHandlers as handlers } from './task-definitions.ts'

const register = (state: State, input: Registration) =>
  inTransaction(state, (tx) => handlers.RegisterTaskDefinition.handle(tx, input, aCall(), aWorld()))

const role = 'arn:aws:iam::123456789012:role/task'
const awslogs = { 'awslogs-group': 'g', 'awslogs-region': 'us-east-1' }
const secretArn = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf'
const withSecret = (valueFrom: string): Registration => ({
  ...withContainer({ secrets: [{ name: 'A', valueFrom }] }),
  executionRoleArn: role,
})
const healthy = { command: ['CMD', 'true'] }
const sidecar = (over: Partial<ContainerDefinition> = {}): ContainerDefinition =>
  aContainerDefinition({ name: 'sidecar', essential: false, ...over })
const needs = (containerName: string, condition: 'START' | 'COMPLETE' | 'SUCCESS' | 'HEALTHY' = 'START') => ({
  dependsOn: [{ containerName, condition }],
})
const mounted = (sourceVolume: string, containerPath = '/data') => ({ mountPoints: [{ sourceVolume, containerPath }] })

const refusals: readonly [string, Registration, string][] = [
  ['no family', aRegistration({ family: undefined }), 'Family should not be null or empty.'],
  ['a family with a space', aRegistration({ family: 'my web' }), "Family contains invalid characters: 'my web'."],
  ['no container', withContainers(), 'Container list cannot be empty.'],
  [
    'eleven containers',
    withContainers(...Array.from({ length: 11 }, (_, index) => aContainerDefinition({ name: `c${index}` }))),
    'A task definition can have at most 10 containers, and has 11.',
  ],
  ['a container without a name', withContainer({ name: '' }), 'Container.name should not be null or empty.'],
  ['a container name with a dot', withContainer({ name: 'a.b' }), "Container.name 'a.b' takes 1 to 255"],
  [
    'a name twice',
    withContainers(aContainerDefinition(), aContainerDefinition()),
    "Container.name must be unique: 'app' is used more than once.",
  ],
  ['no image', withContainer({ image: undefined }), 'Container.image should not be null or empty.'],
  ['nothing essential', withContainer({ essential: false }), "Task definition doesn't have any essential container."],
  [
    'no memory at all',
    withContainer({ memory: undefined }),
    "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
  ],
  [
    'memory below the least',
    withContainer({ memory: 5 }),
    "Invalid 'memory' setting for container 'app'. It takes 6 MiB or more",
  ],
  [
    'a reservation above the limit',
    withContainer({ memory: 64, memoryReservation: 65 }),
    "Invalid setting for container 'app'. 'memory' must be greater than 'memoryReservation'.",
  ],
  [
    'a container larger than its task',
    aRegistration({ memory: '32' }),
    "Invalid 'memory' setting for container 'app'. It cannot be greater than the task's 'memory', 32 MiB.",
  ],
  [
    'reservations larger than their task',
    aRegistration({
      memory: '100',
      containerDefinitions: [aContainerDefinition({ memoryReservation: 60 }), sidecar({ memoryReservation: 60 })],
    }),
    "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.",
  ],
  [
    'shares larger than their task',
    aRegistration({ cpu: '256', containerDefinitions: [aContainerDefinition({ cpu: 200 }), sidecar({ cpu: 57 })] }),
    "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
  ],
  ['a CPU that is no number', aRegistration({ cpu: 'much' }), "Invalid 'cpu' setting for task."],
  ['less CPU than ECS gives', aRegistration({ cpu: '64' }), "Invalid 'cpu' setting for task."],
  ['memory that is no number', aRegistration({ memory: '1 TB' }), "Invalid 'memory' setting for task."],
  ['negative shares', withContainer({ cpu: -1 }), "Invalid 'cpu' setting for container 'app'."],
  [
    'a short start timeout',
    withContainer({ startTimeout: 1 }),
    "Granular start timeout on container 'app' must be at least 2",
  ],
  ['a negative stop timeout', withContainer({ stopTimeout: -1 }), "Invalid 'stopTimeout' setting for container 'app'."],
  [
    'container port 0',
    withContainer({ portMappings: [{ containerPort: 0 }] }),
    "Invalid 'containerPort' setting for container 'app'.",
  ],
  [
    'no container port',
    withContainer({ portMappings: [{ hostPort: 80 }] }),
    "Invalid 'containerPort' setting for container 'app'.",
  ],
  [
    'host port 65536',
    withContainer({ portMappings: [{ containerPort: 80, hostPort: 65_536 }] }),
    "Invalid 'hostPort' setting for container 'app'.",
  ],
  ...(['awsvpc', 'host'] as const).map((networkMode): [string, Registration, string] => [
    `two different ports in ${networkMode}`,
    { ...withContainer({ portMappings: [{ containerPort: 80, hostPort: 81 }] }), networkMode },
    `When networkMode=${networkMode}, the host ports and container ports in port mappings must match.`,
  ]),
  [
    'ports without a network',
    { ...withContainer({ portMappings: [{ containerPort: 80 }] }), networkMode: 'none' },
    'Port mappings are not supported when networkMode=none.',
  ],
  [
    'one host port twice',
    withContainers(
      aContainerDefinition({ portMappings: [{ containerPort: 80, hostPort: 80 }] }),
      sidecar({ portMappings: [{ containerPort: 81, hostPort: 80 }] }),
    ),
    "Invalid 'portMappings' setting for container 'sidecar'. Port 80/tcp is already mapped by container 'app'.",
  ],
  [
    'a range backwards',
    withContainer({ portMappings: [{ containerPortRange: '90-80' }] }),
    "Invalid 'containerPortRange' setting for container 'app'.",
  ],
  [
    'a range beside a port',
    withContainer({ portMappings: [{ containerPortRange: '80-90', containerPort: 80 }] }),
    "Invalid 'containerPortRange' setting for container 'app'. It stands alone",
  ],
  [
    'one port name twice',
    withContainer({
      portMappings: [
        { containerPort: 80, name: 'http' },
        { containerPort: 81, name: 'http' },
      ],
    }),
    "Invalid 'portMappings' setting for container 'app'. The name 'http' is used more than once.",
  ],
  [
    'links outside of bridge',
    { ...withContainers(aContainerDefinition({ links: ['sidecar'] }), sidecar()), networkMode: 'host' },
    'Links are not supported when networkMode=host.',
  ],
  ['a link to nobody', withContainer({ links: ['db'] }), "Invalid 'links' setting for container 'app'. 'db' is not"],
  [
    'volumes from nobody',
    withContainer({ volumesFrom: [{ sourceContainer: 'db' }] }),
    "Invalid 'volumesFrom' setting for container 'app'. Source container 'db'",
  ],
  ['a dependency on nobody', withContainer(needs('db')), "Cannot depend on container + 'db' because it does not exist"],
  [
    'the end of an essential container awaited',
    withContainers(aContainerDefinition(), sidecar(needs('app', 'COMPLETE'))),
    'A dependency container with SUCCESS or COMPLETE condition cannot be an essential container',
  ],
  [
    'health awaited without a check',
    withContainers(aContainerDefinition(needs('sidecar', 'HEALTHY')), sidecar()),
    'A dependency container with HEALTHY condition must have health check configured',
  ],
  [
    'a cycle',
    withContainers(
      aContainerDefinition(needs('sidecar')),
      sidecar(needs('third')),
      sidecar({ name: 'third', ...needs('app') }),
    ),
    'Container dependencies cannot contain a cycle: app -> sidecar -> third -> app.',
  ],
  [
    'a cycle through a link',
    withContainers(aContainerDefinition(needs('sidecar')), sidecar({ links: ['app:web'] })),
    'Container dependencies cannot contain a cycle: app -> sidecar -> app.',
  ],
  ['a dependency on itself', withContainer(needs('app')), 'Container dependencies cannot contain a cycle: app -> app.'],
  ['a mount of no volume', withContainer(mounted('data')), "Unknown volume 'data'."],
  [
    'a volume twice',
    aRegistration({ volumes: [{ name: 'data' }, { name: 'data' }] }),
    "Volume names must be unique: 'data'",
  ],
  [
    'a blank host path',
    aRegistration({ volumes: [{ name: 'data', host: { sourcePath: ' ' } }] }),
    'host.sourcePath should not be blank.',
  ],
  [
    'a volume of two kinds',
    aRegistration({
      volumes: [{ name: 'data', host: { sourcePath: '/x' }, dockerVolumeConfiguration: { scope: 'task' } }],
    }),
    "Volume 'data' can have only one kind of source.",
  ],
  [
    'one path mounted twice',
    aRegistration({
      volumes: [{ name: 'a' }, { name: 'b' }],
      containerDefinitions: [
        aContainerDefinition({ mountPoints: [...mounted('a').mountPoints, ...mounted('b').mountPoints] }),
      ],
    }),
    "'/data' is mounted more than once.",
  ],
  [
    'a health check every second',
    withContainer({ healthCheck: { ...healthy, interval: 1 } }),
    "Invalid 'healthCheck.interval' setting for container 'app'. It takes 5 to 300.",
  ],
  [
    'a health check without a command',
    withContainer({ healthCheck: { command: ['CMD'] } }),
    "Invalid 'healthCheck.command' setting",
  ],
  [
    'a restart every second',
    withContainer({ restartPolicy: { enabled: true, restartAttemptPeriod: 1 } }),
    "Invalid 'restartPolicy.restartAttemptPeriod' setting for container 'app'. It takes 60 to 1800 seconds.",
  ],
  [
    'a variable without a name',
    withContainer({ environment: [{ value: 'x' }] }),
    "Invalid 'environment' setting for container 'app'.",
  ],
  [
    "a variable named 'A=B'",
    withContainer({ environment: [{ name: 'A=B' }] }),
    "Invalid 'environment' setting for container 'app'.",
  ],
  [
    'a secret named as a variable',
    {
      ...withContainer({ environment: [{ name: 'A', value: '1' }], secrets: [{ name: 'A', valueFrom: '/a' }] }),
      executionRoleArn: role,
    },
    'The secret name must be unique and not shared with any new or existing environment variables set on the container, such as',
  ],
  [
    'secrets without a role',
    withContainer({ secrets: [{ name: 'A', valueFrom: '/a' }] }),
    "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
  ],
  [
    'a secret of another service',
    withSecret('arn:aws:sqs:us-east-1:123456789012:queue'),
    "The valueFrom of 'A' is neither a secret of Secrets Manager nor a parameter of Parameter Store",
  ],
  ['two colons behind a secret', withSecret(`${secretArn}:password:`), 'alone or with :JSON-KEY:VERSION-STAGE'],
  [
    'a stage and an id of a version',
    withSecret(`${secretArn}::AWSCURRENT:0123`),
    "The valueFrom of 'A' names a version stage and a version id",
  ],
  ['a parameter with a space', withSecret('/db/pass word'), "The valueFrom of 'A' is no name of a parameter"],
  [
    'a log option that has two values',
    {
      ...withContainer({
        logConfiguration: {
          logDriver: 'splunk',
          options: { 'splunk-token': 'x' },
          secretOptions: [{ name: 'splunk-token', valueFrom: '/t' }],
        },
      }),
      executionRoleArn: role,
    },
    "Option 'splunk-token' is given in options as well",
  ],
  [
    'a file of variables that is none',
    {
      ...withContainer({ environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/web.txt' }] }),
      executionRoleArn: role,
    },
    "Each value is the ARN of an S3 object whose name ends in '.env'",
  ],
  [
    'a file by its URL',
    {
      ...withContainer({ environmentFiles: [{ type: 's3', value: 's3://vars/web.env' }] }),
      executionRoleArn: role,
    },
    'Each value is the ARN of an S3 object',
  ],
  [
    'a file on a detour',
    {
      ...withContainer({ environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/web/../other.env' }] }),
      executionRoleArn: role,
    },
    "has no empty parts here, and none that is '.' or '..'",
  ],
  [
    'a file of variables and nobody to fetch it',
    withContainer({ environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/web.env' }] }),
    "When you are specifying container environment files, you must also specify a value for 'executionRoleArn'.",
  ],
  [
    'a private registry and nobody to log in',
    withContainer({ repositoryCredentials: { credentialsParameter: secretArn } }),
    'Private repository authentication requires that the task definition specify a value for executionRoleArn.',
  ],
  [
    'a login with spaces',
    { ...withContainer({ repositoryCredentials: { credentialsParameter: 'a b' } }), executionRoleArn: role },
    "The repository credentials parameter specified for container 'app' is invalid. Parameter names can include up to 255",
  ],
  [
    'awslogs without a group',
    withContainer({ logConfiguration: { logDriver: 'awslogs' } }),
    'Log driver awslogs requires options: awslogs-region, awslogs-group',
  ],
  [
    'awsfirelens without a router',
    withContainer({ logConfiguration: { logDriver: 'awsfirelens' } }),
    'When the awsfirelens log driver is specified',
  ],
  [
    'a soft limit above the hard one',
    withContainer({ ulimits: [{ name: 'nofile', softLimit: 2, hardLimit: 1 }] }),
    "Invalid 'ulimits' setting for container 'app'. The soft limit of 'nofile'",
  ],
  [
    'one limit twice',
    withContainer({
      ulimits: [
        { name: 'nofile', softLimit: 1, hardLimit: 1 },
        { name: 'nofile', softLimit: 1, hardLimit: 1 },
      ],
    }),
    "Limit 'nofile' is given more than once.",
  ],
  [
    'a swappiness of 101',
    withContainer({ linuxParameters: { swappiness: 101 } }),
    "Invalid 'linuxParameters.swappiness' setting",
  ],
  [
    'a hostname in awsvpc',
    { ...withContainer({ hostname: 'web' }), networkMode: 'awsvpc' },
    "Invalid 'hostname' setting for container 'app'. It is not supported when networkMode=awsvpc.",
  ],
  [
    'DNS servers in awsvpc',
    { ...withContainer({ dnsServers: ['10.0.0.1'] }), networkMode: 'awsvpc' },
    "Invalid 'dnsServers' setting for container 'app'. It is not supported when networkMode=awsvpc.",
  ],
  [
    "a setting of the host's own message queues",
    { ...withContainer({ systemControls: [{ namespace: 'fs.mqueue.msg_max', value: '9' }] }), ipcMode: 'host' },
    "Invalid 'systemControls' setting for container 'app'. 'fs.mqueue.msg_max' is not supported when ipcMode=host.",
  ],
  [
    'swap beside no limit',
    withContainer({ memory: undefined, memoryReservation: 64, linuxParameters: { maxSwap: 64 } }),
    "Invalid 'linuxParameters.maxSwap' setting for container 'app'. It needs a limit of 'memory'",
  ],
  [
    "Windows' own security option",
    withContainer({ dockerSecurityOptions: ['credentialspec:file://x.json'] }),
    'credentialspec is for Windows containers, and all hosts run Linux.',
  ],
  [
    'half a GPU',
    withContainer({ resourceRequirements: [{ type: 'GPU', value: '0.5' }] }),
    "The number of GPUs is a whole number, and is '0.5'.",
  ],
  [
    'a shared GPU',
    withContainer({
      resourceRequirements: [{ type: 'GPU', value: '1', sharingStrategy: { nvidiaMps: { memory: 64 } } }],
    }),
    'sharingStrategy is not available here: a GPU belongs to one container.',
  ],
  [
    'an accelerator that is no GPU',
    withContainer({ resourceRequirements: [{ type: 'InferenceAccelerator', value: 'x' }] }),
    'InferenceAccelerator is not available here: only GPU is.',
  ],
  [
    'App Mesh',
    aRegistration({ networkMode: 'awsvpc', proxyConfiguration: { containerName: 'app' } }),
    'proxyConfiguration is not supported: AWS App Mesh has ended.',
  ],
  [
    'Elastic Inference',
    aRegistration({ inferenceAccelerators: [{ deviceName: 'a', deviceType: 'eia1.medium' }] }),
    'inferenceAccelerators are not supported: Amazon Elastic Inference has ended.',
  ],
  [
    'a disk of 20 GiB',
    aRegistration({ ephemeralStorage: { sizeInGiB: 20 } }),
    'ephemeralStorage.sizeInGiB takes 21 to 200, and is 20.',
  ],
  [
    'a constraint without an expression',
    aRegistration({ placementConstraints: [{ type: 'memberOf' }] }),
    'placementConstraints.expression should not be null or empty.',
  ],
  ['a role that is none', aRegistration({ taskRoleArn: 'arn:aws:iam::1:user/me' }), 'Role is not valid'],
  [
    'a definition above 64 KiB',
    withContainer({ environment: [{ name: 'BIG', value: 'x'.repeat(65_536) }] }),
    "Max allowed length is '65536' bytes",
  ],
  ['Fargate on a bridge', onFargate({ networkMode: 'bridge' }), 'Fargate only supports network mode ‘awsvpc’.'],
  ['Fargate without CPU', onFargate({ cpu: undefined }), "Fargate requires that 'cpu' be defined at the task level."],
  [
    'Fargate without memory',
    onFargate({ memory: undefined }),
    "Fargate requires that 'memory' be defined at the task level.",
  ],
  [
    'a size that Fargate has not',
    onFargate({ memory: '600' }),
    'No Fargate configuration exists for given values: 256 CPU, 600 memory.',
  ],
  [
    'Fargate logs without a role',
    onFargate({}, { logConfiguration: { logDriver: 'awslogs', options: awslogs } }),
    'Fargate requires task definition to have execution role ARN to support log driver awslogs.',
  ],
  [
    'Fargate with another log driver',
    onFargate({}, { logConfiguration: { logDriver: 'json-file' } }),
    'json-file is not a valid log driver. Must be one of [awslogs,splunk,awsfirelens]',
  ],
  [
    'Fargate with privilege',
    onFargate({}, { privileged: true }),
    'Fargate compatible task definitions do not support privileged.',
  ],
  [
    'external instances with awsvpc',
    aRegistration({ networkMode: 'awsvpc', requiresCompatibilities: ['EXTERNAL'] }),
    'External launch type does not support network mode awsvpc.',
  ],
]

await t.test('RegisterTaskDefinition refuses, in words that name the member', async (test) => {
  for (const [what, input, message] of refusals) {
    const state = aState()
    const answer = refusal(() => register(state, input))
    test.ok(answer.startsWith('ClientException: ') && answer.includes(message), what, { answer, message })
    test.equal(state.all('family').length + state.all('taskDefinition').length, 0, 'nothing of it remains')
  }
})

await t.test('RegisterTaskDefinition takes what comes close to a rule', async (test) => {
  const taken: readonly [string, Registration][] = [
    ['a secret by its ARN', withSecret(secretArn)],
    ['a JSON key of a secret', withSecret(`${secretArn}:password::`)],
    ['a stage of a secret', withSecret(`${secretArn}:password:AWSPREVIOUS:`)],
    ['a version of a secret', withSecret(`${secretArn}:::9d4cb84b`)],
    ['a parameter by its ARN', withSecret('arn:aws:ssm:us-east-1:123456789012:parameter/db/password')],
    ['a parameter by its name', withSecret('/db/password')],
    [
      'a file of variables and the login of a registry',
      {
        ...withContainer({
          environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/prod/web.env' }],
          repositoryCredentials: { credentialsParameter: 'registry-login' },
        }),
        executionRoleArn: 'executor',
      },
    ],
    ['the least Fargate task', onFargate()],
    ['memory for the task alone', { ...withContainer({ memory: undefined }), memory: '64' }],
    ['equal limits', withContainer({ memory: 64, memoryReservation: 64 })],
    ['two dynamic ports', withContainer({ portMappings: [{ containerPort: 80 }, { containerPort: 80 }] })],
    [
      'one port of two protocols',
      withContainer({
        portMappings: [
          { containerPort: 53, hostPort: 53 },
          { containerPort: 53, hostPort: 53, protocol: 'udp' },
        ],
      }),
    ],
    [
      'two that need a third',
      withContainers(aContainerDefinition(needs('c')), sidecar(needs('c')), sidecar({ name: 'c' })),
    ],
    ['a mounted volume', { ...withContainer(mounted('data')), volumes: [{ name: 'data', host: {} }] }],
    ['a limit without an end', withContainer({ ulimits: [{ name: 'nofile', softLimit: 5, hardLimit: -1 }] })],
  ]
  for (const [what, input] of taken)
    test.equal(
      refusal(() => register(aState(), input)),
      'accepted',
      what,
    )
})

await t.test('sizes are read in every form of ECS', async (test) => {
  const cpu = {
    '256': 256,
    '1 vCPU': 1024,
    '.5 vCPU': 512,
    '0.25vcpu': 256,
    '1.5': undefined,
    '1 GHz': undefined,
    '': undefined,
  }
  for (const [text, units] of Object.entries(cpu)) test.equal(parseCpuUnits(text), units, `cpu '${text}'`)
  const memory = {
    '512': 512,
    '1GB': 1024,
    '2 GB': 2048,
    '.5 gb': 512,
    '1 TB': undefined,
    '-1': undefined,
    '0': undefined,
  }
  for (const [text, mebibytes] of Object.entries(memory))
    test.equal(parseMemoryMiB(text), mebibytes, `memory '${text}'`)
  const pairs = [
    [256, 512, true],
    [256, 1536, false],
    [512, 512, false],
    [4096, 30_720, true],
    [8192, 20_480, true],
    [8192, 18_432, false],
    [16_384, 122_880, true],
    [300, 1024, false],
  ] as const
  for (const [units, mebibytes, isOffered] of pairs) {
    test.equal(isFargateSize(units, mebibytes), isOffered, `${units} with ${mebibytes}`)
  }
})

/** Every member of a shape, those of its structures and lists of them included: `portMappings.hostPort`. */
function membersOf(shape: string, before = ''): readonly string[] {
  return Object.entries(ecsModel.structures[shape]?.members ?? {}).flatMap(([name, type]) => {
    const of = ecsModel.lists[type] ?? type
    return of in ecsModel.structures ? membersOf(of, `${before}${name}.`) : [`${before}${name}`]
  })
}

await t.test('docs/task-definition-members.md says of each member what becomes of it', async (test) => {
  const page = readFileSync(new URL('../../docs/task-definition-members.md', import.meta.url), 'utf8')
  const states = new Map<string, string>()
  let before = ''
  for (const line of page.split('\n')) {
    if (line.startsWith('## ')) before = line === '## Containers' ? 'containerDefinitions.' : ''
    const [, members = '', state = '', how] = line.split('|').map((cell) => cell.trim())
    // A row has three cells, each with a bar on both sides.
    if (how === undefined || line.split('|').length !== 5) continue
    for (const [, member = ''] of members.matchAll(/`([^`]+)`/g)) {
      test.notOk(states.has(`${before}${member}`), `${member} has one row`)
      states.set(`${before}${member}`, state)
    }
  }
  const members = membersOf('RegisterTaskDefinitionRequest')
  test.ok(members.length > 100, 'the model was read')
  for (const member of members) {
    test.match(states.get(member), /^(?:done|refused|not placed|done, or not placed)$/, `the row of ${member}`)
  }
})
