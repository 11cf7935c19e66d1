import { setTimeout as wait } from 'node:timers/promises'
import * as fc from 'fast-check'
import t from 'tap'
import { clientError } from '../proto/errors.ts'
import { aCluster, aWorld, testNow } from '../test/support/builders.ts'
import { aMemoryStore } from '../test/support/memory-store.ts'
import type { Decider } from './decide/decider.ts'
import { createState } from './state/state.ts'
import { StoreWriteError, UnknownOutcomeError } from './state/store.ts'
import type { ClusterRow } from './state/tables.ts'
import type { Reader, Transaction } from './state/transaction.ts'
import { startTurn, type TurnInput, type TurnOptions } from './turn.ts'

interface LogLine {
  readonly level: string
  readonly message: string
  readonly facts: Record<string, unknown>
}

function aTurn(options: Partial<TurnOptions> = {}) {
  const lines: LogLine[] = []
  const line = (level: string) => (facts: object, message: string) => {
    lines.push({ level, message, facts: { ...facts } })
  }
  const log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  const store = aMemoryStore()
  const clock = { now: () => testNow }
  const all: TurnOptions = { store, clock, world: aWorld(), log, deciders: [], ...options }
  return {
    store,
    lines,
    options: all,
    get started() {
      return startTurn(all)
    },
  }
}

function putCluster(clusterName: string, over: Partial<ClusterRow> = {}): TurnInput<string> {
  return {
    name: 'CreateCluster',
    run(tx) {
      tx.put('cluster', clusterName, aCluster({ clusterName, ...over }))
      return clusterName
    },
  }
}

function names(reader: Reader): readonly string[] {
  return reader.all('cluster').map((row) => row.clusterName)
}

await t.test('an answer comes only after the commit, and reads see committed state alone', async (test) => {
  const { store, started } = aTurn()
  const turn = await started
  const { promise, resolve: open } = Promise.withResolvers<void>()
  store.gate = promise
  const seen: string[] = []
  turn.onCommit((changes, revision) => seen.push(`${revision}:${changes.map(({ key }) => key).join()}`))
  let answered = false
  const first = turn.submit(putCluster('a')).then((name) => {
    answered = true
    return name
  })
  const second = turn.submit(putCluster('b'))
  while (turn.status().queued > 0) await wait(1)
  test.equal(answered, false, 'not while the commit is under way')
  test.same(names(turn.reader), [], 'nothing shows yet')
  const third = turn.submit(putCluster('c'))
  open()
  test.equal(await first, 'a')
  await second
  test.same(names(turn.reader).slice(0, 2), ['a', 'b'])
  await third
  test.same(seen, ['1:a,b', '2:c'], 'what arrived together shared one commit; what came during it waited for the next')
  test.equal(store.log.length, 2)
  await turn.close()
  test.equal(store.closed, true)
  await test.rejects(turn.submit(putCluster('d')), { code: 'ServerException' })
})

await t.test('a refused input and an input that throws fail alone and leave nothing behind', async (test) => {
  const { started, lines } = aTurn()
  const turn = await started
  const refused = turn.submit({
    name: 'Refused',
    run(tx) {
      tx.put('cluster', 'refused', aCluster({ clusterName: 'refused' }))
      throw clientError('No.')
    },
  })
  const broken = turn.submit({
    name: 'Broken',
    run(tx) {
      tx.put('cluster', 'broken', aCluster({ clusterName: 'broken' }))
      throw new TypeError('a bug')
    },
  })
  const sound = turn.submit(putCluster('sound'))
  await test.rejects(refused, { code: 'ClientException', message: 'No.' })
  await test.rejects(broken, { code: 'ServerException' })
  await sound
  test.same(names(turn.reader), ['sound'])
  const logged = lines.find(({ level }) => level === 'error')
  test.match(logged?.facts['err'], { message: 'a bug', stack: /turn\.test/ }, 'the bug is logged with its stack')
  test.notMatch(await broken.catch(String), /a bug/, 'and is not told to the caller')
  await turn.close()
})

await t.test('a commit that fails drops its turn whole; read-only until a commit succeeds', async (test) => {
  const { store, started, lines } = aTurn({ limits: { probeMs: 5 } })
  const turn = await started
  await turn.submit(putCluster('before'))
  store.failure = () => new StoreWriteError('the disk is full')
  const both = await Promise.allSettled([turn.submit(putCluster('x')), turn.submit(putCluster('y'))])
  for (const result of both) {
    test.match(result, { status: 'rejected', reason: { code: 'ServerException', message: /the disk is full/ } })
  }
  test.same(names(turn.reader), ['before'])
  test.match(turn.status().readOnly, /read-only.*the disk is full/)
  await test.rejects(turn.submit(putCluster('z')), { code: 'ServerException', message: /read-only/ })

  store.failure = undefined
  while (turn.status().readOnly !== undefined) await wait(2)
  await turn.submit(putCluster('after'))
  test.same(names(turn.reader), ['after', 'before'])
  test.ok(lines.some(({ level, message }) => level === 'warn' && /succeed again/.test(message)))
  await turn.close()
})

await t.test('an unknown outcome is fatal', async (test) => {
  let fatal: Error | undefined
  const { store, started } = aTurn({
    onFatal: (error) => {
      fatal = error
    },
  })
  const turn = await started
  store.failure = () => new UnknownOutcomeError('torn')
  await test.rejects(turn.submit(putCluster('x')), { code: 'ServerException' })
  test.equal(fatal?.message, 'torn')
  test.match(turn.status().readOnly, /torn/)
  await turn.close()
})

