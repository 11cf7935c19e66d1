/** Protects tasks of services from their scheduler, takes that back, lets it expire, and asks what is protected. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import { type Actor, type Answer, LastWord, type Operator } from './operator.ts'

/** What one call asked for. */
interface Asked {
  readonly serviceName: string
  /** Undefined where protection was taken back. */
  readonly minutes: number | undefined
  readonly deletions: number
}

type ProtectedTask = NonNullable<Answer['protectedTasks']>[number]

/** No history, with all jumps of its clocks, lasts that long. */
const longMinutes = 2880
/** More than all jumps back of the controller's clock, each of which is a minute at most. */
const expiryGraceMs = 6 * 60_000

export class ProtectionActor implements Actor {
  readonly acts = {
    protect: { weight: 1.5, act: () => this.#protect() },
    unprotect: { weight: 0.4, act: () => this.#unprotect() },
    lookAtProtection: { weight: 0.5, act: () => this.#look() },
  }
  readonly #operator: Operator
  readonly #serviceNames: readonly string[]
  /** Task id -> the call that said the last word of it. */
  readonly #said = new LastWord()
  readonly #asked = new Map<string, Asked>()
  /** By call and task id: until when it is protected, as the answer has it. */
  readonly #until = new Map<string, number>()
  readonly #misread: string[] = []

  constructor(operator: Operator, serviceNames: readonly string[]) {
    this.#operator = operator
    this.#serviceNames = serviceNames
  }

  /** At the end: no task holds up its service any more. */
  async mend(): Promise<void> {
    for (const serviceName of this.#serviceNames) {
      const { taskArns = [] } = (await this.#operator.call('ListTasks', { serviceName })) ?? {}
      for (let first = 0; first < taskArns.length; first += 10) {
        await this.#set(serviceName, taskArns.slice(first, first + 10).map(idOf), undefined)
      }
    }
  }

  findings(reader: Reader): readonly Finding[] {
    const broken = this.#said.all().flatMap(([taskId, word]) => this.#brokenWord(reader, taskId, word))
    return [...broken, ...this.#misread].map((what) => ({ invariant: 'whatWasAcceptedIsThere', what }))
  }

  #brokenWord(reader: Reader, taskId: string, word: string): readonly string[] {
    const asked = this.#asked.get(word)
    const task = reader.get('task', taskId)
    if (asked === undefined || task === undefined) return []
    const { desiredStatus, lastStatus, stopCode } = task
    // An answer tells whole milliseconds.
    const protectedUntil = task.protectedUntil === undefined ? undefined : Math.round(task.protectedUntil)
    if (asked.minutes === undefined) {
      // What has stopped keeps what it had, whatever is asked of it.
      if (task.lastStatus === 'STOPPED') return []
      return protectedUntil === undefined ? [] : [`task ${taskId} was unprotected, and is until ${protectedUntil}`]
    }
    const until = this.#until.get(`${word}/${taskId}`)
    if (protectedUntil !== undefined && protectedUntil !== until) {
      return [`task ${taskId} was to be protected until ${until}, and is until ${protectedUntil}`]
    }
    // What has stopped keeps what it had: nobody asks for it any more.
    const isLive = lastStatus !== 'STOPPED'
    if (isLive && protectedUntil !== undefined && protectedUntil + expiryGraceMs < this.#operator.time.now()) {
      return [`protection of task ${taskId} ended at ${protectedUntil}, and nothing took it away`]
    }
    const { minutes, serviceName, deletions } = asked
    if (minutes !== longMinutes || this.#operator.deletionsOf(serviceName) !== deletions) return []
    const isGone = protectedUntil === undefined && desiredStatus === 'RUNNING'
    const isStopped = stopCode === 'ServiceSchedulerInitiated'
    return [
      ...(isGone ? [`task ${taskId} was protected until ${until}, and is not`] : []),
      ...(isStopped ? [`task ${taskId} was protected until ${until}, and its scheduler stopped it`] : []),
    ]
  }

  async #protect(): Promise<void> {
    const { random } = this.#operator
    const minutes = random.pick([1, 1, 2, 5, longMinutes])
    await this.#ofSomeTasks((serviceName, taskIds) => this.#set(serviceName, taskIds, minutes))
  }

  async #unprotect(): Promise<void> {
    await this.#ofSomeTasks((serviceName, taskIds) => this.#set(serviceName, taskIds, undefined))
  }

  async #ofSomeTasks(act: (serviceName: string, taskIds: readonly string[]) => Promise<void>): Promise<void> {
    const { random } = this.#operator
    const serviceName = random.pick(this.#serviceNames)
    const { taskArns = [] } = (await this.#operator.call('ListTasks', { serviceName })) ?? {}
    const chosen = taskArns.filter(() => random.chance(0.6)).slice(0, 3)
    if (chosen.length > 0) await act(serviceName, chosen.map(idOf))
  }

  async #set(serviceName: string, taskIds: readonly string[], minutes: number | undefined): Promise<void> {
    const word = this.#operator.newName('protection')
    this.#asked.set(word, { serviceName, minutes, deletions: this.#operator.deletionsOf(serviceName) })
    const input =
      minutes === undefined
        ? { cluster: 'default', tasks: taskIds, protectionEnabled: false }
        : { cluster: 'default', tasks: taskIds, protectionEnabled: true, expiresInMinutes: minutes }
    let answered: ReadonlyMap<string, ProtectedTask> = new Map()
    // One call speaks of several tasks: it is under way for all of them.
    const sayOf = async ([taskId, ...others]: readonly string[]): Promise<void> => {
      if (taskId === undefined) {
        answered = byTaskId(await this.#operator.call('UpdateTaskProtection', input))
        for (const [id, { expirationDate }] of answered) this.#until.set(`${word}/${id}`, msOf(expirationDate))
        return
      }
      await this.#said.say(taskId, word, async () => {
        await sayOf(others)
        return answered.has(taskId)
      })
    }
    await sayOf(taskIds)
  }

  async #look(): Promise<void> {
    const { random } = this.#operator
    const known = this.#said.all().map(([taskId]) => taskId)
    if (known.length === 0) return
    const taskIds = [...new Set(Array.from({ length: 3 }, () => random.pick(known)))]
    const words = new Map(taskIds.map((taskId) => [taskId, this.#said.last(taskId)]))
    const answered = byTaskId(await this.#operator.call('GetTaskProtection', { cluster: 'default', tasks: taskIds }))
    for (const [taskId, { protectionEnabled, expirationDate }] of answered) {
      const word = words.get(taskId)
      if (word === undefined || this.#said.last(taskId) !== word || !protectionEnabled) continue
      const until = this.#asked.get(word)?.minutes === undefined ? 0 : this.#until.get(`${word}/${taskId}`)
      if (msOf(expirationDate) === until) continue
      this.#misread.push(`task ${taskId} was to be protected until ${until}, and was read as until ${expirationDate}`)
    }
  }
}

function byTaskId(answer: Answer | undefined): ReadonlyMap<string, ProtectedTask> {
  return new Map((answer?.protectedTasks ?? []).map((task) => [idOf(task.taskArn), task]))
}

function msOf(seconds = 0): number {
  return Math.round(seconds * 1000)
}
