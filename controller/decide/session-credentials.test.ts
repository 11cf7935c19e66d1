/** Keys of tasks' roles: when an agent is sent them, until it has them, and what becomes of a task without its role. */
import t from 'tap'
import type { IAMRoleCredentialsMessage, PayloadMessage, PayloadTask } from '../../proto/acs.ts'
import {
  aRole,
  aState,
  aTask,
  aTaskDefinition,
  anInstance,
  aVault,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { createAccess } from '../access/check.ts'
import { openSessionToken } from '../access/session-token.ts'
import type { State } from '../state/state.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import { openSession, type Session, type SessionEffect, type SessionEvent, stepSession } from './session.ts'
import { revokeSessions } from '../iam/revoke-sessions.ts'
import { credentialsPerStepMax, noCredentialsSent, type SentCredentials } from './session-credentials.ts'
import { taskCredentials } from './task-credentials.ts'

const hourMs = 3_600_000
const instance = anInstance({ seqNum: 5 })
const { instanceId } = instance
const definition = aTaskDefinition({ taskRoleArn: 'app', executionRoleArn: 'arn:aws:iam::123456789012:role/executor' })
const roles = [aRole({ RoleName: 'app' }), aRole({ RoleName: 'executor' })]

interface SceneRows {
  readonly roles?: readonly RoleRow[]
  readonly definition?: TaskDefinitionRow
}

class Scene {
  readonly state: State
  readonly world = aWorld()
  readonly vault = aVault()
  now = testNow
  session: Session

  constructor(tasks: readonly TaskRow[], given: SceneRows = {}) {
    const taskDefinition = [given.definition ?? definition]
    this.state = aState({ instance: [instance], task: tasks, taskDefinition, role: given.roles ?? roles })
    this.session = openSession(instanceId, this.now)
  }

  step(event: SessionEvent): readonly SessionEffect[] {
    const { state: reader, world, now } = this
    const view = {
      reader,
      world,
      now,
      mintCredentials: taskCredentials(this.vault, world),
      access: createAccess(world),
    }
    const { session, effects } = stepSession(this.session, event, view)
    this.session = session
    for (const effect of effects) {
      if (effect.kind === 'submit') inTransaction(this.state, (tx) => effect.input.run(tx, this.now, this.world))
    }
    return effects
  }

  connect(known: SentCredentials = noCredentialsSent): readonly SessionEffect[] {
    this.session = openSession(instanceId, this.now, known)
    return this.step({ kind: 'connected' })
  }

  after(ms: number): readonly SessionEffect[] {
    this.now += ms
    this.session = { ...this.session, heardAt: this.now, heartbeatsUnanswered: 0 }
    return this.step({ kind: 'tick' })
  }

  hear(type: string, message: object): readonly SessionEffect[] {
    return this.step({ kind: 'frame', frame: { type, message: { ...message } } })
  }

  ack({ messageId, roleCredentials }: IAMRoleCredentialsMessage): void {
    const { credentialsId, expiration } = roleCredentials
    this.hear('IAMRoleCredentialsAckRequest', { messageId, credentialsId, expiration })
  }

  put(task: TaskRow): void {
    inTransaction(this.state, (tx) => tx.put('task', task.taskId, task))
  }
}

function keysIn(effects: readonly SessionEffect[]): readonly IAMRoleCredentialsMessage[] {
  return effects.flatMap((effect) =>
    effect.kind === 'send' && effect.type === 'IAMRoleCredentialsMessage'
      ? [effect.message as IAMRoleCredentialsMessage]
      : [],
  )
}

function payloadIn(
  effects: readonly SessionEffect[],
): { readonly messageId: string; readonly task: PayloadTask } | undefined {
  for (const effect of effects) {
    if (effect.kind !== 'send' || effect.type !== 'PayloadMessage') continue
    const { messageId, tasks } = effect.message as PayloadMessage
    const [task] = tasks
    if (task !== undefined) return { messageId, task }
  }
  return undefined
}

function aTaskWithRoles(over: Partial<TaskRow> = {}): TaskRow {
  const credentialsId = `task-keys-of-${over.taskId ?? 'one'}`
  const executionCredentialsId = `execution-keys-of-${over.taskId ?? 'one'}`
  return aTask({ instanceId, seqNum: 1, credentialsId, executionCredentialsId, ...over })
}

const running = { lastStatus: 'RUNNING', acknowledgedSeqNum: 1, reportedAt: testNow } as const

await t.test("a new task's payload carries keys of both roles, which are sessions of these roles", (test) => {
  const task = aTaskWithRoles()
  const scene = new Scene([task])
  const payload = payloadIn(scene.connect())
  const { roleCredentials, executionRoleCredentials } = payload?.task ?? {}
  test.match(roleCredentials, {
    credentialsId: 'task-keys-of-one',
    roleArn: 'arn:aws:iam::123456789012:role/app',
    accessKeyId: /^GSESSN[A-Z2-7]{14}$/,
    expiration: new Date(testNow + 6 * hourMs).toISOString(),
  })
  test.match(executionRoleCredentials, { roleArn: 'arn:aws:iam::123456789012:role/executor' })
  test.match(openSessionToken(roleCredentials?.sessionToken ?? '', scene.vault), {
    kind: 'role',
    name: 'app',
    sessionName: task.taskId,
    taskArn: task.taskArn,
    containerInstanceArn: task.containerInstanceArn,
    secretAccessKey: roleCredentials?.secretAccessKey,
    expiresAt: testNow + 6 * hourMs,
  })
  scene.hear('AckRequest', { messageId: payload?.messageId })
  test.same(keysIn(scene.after(hourMs)), [], 'they need no message of their own')
  const renewed = keysIn(scene.after(2 * hourMs))
  test.same(
    renewed.map(({ roleType }) => roleType),
    ['TaskApplication', 'TaskExecution'],
    'but half of their life later',
  )
  test.not(renewed[0]?.roleCredentials.accessKeyId, roleCredentials?.accessKeyId)
  test.equal(JSON.stringify([...scene.state.all('task')]).includes('GSESSN'), false, 'rows hold ids alone')
  test.end()
})

await t.test(
  'an agent that has just started gets the keys of all its tasks, again and again until it has them',
  (test) => {
    const scene = new Scene([aTaskWithRoles(running), aTask({ instanceId, ...running })])
    const first = keysIn(scene.connect())
    test.match(first, [
      { roleType: 'TaskApplication', roleCredentials: { credentialsId: 'task-keys-of-one' } },
      { roleType: 'TaskExecution', roleCredentials: { credentialsId: 'execution-keys-of-one' } },
    ])
    test.same(keysIn(scene.after(9000)), [], 'not before ten seconds')
    const [again, execution] = keysIn(scene.after(1000))
    if (again === undefined || execution === undefined) throw new Error('Nothing was sent again.')
    scene.ack(first[0] ?? again)
    scene.ack(execution)
    test.same(
      keysIn(scene.after(20_000)).map(({ roleType }) => roleType),
      ['TaskApplication'],
      'the ack of an older message is none',
    )
    test.same(keysIn(scene.after(39_000)), [], 'each wait is twice the one before')
    const [last] = keysIn(scene.after(1000))
    if (last === undefined) throw new Error('Nothing was sent again.')
    scene.ack(last)
    test.same(keysIn(scene.after(hourMs)), [])
    test.same(keysIn(scene.after(2 * hourMs)).length, 2)
    test.end()
  },
)

await t.test('a channel that is dialled anew goes on where the one before ended', (test) => {
  const scene = new Scene([aTaskWithRoles(running)])
  for (const message of keysIn(scene.connect())) scene.ack(message)
  for (let half = 1; half < 6; half += 1) {
    scene.now += hourMs / 2
    test.same(keysIn(scene.connect(scene.session.credentials)), [], `after ${half / 2} h`)
  }
  scene.now += hourMs / 2
  test.equal(keysIn(scene.connect(scene.session.credentials)).length, 2, 'half of their life is over')
  test.end()
})

await t.test('a thousand tasks get theirs over some steps, and no ended one any', (test) => {
  const tasks = Array.from({ length: 1000 }, (_each, index) =>
    aTaskWithRoles({ taskId: index.toString(16).padStart(32, '0'), ...running }),
  )
  const scene = new Scene(tasks)
  const seen = new Set<string>()
  for (let step = 0; step < 20; step += 1) {
    const messages = keysIn(step === 0 ? scene.connect() : scene.after(100))
    test.equal(messages.length, credentialsPerStepMax)
    for (const message of messages) {
      seen.add(message.roleCredentials.credentialsId)
      scene.ack(message)
    }
  }
  test.equal(seen.size, 2000)
  for (const task of tasks.slice(1)) scene.put({ ...task, lastStatus: 'STOPPED', desiredStatus: 'STOPPED' })
  test.equal(keysIn(scene.after(3 * hourMs)).length, 2, 'those of the one that runs')
  test.equal(scene.session.credentials.known.size, 2)
  test.end()
})

await t.test('a role whose sessions are revoked gives its tasks new keys at once, however many they are', (test) => {
  const tasks = Array.from({ length: credentialsPerStepMax + 20 }, (_, index) =>
    aTaskWithRoles({ taskId: `task-${String(index).padStart(4, '0')}`, ...running }),
  )
  const scene = new Scene(tasks)
  const first = [scene.connect(), scene.after(1000), scene.after(1000)].flatMap(keysIn)
  test.equal(first.length, 2 * tasks.length)
  for (const message of first) scene.ack(message)
  test.same(keysIn(scene.after(60_000)), [], 'they have what they need')
  scene.now -= 3 * hourMs
  inTransaction(scene.state, (tx) => revokeSessions(tx, 'app', scene.now))
  scene.step({ kind: 'rolesChanged' })
  const anew = [scene.after(1000), scene.after(1000)].flatMap(keysIn)
  test.equal(anew.length, tasks.length, 'of the one role alone')
  test.ok(anew.every(({ roleCredentials }) => roleCredentials.roleArn.endsWith(':role/app')))
  const token = anew[0]?.roleCredentials.sessionToken ?? ''
  test.match(openSessionToken(token, scene.vault), { name: 'app', epoch: 1 })
  for (const message of anew) scene.ack(message)
  test.same(keysIn(scene.after(60_000)), [], 'once, also where the clock was set back')
  inTransaction(scene.state, (tx) => tx.put('role', 'app', aRole({ RoleName: 'app', RoleId: 'AROAMADEANEW' })))
  scene.step({ kind: 'rolesChanged' })
  const [ofNew] = keysIn(scene.after(1000))
  test.match(openSessionToken(ofNew?.roleCredentials.sessionToken ?? '', scene.vault), { principalId: 'AROAMADEANEW' })
  inTransaction(scene.state, (tx) => tx.delete('role', 'app'))
  scene.step({ kind: 'rolesChanged' })
  test.same(keysIn(scene.after(1000)), [], 'of a role that is gone there is nothing to give')
  test.end()
})

await t.test('keys that were made in one moment are not made anew in one', (test) => {
  const tasks = Array.from({ length: 300 }, (_each, index) =>
    aTask({ taskId: `task-${index}`, instanceId, seqNum: 1, credentialsId: `keys-${index}`, ...running }),
  )
  const scene = new Scene(tasks)
  for (const messages of [scene.connect(), scene.after(100), scene.after(100)])
    keysIn(messages).forEach((each) => scene.ack(each))
  scene.now = testNow + 2.5 * hourMs - 60_000
  test.same(keysIn(scene.after(0)), [], 'none before five sixths of their time')
  const perMinute = Array.from({ length: 32 }, () => {
    const messages = keysIn(scene.after(60_000))
    for (const message of messages) scene.ack(message)
    return messages.length
  })
  test.equal(
    perMinute.reduce((sum, each) => sum + each, 0),
    300,
    'all of them before half of their life is over',
  )
  test.ok(Math.max(...perMinute) < 30, `at most ${Math.max(...perMinute)} in a minute`)
  test.end()
})

await t.test('a role that is gone ends a task that no agent has begun, and leaves what runs alone', (test) => {
  const scene = new Scene([aTaskWithRoles()], { roles: roles.slice(0, 1) })
  const effects = scene.connect()
  test.equal(payloadIn(effects), undefined)
  const [task] = [...scene.state.all('task')]
  test.match(task, { desiredStatus: 'STOPPED', stopCode: 'TaskFailedToStart' })
  test.match(
    task?.stoppedReason,
    /^ECS was unable to assume the role 'arn:aws:iam::123456789012:role\/executor' that was provided for this task\./,
  )

  const alive = new Scene([aTaskWithRoles(running)], { roles: [] })
  const told = alive.connect()
  test.same(keysIn(told), [])
  test.equal(told.filter((effect) => effect.kind === 'log' && effect.level === 'warn').length, 2)
  test.match([...alive.state.all('task')], [{ desiredStatus: 'RUNNING' }])
  inTransaction(alive.state, (tx) => {
    for (const role of roles) tx.put('role', role.RoleName, role)
  })
  test.equal(keysIn(alive.after(300_000)).length, 2, 'once the role is back they are made')
  test.end()
})

await t.test('a role whose trust was withdrawn gives no keys', (test) => {
  const untrusted = aRole({ RoleName: 'app', AssumeRolePolicyDocument: '{"Version":"2012-10-17","Statement":[]}' })
  const scene = new Scene([aTaskWithRoles()], { roles: [untrusted, ...roles.slice(1)] })
  scene.connect()
  const [task] = [...scene.state.all('task')]
  test.match(
    task?.stoppedReason,
    /unable to assume the role 'app'.*trust policy of arn:aws:iam::123456789012:role\/app does not allow ecs-tasks/,
  )
  test.end()
})

/** Why a new task of the definition is stopped before it begins; undefined where it is told to its agent. */
function endOf(launchType: 'EC2' | 'EXTERNAL', of: Partial<TaskDefinitionRow>, role: RoleRow): string | undefined {
  const task = aTask({ instanceId, seqNum: 1, launchType, executionCredentialsId: 'keys' })
  const scene = new Scene([task], { roles: [role], definition: aTaskDefinition(of) })
  scene.connect()
  return [...scene.state.all('task')][0]?.stoppedReason
}

await t.test('logs of a task on EXTERNAL are shipped by its execution role, and by the host on EC2', (test) => {
  const options = { 'awslogs-group': '/web', 'awslogs-region': 'us-east-1', 'awslogs-stream-prefix': 'web' }
  const [container] = aTaskDefinition().containerDefinitions
  const containerDefinitions = [{ ...container, logConfiguration: { logDriver: 'awslogs' as const, options } }]
  const shipped = { containerDefinitions, executionRoleArn: 'executor' }
  const allow = JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        Resource: 'arn:aws:logs:us-east-1:123456789012:log-group:/web:*',
      },
    ],
  })
  const allowed = aRole({ RoleName: 'executor', inlinePolicies: [{ PolicyName: 'logs', PolicyDocument: allow }] })
  test.equal(endOf('EXTERNAL', shipped, allowed), undefined)
  test.equal(endOf('EC2', { containerDefinitions }, allowed), undefined, "the host's own rights")
  test.match(
    endOf('EXTERNAL', { containerDefinitions }, allowed),
    /^ResourceInitializationError: failed to validate logger args: .*the task has no execution role.*executionRoleArn/,
  )
  test.match(
    endOf('EXTERNAL', shipped, aRole({ RoleName: 'executor' })),
    /^ResourceInitializationError: .*AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role\/executor\/\w{32} is not authorized to perform: logs:CreateLogStream on resource: arn:aws:logs:us-east-1:123456789012:log-group:\/web:log-stream:web\/app\/\w{32} because no identity-based policy allows/,
  )
  test.end()
})
