/** Where and when the keys of hosts are good: at the guard that every signed call and handshake passes. */
import tap from 'tap'
import { hostKeysPath } from '../proto/joining.ts'
import {
  aCluster,
  anInstance,
  aPrincipal,
  aState,
  aTask,
  aVault,
  aWorld,
  inTransaction,
  testNow,
} from '../test/support/builders.ts'
import { changeHostKeys, joinHost } from './access/hosts.ts'
import { createJoinToken } from './access/join-tokens.ts'
import type { Principal } from './access/principal.ts'
import type { SignedRequest } from './api/auth.ts'
import { guardHosts } from './host-guard.ts'
import { HostNotes } from './host-notes.ts'
import type { Log } from './log.ts'
import { createMetrics } from './metrics.ts'
import type { InstanceRow } from './state/tables.ts'
import type { Turn, TurnInput } from './turn.ts'

const hour = 3_600_000

const byUser = (userId: string) => aPrincipal({ kind: 'user', userId, arn: 'arn:aws:iam::1:user/ann' })
const byRole = (userId: string) => aPrincipal({ kind: 'role', userId, arn: 'arn:aws:sts::1:assumed-role/agents/s' })
const byHost = (hostId: string) => aPrincipal({ kind: 'host', hostId, userId: `gantry-host:${hostId}` })

/** A guard over a state, behind an authenticator that believes every key. */
function aGuard() {
  const state = aState({ cluster: [aCluster()] })
  const world = aWorld()
  const now = { value: testNow }
  const turn = {
    reader: state,
    submit: async (input: TurnInput<unknown>) => inTransaction(state, (tx) => input.run(tx, now.value, world)),
  } as unknown as Turn
  const log = { warn: () => undefined } as unknown as Log
  const metrics = createMetrics()
  const notes = new HostNotes({ turn, log, metrics })
  let caller = aPrincipal()
  const guard = guardHosts({
    turn,
    clock: { now: () => now.value },
    log,
    notes,
    authenticator: { authenticate: () => caller, recheck: () => caller },
  })
  const call = (hostId: string, accessKeyId: string, from: string, path = '/'): unknown => {
    caller = aPrincipal({ kind: 'host', hostId, accessKeyId })
    const request: SignedRequest = { method: 'POST', path, headers: {}, body: Buffer.alloc(0), sourceAddress: from }
    return guard.authenticator.authenticate(request, now.value)
  }
  const names = (): readonly string[] => state.all('hostEvent').map(({ name }) => name)
  return { state, world, now, guard, call, names }
}

await tap.test("the first start's key is good on the controller's own machine alone", async (t) => {
  const { call, names } = aGuard()
  for (const from of ['127.0.0.1', '127.0.0.9', '::1']) t.ok(call('local', 'K', from), from)
  for (const from of ['10.0.0.5', 'fd00::5', '127.evil', '']) {
    t.throws(() => call('local', 'K', from), { code: 'AccessDeniedException', message: /Let other hosts join/ }, from)
  }
  t.ok(names().includes('KEY_REFUSED'))
})

await tap.test('channels of an instance are opened by whom it belongs to', async (t) => {
  const { guard, names } = aGuard()
  const local = anInstance()
  const ofHost = anInstance({ hostId: 'host-1' })
  const ofUser = anInstance({ registeredBy: 'GUSRANN' })
  const opens = (principal: Principal, instance: InstanceRow): boolean => {
    try {
      guard.requireOwnInstance(principal, instance)
      return true
    } catch (error) {
      t.match(error, { code: 'AccessDeniedException', message: /belongs to/ })
      return false
    }
  }
  const all = [local, ofHost, ofUser]
  const openedBy = (principal: Principal) => all.map((instance) => opens(principal, instance))
  t.same(openedBy(byHost('local')), [true, false, false])
  t.same(openedBy(byHost('host-1')), [false, true, false])
  t.same(openedBy(byHost('host-2')), [false, false, false])
  t.same(openedBy(byUser('GUSRANN')), [false, false, true])
  t.same(openedBy(byUser('GUSRBEN')), [false, false, false])
  t.same(openedBy(byRole('GROLXX:GUSRANN')), [false, false, false], 'a session has no say in whose it is')
  t.ok(opens(byRole('GROLXX:b'), anInstance({ registeredBy: 'GROLXX' })), 'each session of a role is that role')
  t.same(openedBy(aPrincipal()), [true, false, true], 'root does not speak for a host that joined either')
  t.ok(names().includes('FOREIGN_RESOURCE_REFUSED'))
})

