import t from 'tap'
import {
  aContainer,
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
import { crashes, type Fate, failsWith, runs, ServiceStory } from '../../test/support/service-story.ts'
import { phaseOf } from '../state/service-phase.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import { breakerThreshold } from './circuit-breaker.ts'
import { pauseAfter } from './deployment-backoff.ts'
import { classifyReason, type FailureKind, failureOf, type TaskFailure } from './deployment-failure.ts'
import { serviceTaskDecider } from './service-task.ts'

const definitions = [1, 2, 3].map((revision) => aTaskDefinition({ revision }))
const percents = { minimumHealthyPercent: 100, maximumPercent: 200 }
const withoutBreaker = { desiredCount: 2, deploymentConfiguration: percents }
const breaker = { enable: true, rollback: true }
const withRollback = {
  desiredCount: 2,
  deploymentConfiguration: { ...percents, deploymentCircuitBreaker: breaker },
}
const withBreakerAlone = {
  desiredCount: 2,
  deploymentConfiguration: { ...percents, deploymentCircuitBreaker: { enable: true, rollback: false } },
}
const notFound =
  'CannotPullContainerError: The image lab/web:2 does not exist: Error response from daemon: manifest for lab/web:2 not ' +
  'found: manifest unknown: manifest unknown'
const stays = ' Nothing more is started until the service is updated.'
const timedOut = 'DockerTimeoutError: Could not transition to pulled; timed out after 120s'

/** A service whose first deployment, of `web:1`, has completed fifteen seconds ago. */
function settled(over: Partial<ServiceRow>): ServiceStory {
  const story = new ServiceStory(definitions, over)
  story.fates.set(1, runs)
  story.deploy(1)
  story.pass(15)
  return story
}

await t.test('a deployment is complete once its tasks have proved themselves, and says so', async (test) => {
  const story = settled(withoutBreaker)
  test.strictSame(story.told(), [
    '0s (deployment D1) deployment in progress.',
    '0s has started 2 tasks.',
    '11s (deployment D1) deployment completed.',
    '11s has reached a steady state.',
  ])
  story.fates.set(2, runs)
  story.deploy(2)
  test.match(story.serviceDeployment(2), { status: 'IN_PROGRESS', deploymentCircuitBreaker: { status: 'DISABLED' } })
  story.pass(20)
  const [one, two] = story.deployments
  test.match(one, { status: 'INACTIVE', rolloutState: 'COMPLETED' })
  test.match(two, {
    status: 'PRIMARY',
    rolloutState: 'COMPLETED',
    rolloutStateReason: /^ECS deployment .* completed\.$/,
  })
  test.equal(story.service.lastCompletedRevisionId, two?.serviceRevisionId)
  test.match(story.serviceDeployment(2), {
    status: 'SUCCESSFUL',
    statusReason: undefined,
    sourceServiceRevisions: [{ requestedTaskCount: 0, runningTaskCount: 0 }],
    targetServiceRevision: { requestedTaskCount: 2, runningTaskCount: 2, pendingTaskCount: 0 },
    finishedAt: Number,
  })
})

await t.test('an image that does not exist fails the deployment at once, and what ran goes on', async (test) => {
  const story = settled(withoutBreaker)
  story.fates.set(2, failsWith(notFound))
  story.told()
  story.deploy(2)
  story.pass(3600)
  test.strictSame(story.told(), [
    '15s (deployment D2) deployment in progress.',
    '15s has started 2 tasks.',
    `16s 2 tasks stopped, the last one since: ${notFound}.`,
    `16s (deployment D2) deployment failed: no retry can heal this. Last failure: container app of task T: ${notFound}.${stays}`,
  ])
  test.match(story.deployment(2), {
    status: 'PRIMARY',
    rolloutState: 'FAILED',
    rolloutStateReason: /^ECS deployment failed: .* container app of task .* manifest unknown/,
    cause: { containerName: 'app', reason: notFound, isHopeless: true },
    failedTasks: 2,
  })
  test.match(story.serviceDeployment(2), { status: 'STOPPED', statusReason: /manifest unknown/, stoppedAt: Number })
  test.equal(story.runningOf(1), 2)
})

await t.test('an image that does not exist is rolled back from at once, where that is configured', async (test) => {
  const story = settled(withRollback)
  story.fates.set(2, failsWith(notFound))
  story.told()
  story.deploy(2)
  story.pass(30)
  test.strictSame(story.told(), [
    '15s (deployment D2) deployment in progress.',
    '15s has started 2 tasks.',
    `16s 2 tasks stopped, the last one since: ${notFound}.`,
    `16s (deployment D2) deployment failed: no retry can heal this. Last failure: container app of task T: ${notFound}.`,
    '16s rolling back to deployment D1.',
    '16s (deployment D1) rollback completed.',
    '16s has reached a steady state.',
  ])
  test.equal(story.tasks.filter((task) => task.lastStatus === 'RUNNING' && task.createdAt === testNow).length, 2)
  test.match(story.serviceDeployment(2), { status: 'ROLLBACK_SUCCESSFUL', statusReason: /manifest unknown/ })
})

await t.test('crash loops trip the breaker, and the deployment is rolled back', async (test) => {
  const story = settled(withRollback)
  story.fates.set(2, crashes)
  story.told()
  story.deploy(2)
  story.pass(30)
  const failure = 'container app of task T: Essential container in task exited (exit code 1)'
  test.strictSame(story.told(), [
    '15s (deployment D2) deployment in progress.',
    '15s has started 2 tasks.',
    '17s 2 tasks stopped, the last one since: Essential container in task exited (exit code 1).',
    '18s has started 4 tasks.',
    '20s 4 tasks stopped, the last one since: Essential container in task exited (exit code 1).',
    `20s (deployment D2) deployment failed: tasks failed to start. Last failure: ${failure}.`,
    '20s rolling back to deployment D1.',
    '20s (deployment D1) rollback completed.',
    '20s has reached a steady state.',
  ])
  test.equal(story.runningOf(1), 2, 'none of what ran before was touched')
  const [back, failed] = story.deployments
  test.match(failed, {
    rolloutState: 'FAILED',
    rolloutStateReason: /^ECS deployment circuit breaker: tasks failed to start\. Last failure: .*exit code 1/,
    cause: { exitCode: 1, stopCode: 'EssentialContainerExited', isHopeless: false },
  })
  test.match(back, { status: 'PRIMARY', rolloutState: 'COMPLETED', rollbackOf: failed?.id })
  test.equal(back?.rolloutStateReason, `ECS deployment circuit breaker: rolling back to deploymentId ${back?.id}.`)
  test.equal(story.service.taskDefinition, back?.taskDefinition)
  const serviceDeployment = story.serviceDeployment(2)
  test.equal(serviceDeployment.status, 'ROLLBACK_SUCCESSFUL')
  test.match(serviceDeployment.statusReason, /tasks failed to start/)
  test.match(serviceDeployment.rollback, { reason: /tasks failed to start/, serviceRevisionArn: /service-revision/ })
  test.match(serviceDeployment.deploymentCircuitBreaker, { status: 'TRIGGERED', threshold: 3 })
  test.equal(serviceDeployment.deploymentId, back?.id)
})

await t.test(
  'without rollback a tripped breaker leaves the deployment FAILED, and starts nothing more',
  async (test) => {
    const story = settled(withBreakerAlone)
    story.fates.set(2, failsWith('CannotStartContainerError: Error response from daemon: no such device'))
    story.deploy(2)
    story.pass(60)
    test.match(story.deployment(2), { status: 'PRIMARY', rolloutState: 'FAILED', failedTasks: 4 })
    test.match(story.serviceDeployment(2), { status: 'STOPPED', deploymentCircuitBreaker: { status: 'TRIGGERED' } })
    const started = story.tasks.length
    story.pass(3600)
    test.equal(story.tasks.length, started)
    test.equal(story.runningOf(1), 2)
  },
)

await t.test(
  'tasks that fail their health checks are counted, and those that pass prove themselves at once',
  async (test) => {
    const checked = definitions.map((definition) => ({
      ...definition,
      containerDefinitions: definition.containerDefinitions.map((one) => ({
        ...one,
        healthCheck: { command: ['true'] },
      })),
    }))
    const story = new ServiceStory(checked, withRollback)
    story.fates.set(1, turns('HEALTHY')).set(2, turns('UNHEALTHY'))
    story.deploy(1)
    story.pass(5)
    test.match(story.deployment(1), { rolloutState: 'COMPLETED' }, 'without a wait')
    story.deploy(2)
    story.pass(60)
    test.match(story.deployment(2), {
      rolloutState: 'FAILED',
      cause: { reason: 'Task failed container health checks', stopCode: 'ServiceSchedulerInitiated' },
    })
    test.match(story.deployment(1), { status: 'PRIMARY', rolloutState: 'COMPLETED' })
    test.equal(
      story.tasks.filter(({ deploymentId }) => deploymentId === story.deployment(1).id).length,
      2,
      'none was replaced',
    )
  },
)

await t.test('a first deployment has nowhere to go back to, and says so', async (test) => {
  const story = new ServiceStory(definitions, withRollback)
  story.fates.set(1, failsWith(notFound))
  story.deploy(1)
  story.pass(5)
  test.match(story.deployment(1), {
    rolloutState: 'FAILED',
    rolloutStateReason:
      /no completed revision to roll back to\. Nothing more is started until the service is updated\.$/,
  })
  test.match(story.serviceDeployment(1), { status: 'STOPPED', statusReason: /no completed revision/ })
  test.equal(story.deployments.length, 1)
})

await t.test(
  'a second deployment during a rollback takes over, and the first one was never a success',
  async (test) => {
    // One old task at a time makes room, so that there is something to bring back.
    const oneByOne = { minimumHealthyPercent: 50, maximumPercent: 100, deploymentCircuitBreaker: breaker }
    const story = settled({ desiredCount: 2, deploymentConfiguration: oneByOne })
    story.fates.set(2, crashes).set(3, runs)
    story.deploy(2)
    for (let waited = 0; story.deployment(2).rolloutState === 'IN_PROGRESS' && waited < 60; waited += 1) story.pass(1)
    test.match(story.serviceDeployment(2), { status: 'ROLLBACK_IN_PROGRESS' })
    story.deploy(3)
    story.pass(40)
    const [back, failed, last] = story.deployments
    test.match(failed, { rolloutState: 'FAILED', status: 'INACTIVE' })
    test.match(back, { rolloutState: 'IN_PROGRESS', status: 'INACTIVE', rolloutStateReason: /was replaced by/ })
    test.match(last, { rolloutState: 'COMPLETED', status: 'PRIMARY' })
    test.match(story.serviceDeployment(2), { status: 'STOPPED', statusReason: /a newer deployment/ })
    test.match(story.serviceDeployment(3), { status: 'SUCCESSFUL' })
    test.equal(story.runningOf(3), 2)
    test.equal(story.runningOf(1) + story.runningOf(2), 0)
  },
)

await t.test('a deployment that fails after a rollback was interrupted goes back all the same', async (test) => {
  const story = settled(withRollback)
  story.fates.set(2, crashes).set(3, failsWith(notFound))
  story.deploy(2)
  story.pass(7)
  story.deploy(3)
  story.pass(30)
  test.match(story.deployment(1), { status: 'PRIMARY', rolloutState: 'COMPLETED', rollbackOf: story.deployment(3).id })
  test.match(story.serviceDeployment(3), { status: 'ROLLBACK_SUCCESSFUL' })
  test.equal(story.runningOf(1), 2)
})

await t.test('a registry that times out is retried with growing pauses, and heals', async (test) => {
  const story = settled(withoutBreaker)
  let isUp = false
  const flaky: Fate = (task, ageMs) => (isUp ? runs : failsWith(timedOut))(task, ageMs)
  story.fates.set(2, flaky)
  story.told()
  story.deploy(2)
  story.pass(300)
  const starts = story.told().filter((line) => line.includes('has started'))
  test.strictSame(
    starts.map((line) => Number(line.slice(0, line.indexOf('s')))),
    [15, 17, 20, 25, 34, 51, 84, 149, 278],
  )
  test.match(story.deployment(2), { rolloutState: 'IN_PROGRESS', failuresInRow: 18, cause: { isHopeless: false } })
  test.equal(story.runningOf(1), 2)
  isUp = true
  story.pass(900)
  test.match(story.deployment(2), { rolloutState: 'COMPLETED', failuresInRow: 0, retryAt: undefined })
  test.equal(story.runningOf(2), 2)
})

await t.test('a service that keeps failing says so once, in the words of ECS', async (test) => {
  const story = settled(withoutBreaker)
  story.fates.set(2, failsWith(timedOut))
  story.deploy(2)
  story.told()
  story.pass(3100)
  const lines = story.told()
  const complaint = 'is unable to consistently start tasks successfully.'
  test.match(
    lines.filter((line) => line.includes('unable to')),
    [new RegExp(`^85s ${complaint} Last failure: .*timed out after 120s\\. The next try is in 64 seconds\\.$`)],
  )
  const starts = lines
    .filter((line) => line.includes('has started'))
    .map((line) => Number(line.slice(0, line.indexOf('s'))))
  test.strictSame(
    starts.slice(-3).map((at, index, all) => (index === 0 ? 0 : at - (all[index - 1] ?? 0))),
    [0, 901, 901],
  )
  story.fates.set(3, runs)
  story.deploy(3)
  story.pass(20)
  test.equal(story.runningOf(3), 2, 'a new deployment starts without a pause')
})

await t.test('a crash loop after the completion is slowed down, and trips nothing', async (test) => {
  const story = settled(withRollback)
  story.fates.set(1, crashes)
  for (const { taskId } of story.tasks) {
    story.write((tx) => {
      const task = tx.get('task', taskId)
      if (task !== undefined) tx.put('task', taskId, { ...task, desiredStatus: 'STOPPED', stopCode: 'UserInitiated' })
    })
  }
  story.pass(120)
  test.match(story.deployment(1), { rolloutState: 'COMPLETED', pause: { round: 7 } })
  test.equal(story.deployments.length, 1)
})

await t.test(
  'one image for a deployment: the first digest is the one that all later tasks are asked to run',
  async (test) => {
    const digest = `sha256:${'a'.repeat(64)}`
    const story = new ServiceStory(definitions, withRollback)
    story.fates.set(1, pullsDigest(digest)).set(2, failsWith(notFound))
    story.deploy(1)
    test.strictSame(story.tasks.flatMap(pinnedImages), [undefined, undefined], 'a burst does not wait')
    story.pass(15)
    test.strictSame(story.deployment(1).images, [
      { containerName: 'app', imageDigest: digest, image: 'busybox:latest' },
    ])
    story.write((tx) => tx.put('service', 'default/web', { ...story.service, desiredCount: 3 }))
    test.strictSame(new Set(story.tasks.flatMap(pinnedImages)), new Set([undefined, `busybox@${digest}`]))
    story.pass(15)
    story.deploy(2)
    test.strictSame(story.deployment(2).images, [], 'a new deployment resolves anew')
    story.write((tx) => {
      for (const row of tx.all('deployment')) if (row.status === 'ACTIVE') tx.delete('deployment', row.id)
    })
    story.pass(3)
    const [failed, back] = story.deployments
    test.match(
      back,
      { rollbackOf: failed?.id, images: [{ imageDigest: digest }] },
      'of the revision, where no row is left',
    )
    const started = story.tasks.filter(({ deploymentId }) => deploymentId === back?.id)
    test.strictSame(
      started.flatMap(pinnedImages),
      Array.from({ length: 3 }, () => `busybox@${digest}`),
    )
  },
)

await t.test('a container that asks for no versionConsistency keeps its tag', async (test) => {
  const [definition] = definitions
  const containers = definition?.containerDefinitions.map((one) => ({
    ...one,
    versionConsistency: 'disabled' as const,
  }))
  const story = new ServiceStory([aTaskDefinition({ containerDefinitions: containers ?? [] })], withoutBreaker)
  const imageDigest = `sha256:${'b'.repeat(64)}`
  story.fates.set(1, () => ({
    status: 'RUNNING',
    containers: [{ containerName: 'app', status: 'RUNNING', imageDigest }],
  }))
  story.deploy(1)
  story.pass(3)
  test.strictSame(story.deployment(1).images, [])
})

await t.test(
  'a port that others hold on every host fails the deployment; one that is on its way out does not',
  async (test) => {
    const portMappings = [{ containerPort: 80, hostPort: 8080, protocol: 'tcp' as const }]
    const [definition] = definitions
    const containers = definition?.containerDefinitions.map((one) => ({ ...one, portMappings })) ?? []
    const withPort = [aTaskDefinition({ containerDefinitions: containers })]
    const free = anInstance()
    const held = anInstance({ hostTcpPorts: [8080] })
    const story = new ServiceStory(withPort, { ...withoutBreaker, desiredCount: 1 }, [
      held,
      { ...held, instanceId: '3'.repeat(32) },
    ])
    story.deploy(1)
    story.pass(10)
    test.match(story.deployment(1), {
      rolloutState: 'FAILED',
      rolloutStateReason: /TCP port 8080 is held by a program outside of Gantry on i-/,
    })
    const ownPort = new ServiceStory(withPort, { ...withoutBreaker, desiredCount: 2 }, [held, free])
    ownPort.fates.set(1, runs)
    ownPort.deploy(1)
    ownPort.pass(60)
    test.match(ownPort.deployment(1), { rolloutState: 'IN_PROGRESS' }, 'its own task has the other host')
    const neighbour = aTask({
      instanceId: free.instanceId,
      lastStatus: 'RUNNING',
      reserved: { cpuUnits: 0, memoryMiB: 0, tcpPorts: [8080], udpPorts: [], dynamicPortsAwaited: 0 },
    })
    const crowded = new ServiceStory(withPort, { ...withoutBreaker, desiredCount: 1 }, [free])
    crowded.write((tx) => tx.put('task', neighbour.taskId, neighbour))
    crowded.deploy(1)
    crowded.pass(3)
    test.match(crowded.deployment(1), { rolloutState: 'IN_PROGRESS' }, 'it may be on its way out')
    crowded.pass(5)
    test.match(crowded.deployment(1), { rolloutState: 'FAILED', cause: { reason: new RegExp(neighbour.taskId) } })
  },
)

const fromDaemon = (words: string): string => `CannotPullContainerError: Error response from daemon: ${words}`

await t.test('what is definite, and what a retry may heal', async (test) => {
  const kinds: readonly (readonly [FailureKind, string])[] = [
    ['missingImage', notFound],
    ['missingImage', fromDaemon('name unknown: repository name not known to registry')],
    [
      'missingImage',
      fromDaemon("name unknown: The repository with name 'web' does not exist in the registry with id '1'"),
    ],
    ['wrongArchitecture', fromDaemon('no matching manifest for linux/arm64/v8 in the manifest list entries')],
    ['invalidReference', 'CannotPullContainerError: invalid reference format: repository name must be lowercase'],
    ['invalidReference', 'CannotPullContainerError: Error response from daemon: invalid reference format'],
    [
      'brokenCommand',
      'CannotStartContainerError: Error response from daemon: failed to create shim: OCI runtime create failed: ' +
        'container_linux.go:380: starting container process caused: exec: "serve": executable file not found in $PATH: unknown',
    ],
    [
      'brokenCommand',
      'CannotStartContainerError: Error response from daemon: OCI runtime create failed: runc create failed: unable to ' +
        'start container process: exec: "/app": stat /app: no such file or directory: unknown',
    ],
    [
      'brokenCommand',
      'CannotStartContainerError: Error response from daemon: failed to create shim task: OCI runtime create failed: runc ' +
        'create failed: unable to start container process: exec: "/app": permission denied: unknown',
    ],
    ['refusedTask', 'Container app has secrets, which is not supported by this agent.'],
    ['refusedTask', 'UnrecogniedTaskError: Error loading task - no containers'],
    ['brokenCommand', 'CannotCreateContainerError: Error response from daemon: No command specified'],
    [
      'wrongArchitecture',
      'CannotStartContainerError: Error response from daemon: OCI runtime create failed: exec /app: exec format error',
    ],
    [
      'retry',
      fromDaemon("pull access denied for web, repository does not exist or may require 'docker login': denied"),
    ],
    ['retry', fromDaemon('repository lab/web not found: does not exist or no pull access')],
    ['retry', fromDaemon('unauthorized: authentication required')],
    ['retry', fromDaemon('toomanyrequests: You have reached your pull rate limit')],
    ['retry', fromDaemon('received unexpected HTTP status: 503 Service Unavailable')],
    ['retry', fromDaemon('Get "http://10.0.0.9:5000/v2/": dial tcp 10.0.0.9:5000: connect: connection refused')],
    ['retry', fromDaemon('Get "https://lab.invalid/v2/": dial tcp: lookup lab.invalid: no such host')],
    ['retry', timedOut],
    ['retry', 'CannotStartContainerError: Error response from daemon: driver failed: port is already allocated'],
    ['retry', 'manifest unknown'],
    ['retry', 'Essential container in task exited'],
    ['retry', ''],
  ]
  for (const [kind, reason] of kinds) test.equal(classifyReason(reason), kind, reason)
})

await t.test('a program of another architecture is told by the one line that runc leaves', async (test) => {
  test.equal(endedAfter(['exec /app: exec format error']).kind, 'wrongArchitecture')
  test.equal(
    endedAfter(['standard_init_linux.go:228: exec user process caused: exec format error']).kind,
    'wrongArchitecture',
  )
  test.match(endedAfter(['exec /app: exec format error']).cause.reason, /another architecture/)
  test.equal(endedAfter(['starting', 'exec /plugin: exec format error']).kind, 'retry', "a program's own complaint")
  test.equal(endedAfter(['exec /app: exec format error'], 0).kind, 'retry')
  test.notMatch(JSON.stringify(endedAfter(['secret']).cause), 'secret')
  const story = new ServiceStory(definitions, withoutBreaker, [
    anInstance(),
    anInstance({ attributes: [{ name: 'ecs.cpu-architecture', value: 'arm64' }] }),
  ])
  story.fates.set(1, failsWith(fromDaemon('no matching manifest for linux/arm64/v8 in the manifest list entries')))
  story.deploy(1)
  story.pass(10)
  test.match(story.deployment(1), { rolloutState: 'IN_PROGRESS' }, 'another host may have the right one')
})

await t.test('the thresholds of the breaker, and the pauses', async (test) => {
  for (const [desired, expected] of [
    [1, 3],
    [6, 3],
    [7, 4],
    [25, 13],
    [400, 200],
    [800, 200],
  ] as const) {
    test.equal(breakerThreshold(breaker, desired), expected, `${desired} desired`)
    test.equal(threshold('BOUNDED_PERCENT', 50, desired), expected)
  }
  test.equal(threshold('COUNT', 1, 100), 1)
  test.equal(threshold('COUNT', 500, 1), 500)
  test.equal(threshold('UNBOUNDED_PERCENT', 50, 2), 1)
  test.equal(threshold('UNBOUNDED_PERCENT', 100, 900), 900)
  test.equal(threshold('UNBOUNDED_PERCENT', 10, 0), 1)
  test.strictSame([0, 1, 2, 3, 10, 11, 1000].map(pauseAfter), [0, 1000, 2000, 4000, 512_000, 900_000, 900_000])
})

await t.test(
  'a task that proves itself resets the count of the breaker, unless resetOnHealthyTask is false',
  async (test) => {
    for (const resets of [true, undefined]) {
      test.match(resetCourse(resets).deployment(2), { rolloutState: 'COMPLETED' })
      test.match(resetCourse(resets).serviceDeployment(2).deploymentCircuitBreaker, { status: 'MONITORING_COMPLETE' })
    }
    test.match(resetCourse(false).deployment(2), { rolloutState: 'FAILED', failedTasks: 3 })
    test.match(resetCourse(false).serviceDeployment(2), { status: 'ROLLBACK_SUCCESSFUL' })
  },
)

/** The first and the third task fail soon, the second one runs, the fourth fails once that one has proved itself. */
function resetCourse(resetOnHealthyTask: boolean | undefined): ServiceStory {
  const thresholdConfiguration = { type: 'COUNT' as const, value: 3 }
  const deploymentCircuitBreaker = { ...breaker, thresholdConfiguration, resetOnHealthyTask }
  const story = settled({ desiredCount: 2, deploymentConfiguration: { ...percents, deploymentCircuitBreaker } })
  const order: string[] = []
  const slowly: Fate = (task, ageMs) => failsWith(timedOut)(task, ageMs - 9000)
  const fates = [failsWith(timedOut), runs, failsWith(timedOut), slowly]
  story.fates.set(2, (task, ageMs) => {
    if (!order.includes(task.taskId)) order.push(task.taskId)
    return (fates[order.indexOf(task.taskId)] ?? runs)(task, ageMs)
  })
  story.deploy(2)
  story.pass(60)
  return story
}

function threshold(type: 'COUNT' | 'BOUNDED_PERCENT' | 'UNBOUNDED_PERCENT', value: number, desired: number): number {
  return breakerThreshold({ enable: true, rollback: false, thresholdConfiguration: { type, value } }, desired)
}

/** RUNNING after a second, with this digest. */
function pullsDigest(imageDigest: string): Fate {
  return (task, ageMs) => {
    const report = runs(task, ageMs)
    return report && { ...report, containers: [{ containerName: 'app', status: 'RUNNING', imageDigest }] }
  }
}

function endedAfter(lastLogLines: readonly string[], exitCode = 1): TaskFailure {
  const containers = [aContainer({ lastStatus: 'STOPPED', exitCode, lastLogLines })]
  const stoppedReason = 'Essential container in task exited'
  return failureOf(aTask({ stopCode: 'EssentialContainerExited', stoppedReason, containers }), testNow)
}

/** RUNNING after a second, and then what its health check says after three. */
function turns(healthStatus: 'HEALTHY' | 'UNHEALTHY'): Fate {
  return (task, ageMs) => {
    const report = runs(task, ageMs)
    if (report === undefined || ageMs < 3000) return report
    return { ...report, containers: [{ containerName: 'app', status: 'RUNNING', healthStatus }] }
  }
}

function pinnedImages({
  containers,
}: {
  readonly containers: readonly { readonly pinnedImage?: string | undefined }[]
}) {
  return containers.map(({ pinnedImage }) => pinnedImage)
}

await t.test("a crash is judged by its host's own clock, however wrong, and health once known stays", (test) => {
  const deployment = aDeployment()
  const hour = 3_600_000
  const ended = (ranForMs: number, hostAheadMs: number): DeploymentRow | undefined => {
    const from = testNow + hostAheadMs
    const task = aTask({
      serviceKey: 'default/web',
      deploymentId: deployment.id,
      lastStatus: 'STOPPED',
      desiredStatus: 'STOPPED',
      stopCode: 'EssentialContainerExited',
      startedAt: testNow,
      healthyAt: testNow,
      executionStoppedAt: from + ranForMs,
      containers: [aContainer({ lastStatus: 'STOPPED', exitCode: 0, startedAt: from, finishedAt: from + ranForMs })],
    })
    const state = aState({ task: [task], service: [aService()], deployment: [deployment] })
    const now = testNow + 2000
    inTransaction(state, (tx) => serviceTaskDecider.decide(tx, 'task', task.taskId, undefined, now, aWorld()))
    return state.get('deployment', deployment.id)
  }
  test.match(ended(1500, hour), { failedTasks: 1, failuresInRow: 1, retryAt: Number })
  test.match(ended(1500, -hour), { failedTasks: 1, failuresInRow: 1 })
  test.match(ended(11_000, -hour), { failedTasks: 0, retryAt: undefined })

  const checked = { lastStatus: 'RUNNING', desiredStatus: 'RUNNING', hasHealthCheck: true } as const
  const phases = [
    phaseOf({ ...checked, healthStatus: 'UNKNOWN' }),
    phaseOf({ ...checked, healthStatus: 'UNKNOWN', healthyAt: testNow }),
    phaseOf({ ...checked, healthStatus: 'UNHEALTHY', healthyAt: testNow }),
  ]
  test.same(phases, ['starting', 'healthy', 'unhealthy'])
  test.end()
})
