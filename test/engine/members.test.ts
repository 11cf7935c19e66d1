/**
 * What task and container definitions say, seen from inside of real containers, in the host's cgroups and by `docker
 * inspect`: the rows of docs/task-definition-members.md that no other engine test is about.
 */
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DescribeContainerInstancesCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import type { ContainerDefinition, Task } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'
import { cgroupOfTests } from '../support/task-cgroups.ts'

tap.setTimeout(180_000)
const bytesPerMiB = 1024 * 1024
const places = mkdtempSync(join(tmpdir(), 'gantry-members-'))
const gpuInfoFile = join(places, 'gpus.json')
writeFileSync(gpuInfoFile, JSON.stringify({ DriverVersion: '550.1', GPUIDs: ['GPU-aa', 'GPU-bb'] }))

const image = await busyboxImage()
const environment = {
  ECS_CONTAINER_STOP_TIMEOUT: '1s',
  ECS_TASK_PIDS_LIMIT: '500',
  ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION: '1s',
  GANTRY_GPU_INFO_FILE: gpuInfoFile,
}
const lab = await startLab({ environment })
const engineInfo = JSON.parse((await askEngine('GET', '/info')).text) as { CgroupVersion?: string }
const isUnified = engineInfo.CgroupVersion === '2'
tap.teardown(async () => {
  await lab.close()
  await removeBusyboxImage()
  rmSync(places, { recursive: true, force: true })
})

/** A container that says what `script` finds, and stays. */
const saying = (name: string, script: string, over: Partial<ContainerDefinition> = {}): ContainerDefinition => ({
  name,
  image,
  memory: 16,
  command: ['sh', '-c', `${script}; echo END; sleep 600`],
  ...over,
})
const sleeping = (name: string, over: Partial<ContainerDefinition> = {}): ContainerDefinition =>
  saying(name, 'true', over)

/** What a container has written so far, without Docker's framing. */
async function outputOf(taskArn: string, name: string): Promise<string> {
  const { Id, Config } = (await lab.inspect(taskArn, name)) as { Id: string; Config: { Tty?: boolean } }
  const { text } = await askEngine('GET', `/containers/${Id}/logs?stdout=1&stderr=1`)
  if (Config.Tty === true) return text
  // Each line of a container without a terminal is led by eight bytes.
  return text
    .split('\n')
    .map((line) => line.slice(8))
    .join('\n')
}

/** All that it had to say. */
const saidBy = async (taskArn: string, name: string): Promise<string> =>
  eventually(async () => {
    const text = await outputOf(taskArn, name)
    return text.includes('END') ? text : undefined
  }, `what ${name} says`)

interface HostConfig {
  readonly [member: string]: unknown
}

const hostConfigOf = async (taskArn: string, name: string): Promise<HostConfig> =>
  (await lab.inspect(taskArn, name)).HostConfig

const parentOf = (taskArn: string): string => `${cgroupOfTests}/${taskArn.slice(taskArn.lastIndexOf('/') + 1)}`

/** A file of the task's own cgroup; `v1` is of the tree `controller`. */
const cgroupFile = (taskArn: string, controller: string, v1: string, v2: string): string =>
  isUnified ? `/sys/fs/cgroup${parentOf(taskArn)}/${v2}` : `/sys/fs/cgroup/${controller}${parentOf(taskArn)}/${v1}`
const inCgroup = (...file: Parameters<typeof cgroupFile>): string => readFileSync(cgroupFile(...file), 'utf8').trim()

const reasonsOf = (task: Task): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries((task.containers ?? []).map(({ name = '', reason }) => [name, reason]))

