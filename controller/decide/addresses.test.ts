/**
 * The laws of addresses, over histories of everything that may happen to tasks and hosts. What really runs is kept beside the
 * controller's state: an address is on the wire from the moment when an agent is told of its task until the containers have
 * ended there, whether or not anybody hears of it.
 */
import * as fc from 'fast-check'
import t from 'tap'
import {
  aCall,
  anInstance,
  aState,
  aTask,
  aTaskDefinition,
  aVault,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import type { PayloadTask } from '../../proto/acs.ts'
import { idOf } from '../../proto/arn.ts'
import { createService } from '../ecs/create-service.ts'
import { instanceHandlers } from '../ecs/instances.ts'
import { runTask } from '../ecs/run-task.ts'
import { stopTask } from '../ecs/stop-task.ts'
import { acknowledgePayload, agentConnected, agentDisconnected, applyTaskStateChange } from '../ecs/submit.ts'
import { createSubnet, releaseAddresses } from '../ecs/subnets.ts'
import { createAccess } from '../access/check.ts'
import type { State } from '../state/state.ts'
import type { Transaction } from '../state/transaction.ts'
import { decideUntilQuiet, markDirty, nothingUndecided } from '../turn-deciders.ts'
import { addressDecider, quarantineMs } from './address.ts'
import { instanceDecider } from './instance.ts'
import { instanceTasksDecider } from './instance-tasks.ts'
import { findingsOfState } from './invariants.ts'
import { retain, retentionDefaults } from './retention.ts'
import { serviceDecider } from './service.ts'
import { serviceTaskDecider } from './service-task.ts'
import { duePayloads } from './session-payloads.ts'
import { taskCredentials } from './task-credentials.ts'
import { addressesFree, addressesText, nextFreeAddress } from './subnet-addresses.ts'
import { taskDecider } from './task.ts'

const deciders = [serviceTaskDecider, taskDecider, instanceDecider, addressDecider]
const keyedDeciders = [instanceTasksDecider, serviceDecider]
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: (facts: object) => fail(facts) }
const hosts = [1, 2, 3]
const subnets = ['subnet-a', 'subnet-b']
const networkConfiguration = { awsvpcConfiguration: { subnets } }
const principalArn = 'arn:aws:iam::123456789012:root'
const definition = aTaskDefinition({
  family: 'net',
  networkMode: 'awsvpc',
  containerDefinitions: [{ name: 'app', image: 'busybox', memory: 16, essential: true }],
})

function fail(facts: object): never {
  throw new Error(JSON.stringify(facts, (_key, value: unknown) => (value instanceof Error ? value.stack : value)))
}

interface OnWire {
  readonly address: string
  readonly macAddress: string
}

/** A host: what its containers use, whether its agent is heard, and what that has to say. */
interface Host {
  instanceId: string
  isCut: boolean
  readonly running: Map<string, OnWire>
  own: Map<string, OnWire>
  readonly ended: Set<string>
}

const aStep = fc.record({
  do: fc.constantFrom(
    ...(['run', 'run', 'tell', 'tell', 'tell', 'report', 'report', 'report', 'stop', 'stop', 'crash'] as const),
    ...(['cut', 'lose', 'back', 'force', 'leave', 'reinstall', 'release', 'scale', 'pass', 'archive'] as const),
  ),
  host: fc.constantFrom(...hosts),
  nth: fc.nat({ max: 30 }),
})
type Step = typeof aStep extends fc.Arbitrary<infer S> ? S : never

class Course {
  readonly state: State
  readonly world = aWorld(7)
  readonly hosts = new Map<number, Host>()
  /** Containers of hosts whose agent forgot them, or was deregistered: nobody will ever hear of their end. */
  readonly ghosts: (OnWire & { readonly instanceId: string })[] = []
  now = testNow
  #registered = 0

