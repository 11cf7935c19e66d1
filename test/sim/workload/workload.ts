/**
 * What people ask of the cluster while it is being shaken: a stream of calls by actors of several kinds, each of which
 * keeps a ledger of what was answered, since what was accepted must still be so at the end.
 */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import type { SimSecrets } from '../sim-secrets.ts'
import { DefinitionActor } from './definition-actor.ts'
import { DeploymentActor, tunedService } from './deployment-actor.ts'
import { InstanceActor } from './instance-actor.ts'
import { LabelActor } from './label-actor.ts'
import { LookActor } from './look-actor.ts'
import { LossActor } from './loss-actor.ts'
import { NetworkActor } from './network-actor.ts'
import { type Actor, Operator, type OperatorParts } from './operator.ts'
import { ProtectionActor } from './protection-actor.ts'
import { SecretActor } from './secret-actor.ts'
import { ServiceActor, serviceNames } from './service-actor.ts'
import { ServiceLabelActor } from './service-label-actor.ts'
import { TaskActor } from './task-actor.ts'
import { outsideService, TaskSetActor } from './task-set-actor.ts'

const callsUnderwayMax = 20

export class Workload {
  readonly #parts: OperatorParts
  readonly #actors: readonly Actor[]
  readonly #tasks: TaskActor
  readonly #instances: InstanceActor
  readonly #services: ServiceActor
  readonly #deployments: DeploymentActor
  readonly #taskSets: TaskSetActor
  readonly #protection: ProtectionActor
  readonly #losses: LossActor
  readonly #secrets: SecretActor
  readonly #acts: ReadonlyMap<string, () => Promise<void>>
  readonly #weights: Readonly<Record<string, number>>
  #underway = 0
  #isOver = false

  constructor(parts: OperatorParts & { readonly secrets: SimSecrets }) {
    this.#parts = parts
    const operator = new Operator(parts)
    const definitions = new DefinitionActor(operator)
    this.#tasks = new TaskActor(operator, definitions)
    this.#instances = new InstanceActor(operator)
    this.#services = new ServiceActor(operator, definitions)
    const rolling = [...serviceNames, tunedService]
    const all = [...rolling, outsideService]
    this.#deployments = new DeploymentActor(operator, definitions, rolling)
    this.#taskSets = new TaskSetActor(operator, definitions)
    this.#protection = new ProtectionActor(operator, all)
    this.#losses = new LossActor(operator)
    this.#secrets = new SecretActor(operator, parts.secrets)
    const serviceLabels = new ServiceLabelActor(operator, all)
    const labels = new LabelActor(operator, this.#tasks, definitions)
    const look = new LookActor(operator, this.#tasks)
    this.#actors = [
      definitions,
      this.#tasks,
      this.#services,
      this.#instances,
      labels,
      look,
      this.#deployments,
      this.#taskSets,
      this.#protection,
      this.#losses,
      this.#secrets,
      serviceLabels,
      new NetworkActor(operator),
    ]
    const acts = this.#actors.flatMap((actor) => Object.entries(actor.acts))
    this.#acts = new Map(acts.map(([name, doing]) => [name, () => doing.act()]))
    this.#weights = Object.fromEntries(acts.map(([name, { weight }]) => [name, weight]))
  }

  begin(): void {
    for (const actor of this.#actors) actor.begin?.()
    this.#next()
  }

  end(): void {
    this.#isOver = true
  }

  /** Calls that are under way. */
  get underway(): number {
    return this.#underway
  }

  /** Standalone tasks make room, and services get what they can reach. */
  mend(): Promise<void> {
    return this.#counted(async () => {
      await this.#losses.mend()
      await this.#secrets.mend()
      await this.#instances.mend()
      await this.#protection.mend()
      await this.#tasks.stopEverything()
      await this.#services.mend()
      await this.#deployments.mend()
      await this.#taskSets.mend()
    })
  }

  stopEverything(): Promise<void> {
    return this.#counted(async () => {
      await this.#services.deleteEverything()
      await this.#deployments.deleteEverything()
      await this.#taskSets.deleteEverything()
      await this.#tasks.stopEverything()
    })
  }

  findings(reader: Reader): readonly Finding[] {
    return this.#actors.flatMap((actor) => actor.findings(reader))
  }

  #next(): void {
    const { time, random } = this.#parts
    time.after(random.between(50, 4000), () => {
      if (this.#isOver) return
      const act = this.#acts.get(random.weighted(this.#weights))
      if (act !== undefined && this.#underway < callsUnderwayMax) void this.#counted(act)
      this.#next()
    })
  }

  async #counted(work: () => Promise<void>): Promise<void> {
    this.#underway += 1
    await work()
    this.#underway -= 1
  }
}
