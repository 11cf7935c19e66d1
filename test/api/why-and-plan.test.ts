/** What operators ask: what would happen, and what a service waits for. Against the real controller process. */
import t, { type Test } from 'tap'
import { startAgentPeer } from '../support/agent-peer.ts'
import { callEcs, callRest, eventually, getRest, type RawAnswer, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const { endpoint, credentials } = controller
const peers = [1, 2].map(async () =>
  startAgentPeer({ endpoint, key: controller.agentCredentials, gantryProtocol: true, cpu: 1024, memory: 1024 }),
)
const instanceIds = (await Promise.all(peers)).map(({ instanceArn }) => instanceArn.split('/').at(-1))
const container = { name: 'main', image: 'busybox', memory: 400, command: ['sleep', '600'] }
await callEcs(endpoint, credentials, 'RegisterTaskDefinition', { family: 'web', containerDefinitions: [container] })

async function plan(body: object): Promise<RawAnswer> {
  return callRest(endpoint, credentials, 'POST', '/v1/plan', JSON.stringify(body))
}

async function whyWeb(): Promise<RawAnswer> {
  return getRest(endpoint, credentials, '/v1/services/default/web/why')
}

function refusedAs(test: Test, answer: RawAnswer, status: number, code: string, message: RegExp): void {
  test.equal(answer.status, status)
  test.match(answer.json, { code, message })
}

await t.test('a plan of RunTask places and writes nothing', async (test) => {
  const planned = await plan({ runTask: { taskDefinition: 'web', count: 5 } })
  test.equal(planned.status, 200, planned.text)
  const { tasks, failures } = planned.json as { tasks: { instanceId: string }[]; failures: { detail: string }[] }
  test.same(new Set(tasks.map(({ instanceId }) => instanceId)), new Set(instanceIds))
  test.equal(tasks.length, 4)
  test.match(tasks[0], { placement: { considered: 2, able: 2, ranking: [{ scores: ['0 live tasks'] }] } })
  test.match(failures[0]?.detail, /^4 of 5 tasks placed, for the next one no instance matched: 2 lack memory/)
  const listed = await callEcs(endpoint, credentials, 'ListTasks', {})
  test.same(listed.json['taskArns'], [])
})

await t.test('a plan of a service is what then happens, and why says what it waits for', async (test) => {
  const createService = { serviceName: 'web', taskDefinition: 'web', desiredCount: 5 }
  const planned = await plan({ createService })
  test.equal(planned.status, 200, planned.text)
  test.match(planned.json, {
    steps: [{ started: [{ count: 2 }, { count: 2 }], stopped: [] }],
    end: { state: 'waiting' },
  })
  refusedAs(test, await whyWeb(), 404, 'ServiceNotFoundException', /not found/)

  await callEcs(endpoint, credentials, 'CreateService', createService)
  const why = await eventually('web to wait for a place', async () => {
    const answer = await whyWeb()
    return answer.json['state'] === 'waiting' && /4 healthy/.test(answer.text) ? answer.json : undefined
  })
  test.match(why, {
    summary:
      /^Its next task has had no place for .*: no instance matched: 2 lack memory \(want 400 MiB, most free 224\)\.$/,
    desired: 5,
    tasks: { healthy: 4 },
    waiting: { nearest: [{ filter: 'memory', miss: 'lacks memory (want 400 MiB, most free 224)' }, {}] },
    deployments: [{ status: 'PRIMARY', taskDefinition: 'web:1' }],
  })

  const update = await plan({ updateService: { service: 'web', desiredCount: 2 } })
  test.match(update.json, { steps: [{ started: [] }], end: { desired: 2 } })
  const tasks = await callEcs(endpoint, credentials, 'ListTasks', { serviceName: 'web' })
  const [taskArn] = tasks.json['taskArns'] as readonly string[]
  const task = await getRest(endpoint, credentials, `/v1/tasks/${taskArn?.split('/').at(-1)}/why`)
  test.match(task.json, {
    placement: { considered: 2, ranking: [{ scores: [/of its group/, /of its group/, /live task/] }] },
  })
})

await t.test('plans that nobody can make are refused in words', async (test) => {
  refusedAs(test, await plan({}), 400, 'InvalidParameterException', /runTask, createService or updateService/)
  refusedAs(test, await plan({ runTask: {}, createService: {} }), 400, 'InvalidParameterException', /of one call/)
  refusedAs(test, await plan({ runTask: 7 }), 400, 'InvalidParameterException', /object/)
  refusedAs(
    test,
    await plan({ runTask: { taskDefinition: 'web', count: 'x' } }),
    400,
    'SerializationException',
    /count/,
  )
  refusedAs(test, await plan({ runTask: { taskDefinition: 'nobody' } }), 400, 'ClientException', /TaskDefinition/)
  refusedAs(test, await plan({ updateService: { service: 'no' } }), 404, 'ServiceNotFoundException', /not found/)
  const unsigned = await callRest(endpoint, { ...credentials, secretAccessKey: 'wrong' }, 'POST', '/v1/plan', '{}')
  test.equal(unsigned.status >= 400 && unsigned.status < 500, true)
})
