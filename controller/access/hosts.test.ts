/** How hosts come in, change their keys, are put out, and what they may name. */
import tap from 'tap'
import { joinTokenId } from '../../proto/joining.ts'
import {
  aCluster,
  anInstance,
  aState,
  aTask,
  aVault,
  aWorld,
  inTransaction,
  type Rows,
  testNow,
} from '../../test/support/builders.ts'
import { registerInstance } from '../ecs/register-instance.ts'
import { applyTaskStateChange } from '../ecs/submit.ts'
import type { State } from '../state/state.ts'
import type { AddressRow } from '../state/subnet-tables.ts'
import { findHostCaller } from './host-caller.ts'
import { addHostEvent, hostEvent, hostEventsMax, isShowable } from './host-events.ts'
import { areOfOneHost, ownedOperations, OwnershipError, requireOwn, requireRegistrationBy } from './host-ownership.ts'
import { hostPolicy } from './host-policy.ts'
import { changeHostKeys, forgetHost, hostKeyUsed, hostSeen, instanceTakenOver, joinHost, revokeHost } from './hosts.ts'
import { createJoinToken, deleteJoinToken } from './join-tokens.ts'
import { endOfTaskSession } from './task-session.ts'

const root = 'arn:aws:iam::123456789012:root'
const hour = 3_600_000
/** Whether it is refused because it is another's, and not for some other reason. */
function isForeign(run: () => unknown): boolean {
  try {
    run()
    return false
  } catch (error) {
    return error instanceof OwnershipError
  }
}

const vault = aVault()
const totalResources = [
  { name: 'CPU', type: 'INTEGER', integerValue: 1024 },
  { name: 'MEMORY', type: 'INTEGER', integerValue: 1024 },
]

/** A state with a cluster, and what may be done to it as hosts and operators do. */
function aLab(rows: Rows = {}) {
  const world = aWorld()
  const state: State = aState({ cluster: [aCluster(), aCluster({ clusterName: 'lab' })], ...rows })
  const token = (wish: Partial<Parameters<typeof createJoinToken>[1]> = {}, now = testNow): string =>
    inTransaction(state, (tx) => createJoinToken(tx, { clusterName: 'default', ...wish }, root, now, world).token)
  const join = (given: string, over: Partial<Parameters<typeof joinHost>[1]> = {}, now = testNow) =>
    inTransaction(state, (tx) =>
      joinHost(
        tx,
        { token: given, name: 'one', cluster: undefined, sourceAddress: '10.0.0.7', ...over },
        { now, world, vault },
      ),
    )
  const register = (by: string | undefined, containerInstanceArn?: string) =>
    inTransaction(state, (tx) =>
      registerInstance(
        tx,
        { totalResources, ...(containerInstanceArn !== undefined && { containerInstanceArn }) },
        testNow,
        world,
        by,
      ),
    )
  const names = (): readonly string[] => state.all('hostEvent').map(({ name }) => name)
  return { world, state, token, join, register, names }
}