  constructor() {
    this.state = aState({ taskDefinition: [definition] })
    this.#turn((tx) => {
      const attachment = { kind: 'macvlan', parent: 'eth0' } as const
      createSubnet(tx, { subnetId: 'subnet-a', cidr: '10.0.0.0/28', attachment }, this.now, this.world)
      createSubnet(
        tx,
        {
          subnetId: 'subnet-b',
          cidr: '10.0.1.0/24',
          ranges: ['10.0.1.7-10.0.1.11'],
          attachment: { ...attachment, vlan: 2 },
        },
        this.now,
        this.world,
      )
    })
    for (const at of hosts) this.#register(at)
    const input = { serviceName: 'web', taskDefinition: 'net', desiredCount: 6, networkConfiguration }
    this.#turn((tx) => createService(tx, input, aCall({ now: this.now }), this.world))
  }

  take(step: Step): void {
    const host = this.host(step.host)
    const { instanceId } = host
    this.now += 1000
    switch (step.do) {
      case 'run':
        this.#turn((tx) =>
          runTask(
            tx,
            { taskDefinition: 'net', count: 1 + (step.nth % 4), networkConfiguration },
            aCall({ principalArn, now: this.now }),
            this.world,
          ),
        )
        break
      case 'tell':
        this.#tell(host)
        break
      case 'report':
        this.#report(host)
        break
      case 'stop':
        this.#stop(step.nth)
        break
      case 'crash': {
        const tasks = [...host.running.keys()]
        const task = tasks[step.nth % Math.max(1, tasks.length)]
        if (task !== undefined) this.#end(host, task)
        break
      }
      case 'cut':
        host.isCut = true
        break
      case 'lose':
        host.isCut = true
        this.#turn((tx) => {
          agentDisconnected(tx, instanceId, this.now)
          const row = tx.get('instance', instanceId)
          if (row?.status === 'ACTIVE') tx.put('instance', instanceId, { ...row, lostSince: this.now })
        })
        break
      case 'back':
        this.#comeBack(host)
        break
      case 'force':
        this.#turn((tx) => this.#deregister(tx, instanceId, true))
        this.#forget(step.host, host)
        break
      case 'leave':
        if (this.state.count('task', 'liveByInstance', instanceId) > 0) break
        this.#turn((tx) => this.#deregister(tx, instanceId, false))
        // What a host has that was heard to the last is taken down with its agent; one that is cut off keeps it.
        if (this.state.get('instance', instanceId)?.silentSince === undefined) host.own.clear()
        this.#forget(step.host, host)
        break
      case 'reinstall':
        this.#forget(step.host, host)
        break
      case 'release':
        this.#release(step.nth)
        break
      case 'scale':
        this.#turn((tx) => {
          const row = tx.get('service', 'default/web')
          if (row !== undefined) tx.put('service', 'default/web', { ...row, desiredCount: step.nth % 9 })
        })
        break
      case 'pass':
        this.now += 3_600_000 * (step.nth + 1)
        this.#turn((tx) => {
          const row = tx.get('service', 'default/web')
          if (row !== undefined) tx.put('service', 'default/web', { ...row, wakeAt: undefined })
        })
        break
      default:
        this.#turn((tx) => retain(tx, { ...retentionDefaults, stoppedTaskKeepMs: 0 }, this.now))
    }
  }

  /** What breaks a law, if anything does. */
  violation(): string | undefined {
    const wire = [...this.hosts.values()]
      .flatMap((host) => [...host.running.values(), ...host.own.values()])
      .concat(this.ghosts)
    for (const member of ['address', 'macAddress'] as const) {
      const seen = new Set<string>()
      for (const one of wire) {
        if (seen.has(one[member])) return `${member} ${one[member]} is on the wire twice`
        seen.add(one[member])
      }
    }
    const [finding] = findingsOfState(this.state)
    if (finding !== undefined) return `${finding.invariant}: ${finding.what}`
    return this.#decidesAgain()
  }

  /** Everybody is heard, everything is stopped: what is not held by a ghost is free again. */
  settle(): void {
    this.#turn((tx) => {
      const row = tx.get('service', 'default/web')
      if (row !== undefined) tx.put('service', 'default/web', { ...row, desiredCount: 0 })
    })
    for (let round = 0; round < 3; round += 1) {
      for (const row of this.state.all('task')) this.#turn((tx) => stopOf(tx, row.taskId, this.now))
      for (const host of this.hosts.values()) {
        this.#comeBack(host)
        this.#tell(host)
        this.#report(host)
      }
    }
  }

  host(at: number): Host {
    const host = this.hosts.get(at)
    if (host === undefined) throw new Error(`there is no host ${at}`)
    return host
  }

  #register(at: number): void {
    this.#registered += 1
    const row = anInstance({
      instanceId: `${this.#registered}`.padStart(32, '0'),
      attributes: [{ name: 'gantry.protocol', value: '1' }, { name: 'ecs.capability.task-eni' }],
      registeredAt: this.now,
    })
    this.#turn((tx) => tx.put('instance', row.instanceId, row))
    this.hosts.set(at, {
      instanceId: row.instanceId,
      isCut: false,
      running: new Map(),
      own: new Map(),
      ended: new Set(),
    })
  }

  /** Its containers go on, and another agent, which knows nothing of them, registers in its place. */
  #forget(at: number, host: Host): void {
    for (const one of [...host.running.values(), ...host.own.values()]) {
      this.ghosts.push({ ...one, instanceId: host.instanceId })
    }
    if (this.state.get('instance', host.instanceId)?.status !== 'INACTIVE') {
      this.#turn((tx) => agentDisconnected(tx, host.instanceId, this.now))
    }
    this.#register(at)
  }

  #tell(host: Host): void {
    const instance = this.state.get('instance', host.instanceId)
    if (host.isCut || instance === undefined) return
    const { state: reader, world, now } = this
    const view = { reader, world, now, mintCredentials: taskCredentials(aVault(), world), access: createAccess(world) }
    const due = duePayloads(instance, new Map(), view)
    if (due !== undefined && due.failures.length > 0) fail(due.failures)
    for (const { message, seqNums } of due?.payloads ?? []) {
      for (const task of message.tasks) this.#obey(host, task)
      this.#turn((tx) => acknowledgePayload(tx, host.instanceId, seqNums))
    }
  }

  #obey(host: Host, task: PayloadTask): void {
    if (task.desiredStatus === 'STOPPED') {
      this.#end(host, task.arn)
      return
    }
    if (host.running.has(task.arn) || host.ended.has(task.arn)) return
    const [own] = task.elasticNetworkInterfaces ?? []
    const { subnetId = '', hostAddress = '', hostMacAddress = '' } = task.gantry?.network ?? {}
    if (own === undefined) throw new Error(`the payload of ${task.arn} has no interface`)
    host.running.set(task.arn, {
      address: own.ipv4Addresses[0]?.privateAddress ?? '',
      macAddress: own.macAddress,
    })
    host.own.set(subnetId, { address: hostAddress, macAddress: hostMacAddress })
  }

  #end(host: Host, task: string): void {
    host.running.delete(task)
    host.ended.add(task)
  }

  #report(host: Host): void {
    if (host.isCut) return
    const report = (task: string, status: string): void =>
      this.#turn((tx) => {
        if (tx.get('task', idOf(task)) === undefined) return
        applyTaskStateChange(tx, { instanceId: host.instanceId, change: { task, status, containers: [] } }, this.now)
      })
    for (const task of host.running.keys()) report(task, 'RUNNING')
    for (const task of host.ended) report(task, 'STOPPED')
  }

  #stop(nth: number): void {
    const tasks = this.state.find('task', 'liveByCluster', 'default')
    const task = tasks[nth % Math.max(1, tasks.length)]
    if (task !== undefined) this.#turn((tx) => stopOf(tx, task.taskId, this.now))
  }

  #comeBack(host: Host): void {
    host.isCut = false
    this.#turn((tx) => {
      const row = tx.get('instance', host.instanceId)
      if (row === undefined || row.status === 'INACTIVE') return
      agentConnected(tx, host.instanceId, {}, this.now)
      const back = tx.get('instance', host.instanceId)
      if (back !== undefined) {
        tx.put('instance', host.instanceId, { ...back, lostSince: undefined, silentSince: undefined })
      }
    })
  }

  #deregister(tx: Transaction, instanceId: string, force: boolean): void {
    const input = { containerInstance: instanceId, force }
    instanceHandlers.DeregisterContainerInstance.handle(tx, input, aCall({ now: this.now }), this.world)
  }

  /** An operator looked at the host of a ghost, ended what ran there, and says so. */
  #release(nth: number): void {
    const held = this.state.find('address', 'quarantined', 'quarantined')
    const one = held[nth % Math.max(1, held.length)]
    if (one === undefined) return
    const kept = this.ghosts.filter(({ instanceId }) => instanceId !== one.instanceId)
    this.ghosts.splice(0, this.ghosts.length, ...kept)
    for (const subnetId of subnets) {
      this.#turn((tx) => releaseAddresses(tx, subnetId, { containerInstance: one.instanceId }))
    }
  }

  #turn(write: (tx: Transaction) => unknown): void {
    const overlay = this.state.begin()
    write(overlay)
    const undecided = nothingUndecided()
    markDirty(undecided, overlay.changes())
    const limits = { decisionsMax: 20_000, decidedRowsMax: 12_000 }
    const { now, world } = this
    if (decideUntilQuiet({ overlay, undecided, deciders, keyedDeciders, now, world, log }, limits) > 0) {
      throw new Error('the deciders did not come to rest')
    }
    this.state.apply(overlay.changes())
  }

  #decidesAgain(): string | undefined {
    const overlay = this.state.begin()
    const undecided = nothingUndecided()
    for (const table of ['task', 'instance', 'address'] as const) markDirty(undecided, this.state.rowsAsChanges(table))
    const limits = { decisionsMax: 20_000, decidedRowsMax: 12_000 }
    const { now, world } = this
    decideUntilQuiet({ overlay, undecided, deciders: [addressDecider], keyedDeciders: [], now, world, log }, limits)
    const [change] = overlay.changes()
    return change === undefined ? undefined : `deciding again changes ${change.table}/${change.key}`
  }
}

