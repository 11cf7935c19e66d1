import t from 'tap'
import type { PayloadContainer } from '../../proto/acs.ts'
import type { ContainerDefinition } from '../../proto/model/types.ts'
import { aContainer, aTask, aTaskDefinition } from '../../test/support/builders.ts'
import type { TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import { payloadTask } from './payload.ts'
import { requiresAttributes } from './requires-attributes.ts'

const fileSystems = { get: () => undefined }
const ours = { gantryProtocol: true, region: 'us-east-1', fileSystems }
const official = { gantryProtocol: false, region: 'us-east-1', fileSystems }

/** One container `app` in a definition of its own, and what an agent is told about it. */
function told(
  container: Partial<ContainerDefinition>,
  over: Partial<TaskDefinitionRow> = {},
  task: Partial<TaskRow> = {},
) {
  const unregistered = aTaskDefinition({
    containerDefinitions: [{ name: 'app', image: 'busybox', cpu: 0, memory: 64, essential: true, ...container }],
    ...over,
  })
  const definition = { ...unregistered, requiresAttributes: requiresAttributes(unregistered) }
  const payload = payloadTask(aTask({ taskId: '2'.repeat(32), ...task }), definition, ours)
  const [only] = payload.containers
  if (only === undefined) throw new Error('The payload holds no container.')
  return { payload, container: only, config: parsed(only, 'config'), hostConfig: parsed(only, 'hostConfig') }
}

function roleArn(name: string): string {
  return `arn:aws:iam::123456789012:role/${name}`
}

function parsed(container: PayloadContainer, part: 'config' | 'hostConfig'): Record<string, unknown> {
  return JSON.parse(container.dockerConfig[part]) as Record<string, unknown>
}

/** The task and definition behind the recorded payload of `web` with its `init` container. */
function recorded(): { task: TaskRow; definition: TaskDefinitionRow } {
  const task = aTask({
    launchType: 'EXTERNAL',
    group: 'service:hello',
    lastStatus: 'PENDING',
    containers: [
      aContainer({ name: 'init', containerArn: 'arn:init', essential: false }),
      aContainer({ name: 'web', containerArn: 'arn:web' }),
    ],
  })
  const definition = aTaskDefinition({
    family: 'hello',
    revision: 7,
    networkMode: 'bridge',
    cpu: '256',
    memory: '64',
    containerDefinitions: [
      {
        name: 'init',
        image: 'lab/busybox:1',
        essential: false,
        cpu: 0,
        memory: 32,
        memoryReservation: 16,
        command: ['true'],
      },
      {
        name: 'web',
        image: 'lab/busybox:1',
        essential: true,
        cpu: 0,
        memory: 32,
        memoryReservation: 16,
        command: ['httpd', '-f'],
        environment: [{ name: 'GREETING', value: 'hello' }],
        portMappings: [{ containerPort: 8080, hostPort: 0, protocol: 'tcp' }],
        dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }],
        stopTimeout: 10,
        dockerLabels: { team: 'web' },
        healthCheck: { command: ['CMD', '/bin/busybox', 'true'], interval: 5, timeout: 2, retries: 3 },
      },
    ],
  })
  return { task, definition }
}

await t.test('a task is told as in the recorded conversation of the official agent', async (test) => {
  const { task, definition } = recorded()
  const hostConfig = { CapAdd: [], CapDrop: [], NetworkMode: 'bridge', MemoryReservation: 16_777_216 }
  const payload = payloadTask(task, definition, official)
  test.same(payload, {
    arn: task.taskArn,
    taskClusterArn: task.clusterArn,
    family: 'hello',
    version: '7',
    desiredStatus: 'RUNNING',
    networkMode: 'bridge',
    launchType: 'EXTERNAL',
    cpu: 0.25,
    memory: 64,
    group: 'service:hello',
    serviceName: 'hello',
    containers: [
      {
        name: 'init',
        containerArn: 'arn:init',
        image: 'lab/busybox:1',
        essential: false,
        cpu: 0,
        memory: 32,
        command: ['true'],
        overrides: '{}',
        environment: { AWS_EXECUTION_ENV: 'AWS_ECS_EC2' },
        links: [],
        mountPoints: [],
        portMappings: [],
        volumesFrom: [],
        dockerConfig: { version: '1.21', config: '{}', hostConfig: JSON.stringify(hostConfig) },
      },
      {
        name: 'web',
        containerArn: 'arn:web',
        image: 'lab/busybox:1',
        essential: true,
        cpu: 0,
        memory: 32,
        command: ['httpd', '-f'],
        overrides: '{}',
        environment: { AWS_EXECUTION_ENV: 'AWS_ECS_EC2', GREETING: 'hello' },
        links: [],
        mountPoints: [],
        portMappings: [{ containerPort: 8080, hostPort: 0, protocol: 'tcp' }],
        volumesFrom: [],
        dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }],
        stopTimeout: 10,
        healthCheckType: 'docker',
        dockerConfig: {
          version: '1.21',
          config: JSON.stringify({
            Labels: { team: 'web' },
            Healthcheck: {
              Test: ['CMD', '/bin/busybox', 'true'],
              Interval: 5_000_000_000,
              Timeout: 2_000_000_000,
              Retries: 3,
            },
          }),
          hostConfig: JSON.stringify(hostConfig),
        },
      },
    ],
    volumes: [],
  })
  test.same(payloadTask(task, definition, ours).gantry, { knownStatus: 'PENDING' })
  test.notOk('gantry' in payload, 'the official agent is sent nothing of ours')
})

