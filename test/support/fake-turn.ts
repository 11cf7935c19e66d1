/** An agent's turn between a fake engine, a journal in memory and a scripted controller. */
import type { GantryTaskStateChange } from '../../proto/acs.ts'
import type { Journal, JournalChanges, JournalContents } from '../../agent/decide/journal-records.ts'
import type { CgroupLimits } from '../../agent/decide/task-cgroup.ts'
import type { FetchedSecrets } from '../../agent/fetched-secrets.ts'
import { createRoleCredentials } from '../../agent/role-credentials.ts'
import { startAgentTurn } from '../../agent/turn.ts'
import type { AgentTurn, AgentTurnConfig, TurnLog } from '../../agent/turn.ts'
import { fakeEngine } from './fake-engine.ts'
import type { FakeEngine } from './fake-engine.ts'
import { fakeTime } from './fake-time.ts'
import type { FakeTime } from './fake-time.ts'
import { aPayloadMessage, clusterArn, instanceArn } from './payloads.ts'
import type { PayloadTask } from '../../proto/acs.ts'

export interface FakeJournal extends Journal {
  /** Commits fail while it is so. */
  full: boolean
  commits: number
}

export function memoryJournal(): FakeJournal {
  const tasks = new Map<string, JournalContents['tasks'][number]>()
  const outbox = new Map<number, JournalContents['outbox'][number]>()
  let seqNum = -1
  let isAlone = false
  const journal: FakeJournal = {
    full: false,
    commits: 0,
    load: () => clone({ tasks: [...tasks.values()], outbox: [...outbox.values()], seqNum, isAlone }),
    commit(changes: JournalChanges) {
      if (journal.full) throw new Error('the disk is full')
      journal.commits += 1
      for (const payload of changes.payloads) {
        const facts = changes.facts.find(({ taskArn }) => taskArn === payload.arn) ?? tasks.get(payload.arn)?.facts
        if (facts === undefined) throw new Error(`A payload without facts was journalled: ${payload.arn}`)
        tasks.set(payload.arn, clone({ payload, facts }))
      }
      for (const facts of changes.facts) {
        const known = tasks.get(facts.taskArn)
        if (known !== undefined) tasks.set(facts.taskArn, clone({ payload: known.payload, facts }))
      }
      for (const arn of changes.forgottenTaskArns) tasks.delete(arn)
      for (const entry of changes.outbox) outbox.set(entry.sequence, clone(entry))
      for (const sequence of changes.deliveredSequences) outbox.delete(sequence)
      if (changes.seqNum !== undefined) seqNum = changes.seqNum
      isAlone = changes.isAlone ?? isAlone
    },
    close: () => undefined,
  }
  return journal
}

export const turnConfig: AgentTurnConfig = {
  cluster: 'default',
  containerInstanceArn: instanceArn,
  pullBehavior: 'prefer-cached',
  pullTimeoutMs: 7_200_000,
  pullInactivityMs: 60_000,
  stopTimeoutSeconds: 30,
  aloneAfterMs: 60_000,
  cleanupWaitMs: 3 * 3_600_000,
  cleanupJitterMs: 0,
  stoppedTasksMax: 500,
  dynamicHostPortRange: { first: 32768, last: 32799 },
  reservedTcpPorts: [22],
  reservedUdpPorts: [],
  startsMax: 8,
}

export interface SentFrame {
  readonly type: string
  readonly message: Readonly<Record<string, unknown>>
}

export interface Agent {
  readonly time: FakeTime
  readonly engine: FakeEngine
  readonly sent: SentFrame[]
  readonly errors: unknown[]
  journal: FakeJournal
  turn: AgentTurn
  /** The controller acknowledges each state change at once while it is so. */
  acknowledges: boolean
  payload(tasks: readonly PayloadTask[], over?: Readonly<Record<string, unknown>>): void
  frame(type: string, message: object): void
  changes(taskArn?: string): readonly GantryTaskStateChange[]
  last(taskArn: string): GantryTaskStateChange | undefined
  statuses(taskArn: string): readonly string[]
  /** Of the host's kernel: cgroups of tasks with their limits, where the configuration has `taskCgroups`. */
  readonly cgroups: Map<string, CgroupLimits>
  /** The process is killed: nothing of it goes on, and nothing more of it reaches the journal or the link. */
  kill(): void
  start(journal?: FakeJournal): void
}

export function anAgent(
  over: Partial<AgentTurnConfig> = {},
  busyTcp: readonly number[] = [],
  fetched?: FetchedSecrets,
): Agent {
  const time = fakeTime()
  const engine = fakeEngine(time)
  let life = 0
  let ids = 0
  const cgroups = new Map<string, CgroupLimits>()
  const agent: Agent = {
    time,
    engine,
    sent: [],
    errors: [],
    cgroups,
    journal: memoryJournal(),
    acknowledges: true,
    // Replaced by start() below, before anybody can ask.
    turn: undefined as unknown as AgentTurn,
    payload: (tasks, message) => agent.frame('PayloadMessage', aPayloadMessage(tasks, message)),
    frame: (type, message) => agent.turn.onFrame({ type, message: message as SentFrame['message'] }),
    changes: (taskArn) =>
      agent.sent
        .filter(({ type }) => type === 'GantryTaskStateChange')
        .map(({ message }) => message as unknown as GantryTaskStateChange)
        .filter(({ task }) => taskArn === undefined || task === taskArn),
    last: (taskArn) => agent.changes(taskArn).at(-1),
    statuses: (taskArn) => agent.changes(taskArn).map(({ status }) => status),
    kill() {
      life += 1
      void agent.turn.close()
    },
    start(journal = agent.journal) {
      agent.journal = journal
      const mine = life
      const alive = (): boolean => mine === life
      agent.turn = startAgentTurn({
        engine,
        journal: {
          ...journal,
          commit: (changes) => {
            if (alive()) journal.commit(changes)
          },
        },
        clock: time,
        timers: time,
        world: {
          region: 'us-east-1',
          account: '123456789012',
          random: () => 0,
          hex: () => 'a',
          uuid: () => `id-${++ids}`,
        },
        log: logTo(agent.errors),
        config: { ...turnConfig, ...over, taskCgroups: over.taskCgroups && { ...over.taskCgroups, epoch: `${life}` } },
        cgroups: {
          make: async (parent, limits) => void cgroups.set(parent, limits),
          remove: async (parent) => void cgroups.delete(parent),
        },
        registryAuth: () => undefined,
        busyPorts: () => ({ tcp: busyTcp, udp: [] }),
        // Keys are in the memory of one life of the agent.
        roleCredentials: createRoleCredentials(),
        fetched,
        send(type, message) {
          if (!alive()) return false
          agent.sent.push({ type, message: JSON.parse(JSON.stringify(message)) as SentFrame['message'] })
          const { messageId } = message as { messageId?: string }
          if (type === 'GantryTaskStateChange' && agent.acknowledges) agent.frame('GantryTaskStateAck', { messageId })
          return true
        },
      })
      agent.turn.linkUp()
    },
  }
  agent.start()
  return agent
}

export { clusterArn, instanceArn }

function clone<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T
}

function ignore(): void {}

function logTo(errors: unknown[]): TurnLog {
  return { debug: ignore, info: ignore, warn: ignore, error: (facts) => errors.push(facts) }
}
