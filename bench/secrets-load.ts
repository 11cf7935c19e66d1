/**
 * The load of the bench of secrets, in a process of its own so that it does not measure itself: signed requests in AWS JSON
 * over kept-alive connections, each body in turn. It is told what to send by messages of its parent.
 */
import { Agent, request } from 'node:http'
import { performance } from 'node:perf_hooks'
import { signRequest } from '../proto/sigv4.ts'
import type { ClientKey } from './ecs-client.ts'

export interface SecretsLoadPlan {
  readonly endpoint: string
  readonly key: ClientKey
  readonly service: 'secretsmanager' | 'ssm'
  /** `secretsmanager.GetSecretValue`. */
  readonly target: string
  readonly bodies: readonly string[]
  /** Requests that are open at once. */
  readonly concurrency: number
  /** Each body is sent this often at most. */
  readonly laps: number
  readonly timeMaxMs: number
}

export interface SecretsLoadResult {
  readonly count: number
  readonly durationMs: number
  readonly latenciesMs: readonly number[]
}

async function load(plan: SecretsLoadPlan): Promise<SecretsLoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: plan.concurrency })
  const latenciesMs: number[] = []
  const countMax = plan.laps * plan.bodies.length
  let sent = 0
  const begun = performance.now()
  const one = async (): Promise<void> => {
    while (sent < countMax && performance.now() - begun < plan.timeMaxMs) {
      const body = plan.bodies[sent % plan.bodies.length] ?? '{}'
      sent += 1
      const at = performance.now()
      await post(plan, agent, body)
      latenciesMs.push(performance.now() - at)
    }
  }
  try {
    await Promise.all(Array.from({ length: plan.concurrency }, one))
    return { count: latenciesMs.length, durationMs: performance.now() - begun, latenciesMs }
  } finally {
    agent.destroy()
  }
}

function post({ endpoint, key, service, target }: SecretsLoadPlan, agent: Agent, body: string): Promise<void> {
  const url = `${endpoint}/`
  const headers = signRequest({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target },
    body,
    credentials: key,
    region: 'us-east-1',
    service,
    now: Date.now(),
  })
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { agent, method: 'POST', headers }, (answer) => {
      const { statusCode = 0 } = answer
      answer.on('error', reject)
      answer.on('end', () =>
        statusCode === 200 ? resolve() : reject(new Error(`${target} was answered ${statusCode}`)),
      )
      answer.resume()
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

process.on('message', (plan: SecretsLoadPlan) => {
  load(plan).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ failure: error instanceof Error ? error.stack : String(error) }),
  )
})
