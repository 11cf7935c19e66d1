/**
 * The load of the api bench, in a process of its own so that it does not measure itself: signed requests over kept-alive
 * connections, bounded in count and time. It is told what to do by messages of its parent.
 */
import { performance } from 'node:perf_hooks'
import { request, Agent } from 'node:http'
import { type ClientKey, ecsClient, type EcsClient } from './ecs-client.ts'

export interface LoadPlan {
  readonly endpoint: string
  readonly key: ClientKey
  readonly work: LoadWork
  /** Requests that are open at once. */
  readonly concurrency: number
  readonly countMax: number
  readonly timeMaxMs: number
}

export type LoadWork =
  | { readonly kind: 'register' }
  | { readonly kind: 'run' }
  | { readonly kind: 'describe'; readonly tasks: readonly string[] }
  | { readonly kind: 'list' }
  /** The bare server: this many bytes there and back, with one synced commit of them where `sync` says so. */
  | { readonly kind: 'bare'; readonly sendBytes: number; readonly answerBytes: number; readonly sync: boolean }

export interface LoadResult {
  readonly count: number
  readonly durationMs: number
  readonly latenciesMs: readonly number[]
}

type Send = (index: number) => Promise<void>

interface Wires {
  readonly endpoint: string
  readonly ecs: EcsClient
  readonly agent: Agent
}

const senders: { readonly [Kind in LoadWork['kind']]: (wires: Wires, work: LoadWork & { kind: Kind }) => Send } = {
  register: ({ ecs }) => {
    const containerDefinitions = [{ name: 'app', image: 'busybox:1', cpu: 10, memory: 32, essential: true }]
    return async (index) => {
      await ecs.call('RegisterTaskDefinition', { family: `load-${index % 10}`, containerDefinitions })
    }
  },
  run:
    ({ ecs }) =>
    async () => {
      const { tasks = [], failures } = await ecs.call('RunTask', { taskDefinition: 'bench', count: 1 })
      if (tasks.length !== 1) throw new Error(`RunTask placed nothing: ${JSON.stringify(failures)}`)
    },
  describe:
    ({ ecs }, work) =>
    async () => {
      const { tasks = [] } = await ecs.call('DescribeTasks', { tasks: [...work.tasks] })
      if (tasks.length !== work.tasks.length) throw new Error(`DescribeTasks answered ${tasks.length} tasks`)
    },
  list: ({ ecs }) => pageThroughTasks(ecs),
  bare: ({ endpoint, agent }, work) => {
    const body = 'x'.repeat(work.sendBytes)
    const headers = { 'x-answer-bytes': String(work.answerBytes), 'x-sync': work.sync ? '1' : '0' }
    return async () => postBare(endpoint, agent, body, headers)
  },
}

/** Each call is the next page of a walk through all tasks. */
function pageThroughTasks(ecs: EcsClient): Send {
  const idle: (string | undefined)[] = []
  return async () => {
    const nextToken = idle.pop()
    const page = await ecs.call('ListTasks', { maxResults: 100, ...(nextToken === undefined ? {} : { nextToken }) })
    if ((page.taskArns ?? []).length === 0) throw new Error('ListTasks answered an empty page')
    idle.push(page.nextToken)
  }
}

function postBare(endpoint: string, agent: Agent, body: string, headers: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(endpoint, { agent, method: 'POST', headers }, (answer) => {
      answer.on('error', reject)
      answer.on('end', () => resolve())
      answer.resume()
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function load(plan: LoadPlan): Promise<LoadResult> {
  const ecs = ecsClient(plan.endpoint, plan.key, plan.concurrency)
  const agent = new Agent({ keepAlive: true, maxSockets: plan.concurrency })
  // That a kind goes with its own members is lost to the compiler in a union.
  const senderOf = senders[plan.work.kind] as (wires: Wires, work: LoadWork) => Send
  const send = senderOf({ endpoint: plan.endpoint, ecs, agent }, plan.work)
  const latenciesMs: number[] = []
  let sent = 0
  const begun = performance.now()
  const one = async (): Promise<void> => {
    while (sent < plan.countMax && performance.now() - begun < plan.timeMaxMs) {
      const at = performance.now()
      await send(sent++)
      latenciesMs.push(performance.now() - at)
    }
  }
  try {
    await Promise.all(Array.from({ length: plan.concurrency }, one))
    return { count: latenciesMs.length, durationMs: performance.now() - begun, latenciesMs }
  } finally {
    ecs.close()
    agent.destroy()
  }
}

process.on('message', (plan: LoadPlan) => {
  load(plan).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ failure: error instanceof Error ? error.stack : String(error) }),
  )
})