await t.test(
  'an agent is told the role of a task, that of its overrides before that of its definition',
  async (test) => {
    test.equal(told({}, { taskRoleArn: roleArn('worker') }).payload.gantry?.taskRoleArn, roleArn('worker'))
    const overrides = { taskRoleArn: roleArn('other') }
    test.equal(
      told({}, { taskRoleArn: roleArn('worker') }, { overrides }).payload.gantry?.taskRoleArn,
      roleArn('other'),
    )
    test.equal(told({}).payload.gantry?.taskRoleArn, undefined)
  },
)

await t.test('every member that Docker knows reaches its config', async (group) => {
  await group.test('config', async (test) => {
    const { config } = told({
      user: 'nobody',
      workingDirectory: '/srv',
      hostname: 'web',
      pseudoTerminal: true,
      interactive: true,
      disableNetworking: true,
      dockerLabels: { team: 'web' },
      healthCheck: { command: ['CMD-SHELL', 'true'], startPeriod: 10 },
    })
    test.same(config, {
      Labels: { team: 'web' },
      Healthcheck: {
        Test: ['CMD-SHELL', 'true'],
        Interval: 30_000_000_000,
        Timeout: 5_000_000_000,
        Retries: 3,
        StartPeriod: 10_000_000_000,
      },
      User: 'nobody',
      WorkingDir: '/srv',
      Hostname: 'web',
      Tty: true,
      OpenStdin: true,
      NetworkDisabled: true,
    })
  })

  await group.test('hostConfig', async (test) => {
    const { hostConfig, container } = told(
      {
        memoryReservation: 32,
        privileged: true,
        readonlyRootFilesystem: true,
        dnsServers: ['10.0.0.2'],
        dnsSearchDomains: ['lab'],
        extraHosts: [{ hostname: 'db', ipAddress: '10.0.0.3' }],
        dockerSecurityOptions: ['no-new-privileges'],
        ulimits: [{ name: 'nofile', softLimit: 10, hardLimit: 20 }],
        systemControls: [{ namespace: 'net.core.somaxconn', value: '512' }],
        logConfiguration: { logDriver: 'json-file', options: { 'max-size': '1m' } },
        linuxParameters: {
          capabilities: { add: ['NET_ADMIN'], drop: ['CHOWN'] },
          devices: [
            { hostPath: '/dev/fuse' },
            { hostPath: '/dev/kvm', containerPath: '/dev/vm', permissions: ['read', 'mknod'] },
          ],
          initProcessEnabled: true,
          sharedMemorySize: 2,
          tmpfs: [{ containerPath: '/run', size: 5, mountOptions: ['noexec'] }],
          maxSwap: 36,
          swappiness: 10,
        },
      },
      { networkMode: 'host' },
    )
    test.same(hostConfig, {
      CapAdd: ['NET_ADMIN'],
      CapDrop: ['CHOWN'],
      NetworkMode: 'host',
      MemoryReservation: 33_554_432,
      Privileged: true,
      ReadonlyRootfs: true,
      Dns: ['10.0.0.2'],
      DnsSearch: ['lab'],
      ExtraHosts: ['db:10.0.0.3'],
      SecurityOpt: ['no-new-privileges'],
      Ulimits: [{ Name: 'nofile', Soft: 10, Hard: 20 }],
      Sysctls: { 'net.core.somaxconn': '512' },
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1m' } },
      Devices: [
        { PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rwm' },
        { PathOnHost: '/dev/kvm', PathInContainer: '/dev/vm', CgroupPermissions: 'rm' },
      ],
      Init: true,
      ShmSize: 2_097_152,
      Tmpfs: { '/run': 'noexec,size=5m' },
      MemorySwap: 104_857_600,
      MemorySwappiness: 10,
    })
    test.equal(container.dockerConfig.version, '1.32', 'the newest Docker API that the definition requires')
  })

  await group.test("a log driver's mode: the definition's own, else the account's, else Docker's", async (test) => {
    const modeOf = (options: Record<string, string> | undefined, logDriverMode: TaskRow['logDriverMode']) => {
      const logConfiguration = { logDriver: 'json-file' as const, ...(options && { options }) }
      return told({ logConfiguration }, {}, { logDriverMode }).hostConfig['LogConfig']
    }
    test.same(modeOf(undefined, undefined), { Type: 'json-file', Config: {} })
    test.same(modeOf(undefined, 'non-blocking'), { Type: 'json-file', Config: { mode: 'non-blocking' } })
    const sized = { 'max-buffer-size': '1m' }
    test.same(modeOf(sized, 'non-blocking'), { Type: 'json-file', Config: { mode: 'non-blocking', ...sized } })
    test.same(modeOf({ mode: 'blocking' }, 'non-blocking'), { Type: 'json-file', Config: { mode: 'blocking' } })
    const unnamed = told({}, {}, { logDriverMode: 'non-blocking' }).hostConfig
    test.notOk('LogConfig' in unnamed, 'where no driver is named, ECS leaves the mode alone too')
  })

  await group.test('and what is not given is left to the image and the engine', async (test) => {
    const { config, hostConfig } = told({ dnsServers: [], ulimits: [], linuxParameters: { swappiness: 5 } })
    test.same(config, {})
    test.same(hostConfig, { CapAdd: [], CapDrop: [], NetworkMode: 'bridge' })
  })
})

await t.test('overrides', async (group) => {
  const definition = { cpu: '256', memory: '512' }
  const container = {
    command: ['serve'],
    cpu: 10,
    memoryReservation: 32,
    environment: [
      { name: 'KEEP', value: '1' },
      { name: 'CHANGE', value: 'old' },
      { name: 'AWS_EXECUTION_ENV', value: 'lab' },
    ],
  }

  await group.test('replace sizes, command and variables', async (test) => {
    const overrides = {
      cpu: '512',
      memory: '1024',
      containerOverrides: [
        {
          name: 'app',
          command: ['migrate', '--all'],
          cpu: 20,
          memory: 128,
          memoryReservation: 64,
          environment: [
            { name: 'CHANGE', value: 'new' },
            { name: 'ADD', value: '' },
          ],
        },
      ],
    }
    const { payload, container: app, hostConfig } = told(container, definition, { overrides })
    test.match(payload, { cpu: 0.5, memory: 1024 })
    test.match(app, { command: ['migrate', '--all'], cpu: 20, memory: 128 })
    test.same(JSON.parse(app.overrides), { command: ['migrate', '--all'] }, 'command and nothing else')
    test.same(app.environment, { KEEP: '1', CHANGE: 'new', AWS_EXECUTION_ENV: 'lab', ADD: '' })
    test.equal(hostConfig['MemoryReservation'], 67_108_864)
  })

  await group.test('of another container, and empty ones, change nothing', async (test) => {
    const plain = told(container, definition).container
    for (const containerOverrides of [[{ name: 'app', command: [] }], [{ name: 'other', command: ['x'], cpu: 5 }]]) {
      test.same(told(container, definition, { overrides: { containerOverrides } }).container, plain)
    }
    test.equal(plain.overrides, '{}')
  })
})

await t.test('ports, volumes, order and restarts', async (test) => {
  const { payload, container } = told(
    {
      entryPoint: ['/init'],
      links: ['db:database'],
      volumesFrom: [{ sourceContainer: 'db' }],
      mountPoints: [{ sourceVolume: 'data', containerPath: '/data' }],
      portMappings: [
        { containerPort: 80, hostPort: 8080 },
        { containerPort: 53, protocol: 'udp' },
        { containerPortRange: '9000-9010', protocol: 'tcp', name: 'range' },
      ],
      startTimeout: 60,
      restartPolicy: { enabled: true, ignoredExitCodes: [0], restartAttemptPeriod: 60 },
    },
    {
      pidMode: 'host',
      ipcMode: 'none',
      volumes: [
        { name: 'data', host: { sourcePath: '/srv/data' } },
        { name: 'scratch' },
        { name: 'shared', dockerVolumeConfiguration: { scope: 'shared', autoprovision: true, driver: 'local' } },
        { name: 'own', dockerVolumeConfiguration: { driver: 'local' } },
      ],
    },
  )
  test.same(container.portMappings, [
    { containerPort: 80, hostPort: 8080, protocol: 'tcp' },
    { containerPort: 53, hostPort: 0, protocol: 'udp' },
    { containerPortRange: '9000-9010', protocol: 'tcp' },
  ])
  test.match(container, {
    entryPoint: ['/init'],
    links: ['db:database'],
    volumesFrom: [{ sourceContainer: 'db', readOnly: false }],
    mountPoints: [{ sourceVolume: 'data', containerPath: '/data', readOnly: false }],
    startTimeout: 60,
    restartPolicy: { enabled: true, ignoredExitCodes: [0], restartAttemptPeriod: 60 },
  })
  test.same(payload.volumes, [
    { name: 'data', type: 'host', host: { sourcePath: '/srv/data' } },
    { name: 'scratch', type: 'host', host: {} },
    {
      name: 'shared',
      type: 'docker',
      dockerVolumeConfiguration: { scope: 'shared', autoprovision: true, driver: 'local' },
    },
    { name: 'own', type: 'docker', dockerVolumeConfiguration: { scope: 'task', driver: 'local' } },
  ])
  test.match(payload, { pidMode: 'host', ipcMode: 'none', networkMode: 'bridge' })
  test.notOk('cpu' in payload || 'memory' in payload, 'a task without a size is told none')

  const unlimited = { memory: undefined, memoryReservation: 32 }
  test.equal(told(unlimited).container.memory, 0, 'no limit at all')
  test.equal(told(unlimited, { memory: '512' }).container.memory, 512, 'no more than its task reserved')
})

const label = (value: string) => ({ dockerLabels: { 'gantry.restart-alone': value } })

await t.test(
  "what a service runs may be started again by an agent that is alone, unless it's opted out",
  async (test) => {
    const ofService = { group: 'service:web', serviceKey: 'default/web' }
    test.equal(told({}, {}, ofService).payload.gantry?.restartAlone, true)
    test.equal(told(label('true'), {}, ofService).payload.gantry?.restartAlone, true)
    test.equal(told(label('false'), {}, ofService).payload.gantry?.restartAlone, undefined)
    test.equal(told({}).payload.gantry?.restartAlone, undefined, 'a standalone task that ends has ended')
    const { task, definition } = recorded()
    test.equal(payloadTask({ ...task, ...ofService }, definition, official).gantry, undefined)
  },
)

await t.test('what has to be fetched is told, so that no agent starts a container without it', async (test) => {
  const secret = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:db'
  const { container, payload } = told(
    {
      image: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:1',
      secrets: [
        { name: 'A', valueFrom: '/parameter' },
        { name: 'B', valueFrom: secret },
      ],
      environmentFiles: [{ value: 'arn:aws:s3:::bucket/web.env', type: 's3' }],
      logConfiguration: { logDriver: 'splunk', secretOptions: [{ name: 'splunk-token', valueFrom: '/token' }] },
      firelensConfiguration: { type: 'fluentbit', options: { a: 'b' } },
    },
    { volumes: [{ name: 'efs', efsVolumeConfiguration: { fileSystemId: 'fs-1' } }] },
  )
  const fetched = { type: 'ENVIRONMENT_VARIABLE', region: 'us-east-1', target: 'CONTAINER' }
  test.match(container, {
    secrets: [
      { ...fetched, name: 'A', valueFrom: '/parameter', provider: 'ssm' },
      { ...fetched, name: 'B', valueFrom: secret, provider: 'asm', region: 'eu-west-1' },
      { ...fetched, name: 'splunk-token', valueFrom: '/token', provider: 'ssm', target: 'LOG_DRIVER' },
    ],
    environmentFiles: [{ value: 'arn:aws:s3:::bucket/web.env', type: 's3' }],
    registryAuthentication: {
      type: 'ecr',
      ecrAuthData: { registryId: '123456789012', region: 'eu-west-1', useExecutionRole: false },
    },
    firelensConfiguration: { type: 'fluentbit', options: { a: 'b' } },
  })
  test.same(payload.volumes, [{ name: 'efs', type: 'efs', efsVolumeConfiguration: { fileSystemId: 'fs-1' } }])
  const { container: behindPassword } = told({ repositoryCredentials: { credentialsParameter: secret } })
  test.same(behindPassword.registryAuthentication, {
    type: 'asm',
    asmAuthData: { credentialsParameter: secret, region: 'eu-west-1' },
  })
})

const content = (value: string) => ({ encoding: 'identity', value })

await t.test('GPUs and the size of the disks are told as they were given', async (test) => {
  const containers = [aContainer({ name: 'app', gpuIds: ['GPU-1', 'GPU-2'] })]
  const { payload } = told({}, { ephemeralStorage: { sizeInGiB: 30 } }, { containers })
  test.same(payload.associations, [
    { name: 'GPU-1', type: 'gpu', content: content('GPU-1'), containers: ['app'] },
    { name: 'GPU-2', type: 'gpu', content: content('GPU-2'), containers: ['app'] },
  ])
  test.equal(payload.gantry?.ephemeralStorageGiB, 30)
  test.equal(told({}).payload.associations, undefined)
})

await t.test('a task without one of its containers is a bug, and says which', async (test) => {
  const definition = aTaskDefinition()
  test.throws(() => payloadTask(aTask({ containers: [] }), definition, ours), /has no container 'app'/)
})