await tap.test("a task's cpu and memory hold all its containers, and are seen to by each agent anew", async (t) => {
  const [sized, unsized] = await Promise.all([
    lab.run({
      cpu: '256',
      memory: '64',
      containers: [sleeping('a', { memory: undefined, cpu: 128 }), sleeping('b', { memory: 24, cpu: 64 })],
    }),
    lab.run({ containers: [sleeping('a', { cpu: 128 }), sleeping('b', { cpu: 0 })] }),
  ])
  await Promise.all([sized, unsized].map(async (arn) => lab.reaches(arn, 'RUNNING')))

  t.equal(inCgroup(sized, 'memory', 'memory.limit_in_bytes', 'memory.max'), String(64 * bytesPerMiB))
  t.equal(
    inCgroup(sized, 'cpu', 'cpu.cfs_quota_us', 'cpu.max').replace(/ 100000$/, ''),
    '25000',
    'a quarter of each period',
  )
  t.equal(inCgroup(sized, 'pids', 'pids.max', 'pids.max'), '500')
  t.equal(
    inCgroup(unsized, 'cpu', 'cpu.shares', 'cpu.weight'),
    isUnified ? '5' : '130',
    'the sum of its containers, each 2 at least',
  )
  t.match(await hostConfigOf(sized, 'a'), { CgroupParent: parentOf(sized), Memory: 64 * bytesPerMiB })
  t.match(await hostConfigOf(sized, 'b'), {
    CgroupParent: parentOf(sized),
    Memory: 24 * bytesPerMiB,
    CpuShares: 64,
  })
  const { Id } = await lab.inspect(sized, 'a')
  t.ok(existsSync(cgroupFile(sized, 'memory', Id, Id)), 'the container is inside')

  writeFileSync(cgroupFile(sized, 'memory', 'memory.limit_in_bytes', 'memory.max'), String(96 * bytesPerMiB))
  await lab.restartAgent({ options: { environment } })
  await eventually(
    async () =>
      inCgroup(sized, 'memory', 'memory.limit_in_bytes', 'memory.max') === String(64 * bytesPerMiB) || undefined,
    'the limit is what the task says again',
  )
  t.equal((await lab.inspect(sized, 'a')).Id, Id, 'and nothing was started anew')

  await lab.client.send(new StopTaskCommand({ task: sized }))
  await lab.reaches(sized, 'STOPPED')
  await eventually(
    async () => !existsSync(cgroupFile(sized, 'memory', '', '')) || undefined,
    'the cgroup goes with the task',
  )
})

await tap.test('out of memory is said where the container itself was killed for it, and nowhere else', async (t) => {
  const hog = 'busybox tail /dev/zero'
  // Several at once: of some ends in a hundred Docker itself never learns why.
  const alone = Array.from({ length: 4 }, async () => lab.run({ containers: [saying('hog', `exec ${hog}`)] }))
  const [ofTask, ofChild] = await Promise.all([
    lab.run({ memory: '24', containers: [saying('hog', `exec ${hog}`, { memory: undefined }), sleeping('other')] }),
    lab.run({ containers: [saying('parent', hog)] }),
  ])
  const outOfMemory = 'OutOfMemoryError: Container killed due to memory usage: '
  for (const own of await Promise.all(alone)) {
    t.match(reasonsOf(await lab.reaches(own, 'STOPPED')), {
      hog: `${outOfMemory}its limit is 16 MiB. Raise the container's`,
    })
  }
  const task = await lab.reaches(ofTask, 'STOPPED')
  t.match(task, { stopCode: 'EssentialContainerExited' })
  const reasons = reasonsOf(task)
  t.match(
    reasons['hog'],
    /its task's limit is 24 MiB, and its containers used up to 2[34] MiB together\. Raise the task's/,
  )
  t.equal(reasons['other'], undefined, 'who was stopped with it was not killed for memory')

  await saidBy(ofChild, 'parent')
  t.equal((await lab.describe(ofChild)).lastStatus, 'RUNNING', 'a child that is killed ends nothing')
  // What outlives the kill by two seconds was not killed by it.
  await new Promise((resolve) => setTimeout(resolve, 2500))
  const { Id } = await lab.inspect(ofChild, 'parent')
  await askEngine('POST', `/containers/${Id}/kill`)
  const killed = await lab.reaches(ofChild, 'STOPPED')
  t.equal(killed.containers?.[0]?.exitCode, 137)
  t.match(await lab.inspect(ofChild, 'parent'), { State: { OOMKilled: true } }, "Docker's flag has stayed")
  t.equal(reasonsOf(killed)['parent'], undefined, 'a kill from outside is no want of memory')
})