function daysOn(days: number): number {
  return testNow + days * 86_400_000
}

function stopOf(tx: Transaction, taskId: string, now: number): void {
  if (tx.get('task', taskId)?.lastStatus !== 'STOPPED') stopTask(tx, { task: taskId }, now)
}

await t.test('no address is on the wire twice, whatever happens', async (test) => {
  let [given, waits, quarantined, cutOff] = [0, 0, 0, 0]
  fc.assert(
    fc.property(fc.array(aStep, { minLength: 20, maxLength: 90 }), (steps) => {
      const course = new Course()
      for (const step of steps) {
        course.take(step)
        const violation = course.violation()
        if (violation !== undefined) throw new Error(`after ${JSON.stringify(step)}: ${violation}`)
      }
      given += course.state.all('address').length
      quarantined += course.state.count('address', 'quarantined', 'quarantined')
      waits += course.state.count('deployment', 'awaitingAddress', 'awaiting')
      cutOff += subnets.filter((subnetId) => {
        const subnet = course.state.get('subnet', subnetId)
        return subnet !== undefined && addressesText(course.state, subnet).includes('cut off')
      }).length
      course.settle()
      const left = course.state
        .all('address')
        .filter(
          ({ owner, instanceId }) =>
            owner === 'task' && [...course.hosts.values()].some((host) => host.instanceId === instanceId),
        )
      if (left.length > 0) throw new Error(`address ${left[0]?.address ?? ''} is not given back in the end`)
    }),
    { numRuns: 120, seed: 5 },
  )
  test.ok(given > 500 && waits > 10 && quarantined > 50 && cutOff > 20, `${given} ${waits} ${quarantined} ${cutOff}`)
})

