/** That each invariant of services can fail, and what of services leaves memory with time. */
import t from 'tap'
import {
  aDeployment,
  anInstance,
  aService,
  aState,
  aTask,
  aTaskDefinition,
  aTaskSet,
  aWorld,
  inTransaction,
  type Rows,
  testNow,
} from '../../test/support/builders.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Change } from '../state/transaction.ts'
import { retain, retentionDefaults } from './retention.ts'
import { addServiceEvent } from './service-events.ts'
import { findingsOfServiceChanges, findingsOfServices, servicesIn } from './service-invariants.ts'

const instance = anInstance()
const other = anInstance()
const service = aService()
const deployment = aDeployment()
const webTask = {
  instanceId: instance.instanceId,
  serviceKey: 'default/web',
  deploymentId: deployment.id,
  startedBy: deployment.id,
  group: 'service:web',
  lastStatus: 'RUNNING',
} as const
const tasks = [aTask(webTask), aTask({ ...webTask, instanceId: other.instanceId })]

function stateWith(over: Rows = {}) {
  return aState({
    instance: [instance, other],
    task: tasks,
    taskDefinition: [aTaskDefinition()],
    service: [service],
    deployment: [deployment],
    ...over,
  })
}

const namesOf = (findings: readonly { readonly invariant: string }[]) => findings.map(({ invariant }) => invariant)

const ofTask = (before: TaskRow | undefined, row: TaskRow): Change => ({
  table: 'task',
  key: row.taskId,
  before,
  row,
})
const ofService = (before: ServiceRow, row: ServiceRow): Change => ({
  table: 'service',
  key: row.serviceKey,
  before,
  row,
})
const ofDeployment = (before: DeploymentRow, row: DeploymentRow): Change => ({
  table: 'deployment',
  key: row.id,
  before,
  row,
})

const change = (changes: readonly Change[], rows: Rows = {}) =>
  namesOf(findingsOfServiceChanges(changes, stateWith(rows)))

const gone = (serviceName: string, inactiveSince: number): ServiceRow =>
  aService({ serviceName, status: 'INACTIVE', inactiveSince })

const old = (at: number, over: Partial<DeploymentRow> = {}): DeploymentRow =>
  aDeployment({
    status: 'INACTIVE',
    createdAt: testNow - at,
    serviceRevisionId: `r${at}`,
    serviceDeploymentId: `d${at}`,
    ...over,
  })

await t.test('a service as it stands', (test) => {
  test.same(findingsOfServices(stateWith()), [])
  test.same(findingsOfServices(stateWith(), ['default/web', 'default/gone']), [])
  const [first = aTask(), second = aTask()] = tasks
  const daemon = aService({ schedulingStrategy: 'DAEMON' })
  const broken: readonly (readonly [string, Rows])[] = [
    ['activeServicesHaveOnePrimary', { deployment: [{ ...deployment, status: 'ACTIVE' }] }],
    ['onlyExternalServicesHaveTaskSets', { taskSet: [aTaskSet()] }],
    [
      'onlyExternalServicesHaveTaskSets',
      {
        service: [aService({ deploymentController: { type: 'EXTERNAL' } })],
        taskSet: [aTaskSet({ status: 'PRIMARY' }), aTaskSet({ status: 'PRIMARY' })],
      },
    ],
    ['serviceTasksAreOfADeployment', { task: [first, { ...second, group: 'family:web' }] }],
    [
      'serviceTasksAreOfADeployment',
      { task: [first, { ...second, deploymentId: 'ecs-svc/0', startedBy: 'ecs-svc/0' }] },
    ],
    ['daemonsRunOncePerInstance', { service: [daemon], task: [first, aTask(webTask)] }],
    ['lossAndDrainFollowTheInstance', { instance: [instance, { ...other, status: 'DRAINING' }] }],
    ['lossAndDrainFollowTheInstance', { task: [first, { ...second, lostSince: 1 }] }],
    [
      'inactiveServicesWantNothing',
      {
        service: [aService({ status: 'INACTIVE' })],
        deployment: [{ ...deployment, status: 'INACTIVE' }],
        task: [first],
      },
    ],
  ]
  for (const [name, rows] of broken) test.same(namesOf(findingsOfServices(stateWith(rows))), [name], name)
  const noisy = stateWith()
  inTransaction(noisy, (tx) => {
    for (let at = 0; at < 100; at += 1) addServiceEvent(tx, 'default/web', `event ${at}`, testNow, aWorld(at))
  })
  test.same(findingsOfServices(noisy), [])
  inTransaction(noisy, (tx) => {
    const [event] = tx.find('serviceEvent', 'byService', 'default/web')
    if (event !== undefined) tx.put('serviceEvent', 'default/web/000009999', { ...event, seq: 9999 })
  })
  test.same(namesOf(findingsOfServices(noisy)), ['eventsAreBounded'])
  test.end()
})