await tap.test('pidMode and ipcMode: the task, the host, none', async (t) => {
  const namespaces = 'busybox readlink /proc/self/ns/pid; busybox readlink /proc/self/ns/ipc'
  const [shared, host, none] = await Promise.all([
    lab.run({
      pidMode: 'task',
      ipcMode: 'task',
      containers: [
        saying('a', namespaces),
        saying('b', `${namespaces}; busybox ps; busybox grep /dev/shm /proc/mounts`, {
          linuxParameters: { sharedMemorySize: 48 },
        }),
      ],
    }),
    lab.run({ pidMode: 'host', ipcMode: 'host', containers: [saying('a', namespaces)] }),
    lab.run({ ipcMode: 'none', containers: [sleeping('a')] }),
  ])
  const task = await lab.reaches(shared, 'RUNNING')
  t.same(task.containers?.map(({ name }) => name).sort(), ['a', 'b'], 'nobody is told of the pause container')
  const [a, b] = [await saidBy(shared, 'a'), await saidBy(shared, 'b')]
  t.same(a.split('\n').slice(0, 2), b.split('\n').slice(0, 2), 'both are in the same namespaces')
  t.match(b, /^ +1 65534 +\/pause$/m, 'whose first process is the pause program')
  t.match(b, /^shm \/dev\/shm tmpfs .*size=49152k/m, 'and the memory that they share is as large as one asked for')
  const ofHost = ['pid', 'ipc'].map((name) => `${name}:[${inodeOf(name)}]`)
  await lab.reaches(host, 'RUNNING')
  t.same((await saidBy(host, 'a')).split('\n').slice(0, 2), ofHost)
  await lab.reaches(none, 'RUNNING')
  t.match(await hostConfigOf(none, 'a'), { IpcMode: 'none' })

  await lab.client.send(new StopTaskCommand({ task: shared }))
  await lab.reaches(shared, 'STOPPED')
  await eventually(
    async () => ((await lab.containersOf(shared)).length === 0 ? true : undefined),
    'all of it is removed',
  )
})

/** That of the host's own namespace, as this process sees it. */
function inodeOf(namespace: string): string {
  return /\d+/.exec(readlinkSync(`/proc/self/ns/${namespace}`))?.[0] ?? ''
}

const capabilities = (text: string): bigint => BigInt(`0x${/CapEff:\s+([0-9a-f]+)/.exec(text)?.[1] ?? '0'}`)
const has = (text: string, capability: number): boolean => ((capabilities(text) >> BigInt(capability)) & 1n) === 1n

