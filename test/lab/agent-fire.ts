/**
 * The real agent on a real Docker Engine, killed at random moments of what it does, again and again, and now and then the
 * controller instead. Whatever the moment: each task gets one container, which is started once.
 */
import { DescribeTasksCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import { eventually } from '../support/lab.ts'
import { Violation } from './fire-violation.ts'
import type { Host } from './host.ts'
import { type Lab, startLab } from './lab.ts'
import type { SeededRandom } from './seeded-random.ts'

export interface AgentFireOptions {
  readonly kills: number
  readonly random: SeededRandom
  /** From `enter.ts`. */
  readonly network: string
  readonly onKill?: ((kills: number) => void) | undefined
}

export interface AgentFireResult {
  readonly agentKills: number
  readonly controllerKills: number
  readonly tasks: number
  /** Starts of containers that the engine told of. */
  readonly starts: number
  readonly checks: number
}

const longestRoundMs = 600
const liveTasksMax = 6
const settleTimeoutMs = 120_000

/** Throws a Violation that says what was broken. */
export async function agentUnderFire(options: AgentFireOptions): Promise<AgentFireResult> {
  const lab = await startLab({ network: options.network, hosts: 1 })
  try {
    const fire = await Fire.light(lab, options.random)
    for (let kill = 1; kill <= options.kills; kill += 1) {
      await fire.round()
      options.onKill?.(kill)
    }
    return await fire.burnOut()
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
    throw new Violation(`${what}\nthe agent said:\n${lab.host(1).log().split('\n').slice(-15).join('\n')}`)
  } finally {
    await lab.close()
  }
}

class Fire {
  readonly #lab: Lab
  readonly #host: Host
  readonly #random: SeededRandom
  readonly #family: string
  /** Every task that was answered, with what is wanted of it. */
  readonly #wanted = new Map<string, 'RUNNING' | 'STOPPED'>()
  readonly #starts = new Map<string, number>()
  #agentKills = 0
  #controllerKills = 0
  #checks = 0

  private constructor(lab: Lab, random: SeededRandom, family: string) {
    this.#lab = lab
    this.#host = lab.host(1)
    this.#random = random
    this.#family = family
  }

  static async light(lab: Lab, random: SeededRandom): Promise<Fire> {
    const command = ['sh', '-c', "trap 'exit 0' TERM; sleep 3600 & wait"]
    const fire = new Fire(lab, random, await lab.define({ containers: [{ name: 'app', command }] }))
    await lab.host(1).engine.watchStarts((taskArn) => {
      fire.#starts.set(taskArn, (fire.#starts.get(taskArn) ?? 0) + 1)
    })
    return fire
  }

  /** Something to do, a kill in the midst of it, a restart; and, most times, a look once all has settled. */
  async round(): Promise<void> {
    const random = this.#random
    await this.#change()
    await new Promise((resolve) => setTimeout(resolve, random.next() * longestRoundMs))
    if (random.next() < 0.2) {
      await this.#lab.controller.kill9()
      await this.#lab.controller.restart()
      this.#controllerKills += 1
    } else {
      await this.#host.killAgent()
      await this.#host.launchAgent()
      this.#agentKills += 1
    }
    if (random.next() < 0.6) await this.#settle()
  }

  async #change(): Promise<void> {
    const live = [...this.#wanted].filter(([, status]) => status === 'RUNNING').map(([arn]) => arn)
    const room = liveTasksMax - live.length
    const count = Math.min(room, this.#random.between(1, 3))
    const stopped = live.filter(() => this.#random.next() < 0.4)
    const [started] = await Promise.all([
      count > 0 ? this.#lab.run(this.#family, { count }) : [],
      ...stopped.map(async (task) => this.#lab.client.send(new StopTaskCommand({ task }))),
    ])
    for (const arn of started) this.#wanted.set(arn, 'RUNNING')
    for (const arn of stopped) this.#wanted.set(arn, 'STOPPED')
  }

  /** Waits until controller and engine agree with what is wanted. */
  async #settle(): Promise<void> {
    const unsettled = new Set(this.#wanted.keys())
    await eventually(
      async () => {
        const { tasks = [] } = await this.#lab.client.send(
          new DescribeTasksCommand({ tasks: [...unsettled].slice(-100) }),
        )
        for (const { taskArn = '', lastStatus, stoppedReason } of tasks) {
          if (lastStatus === 'STOPPED' && this.#wanted.get(taskArn) === 'RUNNING') {
            throw new Violation(`${taskArn} stopped by itself: ${stoppedReason}`)
          }
          if (lastStatus === this.#wanted.get(taskArn)) unsettled.delete(taskArn)
        }
        return unsettled.size === 0 ? true : undefined
      },
      'all tasks are as they are wanted',
      settleTimeoutMs,
    )
    await this.#check()
  }

  async #check(): Promise<void> {
    const containers = await this.#host.containers()
    const hold = (isTrue: boolean, otherwise: string): void => {
      this.#checks += 1
      if (!isTrue) throw new Violation(otherwise)
    }
    for (const { id, taskArn } of containers) hold(this.#wanted.has(taskArn), `container ${id} is of no task`)
    for (const [arn, status] of this.#wanted) {
      const own = containers.filter(({ taskArn }) => taskArn === arn)
      const starts = this.#starts.get(arn) ?? 0
      hold(own.length <= 1, `${arn} has ${own.length} containers`)
      hold(starts <= 1, `${arn} was started ${starts} times`)
      const running = own.filter(({ isRunning }) => isRunning).length
      hold(
        running === (status === 'RUNNING' ? 1 : 0),
        `${arn} shall be ${status} and has ${running} running containers`,
      )
    }
  }

  /** Everything stops; what the engine then has is what was asked for, once. */
  async burnOut(): Promise<AgentFireResult> {
    await this.#settle()
    const live = [...this.#wanted].filter(([, status]) => status === 'RUNNING').map(([arn]) => arn)
    await Promise.all(live.map(async (task) => this.#lab.client.send(new StopTaskCommand({ task }))))
    for (const arn of live) this.#wanted.set(arn, 'STOPPED')
    await this.#settle()
    return {
      agentKills: this.#agentKills,
      controllerKills: this.#controllerKills,
      tasks: this.#wanted.size,
      starts: [...this.#starts.values()].reduce((sum, starts) => sum + starts, 0),
      checks: this.#checks,
    }
  }
}
