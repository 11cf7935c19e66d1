/**
 * Which tasks of a service to stop first when it has too many: the same criteria that placed them, the other way round.
 *
 * Source: AWS documentation, "Use strategies to define Amazon ECS task placement" (spread keeps the balance of the
 * availability zones; binpack stops on the instance that is left with the most free resources).
 */
import type { PlacementStrategy } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { isMeantToStay, placeOf } from './placement-candidates.ts'
import { type Criterion, criteriaOf } from './placement-criteria.ts'
import { createRanking, decidingCriteria } from './placement-ranking.ts'
import { instanceResources } from './resources.ts'

/** An instance with those of its tasks that may be stopped, and what is counted on it. */
interface Holder {
  readonly instanceId: string
  /** The next to stop last. */
  readonly tasks: TaskRow[]
  /** Of the service, those that can't be stopped included. */
  ownTasks: number
  liveTasks: number
  cpuUnits: number
  memoryMiB: number
}

/**
 * The first `most` of `tasks`, which belong to one service, in the order in which they should be stopped: each by what is
 * left once the ones before it are gone. Balance is over all tasks of the service that are meant to stay, `tasks` or not. On one
 * instance the newest goes first.
 */
export function rankForStop(
  reader: Reader,
  tasks: readonly TaskRow[],
  strategies: readonly PlacementStrategy[],
  world: World,
  most: number = tasks.length,
): readonly TaskRow[] {
  const criteria = criteriaOf(strategies, 'service')
  const holders = holdersOf(reader, tasks)
  const attributes = criteria.flatMap((criterion) => (criterion.kind === 'place' ? [criterion.attribute] : []))
  const ranking = createRanking(criteria, {
    count: holders.length,
    placeOf: (item, nth) => {
      const instance = reader.get('instance', holders[item]?.instanceId ?? '')
      return instance === undefined ? '' : placeOf(instance, attributes[nth] ?? '')
    },
  })
  for (const [item, holder] of holders.entries()) {
    // Less is better to a ranking, and here the fullest place is to lose a task.
    ranking.addToPlaces(item, -holder.ownTasks)
    show(holder, item)
  }

  function show(holder: Holder, item: number): void {
    const next = holder.tasks.at(-1)
    if (next === undefined) ranking.remove(item)
    else ranking.set(item, ownNumbers(criteria, holder, next))
  }

  const ranked: TaskRow[] = []
  while (ranked.length < most) {
    const item = ranking.best(world)
    if (item === undefined) break
    const holder = holders[item]
    const task = holder?.tasks.pop()
    if (holder === undefined || task === undefined) throw new Error(`item ${item} has no task, and ranked first`)
    ranked.push(task)
    holder.ownTasks -= 1
    holder.liveTasks -= 1
    holder.cpuUnits += task.reserved.cpuUnits
    holder.memoryMiB += task.reserved.memoryMiB
    ranking.addToPlaces(item, 1)
    show(holder, item)
  }
  return ranked
}

function ownNumbers(criteria: readonly Criterion[], holder: Holder, next: TaskRow): readonly number[] {
  const numbers: number[] = []
  for (const criterion of decidingCriteria(criteria)) {
    if (criterion.kind === 'ownTasks') numbers.push(-holder.ownTasks)
    if (criterion.kind === 'liveTasks') numbers.push(-holder.liveTasks)
    if (criterion.kind !== 'binpack') continue
    const free =
      criterion.resource === 'cpu'
        ? holder.cpuUnits + next.reserved.cpuUnits
        : holder.memoryMiB + next.reserved.memoryMiB
    numbers.push(-free)
  }
  return numbers
}

/** In the order in which the instances registered; instances without a task to stop stand in for their places' counts. */
function holdersOf(reader: Reader, tasks: readonly TaskRow[]): readonly Holder[] {
  const serviceKey = tasks[0]?.serviceKey
  const all = serviceKey === undefined ? tasks : reader.find('task', 'liveByService', serviceKey)
  const holders = new Map<string, Holder>()
  const toStop = new Set(tasks.map(({ taskId }) => taskId))
  const isCounted = (task: TaskRow): boolean => toStop.has(task.taskId) || isMeantToStay(task)
  for (const task of all) {
    if (!isCounted(task)) continue
    const holder = holders.get(task.instanceId) ?? holderOf(reader, task.instanceId)
    holders.set(task.instanceId, holder)
    holder.ownTasks += 1
  }
  for (const task of [...tasks].sort(byAge)) {
    const holder = holders.get(task.instanceId)
    if (holder === undefined) throw new Error(`task ${task.taskId} was to be ranked for a stop, and has no live row`)
    holder.tasks.push(task)
  }
  const registered = (holder: Holder): number => reader.get('instance', holder.instanceId)?.registeredAt ?? 0
  return [...holders.values()].sort((one, other) => {
    const byRegistration = registered(one) - registered(other)
    if (byRegistration !== 0) return byRegistration
    return one.instanceId < other.instanceId ? -1 : 1
  })
}

function holderOf(reader: Reader, instanceId: string): Holder {
  const instance = reader.get('instance', instanceId)
  const { cpuUnits, memoryMiB } =
    instance === undefined ? { cpuUnits: 0, memoryMiB: 0 } : instanceResources(reader, instance).remaining
  const liveTasks = reader.count('task', 'liveByInstance', instanceId)
  return { instanceId, tasks: [], ownTasks: 0, liveTasks, cpuUnits, memoryMiB }
}

function byAge(one: TaskRow, other: TaskRow): number {
  if (one.createdAt !== other.createdAt) return one.createdAt - other.createdAt
  return one.taskId < other.taskId ? -1 : 1
}