await tap.test('what a container definition says holds inside of the container', async (t) => {
  const status = "busybox grep -E 'CapEff|NoNewPrivs' /proc/self/status"
  const arn = await lab.run({
    networkMode: 'bridge',
    containers: [
      saying(
        'linux',
        `${status}; cat /proc/1/comm; busybox grep -E '/scratch|/dev/shm' /proc/mounts; busybox ls -l /dev/mine`,
        {
          linuxParameters: {
            capabilities: { add: ['NET_ADMIN'], drop: ['MKNOD'] },
            initProcessEnabled: true,
            sharedMemorySize: 32,
            tmpfs: [{ containerPath: '/scratch', size: 8, mountOptions: ['noexec'] }],
            devices: [{ hostPath: '/dev/zero', containerPath: '/dev/mine', permissions: ['read'] }],
            maxSwap: 16,
            swappiness: 10,
          },
        },
      ),
      saying('limits', 'ulimit -Sn; ulimit -Hn; cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax', {
        ulimits: [{ name: 'nofile', softLimit: 2048, hardLimit: 4096 }],
        systemControls: [
          { namespace: 'net.core.somaxconn', value: '513' },
          { namespace: 'kernel.msgmax', value: '9000' },
        ],
      }),
      saying('user', 'busybox id -u; busybox id -g; busybox pwd; (echo x > /tmp/x) 2>&1', {
        user: '1000:1001',
        workingDirectory: '/www',
        readonlyRootFilesystem: true,
      }),
      saying('names', 'busybox hostname; cat /etc/resolv.conf /etc/hosts', {
        hostname: 'members',
        dnsServers: ['192.0.2.53'],
        dnsSearchDomains: ['lab.internal'],
        extraHosts: [{ hostname: 'printer', ipAddress: '192.0.2.7' }],
      }),
      saying('terminal', 'test -t 0 && echo a terminal', { interactive: true, pseudoTerminal: true }),
      saying('alone', `${status}; busybox ls /sys/class/net`, {
        disableNetworking: true,
        dockerSecurityOptions: ['no-new-privileges'],
        dockerLabels: { team: 'lab' },
      }),
      saying('linked', 'cat /etc/hosts; echo $0 $1 $SIZE', {
        links: ['names:registry'],
        entryPoint: ['sh', '-c'],
        command: ['cat /etc/hosts; echo "$0 $1 $SIZE"; echo END; sleep 600', 'first', 'second'],
        environment: [{ name: 'SIZE', value: 'large' }],
      }),
      saying('source', 'echo kept > /shared/file', {
        mountPoints: [{ sourceVolume: 'data', containerPath: '/shared' }],
      }),
      saying(
        'reader',
        'while ! test -e /shared/file; do sleep 0.1; done; cat /shared/file; (echo x > /shared/x) 2>&1',
        {
          volumesFrom: [{ sourceContainer: 'source', readOnly: true }],
        },
      ),
    ],
    volumes: [{ name: 'data' }],
  })
  await lab.reaches(arn, 'RUNNING')
  const said = async (name: string): Promise<string> => saidBy(arn, name)
  const [netAdmin, mknod] = [12, 27]

  const linux = await said('linux')
  t.ok(has(linux, netAdmin) && !has(linux, mknod), 'capabilities are added and dropped')
  t.match(linux, /^(?:docker-init|tini)$/m, 'an init is process 1')
  t.match(linux, /^tmpfs \/scratch tmpfs .*noexec.*size=8192k/m)
  t.match(linux, /^shm \/dev\/shm tmpfs .*size=32768k/m)
  t.match(linux, /1, +5 .*\/dev\/mine$/m, 'the device is there under its own name')
  const ofLinux = await hostConfigOf(arn, 'linux')
  t.match(ofLinux, { MemorySwap: 32 * bytesPerMiB, Devices: [{ CgroupPermissions: 'r' }] })
  t.match(await said('limits'), /^2048\n4096\n513\n9000\n/)
  t.match(await said('user'), /^1000\n1001\n\/www\n.*[Rr]ead-only file system/)
  const names = await said('names')
  t.match(names, /^members\n/)
  t.match(names, /^search lab\.internal$/m)
  t.match(names, /^nameserver 192\.0\.2\.53$/m)
  t.match(names, /^192\.0\.2\.7\s+printer$/m)
  t.match(await said('terminal'), /a terminal/)
  const alone = await said('alone')
  t.match(alone, /NoNewPrivs:\s+1/)
  t.match(alone, /^lo$/m)
  t.notMatch(alone, /eth0/)
  t.equal((await lab.inspect(arn, 'alone')).Config.Labels['team'], 'lab')
  const linked = await said('linked')
  t.match(linked, /\sregistry\s/)
  t.match(linked, /^first second large$/m)
  const reader = await said('reader')
  t.match(reader, /^kept\n/)
  t.match(reader, /Read-only file system/)
  await lab.client.send(new StopTaskCommand({ task: arn }))
})