await t.test('what a turn did to a service', (test) => {
  const [first = aTask(), second = aTask()] = tasks
  const fresh = aTask({ ...webTask, lastStatus: 'PENDING' })
  const started = { ...first, desiredStatus: 'STOPPED', stopCode: 'ServiceSchedulerInitiated' } as const
  const draining = aService({ status: 'DRAINING' })

  test.same(change([ofTask(undefined, fresh)], { task: [...tasks, fresh] }), [], 'within 200 %')
  test.same([...servicesIn([ofTask(undefined, fresh), ofService(service, service)])], ['default/web'])
  const strict = aService({ deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 100 } })
  const crowd = { service: [strict], task: [...tasks, fresh] }
  test.same(change([ofTask(undefined, fresh)], crowd), ['startsStayWithinTheMaximum'])
  const back = { ...first, lostSince: 5 }
  test.same(change([ofTask(undefined, fresh), ofTask(back, first)], crowd), [], 'one came back with its host')
  test.same(change([ofTask(undefined, fresh)], { service: [draining] }), ['onlyActiveServicesStartTasks'])

  test.same(change([ofTask(first, started)], { task: [started, second] }), ['stopsLeaveTheMinimum'])
  const ended = { ...started, stopCode: 'EssentialContainerExited' } as const
  test.same(change([ofTask(first, ended)], { task: [ended, second] }), [], 'it ended by itself')
  test.same(change([ofTask(first, started)], { task: [started, ...tasks] }), [], 'enough are left')
  const guarded = { ...started, stoppingAt: testNow, protectedUntil: testNow + 1 }
  test.same(change([ofTask(first, guarded)], { task: [guarded, ...tasks] }), ['protectedTasksAreNotStopped'])

  const inactive = aService({ status: 'INACTIVE' })
  test.same(change([ofService(draining, inactive)], { service: [inactive], task: [first] }), [
    'servicesEndOnceTheirTasksHave',
  ])
  const newer = aService({ eventSeq: 9 })
  test.same(change([ofService(newer, service)]), ['eventNumbersGrow'])
  test.same(change([ofDeployment({ ...deployment, status: 'ACTIVE' }, deployment)]), ['deploymentsOnlyGiveWay'])
  test.same(change([ofDeployment({ ...deployment, rolloutState: 'FAILED' }, deployment)]), ['rolloutsEndOnce'])
  const former = { ...deployment, status: 'ACTIVE', rolloutState: 'COMPLETED' } as const
  test.same(change([ofDeployment(former, { ...deployment, rollbackOf: 'ecs-svc/9' })]), [], 'a rollback takes it back')
  test.end()
})

await t.test('deleted services are forgotten with all that is theirs, unless a host may bring tasks back', (test) => {
  const day = 86_400_000
  const lost = aTask({ ...webTask, serviceKey: 'default/lost', lostSince: 1, desiredStatus: 'STOPPED' })
  const state = stateWith({
    service: [service, gone('old', testNow - day), gone('young', testNow - day + 1), gone('lost', testNow - day)],
    deployment: [deployment, aDeployment({ serviceKey: 'default/old', status: 'INACTIVE' })],
    task: [...tasks, lost],
  })
  inTransaction(state, (tx) => addServiceEvent(tx, 'default/old', 'over', testNow, aWorld()))
  const bounded = { ...retentionDefaults, rowsMax: 2 }
  const results = [1, 2, 3].map(() => inTransaction(state, (tx) => retain(tx, bounded, testNow)))
  test.same(
    results.map(({ droppedRows, hasMore }) => [droppedRows, hasMore]),
    [
      [2, true],
      [1, false],
      [0, false],
    ],
  )
  test.same(
    state.all('service').map(({ serviceName }) => serviceName),
    ['lost', 'web', 'young'],
  )
  test.same([state.all('serviceEvent').length, state.all('deployment').length], [0, 1])
  const crowded = { ...retentionDefaults, inactiveServicesMax: 0 }
  inTransaction(state, (tx) => retain(tx, crowded, testNow))
  test.same(
    state.all('service').map(({ serviceName }) => serviceName),
    ['lost', 'web'],
    'beyond the bound, before its time',
  )
  test.end()
})

await t.test(
  'old deployments, service deployments and revisions go, but none that something still asks for',
  (test) => {
    const numbers = [1, 2, 3, 4]
    const holding = old(9)
    const held = aTask({ ...webTask, deploymentId: holding.id, startedBy: holding.id, lostSince: 3 })
    const state = stateWith({
      service: [aService({ lastCompletedRevisionId: 'r4' })],
      deployment: [deployment, holding, ...numbers.map((at) => old(at))],
      task: [held],
    })
    const arns = { serviceArn: service.serviceArn, clusterArn: service.clusterArn }
    inTransaction(state, (tx) => {
      for (const at of [...numbers, 9]) {
        const common = { serviceKey: 'default/web', createdAt: testNow - at, ...arns }
        const taskDefinition = service.taskDefinition ?? ''
        tx.put('serviceRevision', `r${at}`, { ...common, id: `r${at}`, serviceRevisionArn: `r${at}`, taskDefinition })
        const carried = {
          id: `d${at}`,
          serviceDeploymentArn: `d${at}`,
          deploymentId: '',
          status: 'SUCCESSFUL',
          // Only the newest but one says what was there before it.
          ...(at === 2 && { sourceServiceRevisions: [{ arn: 'r3' }] }),
        } as const
        tx.put('serviceDeployment', `d${at}`, { ...common, ...carried })
      }
    })
    const few = { ...retentionDefaults, deploymentsMax: 1, serviceHistoryMax: 2 }
    inTransaction(state, (tx) => retain(tx, few, testNow))
    const left = () =>
      [state.all('deployment'), state.all('serviceDeployment'), state.all('serviceRevision')].map((rows) =>
        rows
          .filter(({ createdAt }) => createdAt < testNow)
          .map(({ createdAt }) => testNow - createdAt)
          .toSorted((one, another) => one - another),
      )
    test.same(
      left(),
      [
        [1, 9],
        [1, 2, 9],
        [1, 2, 3, 4, 9],
      ],
      'the newest stay, what they name, what a lost task came from, and where a rollback would go',
    )
    inTransaction(state, (tx) => retain(tx, few, testNow + few.serviceHistoryKeepMs))
    test.same(
      left(),
      [
        [1, 9],
        [1, 9],
        [1, 4, 9],
      ],
      'after 90 days only what is still asked for',
    )
    test.end()
  },
)
