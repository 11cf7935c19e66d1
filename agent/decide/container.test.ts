import * as fc from 'fast-check'
import { test } from 'tap'
import { aPayloadContainer, aPayloadTask, instanceArn } from '../../test/support/payloads.ts'
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { withAddedContainers } from './added-containers.ts'
import { admitTask } from './admission.ts'
import { createBody } from './container.ts'
import { cpuShares, memoryBytes } from './container-limits.ts'
import { chooseHostPorts, networkBindings } from './network.ts'
import { readPayloadTask, refusalOf } from './payload.ts'
import { factsOf, withContainer } from './lifecycle.ts'
import { cgroupLimits } from './task-cgroup.ts'

const host = { cluster: 'default', containerInstanceArn: instanceArn }
const none = { tcp: new Set<number>(), udp: new Set<number>() }

function bodyOf(container: PayloadContainer, over: Partial<PayloadTask> = {}): Record<string, unknown> {
  const task = aPayloadTask({ containers: [container], ...over })
  return createBody(task, container, admitTask(task, undefined, 0), host)
}

function hostConfigOf(container: PayloadContainer, over: Partial<PayloadTask> = {}): Record<string, unknown> {
  return bodyOf(container, over)['HostConfig'] as Record<string, unknown>
}

function malformed(over: object): string | undefined {
  return readPayloadTask({ ...aPayloadTask(), ...over })?.malformed
}

function shown(containerPort: number, hostPort: number, hostIp = '0.0.0.0') {
  return { containerPort, hostPort, hostIp, protocol: 'tcp' as const }
}

function configured(config: object, hostConfig: object): PayloadContainer['dockerConfig'] {
  return { version: '1.21', config: JSON.stringify(config), hostConfig: JSON.stringify(hostConfig) }
}

await test('the agent fills in little; the payload says the rest; the labels are forced last', (t) => {
  const container = aPayloadContainer({
    cpu: 128,
    command: ['sleep', '1'],
    entryPoint: ['/bin/sh'],
    environment: { A: '1', B: 'two=2' },
    portMappings: [{ containerPort: 80, hostPort: 8080, protocol: 'tcp' }],
    dockerConfig: configured(
      {
        User: 'nobody',
        Labels: { team: 'web', 'com.amazonaws.ecs.task-arn': 'a lie' },
        Healthcheck: { Test: ['CMD', 'true'] },
        ExposedPorts: { '9/udp': {} },
      },
      { MemoryReservation: 16777216, CapAdd: ['NET_ADMIN'], NetworkMode: 'bridge' },
    ),
  })
  const task = aPayloadTask({ containers: [container] })
  const facts = admitTask(task, undefined, 0)
  const port = { containerPort: 80, protocol: 'tcp', hostPort: 8080, picked: false } as const
  const body = createBody(
    task,
    container,
    withContainer(facts, 'web', { ...factsOf(facts, 'web'), hostPorts: [port] }),
    host,
  )
  t.match(body, {
    Image: 'busybox:1',
    Cmd: ['sleep', '1'],
    Entrypoint: ['/bin/sh'],
    Env: ['A=1', 'B=two=2'],
    User: 'nobody',
    ExposedPorts: { '80/tcp': {}, '9/udp': {} },
    Healthcheck: { Test: ['CMD', 'true'] },
    Labels: {
      team: 'web',
      'com.amazonaws.ecs.task-arn': task.arn,
      'com.amazonaws.ecs.container-name': 'web',
      'com.amazonaws.ecs.task-definition-family': 'hello',
      'com.amazonaws.ecs.task-definition-version': '3',
      'com.amazonaws.ecs.cluster': 'default',
      'gantry.container-instance-arn': instanceArn,
      'gantry.spec-hash': /^[0-9a-f]{64}$/,
    },
    HostConfig: {
      NetworkMode: 'bridge',
      CpuShares: 128,
      Memory: 32 * 1024 * 1024,
      MemoryReservation: 16777216,
      CapAdd: ['NET_ADMIN'],
      PortBindings: { '80/tcp': [{ HostPort: '8080' }] },
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
    },
  })
  t.end()
})