await tap.test('a token lets one host in, within its time, its cluster and its address', async (t) => {
  const { state, token, join } = aLab()
  const first = token()
  t.equal(JSON.stringify(state.all('joinToken')).includes(first), false, 'the token itself is not kept')
  t.throws(() => join(first, { cluster: 'lab' }), { code: 'InvalidClusterException', message: /means to join lab/ })
  t.throws(() => join(`${first.slice(0, -1)}x`), { code: 'AccessDeniedException', message: /not known here/ })
  const wrong = first.endsWith('0') ? `${first.slice(0, -1)}1` : `${first.slice(0, -1)}0`
  t.throws(() => join(wrong, {}, testNow + 2 * hour), { message: /not known here/ }, 'a guess is not told of the end')
  const { host, keys } = join(first, { cluster: 'default' })
  t.match(host, { clusterName: 'default', addresses: ['10.0.0.7'], invitedBy: root })
  t.match(keys, { accessKeyId: /^GANTRY[A-Z2-7]{14}$/, secretAccessKey: /^.{40}$/ })
  t.throws(() => join(first), { message: new RegExp(`used already.*by host ${host.hostId}`) })

  const late = token()
  t.throws(() => join(late, {}, testNow + hour), { code: 'ExpiredTokenException', message: /expired at/ })
  const bound = token({ bindAddress: '10.0.0.9' })
  t.throws(() => join(bound), { message: /good from 10.0.0.9 alone, and this call comes from 10.0.0.7/ })
  t.equal(join(bound, { sourceAddress: '10.0.0.9' }).host.bindAddress, '10.0.0.9')
  const spelt = token({ bindAddress: '2001:DB8:0:0::9' })
  t.throws(() => join(spelt, { sourceAddress: '2001:db8::8' }), { message: /alone/ })
  t.ok(join(spelt, { sourceAddress: '2001:db8::9' }), 'however the operator spelt it')
  const gone = token()
  inTransaction(state, (tx) => deleteJoinToken(tx, joinTokenId(gone) ?? ''))
  t.throws(() => join(gone), { message: /was deleted/ })

  t.throws(() => token({ clusterName: 'nope' }), { code: 'ClusterNotFoundException' })
  t.throws(() => token({ lifeMs: 30_000 }), { message: /60 to 604800/ })
  t.throws(() => token({ bindAddress: 'here' }), { message: /takes an IP address/ })
  t.throws(() => token({ adoptsInstanceId: 'nope' }), { message: /not a container instance of default/ })
  token({}, testNow + 30 * 24 * hour)
  t.equal(state.all('joinToken').length, 1, 'tokens that ended long ago are forgotten')
})

await tap.test('keys are changed without a moment in which none is good', async (t) => {
  const { world, state, token, join, names } = aLab()
  const { host, keys } = join(token())
  const { hostId } = host
  const change = (signedWith: string, now: number) =>
    inTransaction(state, (tx) => changeHostKeys(tx, hostId, signedWith, { now, world, vault })).keys
  const use = (accessKeyId: string) => inTransaction(state, (tx) => hostKeyUsed(tx, accessKeyId, testNow))
  const ids = () => state.all('hostKey').map(({ accessKeyId }) => accessKeyId)
  t.notMatch(JSON.stringify(state.all('hostKey')), keys.secretAccessKey, 'secrets are sealed')

  const lost = change(keys.accessKeyId, testNow)
  t.equal(state.get('hostKey', keys.accessKeyId)?.endsAt, testNow + hour)
  const second = change(keys.accessKeyId, testNow + 2 * hour)
  t.same(new Set(ids()), new Set([keys.accessKeyId, second.accessKeyId]), 'what was never used is forgotten')
  t.throws(() => change(lost.accessKeyId, testNow), { code: 'UnrecognizedClientException' })
  use(second.accessKeyId)
  t.same(ids(), [second.accessKeyId], 'the first use of the new pair ends the old one')
  t.same(names(), ['HOST_JOINED', 'KEYS_CHANGED'])
  const caller = findHostCaller({ reader: state, vault, account: '123456789012' }, second.accessKeyId)
  t.equal(caller?.secret(), second.secretAccessKey)
  t.match(caller?.principal(testNow), {
    kind: 'host',
    hostId,
    arn: `arn:aws:sts::123456789012:assumed-role/gantry-host/${hostId}`,
  })
})

