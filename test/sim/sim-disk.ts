/**
 * Disks: what was synced outlives its process, nothing else does. Rows pass through text, as on a real one. They can be
 * slow, full, or fail with or without having written.
 */
import { isDeepStrictEqual } from 'node:util'
import type {
  Journal,
  JournalChanges,
  JournalContents,
  JournalTask,
  OutboxEntry,
} from '../../agent/decide/journal-records.ts'
import type { Identity } from '../../agent/identity.ts'
import {
  afterWrite,
  isPatch,
  type LoggedWrite,
  readPatches,
  writePatches,
} from '../../controller/state/store-patches.ts'
import {
  type RowWrite,
  type Store,
  StoreWriteError,
  type TurnRecord,
  UnknownOutcomeError,
} from '../../controller/state/store.ts'
import type { TaskRow } from '../../controller/state/tables.ts'
import type { Chaos } from './chaos.ts'
import { keepsSecrets } from './sim-secrets.ts'
import type { SimTime } from './sim-time.ts'

/** What a process needs of its own life: whether it still is, and how to end it here and now. */
export interface Life {
  readonly isAlive: () => boolean
  readonly kill: () => void
}

const foldAfterRecords = 300

/** The controller's disk. */
export class ControllerDisk {
  full = false
  /** The bug that a test can switch on: what was said to be synced was not. */
  readonly #forgets: boolean
  readonly #checkpoint = new Map<string, LoggedWrite>()
  #log: LoggedTurn[] = []
  #revision = 0
  /** Each row that is there as text, whole, to hold against what is read. */
  readonly #given = new Map<string, string>()
  readonly #history = new Map<string, TaskRow>()
  readonly #chaos: Chaos
  readonly #time: SimTime

  constructor(time: SimTime, chaos: Chaos, forgets: boolean) {
    this.#time = time
    this.#chaos = chaos
    this.#forgets = forgets
  }

