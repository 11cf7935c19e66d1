/**
 * The real controller, killed at random moments of concurrent calls and started again on the same data, over and over.
 * Agents are scripted here: what is judged is what the controller promised.
 */
import {
  DescribeContainerInstancesCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
  StopTaskCommand,
} from '@aws-sdk/client-ecs'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RunningController, eventually, region, startController } from '../support/controller.ts'
import { FireAgent } from './fire-agent.ts'
import { type FireCall, type FireState, callUntilGone, definitionOf, families } from './fire-calls.ts'
import { checkCalls, checkDatabase, checkTold, describeTasks } from './fire-checks.ts'
import { FireServices, type ServiceCall } from './fire-services.ts'
import { type FireCounts, type KnownState, Violation } from './fire-violation.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface ControllerFireOptions {
  readonly kills: number
  readonly random: SeededRandom
  readonly onKill?: ((kills: number, counts: FireCounts) => void) | undefined
}

export interface ControllerFireResult extends FireCounts {
  readonly kills: number
  readonly tasks: number
  readonly services: number
}

/** After so many kills the data directory is checked as a whole and a fresh one follows, so that a run can be long. */
const killsOfOneLife = 50
const longestRoundMs = 300

/** Throws a Violation that names what was broken, with the data directory kept. */
export async function controllerUnderFire(options: ControllerFireOptions): Promise<ControllerFireResult> {
  const counts: FireCounts = { answered: 0, unansweredDone: 0, unansweredUndone: 0, checks: 0 }
  let kills = 0
  let tasks = 0
  let services = 0
  while (kills < options.kills) {
    const life = await Life.begin(options.random, counts)
    try {
      const last = Math.min(options.kills, kills + killsOfOneLife)
      while (kills < last) {
        await life.round()
        kills += 1
        options.onKill?.(kills, counts)
      }
      tasks += await life.settle()
      services += life.services
    } catch (error) {
      throw await life.explained(error)
    }
    await life.end()
  }
  return { kills, tasks, services, ...counts }
}

/** One data directory, from its first start. */
class Life {
  readonly #state: FireState
  readonly #known: KnownState
  #controller: RunningController
  #client: ECSClient
  #agents: readonly FireAgent[] = []
  #remainingAtFirst = ''
  readonly #calls: FireCall[] = []

  private constructor(random: SeededRandom, counts: FireCounts, controller: RunningController) {
    this.#state = { random, nextId: 0, stoppable: [], services: new FireServices() }
    this.#known = { revisions: new Map(), counts }
    this.#controller = controller
    this.#client = clientOf(controller)
  }

  static async begin(random: SeededRandom, counts: FireCounts): Promise<Life> {
    const dataDir = mkdtempSync(join(tmpdir(), 'gantry-fire-'))
    const controller = await startController({ dataDir })
    const life = new Life(random, counts, controller)
    await life.#populate()
    return life
  }

  get services(): number {
    return this.#state.services.known.size
  }