await tap.test(
  'a revoked host is out: its instance is disconnected and says why, and it can be forgotten',
  async (t) => {
    const { world, state, token, join, names } = aLab()
    const { host, keys } = join(token())
    const { hostId } = host
    const instance = anInstance({ hostId, agentConnected: true })
    inTransaction(state, (tx) => tx.put('instance', instance.instanceId, instance))
    const forget = () => inTransaction(state, (tx) => forgetHost(tx, hostId, root, testNow))
    t.throws(forget, { code: 'ResourceInUseException', message: /revoke it first/ })
    inTransaction(state, (tx) => revokeHost(tx, hostId, root, testNow))
    t.match(state.get('instance', instance.instanceId), {
      agentConnected: false,
      statusReason: new RegExp(`Host ${hostId} was revoked`),
    })
    const caller = findHostCaller({ reader: state, vault, account: '1' }, keys.accessKeyId)
    t.throws(() => caller?.principal(testNow), { code: 'UnrecognizedClientException', message: /was revoked at/ })
    t.throws(
      () => inTransaction(state, (tx) => changeHostKeys(tx, hostId, keys.accessKeyId, { now: testNow, world, vault })),
      { code: 'UnrecognizedClientException' },
    )
    t.throws(forget, { message: /deregister that first/ })
    inTransaction(state, (tx) => tx.put('instance', instance.instanceId, { ...instance, status: 'INACTIVE' }))
    forget()
    t.same([state.all('host'), state.all('hostKey')], [[], []])
    t.same(names(), ['HOST_JOINED', 'HOST_REVOKED', 'HOST_FORGOTTEN'])
  },
)

await tap.test('keys of tasks die with the host that they were sent to, however long the tasks live', async (t) => {
  const { state, token, join } = aLab()
  const { hostId } = join(token()).host
  const instance = anInstance({ hostId })
  const task = aTask({ instanceId: instance.instanceId, lastStatus: 'RUNNING' })
  const put = (row: typeof instance) => inTransaction(state, (tx) => tx.put('instance', row.instanceId, row))
  put(instance)
  inTransaction(state, (tx) => tx.put('task', task.taskId, task))
  const end = (issuedAt = testNow) => endOfTaskSession(state, task.taskArn, issuedAt)
  t.equal(end(), undefined)
  inTransaction(state, (tx) => revokeHost(tx, hostId, root, testNow))
  t.match(end(), new RegExp(`host ${hostId}, which its task is on, was revoked`))

  const later = testNow + hour
  const adopting = token({ adoptsInstanceId: instance.instanceId }, later)
  const adopter = join(adopting, {}, later).host.hostId
  put({ ...instance, hostId: adopter })
  t.match(end(testNow), /took over the instance of its task since/, 'what the revoked one was sent stays dead')
  t.equal(end(later), undefined)
  inTransaction(state, (tx) => instanceTakenOver(tx, { ...instance, hostId: adopter }, later + 5))
  t.match(end(later), /took over/, 'and so does what was sent before it came')
  t.equal(end(later + 5), undefined)
  const { hostId: _, ...local } = instance
  put(local)
  t.equal(end(), undefined, 'nor is anything asked of the first host')
})

await tap.test('a new address is told once', async (t) => {
  const { state, token, join, names } = aLab()
  const { hostId } = join(token()).host
  for (const from of ['10.0.0.7', '10.0.0.8', '10.0.0.7', '10.0.0.8']) {
    inTransaction(state, (tx) => hostSeen(tx, hostId, from, testNow + 1))
  }
  t.same(names(), ['HOST_JOINED', 'ADDRESS_CHANGED'])
  t.match(state.get('host', hostId), { addresses: ['10.0.0.7', '10.0.0.8'], lastAddress: '10.0.0.8' })
  inTransaction(state, (tx) => {
    for (let at = 0; at < hostEventsMax + 150; at += 1) {
      addHostEvent(tx, hostEvent('JOIN_REFUSED', String(at)), testNow + 2 + at)
    }
  })
  t.ok(state.all('hostEvent').length <= hostEventsMax + 100, 'events are bounded')
  t.equal(state.all('hostEvent').at(-1)?.message, String(hostEventsMax + 149), 'and the newest are kept')
  t.same(names().slice(0, 3), ['HOST_JOINED', 'ADDRESS_CHANGED', 'JOIN_REFUSED'], 'strangers push out strangers alone')
  inTransaction(state, (tx) => {
    for (let at = 0; at < hostEventsMax + 150; at += 1) {
      addHostEvent(tx, hostEvent('KEYS_CHANGED', String(at)), testNow + 9999 + at)
    }
  })
  t.same(new Set(names()), new Set(['KEYS_CHANGED']), 'in the end the oldest of all go')
})

