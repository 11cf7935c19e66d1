/** The change feed: which changes are events, in EventBridge's form and without secrets, and how followers go on. */
import t from 'tap'
import { aCluster, aContainer, anInstance, aService, aTask, aWorld, testNow } from '../test/support/builders.ts'
import { aMemoryStore } from '../test/support/memory-store.ts'
import { type ChangeFeed, type FeedEvent, startChangeFeed } from './change-feed.ts'
import { addServiceEvent } from './decide/service-events.ts'
import type { Transaction } from './state/transaction.ts'
import { startTurn, type Turn } from './turn.ts'

const quietLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const clock = { now: () => testNow }
const instance = anInstance()
const task = aTask({
  instanceId: instance.instanceId,
  serviceKey: 'default/web',
  overrides: {
    containerOverrides: [{ name: 'app', command: ['serve'], environment: [{ name: 'TOKEN', value: 'hunter2' }] }],
  },
  containers: [aContainer({ lastLogLines: ['password: hunter3'] })],
})

interface Scene {
  readonly turn: Turn
  readonly feed: ChangeFeed
  write(this: void, run: (tx: Transaction) => void): Promise<void>
}

async function aFeed(eventsMax?: number): Promise<Scene> {
  const turn = await startTurn({ store: aMemoryStore(), clock, world: aWorld(), log: quietLog, deciders: [] })
  const inTurn = (write: (tx: Transaction) => void): Promise<void> => turn.submit({ name: 'test', run: write })
  await inTurn((tx) => {
    tx.put('cluster', 'default', aCluster())
    tx.put('instance', instance.instanceId, instance)
    tx.put('service', 'default/web', aService())
  })
  return { turn, feed: startChangeFeed({ turn, clock, world: aWorld(2), log: quietLog }, eventsMax), write: inTurn }
}

await t.test(
  'tasks: an event for each version, as ECS shapes it, without values of variables or output',
  async (test) => {
    const { feed, write } = await aFeed()
    await write((tx) => tx.put('task', task.taskId, task))
    await write((tx) => tx.put('task', task.taskId, { ...task, acknowledgedSeqNum: 7 }))
    const running = { ...task, lastStatus: 'RUNNING', startedAt: testNow, version: 2 } as const
    await write((tx) => tx.put('task', task.taskId, running))
    await write((tx) => tx.put('task', task.taskId, { ...running, lastStatus: 'STOPPED', version: 3 }))
    await write((tx) => tx.archiveTask(task.taskId))
    const { events, isMissing } = feed.read({}, undefined, 100)
    test.equal(isMissing, false)
    test.match(
      events.map(({ event }) => event.detail['lastStatus']),
      ['PENDING', 'RUNNING', 'STOPPED'],
      'what an agent is told is no event, nor is the way into the history',
    )
    test.match(events[1], {
      index: 1,
      event: {
        version: '0',
        id: /^[0-9a-f-]{36}$/,
        'detail-type': 'ECS Task State Change',
        source: 'aws.ecs',
        account: '123456789012',
        region: 'us-east-1',
        time: '2026-11-21T12:00:00Z',
        resources: [task.taskArn],
        detail: {
          taskArn: task.taskArn,
          clusterArn: task.clusterArn,
          connectivity: 'CONNECTED',
          startedAt: '2026-11-21T12:00:00.000Z',
          updatedAt: '2026-11-21T12:00:00.000Z',
          version: 2,
          overrides: { containerOverrides: [{ name: 'app', command: ['serve'], environment: [{ name: 'TOKEN' }] }] },
        },
      },
    })
    test.notMatch(JSON.stringify(events), /hunter/)
    test.notMatch(JSON.stringify(events), /lastLogLines|serviceKey|reserved/)
  },
)

await t.test('instances, service actions and deployments', async (test) => {
  const { feed, write } = await aFeed()
  const draining = { ...instance, status: 'DRAINING', version: 2 } as const
  await write((tx) => tx.put('instance', instance.instanceId, draining))
  await write((tx) => tx.put('instance', instance.instanceId, { ...draining, seqNum: 99 }))
  await write((tx) => {
    const steady = { eventType: 'INFO', eventName: 'SERVICE_STEADY_STATE' } as const
    addServiceEvent(tx, 'default/web', '(service web) has reached a steady state.', testNow, aWorld(3), steady)
    const done = { eventType: 'INFO', eventName: 'SERVICE_DEPLOYMENT_COMPLETED', deploymentId: 'ecs-svc/1' } as const
    addServiceEvent(tx, 'default/web', 'done', testNow, aWorld(4), { ...done, reason: 'ECS deployment completed.' })
    addServiceEvent(tx, 'default/web', 'for people alone', testNow, aWorld(5))
  })
  const { events } = feed.read({}, undefined, 100)
  test.match(
    events.map(({ revision, index, event }) => [revision, index, event['detail-type'], event.detail]),
    [
      [2, 1, 'ECS Container Instance State Change', { status: 'DRAINING', agentConnected: true, version: 2 }],
      [
        4,
        1,
        'ECS Service Action',
        { eventType: 'INFO', eventName: 'SERVICE_STEADY_STATE', clusterArn: aCluster().clusterArn, createdAt: /Z$/ },
      ],
      [
        4,
        2,
        'ECS Deployment State Change',
        { eventName: 'SERVICE_DEPLOYMENT_COMPLETED', deploymentId: 'ecs-svc/1', reason: 'ECS deployment completed.' },
      ],
    ],
  )
  test.same(events[1]?.event.resources, [aService().serviceArn])
  const counts = [{ clusterName: 'default' }, { clusterName: 'other' }, { serviceName: 'web' }].map(
    (filter) => feed.read(filter, undefined, 100).events.length,
  )
  test.same(counts, [3, 0, 2])
  test.equal(feed.read({ detailType: 'ECS Service Action' }, undefined, 100).events.length, 1)
})

await t.test('a follower goes on where it was, also within a turn, and is told what it missed', async (test) => {
  const { turn, feed, write } = await aFeed(4)
  const heard: FeedEvent[] = []
  const stop = feed.subscribe((events) => heard.push(...events))
  feed.subscribe(() => {
    throw new Error('a follower with a bug')
  })
  const startTasks = (count: number): Promise<void> =>
    write((tx) => {
      for (let at = 0; at < count; at += 1) {
        const fresh = aTask({ instanceId: instance.instanceId })
        tx.put('task', fresh.taskId, fresh)
      }
    })
  const begin = feed.read({}, undefined, 100).next
  await startTasks(3)
  const first = feed.read({}, begin, 2)
  test.same([first.events.length, first.next, first.isMissing], [2, { revision: 2, index: 2 }, false])
  const second = feed.read({}, first.next, 2)
  test.same([second.events.length, second.next], [1, { revision: 2 }])
  test.same(feed.read({}, second.next, 2), { events: [], next: { revision: 2 }, isMissing: false })
  test.match(
    heard.map(({ index }) => index),
    [1, 2, 3],
  )
  stop()
  await startTasks(6)
  test.equal(heard.length, 3, 'who left hears no more')
  const late = feed.read({}, begin, 100)
  test.same([late.events.length, late.isMissing], [4, true], 'the newest are kept, and the gap is told')
  test.equal(feed.read({}, { revision: turn.status().revision }, 100).isMissing, false)
  test.equal(feed.read({}, { revision: 0 }, 100).isMissing, true, 'what was before the start was never at hand')
})
