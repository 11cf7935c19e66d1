/** Which faults may strike, and how hard, in one history. Once they end, everything has to settle. */
import type { Random } from './random.ts'
import type { SimLog } from './sim-log.ts'

/** How likely each fault is wherever it could strike: each seed draws its own, so that histories differ in kind. */
export interface Odds {
  readonly callLost: number
  readonly answerLost: number
  readonly callRepeated: number
  readonly frameRepeated: number
  readonly frameDelayed: number
  readonly engineFails: number
  readonly engineSlow: number
  readonly engineHangs: number
  readonly eventLost: number
  readonly agentKilledAtStep: number
  readonly agentKilledAtCommit: number
  readonly controllerKilledAtCommit: number
  readonly controllerKilledAtSend: number
  readonly diskSlow: number
  readonly journalFails: number
  readonly commitFails: number
  readonly commitUnknown: number
  readonly fetchDelayed: number
  readonly fetchCut: number
  readonly controllerKilledAtFetch: number
}

export class Chaos {
  readonly odds: Odds
  readonly random: Random
  readonly log: SimLog
  #over = false

  constructor(random: Random, log: SimLog) {
    this.random = random
    this.log = log
    const upTo = (most: number): number => (random.chance(0.25) ? 0 : most * random.next() ** 2)
    this.odds = {
      callLost: upTo(0.1),
      answerLost: upTo(0.1),
      callRepeated: upTo(0.3),
      frameRepeated: upTo(0.2),
      frameDelayed: upTo(0.1),
      engineFails: upTo(0.1),
      engineSlow: upTo(0.2),
      engineHangs: upTo(0.03),
      eventLost: upTo(0.8),
      agentKilledAtStep: upTo(0.05),
      agentKilledAtCommit: upTo(0.02),
      controllerKilledAtCommit: upTo(0.01),
      controllerKilledAtSend: upTo(0.01),
      diskSlow: upTo(0.2),
      journalFails: upTo(0.1),
      commitFails: upTo(0.03),
      commitUnknown: upTo(0.005),
      fetchDelayed: upTo(0.2),
      fetchCut: upTo(0.1),
      controllerKilledAtFetch: upTo(0.03),
    }
  }

  /** From now on nothing fails any more. */
  end(): void {
    this.#over = true
  }

  get isOver(): boolean {
    return this.#over
  }

  /** True where this fault is to strike now; it is then counted. */
  strikes(who: string, fault: keyof Odds, details = ''): boolean {
    if (this.#over || !this.random.chance(this.odds[fault])) return false
    this.log.fault(who, fault, details)
    return true
  }
}