await t.test('a quarantine ends by itself after 90 days, and not before', async (test) => {
  const course = new Course()
  course.take({ do: 'tell', host: 1, nth: 0 })
  const { instanceId } = course.host(1)
  course.take({ do: 'force', host: 1, nth: 0 })
  const held = (): number =>
    course.state.find('address', 'byInstance', instanceId).filter(({ quarantine }) => quarantine !== undefined).length
  test.ok(held() > 1)
  inTransaction(course.state, (tx) => retain(tx, retentionDefaults, daysOn(89)))
  test.ok(held() > 1, 'an agent may go on alone for long')
  test.equal(quarantineMs, daysOn(90) - testNow)
  inTransaction(course.state, (tx) => retain(tx, retentionDefaults, daysOn(90) + 60_000))
  test.equal(held(), 0)
})

await t.test('an agent that speaks of a task which was given up ends its quarantine', async (test) => {
  const course = new Course()
  course.take({ do: 'tell', host: 1, nth: 0 })
  const { instanceId } = course.host(1)
  const [task] = course.state.find('task', 'liveByInstance', instanceId)
  course.take({ do: 'force', host: 1, nth: 0 })
  course.take({ do: 'archive', host: 1, nth: 0 })
  const of = (taskId: string): number => course.state.count('address', 'byTask', taskId)
  const report = (status: string): void =>
    inTransaction(course.state, (tx) =>
      applyTaskStateChange(tx, { change: { task: task?.taskArn ?? '', status, containers: [] } }, course.now),
    )
  test.equal(of(task?.taskId ?? ''), 1)
  test.throws(() => report('RUNNING'), 'the row has left memory, and no history is here')
  test.equal(of(task?.taskId ?? ''), 1)
  report('STOPPED')
  test.equal(of(task?.taskId ?? ''), 0)
})

