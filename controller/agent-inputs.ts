/**
 * What agents bring, on its way into the turn: so much at a time that calls find room in the inbox, and the rest waits
 * here in order. Thousands of agents that all have something to say are slowed down, never refused: to a refusal they
 * would close their channels, come back, and have more to say.
 */
import type { Turn, TurnInput } from './turn.ts'

/** Inputs of agents that stand in the turn's inbox at once: less than half of what it holds. */
const inTurnMaxDefault = 4000
/** Handed-on inputs are dropped from the head of the list in pieces of this size: each cut copies what stays. */
const trimAt = 4096

interface Waiting {
  hand(): void
}

export class AgentInputs {
  readonly #turn: Pick<Turn, 'submit'>
  readonly #inTurnMax: number
  #waiting: Waiting[] = []
  #handed = 0
  #inTurn = 0

  constructor(turn: Pick<Turn, 'submit'>, inTurnMax: number = inTurnMaxDefault) {
    this.#turn = turn
    this.#inTurnMax = inTurnMax
  }

  /** How many wait for a place in the inbox. */
  get waiting(): number {
    return this.#waiting.length - this.#handed
  }

  /** As the turn's own `submit`, in the order of the calls. */
  submit<T>(input: TurnInput<T>): Promise<T> {
    if (this.#inTurn < this.#inTurnMax && this.waiting === 0) return this.#hand(input)
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ hand: () => void this.#hand(input).then(resolve, reject) })
    })
  }

  #hand<T>(input: TurnInput<T>): Promise<T> {
    this.#inTurn += 1
    const done = this.#turn.submit(input)
    const settled = (): void => this.#settled()
    done.then(settled, settled)
    return done
  }

  #settled(): void {
    this.#inTurn -= 1
    while (this.#inTurn < this.#inTurnMax) {
      const next = this.#waiting[this.#handed]
      if (next === undefined) break
      this.#handed += 1
      next.hand()
    }
    if (this.#handed < trimAt && this.waiting > 0) return
    this.#waiting = this.#waiting.slice(this.#handed)
    this.#handed = 0
  }
}