function anAddress(over: Partial<AddressRow> & Pick<AddressRow, 'address' | 'instanceId'>): AddressRow {
  return {
    subnetId: 'subnet-c',
    macAddress: `0a:01:${over.address}`,
    networkInterfaceId: `eni-${over.address}`,
    attachmentId: `attachment-${over.address}`,
    owner: 'task',
    clusterName: 'default',
    since: testNow,
    ...over,
  }
}

await tap.test('what hosts say does nothing to the terminal of whoever reads of it', async (t) => {
  const { message } = hostEvent('FOREIGN_RESOURCE_REFUSED', 'spoke of \u001b[2J\u202eksat\nand of Größe, which')
  t.equal(message, 'spoke of \ufffd[2J\ufffdksat\ufffdand of Größe, which')
  t.same(['Größe 1', 'a\u001bb', 'a\u202eb', 'a\u2028b'].map(isShowable), [true, false, false, false])
})

await tap.test('each call that hosts may make is checked for whose things it names', async (t) => {
  const { Statement } = JSON.parse(hostPolicy) as { Statement: readonly { Action: string | readonly string[] }[] }
  const actions = Statement.flatMap(({ Action }) => Action).filter((action) => action.startsWith('ecs:'))
  const calls = actions
    .map((action) => action.slice(4))
    .filter((each) => each !== 'Poll' && each !== 'StartTelemetrySession')
  t.same(new Set(ownedOperations), new Set(calls))

  const { state, token, join } = aLab()
  const { hostId } = join(token()).host
  const other = join(token()).host.hostId
  const own = anInstance({ hostId })
  const foreign = anInstance({ hostId: other })
  const local = anInstance()
  const tasks = [own, foreign, local].map(({ instanceId }) => aTask({ instanceId }))
  const addresses = tasks.map(({ taskId, instanceId }, at) =>
    anAddress({ address: `10.0.0.${at}`, taskId, instanceId, attachmentId: `interface-${at}` }),
  )
  inTransaction(state, (tx) => {
    for (const each of [own, foreign, local]) tx.put('instance', each.instanceId, each)
    for (const each of tasks) tx.put('task', each.taskId, each)
    for (const each of addresses) tx.put('address', each.address, each)
  })
  const inputs: Readonly<Record<string, (at: number) => object>> = {
    DeregisterContainerInstance: (at) => ({ containerInstance: [own, foreign, local][at]?.containerInstanceArn }),
    DescribeContainerInstances: (at) => ({ containerInstances: [[own, foreign, local][at]?.instanceId] }),
    UpdateContainerInstancesState: (at) => ({ containerInstances: [[own, foreign, local][at]?.containerInstanceArn] }),
    DiscoverPollEndpoint: (at) => ({ containerInstance: [own, foreign, local][at]?.containerInstanceArn }),
    ListTagsForResource: (at) => ({ resourceArn: tasks[at]?.taskArn }),
    TagResource: (at) => ({ resourceArn: [own, foreign, local][at]?.containerInstanceArn }),
    SubmitTaskStateChange: (at) => ({ task: tasks[at]?.taskArn, status: 'STOPPED' }),
    SubmitContainerStateChange: (at) => ({ task: tasks[at]?.taskId, containerName: 'main' }),
    SubmitAttachmentStateChanges: (at) => ({
      attachments: [{ attachmentArn: `arn:aws:ecs:::attachment/interface-${at}` }],
    }),
    GetTaskProtection: (at) => ({ tasks: [tasks[at]?.taskArn] }),
    UpdateTaskProtection: (at) => ({ tasks: [tasks[at]?.taskArn] }),
  }
  for (const [operation, input] of Object.entries(inputs)) {
    t.doesNotThrow(() => requireOwn(state, hostId, operation, input(0)), `${operation} on its own`)
    for (const at of [1, 2])
      t.ok(
        isForeign(() => requireOwn(state, hostId, operation, input(at))),
        operation,
      )
    t.ok(
      isForeign(() => requireOwn(state, 'local', operation, input(0))),
      `${operation} by the first host`,
    )
    t.doesNotThrow(() => requireOwn(state, 'local', operation, input(2)), `${operation} by the first host on its own`)
  }
  for (const [operation, member] of [
    ['CreateCluster', 'clusterName'],
    ['RegisterContainerInstance', 'cluster'],
  ] as const) {
    t.doesNotThrow(() => requireOwn(state, hostId, operation, {}), 'default is its cluster')
    t.throws(() => requireOwn(state, hostId, operation, { [member]: 'lab' }), { message: /can't register in lab/ })
    t.doesNotThrow(() => requireOwn(state, 'local', operation, { [member]: 'lab' }))
  }
  t.ok(isForeign(() => requireOwn(state, hostId, 'TagResource', { resourceArn: 'arn:aws:ecs:r:1:cluster/default' })))
  t.ok(
    isForeign(() => requireOwn(state, hostId, 'RunTask', {})),
    'and nothing else is theirs to call',
  )
  const [, foreignTask, localTask] = tasks
  const isRefused = (by: string, task: string) =>
    isForeign(() => requireOwn(state, by, 'SubmitTaskStateChange', { task, status: 'STOPPED' }))
  inTransaction(state, (tx) => {
    tx.delete('task', foreignTask?.taskId ?? '')
    tx.delete('instance', local.instanceId)
  })
  t.ok(isRefused(hostId, foreignTask?.taskArn ?? ''), 'a report on a forgotten task would set its address free')
  t.notOk(isRefused(other, foreignTask?.taskArn ?? ''))
  t.ok(isRefused(hostId, localTask?.taskArn ?? ''), "nor is a forgotten instance everybody's")
  t.notOk(isRefused('local', localTask?.taskArn ?? ''))
  t.notOk(isRefused(hostId, 'never-seen'), 'whether there is such a task is not said here')
  inTransaction(state, (tx) => {
    if (foreignTask !== undefined) tx.put('task', foreignTask.taskId, foreignTask)
    tx.put('instance', local.instanceId, local)
  })
  for (const task of [foreignTask, localTask]) {
    t.ok(
      isForeign(() =>
        inTransaction(state, (tx) =>
          applyTaskStateChange(
            tx,
            { instanceId: own.instanceId, change: { task: task?.taskArn ?? '', status: 'STOPPED' } },
            testNow,
          ),
        ),
      ),
      'on its channel neither',
    )
  }
})

await tap.test('a host has one live instance, and takes over another one where its token says so', async (t) => {
  const { state, token, join, register } = aLab()
  const before = anInstance()
  inTransaction(state, (tx) => tx.put('instance', before.instanceId, before))
  const { hostId } = join(token()).host
  const adopter = join(token({ adoptsInstanceId: before.instanceId })).host.hostId
  const asksWhere = (by: string) => () =>
    requireOwn(state, by, 'DiscoverPollEndpoint', { containerInstance: before.containerInstanceArn })
  t.doesNotThrow(asksWhere(adopter), 'it asks where to go before it registers, which is no foreign act')
  t.ok(isForeign(asksWhere(join(token()).host.hostId)))
  t.ok(
    isForeign(() => register(hostId, before.containerInstanceArn)),
    'the ARN alone is no proof',
  )
  const own = register(hostId)
  t.equal(own.hostId, hostId)
  t.equal(register(hostId, own.containerInstanceArn).instanceId, own.instanceId, 'it comes back to its own')
  t.throws(() => register(hostId), { message: /holds the container instance .* already/ })
  t.ok(
    isForeign(() => register('local', own.containerInstanceArn)),
    "nor is a host's the first one's",
  )
  t.equal(register(adopter, before.containerInstanceArn).hostId, adopter)
  t.ok(
    isForeign(() => register('local', before.containerInstanceArn)),
    'from then on it is its own',
  )
  const again = join(token({ adoptsInstanceId: before.instanceId })).host.hostId
  t.equal(register(again, before.containerInstanceArn).hostId, again)
  t.ok(
    isForeign(() => register(adopter, before.containerInstanceArn)),
    'and with the keys of the machine that it replaced it is not taken back',
  )
  t.match(
    register(again, before.containerInstanceArn),
    { hostId: again },
    'while its own comes back as often as it likes',
  )
  t.doesNotThrow(
    () => requireRegistrationBy(state, undefined, { clusterName: 'default', existing: own, claimedId: own.instanceId }),
    'root may',
  )
  inTransaction(state, (tx) => revokeHost(tx, hostId, root, testNow))
  t.throws(
    () => register(hostId, own.containerInstanceArn),
    { message: /was revoked at/ },
    'also while its call waited',
  )
})

await tap.test("an instance that is forgotten is nobody's, and its ARN proves nothing", async (t) => {
  const { state, token, join, register } = aLab()
  const { hostId } = join(token()).host
  const gone = anInstance({ hostId: 'host-of-before' })
  inTransaction(state, (tx) => tx.put('instance', gone.instanceId, gone))
  const adopter = join(token({ adoptsInstanceId: gone.instanceId })).host.hostId
  inTransaction(state, (tx) => tx.delete('instance', gone.instanceId))
  const user = 'GUSRAAAAAAAAAAAAAAAAA'
  for (const by of [hostId, adopter, user]) {
    // By these words agents know that they are to come as a new instance.
    const words = { code: 'ClientException', message: /^The container instance \w+ was not found here/ }
    t.throws(() => register(by, gone.containerInstanceArn), words, by)
    const { instanceId } = register(by)
    t.not(instanceId, gone.instanceId, `${by} comes as a new one`)
  }
  t.equal(register('local', gone.containerInstanceArn).instanceId, gone.instanceId, 'the controller lost its data')
})

await tap.test("an instance that a user or role registered is its own, as a host's is", async (t) => {
  const { state, token, join, register } = aLab()
  const { hostId } = join(token()).host
  const user = 'GUSRAAAAAAAAAAAAAAAAA'
  const own = register(user)
  t.match([own.registeredBy, own.hostId], [user, undefined])
  t.match(register(undefined, own.containerInstanceArn), { registeredBy: user }, 'root takes nothing over')
  for (const by of ['local', hostId, 'GUSRBBBBBBBBBBBBBBBBB']) {
    const refused = { code: 'AccessDeniedException', message: /belongs to the user or role GUSRA/ }
    t.throws(() => register(by, own.containerInstanceArn), refused, by)
  }
  const others = [register('local'), register(hostId)]
  for (const { containerInstanceArn } of others) {
    t.ok(
      isForeign(() => register(user, containerInstanceArn)),
      "nor is another's its own, whatever its policies say",
    )
  }
  const task = aTask({ instanceId: own.instanceId })
  inTransaction(state, (tx) => tx.put('task', task.taskId, task))
  t.ok(
    isForeign(() => requireOwn(state, 'local', 'SubmitTaskStateChange', { task: task.taskArn, status: 'STOPPED' })),
    'the first host does not speak for it',
  )
  t.notOk(areOfOneHost(state, own.instanceId, others[0]?.instanceId ?? ''))
  const adopter = join(token({ adoptsInstanceId: own.instanceId })).host.hostId
  t.match(register(adopter, own.containerInstanceArn), { hostId: adopter, registeredBy: undefined }, 'it may join')
})