await test('the payload may replace what the agent filled in, as a decoder of JSON would', (t) => {
  const replaced = bodyOf(
    aPayloadContainer({ environment: { A: '1' }, dockerConfig: configured({ Env: ['B=2'] }, {}) }),
  )
  t.same(replaced['Env'], ['B=2'])
  const emptied = bodyOf(aPayloadContainer({ command: ['x'], dockerConfig: configured({ Cmd: null }, {}) }))
  t.notOk('Cmd' in emptied)
  const overridden = bodyOf(aPayloadContainer({ command: ['x'], overrides: '{"command":["y","z"]}' }))
  t.same(overridden['Cmd'], ['y', 'z'])

  const syslog = { LogConfig: { Type: 'syslog', Config: { tag: 'x' } } }
  t.same(hostConfigOf(aPayloadContainer({ dockerConfig: configured({}, syslog) }))['LogConfig'], syslog.LogConfig)
  const awslogs = { Type: 'awslogs', Config: { 'awslogs-group': 'g', mode: 'non-blocking', 'max-buffer-size': '1m' } }
  t.same(
    hostConfigOf(aPayloadContainer({ dockerConfig: configured({}, { LogConfig: awslogs }) }))['LogConfig'],
    {
      Type: 'json-file',
      Config: { 'max-size': '10m', 'max-file': '5', mode: 'non-blocking', 'max-buffer-size': '1m' },
    },
    'what the agent ships is written to files that are bounded',
  )
  const nonBlocking = { LogConfig: { Type: 'fluentd', Config: { mode: 'non-blocking' } } }
  t.match(hostConfigOf(aPayloadContainer({ dockerConfig: configured({}, nonBlocking) }))['LogConfig'], {
    Config: { 'max-buffer-size': '10m' },
  })
  t.end()
})

const gpu = (value: string, container: string) => ({
  name: value,
  type: 'gpu' as const,
  content: { encoding: 'identity' as const, value },
  containers: [container],
})

await test('what belongs to the whole task is laid over all: its cgroup, shared namespaces, disks, GPUs', (t) => {
  const asked = { CgroupParent: '/mine', PidMode: 'host', ShmSize: 1024 }
  const train = aPayloadContainer({ name: 'train', dockerConfig: configured({}, asked) })
  const task = withAddedContainers(
    aPayloadTask({
      containers: [train, aPayloadContainer({ name: 'serve' })],
      pidMode: 'task',
      ipcMode: 'task',
      associations: [gpu('GPU-a', 'train'), gpu('GPU-b', 'serve'), gpu('GPU-c', 'train')],
      gantry: { knownStatus: 'PENDING', ephemeralStorageGiB: 30 },
    }),
    'gantry-pause:1',
  )
  const [pause, first] = task.containers
  if (pause === undefined || first === undefined) throw new Error('the containers are gone')
  const admitted = admitTask(task, undefined, 0)
  const facts = withContainer(admitted, pause.name, { ...factsOf(admitted, pause.name), dockerId: 'cafe' })
  const keeping = {
    ...host,
    taskCgroups: { driver: 'systemd', parent: '/ecs', cpuPeriodUs: 100_000, epoch: '1' },
  } as const
  const of = (container: PayloadContainer) => createBody(task, container, facts, keeping)['HostConfig']
  const taskId = task.arn.slice(task.arn.lastIndexOf('/') + 1)
  t.match(of(first), {
    CgroupParent: `ecstasks-${taskId}.slice`,
    PidMode: 'container:cafe',
    IpcMode: 'container:cafe',
    StorageOpt: { size: '30G' },
    DeviceRequests: [{ Driver: '', DeviceIDs: ['GPU-a', 'GPU-c'], Capabilities: [['gpu']] }],
  })
  t.match(of(pause), {
    CgroupParent: `ecstasks-${taskId}.slice`,
    IpcMode: 'shareable',
    NetworkMode: 'none',
    ShmSize: 1024,
  })
  t.notOk('StorageOpt' in (of(pause) as object))
  t.notOk('CgroupParent' in (createBody(aPayloadTask(), aPayloadContainer(), admitted, host)['HostConfig'] as object))
  t.equal(refusalOf(task), undefined)
  t.end()
})

await test("a task's limits are those of its size; without one its containers' weight", (t) => {
  const settings = { driver: 'cgroupfs', parent: '/ecs', cpuPeriodUs: 20_000, pidsLimit: 7, epoch: '1' } as const
  const containers = [aPayloadContainer({ cpu: 0 }), aPayloadContainer({ name: 'b', cpu: 100 })]
  t.same(cgroupLimits(aPayloadTask({ cpu: 1.5, memory: 64, containers }), settings), {
    cpuQuota: { quotaUs: 30_000, periodUs: 20_000 },
    memoryBytes: 67_108_864,
    pids: 7,
  })
  t.same(cgroupLimits(aPayloadTask({ containers }), { ...settings, pidsLimit: undefined }), { cpuShares: 102 })
  t.end()
})

await test('CPU shares and memory have their floors', (t) => {
  t.same([0, 1, 2, 100, 262_144, 1_000_000].map(cpuShares), [2, 2, 2, 100, 262_144, 262_144])
  t.same([0, 1, 4, 32].map(memoryBytes), [0, 4194304, 4194304, 33554432])
  t.end()
})

