/** A store in memory, for tests of the turn: it keeps its log, can be slow, and fails when told to. */
import type { RowWrite, Store, TurnRecord } from '../../controller/state/store.ts'

export interface MemoryStore extends Store {
  readonly log: TurnRecord[]
  /** Where set, `append` throws what it gives and writes nothing. */
  failure: (() => Error) | undefined
  /** Where set, `append` waits for it before anything is written. */
  gate: Promise<void> | undefined
  closed: boolean
}

export function aMemoryStore(checkpoint: readonly RowWrite[] = []): MemoryStore {
  const store: MemoryStore = {
    log: [],
    failure: undefined,
    gate: undefined,
    closed: false,
    history: { task: () => undefined, tasksOfCluster: () => [], audited: () => ({ records: [] }) },
    async load() {
      return { revision: store.log.length, writes: [...checkpoint, ...store.log.flatMap((record) => record.writes)] }
    },
    async append(record) {
      await store.gate
      if (store.failure !== undefined) throw store.failure()
      store.log.push(structuredClone(record))
      return store.log.length
    },
    async close() {
      store.closed = true
    },
  }
  return store
}
