import { test } from 'tap'
import { AgentInputs } from './agent-inputs.ts'
import type { Turn, TurnInput } from './turn.ts'

/** A turn that answers when it is told to, in order, and refuses the inputs named `refused`. */
function slowTurn(): {
  readonly turn: Pick<Turn, 'submit'>
  readonly taken: string[]
  answer(this: void): Promise<void>
} {
  const taken: string[] = []
  const open: (() => void)[] = []
  return {
    taken,
    turn: {
      submit<T>({ name }: TurnInput<T>) {
        taken.push(name)
        return new Promise<T>((resolve, reject) => {
          open.push(() => (name === 'refused' ? reject(new Error(name)) : resolve(name as T)))
        })
      },
    },
    async answer() {
      open.shift()?.()
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

function inputNamed(name: string): TurnInput<string> {
  return { name, run: () => name }
}

await test('inputs of agents wait in order until the inbox has room for them', async (t) => {
  // given a bound of two, and five inputs of which the third is refused
  const { turn, taken, answer } = slowTurn()
  const inputs = new AgentInputs(turn, 2)
  const settled: string[] = []
  for (const name of ['one', 'two', 'refused', 'four', 'five']) {
    inputs.submit(inputNamed(name)).then(
      (value) => settled.push(value),
      (error: Error) => settled.push(`not ${error.message}`),
    )
  }

  // then only two are in the turn
  t.same(taken, ['one', 'two'])
  t.equal(inputs.waiting, 3)

  // when they are answered one by one, then each makes room for the next, a refused one too
  await answer()
  t.same(taken, ['one', 'two', 'refused'])
  await answer()
  await answer()
  t.same(taken, ['one', 'two', 'refused', 'four', 'five'])
  t.equal(inputs.waiting, 0)
  await answer()
  await answer()
  t.same(settled, ['one', 'two', 'not refused', 'four', 'five'])
})

await test('ten thousand inputs pass through a small bound, each once', async (t) => {
  const taken: string[] = []
  const turn: Pick<Turn, 'submit'> = {
    submit: async <T>({ name }: TurnInput<T>) => {
      taken.push(name)
      return name as T
    },
  }
  const inputs = new AgentInputs(turn, 3)
  const names = Array.from({ length: 10_000 }, (_, index) => `input-${index}`)
  const answers = await Promise.all(names.map((name) => inputs.submit(inputNamed(name))))
  t.same(answers, names)
  t.same(taken, names)
  t.equal(inputs.waiting, 0)
})