await test('links, volumes and volumesFrom use the names that Docker knows', (t) => {
  const db = aPayloadContainer({ name: 'db', essential: false })
  const web = aPayloadContainer({
    links: ['db:database', 'db'],
    volumesFrom: [{ sourceContainer: 'db', readOnly: true }],
    mountPoints: [
      { sourceVolume: 'etc', containerPath: '/host-etc', readOnly: true },
      { sourceVolume: 'scratch', containerPath: '/scratch', readOnly: false },
      { sourceVolume: 'shared', containerPath: '/shared', readOnly: false },
    ],
  })
  const task = aPayloadTask({
    containers: [web, db],
    pidMode: 'host',
    ipcMode: 'none',
    volumes: [
      { name: 'etc', host: { sourcePath: '/etc' } },
      { name: 'scratch', host: {} },
      { name: 'shared', type: 'docker', dockerVolumeConfiguration: { scope: 'shared', autoprovision: true } },
    ],
  })
  const admitted = admitTask(task, undefined, 0)
  const facts = withContainer(admitted, 'db', { ...factsOf(admitted, 'db'), dockerName: 'ecs-hello-3-db-1' })
  const body = createBody(task, web, facts, host)
  const scratch = facts.volumes['scratch']?.dockerName
  t.match(scratch, /^ecs-hello-3-scratch-[0-9a-f]{20}$/)
  t.match(body, {
    HostConfig: {
      Links: ['ecs-hello-3-db-1:database', 'ecs-hello-3-db-1:db'],
      VolumesFrom: ['ecs-hello-3-db-1:ro'],
      Binds: ['/etc:/host-etc:ro', `${scratch}:/scratch`, 'shared:/shared'],
      PidMode: 'host',
      IpcMode: 'none',
    },
  })
  t.match(facts.volumes, { scratch: { ours: true }, shared: { ours: false } })
  t.end()
})

await test('what the agent cannot run is refused in a sentence', (t) => {
  const withFirelens = aPayloadContainer({ firelensConfiguration: { type: 'fluentbit' } })
  const cases: readonly (readonly [Partial<PayloadTask>, RegExp])[] = [
    [{ networkMode: 'awsvpc' }, /awsvpc names no interface or no subnet/],
    [{ pidMode: 'task' }, /pause container, which this host cannot run/],
    [
      { volumes: [{ name: 'v', type: 'efs' }] },
      /^ResourceInitializationError: the file system of volume v is not registered/,
    ],
    [{ volumes: [{ name: 'v', type: 'ebs' as never }] }, /type ebs, which is not supported/],
    [{ containers: [aPayloadContainer({ links: ['ghost'] })] }, /container ghost, which does not exist/],
    [
      {
        containers: [aPayloadContainer({ mountPoints: [{ sourceVolume: 'x', containerPath: '/', readOnly: false }] })],
      },
      /Invalid volume referenced: x/,
    ],
    [
      {
        containers: [
          aPayloadContainer({ name: 'a', dependsOn: [{ containerName: 'b', condition: 'START' }] }),
          aPayloadContainer({ name: 'b', links: ['a'] }),
        ],
      },
      /Task dependencies cannot be resolved/,
    ],
    [{ containers: [withFirelens] }, /firelensConfiguration, which is not supported/],
  ]
  for (const [over, words] of cases) t.match(refusalOf(aPayloadTask(over)), words)
  t.equal(refusalOf(aPayloadTask()), undefined)

  t.match(malformed({ desiredStatus: 'SLEEPING' }), /desiredStatus/)
  t.match(malformed({ containers: [aPayloadContainer(), aPayloadContainer()] }), /Two containers/)
  t.match(malformed({ containers: [aPayloadContainer({ overrides: '{"cpu":1}' })] }), /not "cpu"/)
  t.match(
    malformed({ containers: [aPayloadContainer({ dockerConfig: { version: '', config: '[', hostConfig: '' } })] }),
    /JSON/,
  )
  t.equal(readPayloadTask({ family: 'x' }), undefined, 'without an ARN there is nobody to answer for')
  const secret = { roleCredentials: { secretAccessKey: 'hush' }, executionRoleCredentials: { secretAccessKey: 'hush' } }
  t.notMatch(JSON.stringify(readPayloadTask({ ...aPayloadTask(), ...secret })), 'hush', 'credentials are not kept')
  t.end()
})

