/**
 * A client of a service's published ports, as a load balancer is one: a task takes part once it has answered, and until it
 * is asked to stop or a request to it fails; a request that fails goes to another task.
 */
import type { Task } from '@aws-sdk/client-ecs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lab } from './lab.ts'
import type { LabServices } from './services.ts'

export interface FailedTry {
  readonly taskArn: string
  /** When it failed, epoch milliseconds. */
  readonly at: number
  readonly why: string
}

export interface LoadReport {
  /** Requests that were answered, by what they were answered. */
  readonly answers: ReadonlyMap<string, number>
  /** What was answered last. */
  readonly last: string
  /** Tries of requests that another task then answered. */
  readonly failedTries: readonly FailedTry[]
  /** Requests that no task answered, each with what all of its tries met. */
  readonly unanswered: readonly string[]
  /** Tasks that took part at the worst moment. */
  readonly fewestTargets: number
}

interface Target {
  readonly taskArn: string
  readonly url: string
}

const clients = 2
const pauseMs = 10
const lookEveryMs = 150
/** Generous: the machine may be busy with something else. */
const requestTimeoutMs = 20_000

/** Asks the tasks of a service until it is stopped. */
export class Load {
  readonly #lab: Lab
  readonly #services: LabServices
  readonly #service: string
  readonly #targets = new Map<string, Target>()
  /** Those that failed once, and take part no more. */
  readonly #failed = new Set<string>()
  readonly #answers = new Map<string, number>()
  readonly #failedTries: FailedTry[] = []
  readonly #unanswered: string[] = []
  #last = ''
  #fewestTargets = Number.POSITIVE_INFINITY
  #turn = 0
  #isOver = false
  #work: readonly Promise<void>[] = []

  constructor(lab: Lab, services: LabServices, service: string) {
    this.#lab = lab
    this.#services = services
    this.#service = service
  }

  /** Requests that were answered so far. */
  get answered(): number {
    return [...this.#answers.values()].reduce((sum, count) => sum + count, 0)
  }

  /** Resolves once so many tasks take part. */
  async start(targets: number): Promise<void> {
    while (this.#targets.size < targets) await this.#look()
    this.#fewestTargets = Number.POSITIVE_INFINITY
    this.#work = [this.#lookOften(), ...Array.from({ length: clients }, async () => this.#ask())]
  }

  async stop(): Promise<LoadReport> {
    this.#isOver = true
    await Promise.all(this.#work)
    return {
      answers: this.#answers,
      last: this.#last,
      failedTries: this.#failedTries,
      unanswered: this.#unanswered,
      fewestTargets: this.#fewestTargets,
    }
  }

  async #lookOften(): Promise<void> {
    while (!this.#isOver) {
      await this.#look()
      await sleep(lookEveryMs)
    }
  }

  async #look(): Promise<void> {
    const tasks = await this.#services.running(this.#service)
    // Those that run, as the service counts them: one that has no health check is counted before its program listens.
    this.#fewestTargets = Math.min(this.#fewestTargets, tasks.length)
    const wanted = new Map(tasks.flatMap((task) => this.#targetOf(task)).map((target) => [target.taskArn, target]))
    for (const arn of this.#targets.keys()) if (!wanted.has(arn)) this.#targets.delete(arn)
    const fresh = [...wanted.values()].filter(({ taskArn }) => {
      return !this.#targets.has(taskArn) && !this.#failed.has(taskArn)
    })
    await Promise.all(
      fresh.map(async (target) => {
        const isUp = await get(target.url).then(
          () => true,
          () => false,
        )
        if (isUp) this.#targets.set(target.taskArn, target)
      }),
    )
  }

  #targetOf(task: Task): readonly Target[] {
    const port = task.containers?.[0]?.networkBindings?.[0]?.hostPort
    if (port === undefined || task.taskArn === undefined) return []
    return [{ taskArn: task.taskArn, url: `http://${this.#lab.hostOf(task).address}:${port}/` }]
  }

  async #ask(): Promise<void> {
    while (!this.#isOver) {
      await this.#request()
      await sleep(pauseMs)
    }
  }

  async #request(): Promise<void> {
    const met: string[] = []
    for (const tried = new Set<string>(); ; ) {
      const left = [...this.#targets.values()].filter(({ taskArn }) => !tried.has(taskArn))
      this.#turn += 1
      const target = left[this.#turn % Math.max(1, left.length)]
      if (target === undefined) {
        this.#unanswered.push(met.join('; ') || 'there was no task to ask')
        return
      }
      tried.add(target.taskArn)
      try {
        const text = await get(target.url)
        this.#answers.set(text, (this.#answers.get(text) ?? 0) + 1)
        this.#last = text
        return
      } catch (error) {
        met.push(`${target.url}: ${String(error)}`)
        this.#failedTries.push({ taskArn: target.taskArn, at: Date.now(), why: String(error) })
        this.#failed.add(target.taskArn)
        this.#targets.delete(target.taskArn)
      }
    }
  }
}

/** The text of a 200 answer, over a connection of its own. */
function get(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { agent: false, timeout: requestTimeoutMs }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => (text += chunk))
      answer.on('error', reject)
      answer.on('end', () => {
        if (answer.statusCode === 200) resolve(text.trim())
        else reject(new Error(`answered ${answer.statusCode}`))
      })
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${requestTimeoutMs} ms`)))
    outgoing.on('error', reject)
    outgoing.end()
  })
}