await tap.test('privileged is asked of Docker, and a machine that may not give it says so', async (t) => {
  const arn = await lab.run({ containers: [saying('mighty', 'busybox ls /dev', { privileged: true })] })
  const task = await eventually(async () => {
    const { lastStatus, ...rest } = await lab.describe(arn)
    return lastStatus === 'PENDING' ? undefined : { lastStatus, ...rest }
  }, 'the task starts, or is refused')
  t.match(await hostConfigOf(arn, 'mighty'), { Privileged: true })
  if (task.lastStatus === 'RUNNING') t.match(await saidBy(arn, 'mighty'), /^kmsg$/m, "it sees the host's devices")
  else t.match(reasonsOf(task)['mighty'], /unable to apply caps.*Docker Engine on this host may not give/s)
})

const gpu = (value: string): Partial<ContainerDefinition> => ({ resourceRequirements: [{ type: 'GPU', value }] })

await tap.test('GPUs are registered, given out and handed to Docker, which says what it lacks', async (t) => {
  const gpusLeft = async (): Promise<readonly string[] | undefined> => {
    const { containerInstances } = await lab.client.send(
      new DescribeContainerInstancesCommand({ containerInstances: [lab.agent.containerInstanceArn] }),
    )
    return containerInstances?.[0]?.remainingResources?.find(({ name }) => name === 'GPU')?.stringSetValue
  }
  t.same(await gpusLeft(), ['GPU-aa', 'GPU-bb'])
  await t.rejects(lab.run({ containers: [sleeping('app', gpu('3'))] }), /RESOURCE:GPU.*want 3, most registered 2/)
  const arn = await lab.run({ containers: [sleeping('app', gpu('1'))] })
  t.same((await lab.describe(arn)).containers?.[0]?.gpuIds, ['GPU-aa'])
  const task = await lab.reaches(arn, 'STOPPED')
  t.match(task, { stopCode: 'TaskFailedToStart' })
  t.match(
    reasonsOf(task)['app'],
    /^CannotStartContainerError: .*could not select device driver.*Install the NVIDIA Container Toolkit/s,
  )
  t.same(await gpusLeft(), ['GPU-aa', 'GPU-bb'], 'what it held is free again')
})

await tap.test('what this host cannot do is not placed, and what cannot start says what to do', async (t) => {
  const withDisk = { ephemeralStorage: { sizeInGiB: 21 }, containers: [sleeping('app')] }
  const { Driver } = JSON.parse((await askEngine('GET', '/info')).text) as { Driver: string }
  if (['btrfs', 'zfs'].includes(Driver)) t.ok(await lab.run(withDisk))
  else await t.rejects(lab.run(withDisk), /ATTRIBUTE.*ephemeral-storage.*leave ephemeralStorage out/)
  const valueFrom = 'arn:aws:ssm:us-east-1:123456789012:parameter/x'
  const role = 'arn:aws:iam::123456789012:role/execution'
  await t.rejects(
    lab.run({ executionRoleArn: role, containers: [sleeping('app', { secrets: [{ name: 'A', valueFrom }] })] }),
    /ECS was unable to assume the role 'arn:aws:iam::123456789012:role\/execution' that was provided for this task/,
  )
  await t.rejects(
    lab.run({ runtimePlatform: { operatingSystemFamily: 'WINDOWS_SERVER_2022_CORE' }, containers: [sleeping('app')] }),
    /ATTRIBUTE.*want WINDOWS_SERVER_2022_CORE, found LINUX/,
  )
  const [user, program, control] = await Promise.all([
    lab.run({ containers: [sleeping('app', { user: 'nobody-here' })] }),
    lab.run({ containers: [sleeping('app', { entryPoint: ['/no/such'] })] }),
    lab.run({ containers: [sleeping('app', { systemControls: [{ namespace: 'kernel.panic', value: '1' }] })] }),
  ])
  const reasonOf = async (arn: string): Promise<string | undefined> =>
    reasonsOf(await lab.reaches(arn, 'STOPPED'))['app']
  t.match(await reasonOf(user), /^Cannot\w+ContainerError: .*give its number in `user`/)
  t.match(await reasonOf(program), /^CannotStartContainerError: .*Check command and entryPoint/)
  t.match(await reasonOf(control), /^Cannot\w+ContainerError: .*systemControls/)
})
