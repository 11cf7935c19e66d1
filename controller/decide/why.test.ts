import t from 'tap'
import { aContainer, aRole, aState, aTask, aTaskDefinition, anInstance, testNow } from '../../test/support/builders.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { ageText } from './age.ts'
import { meaningOfExitCode } from './exit-code.ts'
import { explainTask, type Why } from './why.ts'

/** Explains a task that was made 90 s ago on instance `1`. */
function why(task: Partial<TaskRow>, instance: Partial<InstanceRow> = {}): Why {
  const row = aTask({ instanceId: '1', createdAt: testNow - 90_000, seqNum: 4, acknowledgedSeqNum: 4, ...task })
  return explainTask(aState({ instance: [anInstance({ instanceId: '1', ...instance })], task: [row] }), row, testNow)
}

await t.test('a task that waits says for what', async (test) => {
  const unacknowledged = why({ acknowledgedSeqNum: 3 })
  test.equal(unacknowledged.state, 'waiting')
  test.equal(unacknowledged.summary, 'The agent has not acknowledged this task yet, made 90 s ago.')
  test.ok(unacknowledged.facts.includes('The agent has not reported on it yet.'))
  test.match(unacknowledged.next[0], /log of the agent/)
  test.match(why({ seqNum: 0, acknowledgedSeqNum: 0 }).summary, /has not acknowledged/)

  const saying = why({ waitingFor: 'container web is to be HEALTHY.', reportedAt: testNow - 5000 })
  test.equal(saying.summary, 'The agent waits: container web is to be HEALTHY.')
  const engine = why({ waitingFor: 'waits for image nginx:1 to be pulled, for 12 s', reportedAt: testNow - 5000 })
  test.equal(engine.summary, 'The agent waits for image nginx:1 to be pulled, for 12 s.')
  test.ok(saying.facts.includes('The agent last reported on it 5 s ago.'))

  test.equal(
    why({ pullStartedAt: testNow - 600_000 }).summary,
    'Its images (busybox:latest) are being pulled, for 10 min now.',
  )
  const starting = why({ pullStartedAt: 1, pullStoppedAt: 2 })
  test.equal(starting.summary, 'The agent has the task and is starting it; not running yet: app.')
  test.ok(why({}, { status: 'DRAINING' }).facts.includes('Its instance is draining.'))
})