  /** Two agents and one revision of each family, so that every call finds what it needs. */
  async #populate(): Promise<void> {
    const { endpoint, agentCredentials } = this.#controller
    this.#agents = [
      await FireAgent.register(endpoint, agentCredentials),
      await FireAgent.register(endpoint, agentCredentials),
    ]
    await this.#connectAgents()
    this.#remainingAtFirst = await this.#remainingResources()
    for (const family of families) {
      const first = { kind: 'register' as const, id: `first-${family}`, family, containers: 1 }
      await this.#client.send(new RegisterTaskDefinitionCommand(definitionOf(first)))
      this.#known.revisions.set(family, 1)
    }
  }

  async #connectAgents(): Promise<void> {
    await Promise.all(this.#agents.map(async (agent) => agent.connect(this.#controller.endpoint)))
  }

  /** Calls, a kill in the midst of them, a restart, and a look at what is there. */
  async round(): Promise<void> {
    const { random } = this.#state
    const calling = callUntilGone(this.#client, this.#state)
    // A Violation in it must not be an unhandled rejection while the kill is awaited.
    calling.catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, random.next() * longestRoundMs))
    await this.#controller.kill9()
    const calls = await calling
    this.#calls.push(...calls)
    await this.#restart()
    await checkCalls(this.#client, calls, this.#known)
    const { services } = this.#state
    await services.check(this.#client, calls.filter(isServiceCall), this.#known)
    const older = Array.from({ length: Math.min(10, this.#calls.length) }, () => random.pick(this.#calls))
    await this.#checkOlder(older)
    checkDatabase(this.#controller.dataDir, 'quick_check', this.#known)
  }

  async #restart(): Promise<void> {
    const { dataDir, port } = this.#controller
    this.#client.destroy()
    this.#controller = await startController({ dataDir, port })
    this.#client = clientOf(this.#controller)
    await this.#connectAgents()
  }

  /** What was answered stays, also through later kills. */
  async #checkOlder(calls: readonly FireCall[]): Promise<void> {
    const arns = [...new Set(calls.flatMap((call) => (call.kind === 'run' ? (call.arns ?? []) : [])))]
    const found = await describeTasks(this.#client, arns)
    this.#known.counts.checks += arns.length
    if (found.length < arns.length) {
      throw new Violation(`${arns.length - found.length} tasks of earlier calls are lost, of ${arns.join()}`)
    }
  }

  /** The whole directory at its end: everything stops, and nothing is held any more. Gives the number of tasks. */
  async settle(): Promise<number> {
    await this.#state.services.end(this.#client)
    for (const agent of this.#agents) await checkTold(this.#client, agent.told, this.#known)
    const arns = [...new Set(this.#calls.flatMap((call) => (call.kind === 'run' ? (call.arns ?? []) : [])))]
    const live = (await describeTasks(this.#client, arns)).filter(({ desiredStatus }) => desiredStatus === 'RUNNING')
    await Promise.all(live.map(async ({ taskArn }) => this.#client.send(new StopTaskCommand({ task: taskArn }))))
    await eventually('all tasks to stop', async () => {
      const tasks = await describeTasks(this.#client, arns)
      return tasks.every(({ lastStatus }) => lastStatus === 'STOPPED') ? true : undefined
    })
    const remaining = await this.#remainingResources()
    this.#known.counts.checks += 1
    if (remaining !== this.#remainingAtFirst) {
      throw new Violation(`with all tasks stopped, ${remaining} is left, of ${this.#remainingAtFirst} at the beginning`)
    }
    checkDatabase(this.#controller.dataDir, 'integrity_check', this.#known)
    return arns.length
  }

  async #remainingResources(): Promise<string> {
    const containerInstances = this.#agents.map(({ instanceArn }) => instanceArn)
    const answer = await this.#client.send(new DescribeContainerInstancesCommand({ containerInstances }))
    return JSON.stringify(answer.containerInstances?.map(({ remainingResources }) => remainingResources))
  }

  async end(): Promise<void> {
    for (const agent of this.#agents) agent.close()
    this.#client.destroy()
    await this.#controller.stop()
  }

  /** Ends what runs, and says where the evidence is. */
  async explained(error: unknown): Promise<Error> {
    for (const agent of this.#agents) agent.close()
    this.#client.destroy()
    await this.#controller.kill9()
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const log = this.#controller.output().split('\n').slice(-5).join('\n')
    return new Violation(
      `${what}\nthe data directory is kept: ${this.#controller.dataDir}\nthe controller said:\n${log}`,
    )
  }
}

function isServiceCall(call: FireCall): call is ServiceCall {
  return call.kind === 'createService' || call.kind === 'updateService'
}

/** One attempt for each call: what became of it is the very question. */
function clientOf({ endpoint, credentials }: RunningController): ECSClient {
  return new ECSClient({ endpoint, region, credentials, maxAttempts: 1 })
}