await tap.test('what runs on an instance is told by whom it belongs to', async (t) => {
  const { state, guard, names } = aGuard()
  const local = anInstance()
  const ofUser = anInstance({ registeredBy: 'GUSRANN' })
  const tasks = [local, ofUser].map(({ instanceId }) => aTask({ instanceId }))
  inTransaction(state, (tx) => {
    for (const each of [local, ofUser]) tx.put('instance', each.instanceId, each)
    for (const each of tasks) tx.put('task', each.taskId, each)
  })
  const tells = (principal: Principal, operation = 'SubmitTaskStateChange') =>
    tasks.map(({ taskArn }) => {
      try {
        guard.requireOwn(principal, operation, { task: taskArn, tasks: [taskArn], status: 'STOPPED' })
        return true
      } catch (error) {
        t.match(error, { code: 'InvalidParameterException', message: /can't act for it/ })
        return false
      }
    })
  t.same(tells(byUser('GUSRANN')), [false, true], 'whatever policies it has')
  t.same(tells(byUser('GUSRBEN'), 'SubmitContainerStateChange'), [false, false])
  t.same(tells(byHost('local')), [true, false])
  t.same(tells(aPrincipal()), [true, true])
  t.same(tells(byUser('GUSRBEN'), 'UpdateTaskProtection'), [true, true], 'all else is for policies to say')
  t.ok(names().includes('FOREIGN_RESOURCE_REFUSED'))
})

await tap.test('a pair that was changed is good for an hour, then for asking for new keys alone', async (t) => {
  const { state, world, now, guard, call, names } = aGuard()
  const vault = aVault()
  const by = () => ({ now: now.value, world, vault })
  const { token } = inTransaction(state, (tx) => createJoinToken(tx, { clusterName: 'default' }, 'arn', testNow, world))
  const joining = { token, name: 'one', cluster: undefined, sourceAddress: '10.0.0.7' }
  const { host, keys } = inTransaction(state, (tx) => joinHost(tx, joining, by()))
  const { hostId } = host
  const change = () => inTransaction(state, (tx) => changeHostKeys(tx, hostId, keys.accessKeyId, by())).keys
  t.ok(call(hostId, keys.accessKeyId, '10.0.0.7'))
  change()
  now.value += hour - 1
  t.ok(call(hostId, keys.accessKeyId, '10.0.0.7'))
  now.value += 1
  t.throws(() => call(hostId, keys.accessKeyId, '10.0.0.7'), {
    code: 'UnrecognizedClientException',
    message: /ended at/,
  })
  t.ok(call(hostId, keys.accessKeyId, '10.0.0.7', hostKeysPath), 'a host that was off for long comes back')
  const fresh = change()
  t.ok(call(hostId, fresh.accessKeyId, '10.0.0.8'))
  await new Promise((done) => setImmediate(done))
  t.equal(state.get('hostKey', keys.accessKeyId), undefined, 'the first use of the new pair ends the old one')
  t.ok(names().includes('ADDRESS_CHANGED'))
  const row = state.get('host', hostId)
  t.equal(row && guard.lastSeenAt(row), now.value)
})

await tap.test('a host that is bound to an address calls from it alone, however that is spelt', async (t) => {
  const { state, world, call, names } = aGuard()
  const by = { now: testNow, world, vault: aVault() }
  const wish = { clusterName: 'default', bindAddress: 'FD00:0::5' }
  const { token } = inTransaction(state, (tx) => createJoinToken(tx, wish, 'arn', testNow, world))
  const joining = { token, name: 'one', cluster: undefined, sourceAddress: 'fd00::5' }
  const { host, keys } = inTransaction(state, (tx) => joinHost(tx, joining, by))
  t.ok(call(host.hostId, keys.accessKeyId, 'fd00::5'))
  t.throws(() => call(host.hostId, keys.accessKeyId, 'fd00::6'), { message: /good from FD00:0::5 alone/ })
  t.ok(names().includes('KEY_REFUSED'))
})

await tap.test('a host that shows an address after the other fills neither the events nor the store', async (t) => {
  const { state, world, now, call, names } = aGuard()
  const by = { now: testNow, world, vault: aVault() }
  const { token } = inTransaction(state, (tx) => createJoinToken(tx, { clusterName: 'default' }, 'arn', testNow, world))
  const joining = { token, name: 'one', cluster: undefined, sourceAddress: '10.0.0.7' }
  const { host, keys } = inTransaction(state, (tx) => joinHost(tx, joining, by))
  const told = () => names().filter((name) => name === 'ADDRESS_CHANGED').length
  for (let at = 1; at <= 100; at += 1) t.ok(call(host.hostId, keys.accessKeyId, `fd00::${at}`))
  await new Promise((done) => setImmediate(done))
  t.equal(told(), 1)
  now.value += 60_000
  call(host.hostId, keys.accessKeyId, 'fd00::77')
  await new Promise((done) => setImmediate(done))
  t.equal(told(), 2, 'what it shows later is told later')
  t.same(state.get('host', host.hostId)?.addresses, ['10.0.0.7', 'fd00::1', 'fd00::77'])
})