await test('a payload of any shape is read, refused or passed over, and never throws', (t) => {
  let read = 0
  const anything = fc.anything({ maxDepth: 3 })
  const container = fc.record(
    {
      name: fc.constantFrom('a', 'b'),
      image: fc.oneof(fc.constant('busybox:1'), anything),
      command: anything,
      environment: anything,
      links: fc.array(anything, { maxLength: 1 }),
      mountPoints: fc.array(anything, { maxLength: 1 }),
      portMappings: fc.array(fc.oneof(anything, fc.record({ containerPort: anything, containerPortRange: anything })), {
        maxLength: 1,
      }),
      volumesFrom: fc.array(anything, { maxLength: 1 }),
      dependsOn: fc.array(
        fc.oneof(anything, fc.record({ containerName: fc.constantFrom('a', 'b'), condition: anything })),
        { maxLength: 1 },
      ),
      dockerConfig: fc.constantFrom({}, aPayloadContainer().dockerConfig, 'x', { config: '[' }),
      overrides: fc.constantFrom('{}', '{"command":["x"]}', '[', 7),
    },
    { requiredKeys: ['name', 'image'] },
  )
  const members = fc.record({
    arn: fc.constant('arn:x'),
    desiredStatus: fc.constantFrom('RUNNING', 'STOPPED', 'RUNNING', 3),
    containers: fc.oneof(
      { weight: 8, arbitrary: fc.uniqueArray(container, { minLength: 1, maxLength: 2, selector: ({ name }) => name }) },
      fc.array(fc.oneof(container, anything), { maxLength: 3 }),
      anything,
    ),
    volumes: anything,
  })
  fc.assert(
    fc.property(members, (value) => {
      const task = readPayloadTask(value)
      if (task === undefined) return
      const facts = admitTask(task.task, task.malformed, 0)
      if (facts.reason !== undefined) return
      for (const one of task.task.containers) createBody(task.task, one, facts, host)
      read += 1
    }),
    { numRuns: 2000 },
  )
  t.ok(read > 50, 'some of them are tasks that could run')
  t.end()
})

await test('host ports: static as they are, ranges in a row, nothing twice', (t) => {
  const range = { first: 100, last: 105 }
  const tcp = { tcp: new Set([100, 102]), udp: new Set<number>() }
  t.match(chooseHostPorts([{ containerPort: 80, protocol: 'tcp' }], range, tcp), { hostPorts: [{ hostPort: 101 }] })
  t.match(chooseHostPorts([{ containerPort: 80, protocol: 'udp' }], range, tcp), { hostPorts: [{ hostPort: 100 }] })
  t.match(chooseHostPorts([{ containerPort: 80, protocol: 'tcp' }], range, tcp, 104), {
    hostPorts: [{ hostPort: 104 }],
  })
  const rangeOf3 = { containerPortRange: '8000-8002', protocol: 'tcp' } as const
  t.match(chooseHostPorts([rangeOf3], range, tcp), {
    hostPorts: [{ containerPort: 8000, hostPort: 103 }, { hostPort: 104 }, { containerPort: 8002, hostPort: 105 }],
  })
  t.match(chooseHostPorts([rangeOf3, rangeOf3], range, tcp).refusal, /3 host ports in a row/)

  const mapping = fc.oneof(
    fc.record({
      containerPort: fc.integer({ min: 1, max: 99 }),
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    }),
    fc.record({ containerPortRange: fc.constantFrom('10-12', '20-21'), protocol: fc.constant('tcp' as const) }),
  )
  const inUse = fc
    .array(fc.integer({ min: 1000, max: 1015 }))
    .map((ports) => ({ tcp: new Set(ports), udp: new Set(ports) }))
  const from = fc.integer({ min: 990, max: 1020 })
  let chosen = 0
  fc.assert(
    fc.property(fc.array(mapping, { maxLength: 6 }), inUse, from, (mappings, taken, searchFrom) => {
      const choice = chooseHostPorts(mappings, { first: 1000, last: 1015 }, taken, searchFrom)
      if (choice.refusal !== undefined) return true
      chosen += 1
      const keys = choice.hostPorts.map(({ protocol, hostPort }) => `${hostPort}/${protocol}`)
      const inRange = choice.hostPorts.every(({ hostPort }) => hostPort >= 1000 && hostPort <= 1015)
      const free = choice.hostPorts.every(({ protocol, hostPort }) => !taken[protocol].has(hostPort))
      return inRange && free && new Set(keys).size === keys.length
    }),
  )
  t.ok(chosen > 10, 'the law was put to the test')
  t.match(chooseHostPorts([{ containerPort: 80, hostPort: 22, protocol: 'tcp' }], range, none), {
    hostPorts: [{ hostPort: 22 }],
  })
  t.end()
})

await test("Docker's published ports become ECS's bindings: no IPv6, ranges as one", (t) => {
  const mappings = [
    { containerPort: 80, protocol: 'tcp' as const },
    { containerPortRange: '8000-8001', protocol: 'tcp' as const },
  ]
  const observed = [shown(80, 32768), shown(80, 32768, '::'), shown(8001, 501), shown(8000, 500)]
  t.same(networkBindings(mappings, observed), [
    { bindIP: '0.0.0.0', containerPortRange: '8000-8001', hostPortRange: '500-501', protocol: 'tcp' },
    { bindIP: '0.0.0.0', containerPort: 80, hostPort: 32768, protocol: 'tcp' },
  ])
  t.end()
})