/** Counts a cluster's `activeServicesCount`-like tag up to its goal, one step a decision: converges, and is then quiet. */
function countingDecider(goal: number): Decider {
  return {
    name: 'counting',
    tables: ['family'],
    decide(tx: Transaction, _table, key) {
      const row = tx.get('family', key)
      if (row !== undefined && row.latestRevision < goal) {
        tx.put('family', key, { ...row, latestRevision: row.latestRevision + 1 })
      }
    },
  }
}

const putFamily: TurnInput<void> = {
  name: 'family',
  run(tx) {
    tx.put('family', 'web', { family: 'web', latestRevision: 1 })
  },
}

await t.test('deciders run until quiet in the same commit; a bound leaves the rest to the next turn', async (test) => {
  const throwing: Decider = {
    name: 'throwing',
    tables: ['family'],
    decide(tx) {
      tx.put('family', 'web', { family: 'web', latestRevision: 666 })
      throw new Error('bad decider')
    },
  }
  const { store, started, lines } = aTurn({ deciders: [throwing, countingDecider(5)] })
  const turn = await started
  await turn.submit(putFamily)
  test.equal(store.log.length, 1)
  test.equal(turn.reader.get('family', 'web')?.latestRevision, 5)
  test.ok(
    lines.some(({ message }) => /a decider threw/.test(message)),
    'the other one is reported, and isolated',
  )
  await turn.close()

  const bounded = aTurn({ deciders: [countingDecider(5)], limits: { decisionsMax: 2 } })
  const slow = await bounded.started
  await slow.submit(putFamily)
  test.equal(slow.reader.get('family', 'web')?.latestRevision, 3)
  while (slow.reader.get('family', 'web')?.latestRevision !== 5) await wait(1)
  test.ok(bounded.lines.some(({ level, message }) => level === 'error' && /did not come to rest/.test(message)))
  await slow.close()
  test.equal(bounded.store.log.length, 2, 'two decisions to a turn; a turn that changes nothing writes nothing')
})

await t.test('the inbox and a turn are bounded', async (test) => {
  const { store, started } = aTurn({ limits: { inboxMax: 4, rowsMax: 2 } })
  const turn = await started
  const results = await Promise.allSettled(['a', 'b', 'c', 'd', 'e'].map((name) => turn.submit(putCluster(name))))
  test.match(results[4], { status: 'rejected', reason: { code: 'ThrottlingException' } })
  test.same(names(turn.reader), ['a', 'b', 'c', 'd'])
  test.same(
    store.log.map(({ writes }) => writes.length),
    [2, 2],
  )
  await turn.submit({ name: 'nothing', run: () => undefined })
  test.equal(store.log.length, 2, 'an input that changes nothing costs no commit')
  test.equal(turn.status().revision, 2)
  const last = turn.submit(putCluster('f'))
  await turn.close()
  test.equal(await last, 'f', 'what was accepted before the close is finished')
})

await t.test(
  'whatever arrives whenever, the state is the replay of the log, and inputs keep their order',
  async (test) => {
    const someInput = fc.record({
      key: fc.constantFrom('a', 'b', 'c'),
      kind: fc.constantFrom('put', 'delete', 'refuse', 'fullDisk'),
      pause: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(someInput, { maxLength: 15 }), async (inputs) => {
        const { store, started } = aTurn({ limits: { probeMs: 0 } })
        const turn = await started
        const order: number[] = []
        const answers: Promise<unknown>[] = []
        for (const [at, { key, kind, pause }] of inputs.entries()) {
          store.failure = kind === 'fullDisk' ? () => new StoreWriteError('full') : undefined
          const answer = turn.submit({
            name: kind,
            run(tx) {
              if (kind === 'delete') tx.delete('cluster', key)
              else tx.put('cluster', key, aCluster({ clusterName: key, createdAt: at }))
              if (kind === 'refuse') throw clientError('no')
            },
          })
          answers.push(answer.then(() => order.push(at)).catch(() => 0))
          if (pause) await wait(1)
        }
        store.failure = undefined
        await Promise.all(answers)
        const replayed = createState()
        const loaded = await store.load()
        replayed.apply(loaded.writes.map((write) => ({ before: undefined, row: undefined, ...write })))
        await turn.close()
        const sameState = JSON.stringify(replayed.all('cluster')) === JSON.stringify(turn.reader.all('cluster'))
        return sameState && order.every((at, index) => index === 0 || at > (order[index - 1] ?? -1))
      }),
      { numRuns: 60 },
    )
    test.pass('60 histories')
  },
)

await t.test('start-up is recovery', async (test) => {
  const first = aTurn()
  const turn = await first.started
  await turn.submit(putCluster('a'))
  await turn.submit(putCluster('b'))
  await turn.submit({ name: 'DeleteCluster', run: (tx) => tx.delete('cluster', 'a') })
  await turn.close()
  const again = await aTurn({ store: first.store }).started
  test.same(again.reader.all('cluster'), turn.reader.all('cluster'))
  test.equal(again.status().revision, 3)

  // A process died between a change and what follows from it: the next one takes the decision without being asked.
  const late = aTurn({
    store: aMemoryStore([{ table: 'family', key: 'web', row: { family: 'web', latestRevision: 1 } }]),
  })
  const deciding = await startTurn({ ...late.options, deciders: [countingDecider(3)] })
  while (deciding.reader.get('family', 'web')?.latestRevision !== 3) await wait(1)
  await deciding.close()
  await again.close()
})