await t.test('a subnet says who holds its addresses, and which it gives next', async (test) => {
  const here = anInstance({ addressedSubnetIds: ['subnet-c'] })
  const away = anInstance({ agentConnected: false })
  const subnet = {
    subnetId: 'subnet-c',
    cidr: '10.0.2.0/24',
    gateway: '10.0.2.12',
    ranges: [{ first: '10.0.2.10', last: '10.0.2.23' }],
    reservedAddresses: ['10.0.2.13'],
    attachment: { kind: 'bridge' } as const,
    dnsServers: [],
    searchDomains: [],
    assignPublicIp: 'refused' as const,
    tags: [],
    createdAt: testNow,
    macByte: 1,
  }
  const free = ['10.0.2.10', '10.0.2.11', ...Array.from({ length: 10 }, (_, at) => `10.0.2.${14 + at}`)]
  const kinds = [...Array.from({ length: 8 }, () => 'running'), 'starting', 'stopping', 'stopping', 'away']
  const tasks = kinds.map((kind) =>
    aTask({
      instanceId: kind === 'away' ? away.instanceId : here.instanceId,
      lastStatus: kind === 'starting' ? 'PENDING' : 'RUNNING',
      desiredStatus: kind === 'stopping' ? 'STOPPED' : 'RUNNING',
    }),
  )
  const address = tasks.map(({ taskId, instanceId }, at) => ({
    subnetId: 'subnet-c',
    address: free[at] ?? '',
    macAddress: `0a:01:${at}`,
    networkInterfaceId: `eni-${at}`,
    attachmentId: `${at}`,
    owner: 'task' as const,
    taskId,
    instanceId,
    clusterName: 'default',
    since: testNow,
  }))
  const state = aState({ instance: [here, away], task: tasks, subnet: [subnet], address })
  test.equal(
    addressesText(state, subnet),
    'subnet subnet-c has 0 of 12 addresses free: 8 running, 1 starting, 2 stopping, 1 of a host that is cut off',
  )
  test.equal(nextFreeAddress(state, subnet), undefined)
  const empty = aState({ subnet: [subnet] })
  test.equal(nextFreeAddress(empty, subnet), '10.0.2.10')
  test.equal(nextFreeAddress(empty, { ...subnet, lastGiven: '10.0.2.11' }), '10.0.2.14', 'neither gateway nor reserved')
  test.equal(nextFreeAddress(empty, { ...subnet, lastGiven: '10.0.2.23' }), '10.0.2.10', 'in a circle')
  const narrowed = { ...subnet, ranges: [{ first: '10.0.2.20', last: '10.0.2.29' }], hasNarrowed: true as const }
  test.equal(addressesFree(state, narrowed), 6, 'what lies outside by now takes nothing')
})