await t.test('a Docker Engine that does not answer comes before what was last known of the task', async (test) => {
  const runtime = { type: 'CONTAINER_RUNTIME', status: 'IMPAIRED', lastStatusChange: testNow - 12_000 } as const
  const silent: Partial<InstanceRow> = { healthStatus: { overallStatus: 'IMPAIRED', details: [runtime] } }
  const waiting = why({ waitingFor: 'waits for Docker Engine to answer, for 2 s' }, silent)
  test.equal(
    waiting.summary,
    "The Docker Engine of the task's instance has not answered for 12 s; the task starts once it does.",
  )
  test.match(waiting, { state: 'waiting', next: [/Start Docker Engine on the host of instance 1/] })
  test.match(why({ lastStatus: 'RUNNING' }, silent), { state: 'running', summary: /was last known RUNNING/ })
  const stopping = why({ lastStatus: 'RUNNING', desiredStatus: 'STOPPED' }, silent)
  test.match(stopping, { state: 'stopping', summary: /that is done once Docker Engine answers again/ })
  test.match(stopping.facts[0], /has not answered/)
  const away = { agentConnected: false, connectivityAt: testNow - 3600_000 }
  test.match(why({}, { ...silent, ...away }).summary, /agent of the task's instance has been disconnected/)
})

await t.test('a silent agent comes before anything that was last known', async (test) => {
  const silent = { agentConnected: false, connectivityAt: testNow - 3 * 3600_000 }
  const waiting = why({ waitingFor: 'an image' }, silent)
  test.equal(
    waiting.summary,
    "The agent of the task's instance has been disconnected for 3 h; the task was last known PENDING, nothing was heard of it since.",
  )
  test.equal(waiting.ages.connectivity, 3 * 3600)
  const running = why({ lastStatus: 'RUNNING' }, silent)
  test.match(running, { state: 'running', summary: /last known RUNNING, its containers go on without the controller/ })
  test.match(running.next[0], /host of instance 1 is up/)
  const stopping = why({ lastStatus: 'RUNNING', desiredStatus: 'STOPPED', stoppingAt: testNow - 4000 }, silent)
  test.match(stopping, { state: 'stopping', summary: /asked 4 s ago: it is told as soon as its agent is back/ })
  test.match(stopping.facts[0], /disconnected for 3 h/)
  test.match(why({}, { status: 'INACTIVE' }).summary, /is deregistered/)
})

await t.test('a task that runs, well or not', async (test) => {
  const well = why({ lastStatus: 'RUNNING', startedAt: testNow - 30_000 })
  test.match(well, { state: 'running', summary: 'The task has been running for 30 s.', next: [] })
  const sick = why({
    lastStatus: 'RUNNING',
    containers: [
      aContainer({ lastStatus: 'RUNNING', healthStatus: 'UNHEALTHY' }),
      aContainer({ name: 'init', lastStatus: 'STOPPED', exitCode: 0 }),
    ],
  })
  test.equal(sick.summary, 'The task is running, and it is not healthy.')
  test.ok(sick.facts.includes('Container init has ended: exit code 0 (it ended well).'))
  test.ok(sick.facts.includes('Container app fails its health check.'))
})

await t.test('containers that were started again in place', async (test) => {
  const again = aContainer({ lastStatus: 'RUNNING', restartCount: 3, startedAt: testNow - 90_000 })
  const told = why({ lastStatus: 'RUNNING', startedAt: testNow - 30_000, containers: [again] })
  test.ok(told.facts.includes('Container app was started again in place 3 times, last 90 s ago.'), told.facts.join(' '))
  test.match(told.containers, [{ restartCount: 3 }])
})

await t.test('a task that is being stopped', async (test) => {
  const stopping = { desiredStatus: 'STOPPED' as const, stoppedReason: 'enough', stoppingAt: testNow - 2000 }
  test.equal(
    why({ ...stopping, acknowledgedSeqNum: 3 }).summary,
    'The task is to stop, asked 2 s ago (enough): the agent has not acknowledged it yet.',
  )
  test.match(why(stopping).summary, /SIGTERM, and SIGKILL after their stopTimeout/)
})

await t.test('a task that stopped says why, with exit codes in words and the end of its output', async (test) => {
  const ended = { lastStatus: 'STOPPED' as const, desiredStatus: 'STOPPED' as const, stoppedAt: testNow - 60_000 }
  const killed = why({
    ...ended,
    startedAt: testNow - 80_000,
    stopCode: 'EssentialContainerExited',
    stoppedReason: 'Essential container in task exited',
    containers: [
      aContainer({ name: 'side', essential: false, lastStatus: 'STOPPED', exitCode: 1 }),
      aContainer({ lastStatus: 'STOPPED', exitCode: 137, lastLogLines: ['loading', 'still loading'] }),
    ],
  })
  test.equal(killed.state, 'stopped')
  test.equal(
    killed.summary,
    'The task stopped 60 s ago: Essential container in task exited. Container app: exit code 137 ' +
      '(killed, SIGKILL: out of memory, or not ended within its stopTimeout).',
    'the essential container, not the other',
  )
  test.ok(killed.facts.includes('It ran for 20 s.'))
  test.match(killed.containers[1], {
    exitCode: 137,
    exitCodeMeaning: /out of memory/,
    lastLogLines: ['loading', 'still loading'],
  })
  test.match(killed.next.join('\n'), /raise the memory/)
  test.equal(killed.ages.stopped, 60)

  const unpulled = why({
    ...ended,
    stopCode: 'TaskFailedToStart',
    stoppedReason: 'Task failed to start',
    containers: [aContainer({ lastStatus: 'STOPPED', reason: 'CannotPullContainerError: no such image.' })],
  })
  test.match(unpulled.summary, /Task failed to start\. Container app: CannotPullContainerError: no such image\.$/)
  test.ok(unpulled.facts.includes('It never ran.'))
  test.match(unpulled.next[0], /name and tag of the image/)

  const sameReason = 'CannotPullContainerError: no such image'
  test.equal(
    why({
      ...ended,
      stoppedReason: sameReason,
      containers: [aContainer({ lastStatus: 'STOPPED', reason: sameReason })],
    }).summary,
    'The task stopped 60 s ago: CannotPullContainerError: no such image.',
    'nothing is said twice',
  )
  const done = {
    ...ended,
    stopCode: 'EssentialContainerExited' as const,
    stoppedReason: 'Essential container in task exited',
  }
  const well = why({ ...done, containers: [aContainer({ lastStatus: 'STOPPED', exitCode: 0 })] })
  test.match(well, { summary: /Container app: exit code 0 \(it ended well\)\.$/, next: [] })
  const outOfMemory = 'OutOfMemoryError: Container killed due to memory usage'
  const hungry = why({
    ...done,
    containers: [aContainer({ lastStatus: 'STOPPED', exitCode: 137, reason: outOfMemory })],
  })
  test.equal(hungry.containers[0]?.exitCodeMeaning, 'killed, SIGKILL: out of memory')
  test.same(hungry.next, ['Raise the memory of the container, or make it use less.'])
  const waited = 'CannotStartContainerError: dependency graph: dependency migrate did not exit successfully'
  const behind = why({
    ...done,
    containers: [
      aContainer({ lastStatus: 'STOPPED', exitCode: 143, reason: waited }),
      aContainer({ name: 'migrate', essential: false, lastStatus: 'STOPPED', exitCode: 3 }),
    ],
  })
  test.match(behind.summary, /Container migrate: exit code 3/, 'the cause, not what waited for it')
  test.equal(behind.containers[0]?.exitCodeMeaning, 'it was never started')
  const slow = why({
    ...ended,
    stopCode: 'UserInitiated',
    containers: [aContainer({ lastStatus: 'STOPPED', exitCode: 137 })],
  })
  test.match(slow.containers[0]?.exitCodeMeaning, /not ended within its stopTimeout after SIGTERM/)

  const byUser = why({ ...ended, stopCode: 'UserInitiated', stoppedReason: 'Task stopped by user' })
  test.match(byUser, { summary: 'The task stopped 60 s ago: Task stopped by user.', next: [] })

  const failed = why({ ...ended, containers: [aContainer({ lastStatus: 'STOPPED', exitCode: 3 })] })
  test.match(failed.next[0], /docker logs/)
})

await t.test('the roles of a task, and what is fetched with them, in names alone', async (test) => {
  const [container] = aTaskDefinition().containerDefinitions
  const definition = aTaskDefinition({
    taskRoleArn: 'app',
    executionRoleArn: 'arn:aws:iam::123456789012:role/team/executor',
    containerDefinitions: [
      {
        ...container,
        secrets: [
          { name: 'PASSWORD', valueFrom: 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password::' },
          { name: 'TOKEN', valueFrom: '/web/token' },
        ],
        environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::vars/web.env' }],
        repositoryCredentials: { credentialsParameter: 'registry' },
      },
    ],
  })
  const explain = (task: Partial<TaskRow>): Why => {
    const row = aTask({ instanceId: '1', ...task })
    const instance = [anInstance({ instanceId: '1' })]
    const state = aState({ instance, task: [row], taskDefinition: [definition], role: [aRole({ RoleName: 'app' })] })
    return explainTask(state, row, testNow)
  }
  const { facts } = explain({ lastStatus: 'RUNNING' })
  test.ok(facts.includes('Its containers have the rights of role app.'))
  test.ok(
    facts.includes(
      'By the rights of its execution role executor these are fetched: the login of the registry of app, variable ' +
        'PASSWORD of app (Secrets Manager), variable TOKEN of app (Parameter Store), environment file arn:aws:s3:::vars/web.env.',
    ),
    facts.join('\n'),
  )
  test.match(facts.join('\n'), /Its keys of executor are not replaced any more: ECS was unable to assume the role/)
  const denied = 'ResourceInitializationError: unable to pull secrets: AccessDeniedException: User: x is not authorized'
  test.match(explain({ lastStatus: 'STOPPED', desiredStatus: 'STOPPED', stoppedReason: denied }).next[0], /\/v1\/audit/)
  const gone = "ECS was unable to assume the role 'app' that was provided for this task."
  test.match(explain({ lastStatus: 'STOPPED', stoppedReason: gone }).next[0], /trust policy allow ecs-tasks/)
})

await t.test('exit codes and ages in words', async (test) => {
  const meanings: readonly [number, RegExp][] = [
    [0, /ended well/],
    [1, /error/],
    [126, /cannot be executed/],
    [127, /not found/],
    [135, /signal 7/],
    [137, /SIGKILL.*memory/],
    [139, /segmentation fault/],
    [255, /lost sight/],
    [143, /SIGTERM/],
  ]
  for (const [exitCode, expected] of meanings) test.match(meaningOfExitCode(exitCode).meaning, expected)
  const ages: readonly [number, string][] = [
    [-5, '0 s'],
    [4400, '4 s'],
    [180_000, '3 min'],
    [7_500_000, '2 h 5 min'],
    [529_200_000, '6 d 3 h'],
  ]
  for (const [spanMs, expected] of ages) test.equal(ageText(spanMs), expected)
})