  /** The store as one process opens it. */
  open(life: Life): Store {
    return {
      load: async () => ({ revision: this.#revision, writes: this.#rows() }),
      append: (record) => this.#append(record, life),
      history: {
        task: (taskId) => this.#history.get(taskId),
        tasksOfCluster: (clusterName, limit) =>
          [...this.#history.values()].filter((task) => task.clusterName === clusterName).slice(-limit),
        audited: () => ({ records: [] }),
      },
      close: async () => undefined,
    }
  }

  async #append(record: TurnRecord, life: Life): Promise<number> {
    const chaos = this.#chaos
    const text = writePatches(record)
    keepsSecrets(chaos.log, 'a record of the controller', text)
    await this.#time.sleep(
      chaos.strikes('controller', 'diskSlow') ? chaos.random.between(200, 8000) : chaos.random.between(1, 8),
    )
    if (chaos.strikes('controller', 'controllerKilledAtCommit', 'before it is written')) life.kill()
    if (!life.isAlive()) return never()
    if (this.full || chaos.strikes('controller', 'commitFails')) throw new StoreWriteError('the disk is full')
    if (chaos.strikes('controller', 'commitUnknown')) {
      if (chaos.random.chance(0.5)) this.#write(text, record)
      throw new UnknownOutcomeError('the disk failed while it synced')
    }
    this.#write(text, record)
    if (chaos.strikes('controller', 'controllerKilledAtCommit', 'between commit and send')) life.kill()
    if (!life.isAlive()) return never()
    return this.#revision
  }

  #write(text: string, { writes, archived }: TurnRecord): void {
    this.#revision += 1
    this.#log.push({ text: this.#forgets && this.#chaos.random.chance(0.2) ? emptyRecord : text, writes: undefined })
    for (const { table, key, row } of writes) {
      if (row === undefined) this.#given.delete(`${table}/${key}`)
      else this.#given.set(`${table}/${key}`, JSON.stringify(row))
    }
    for (const task of archived) this.#history.set(task.taskId, JSON.parse(JSON.stringify(task)) as TaskRow)
    if (this.#log.length >= foldAfterRecords) this.#fold()
  }

  #fold(): void {
    for (const turn of this.#log) takeWrites(this.#checkpoint, turn)
    for (const [name, write] of this.#checkpoint) {
      if (!isPatch(write) && write.row === undefined) this.#checkpoint.delete(name)
    }
    this.#log = []
  }

  /** The last version of each row, as the real store makes it of patches: it has to be the row that was given. */
  #rows(): readonly RowWrite[] {
    const last = new Map(this.#checkpoint)
    for (const turn of this.#log) takeWrites(last, turn)
    const whole = [...last.values()].flatMap((write) => (isPatch(write) ? [] : [write]))
    if (this.#forgets) return whole
    const read = new Map(whole.map(({ table, key, row }) => [`${table}/${key}`, row]))
    for (const name of new Set([...this.#given.keys(), ...read.keys()])) {
      const given = this.#given.get(name)
      const isSame = isDeepStrictEqual(read.get(name), given === undefined ? undefined : JSON.parse(given))
      if (!isSame) this.#chaos.log.violated('rowsAreReadAsTheyWereWritten', name)
    }
    return whole
  }
}

/** One turn as it is on the disk, and what a read of it gave: the text never changes, so one read will do. */
interface LoggedTurn {
  readonly text: string
  writes: readonly LoggedWrite[] | undefined
}

function takeWrites(last: Map<string, LoggedWrite>, turn: LoggedTurn): void {
  turn.writes ??= readPatches(turn.text).writes
  for (const write of turn.writes) {
    const name = `${write.table}/${write.key}`
    last.set(name, afterWrite(last.get(name), write))
  }
}

const emptyRecord = writePatches({ at: 0, writes: [], archived: [] })

/** A promise of a process that is no more. */
export function never<T>(): Promise<T> {
  return new Promise(() => undefined)
}

/** One host's disk: the agent's identity and its journal. */
export class HostDisk {
  full = false
  identity: Identity | undefined
  #journal = new JournalFile()
  readonly #chaos: Chaos
  readonly #name: string

  constructor(name: string, chaos: Chaos) {
    this.#name = name
    this.#chaos = chaos
  }

  loseJournal(): void {
    this.#journal = new JournalFile()
  }

  /** Tasks that the journal holds. */
  taskArns(): readonly string[] {
    return this.#journal.taskArns()
  }

  /** The journal holds that this container was made, or that it has ended. */
  hasContainer(taskArn: string, name: string): boolean {
    return this.#journal.hasContainer(taskArn, name)
  }

  /** Reports that nobody has acknowledged. */
  outbox(): readonly OutboxEntry[] {
    return this.#journal.outbox()
  }

  open(life: Life): Journal {
    const journal = this.#journal
    return {
      load: () => journal.load(),
      commit: (changes) => this.#commit(journal, changes, life),
      close: () => undefined,
    }
  }

  #commit(journal: JournalFile, changes: JournalChanges, life: Life): void {
    const chaos = this.#chaos
    if (life.isAlive() && chaos.strikes(this.#name, 'agentKilledAtCommit', 'before it is written')) life.kill()
    if (!life.isAlive()) throw new Error('the process is no more')
    if (this.full || chaos.strikes(this.#name, 'journalFails')) throw new Error('the disk is full')
    journal.commit(changes, (text) => keepsSecrets(chaos.log, `the journal of ${this.#name}`, text))
    if (chaos.strikes(this.#name, 'agentKilledAtCommit', 'after it is written')) life.kill()
  }
}

/** What a journal's file holds, as text. */
class JournalFile {
  readonly #payloads = new Map<string, string>()
  readonly #facts = new Map<string, string>()
  readonly #outbox = new Map<number, string>()
  #seqNum = -1
  #isAlone = false

  load(): JournalContents {
    const tasks = [...this.#payloads].map(([arn, payload]): JournalTask => {
      const facts = this.#facts.get(arn)
      if (facts === undefined) throw new Error(`A payload without facts was journalled: ${arn}`)
      return {
        payload: JSON.parse(payload) as JournalTask['payload'],
        facts: JSON.parse(facts) as JournalTask['facts'],
      }
    })
    return {
      tasks: tasks.toSorted((one, other) => one.facts.acceptedAt - other.facts.acceptedAt),
      outbox: this.outbox(),
      seqNum: this.#seqNum,
      isAlone: this.#isAlone,
    }
  }

  taskArns(): readonly string[] {
    return [...this.#payloads.keys()]
  }

  hasContainer(taskArn: string, name: string): boolean {
    const text = this.#facts.get(taskArn)
    const facts = text === undefined ? undefined : (JSON.parse(text) as JournalTask['facts'])
    const container = facts?.containers[name]
    return container !== undefined && (container.dockerId !== undefined || container.knownStatus !== 'PENDING')
  }

  outbox(): readonly OutboxEntry[] {
    const entries = [...this.#outbox].toSorted(([one], [other]) => one - other)
    return entries.map(([, text]) => JSON.parse(text) as OutboxEntry)
  }

  commit(changes: JournalChanges, look: (text: string) => void): void {
    const textOf = (row: object): string => {
      const text = JSON.stringify(row)
      look(text)
      return text
    }
    for (const payload of changes.payloads) this.#payloads.set(payload.arn, textOf(payload))
    for (const facts of changes.facts) {
      if (this.#payloads.has(facts.taskArn)) this.#facts.set(facts.taskArn, textOf(facts))
    }
    for (const arn of changes.forgottenTaskArns) {
      this.#payloads.delete(arn)
      this.#facts.delete(arn)
    }
    for (const entry of changes.outbox) this.#outbox.set(entry.sequence, textOf(entry))
    for (const sequence of changes.deliveredSequences) this.#outbox.delete(sequence)
    if (changes.seqNum !== undefined) this.#seqNum = changes.seqNum
    this.#isAlone = changes.isAlone ?? this.#isAlone
  }
}
