/**
 * Part (b) of the scheduler bench: services by signed calls, their tasks placed, appended with synchronous=FULL, told to
 * agents on signed WebSockets, and their payloads acknowledged and RUNNING committed.
 */
import type { SwarmAnswer } from './agent-swarm.ts'
import type { EcsClient } from './ecs-client.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import { digits, figureOf, type Row } from './result.ts'
import {
  openSchedulerWorkplace,
  refuseTrouble,
  registerDefinition,
  type SchedulerWorkplace,
  storeMbOf,
  tasksPerServiceMax,
  tellCounts,
  useOf,
  watchMemory,
} from './scheduler-workplace.ts'

const tasksDefault = 200_000
const instancesDefault = 5000
const million = 1_000_000
const aimSeconds = 100
const callsAtOnce = 8
const describedAtOnce = 10

interface Run {
  readonly tasks: number
  readonly instances: number
  readonly services: number
  readonly begunAt: number
  readonly answered: SwarmAnswer
  readonly cpuSeconds: number
  readonly swarmCpuSeconds: number
  readonly peakMb: number
  readonly restMb: number
  readonly storeMb: number
  readonly flags: readonly string[]
}

export interface PartResult {
  readonly rows: readonly Row[]
  readonly notes: readonly string[]
}

export async function benchTasks(place: Place, { progress, scheduler = {} }: BenchOptions): Promise<PartResult> {
  const tasks = scheduler.tasks ?? tasksDefault
  const instances = scheduler.instances ?? instancesDefault
  const services = scheduler.services ?? Math.ceil(tasks / tasksPerServiceMax)
  progress(`${instances} agents register and connect ...`)
  const workplace = await openSchedulerWorkplace(`${place.directory}/tasks`, { tasks, instances }, scheduler)
  try {
    const run = await measure(workplace, { tasks, instances, services }, progress)
    return { rows: rowsOf(run), notes: notesOf(run) }
  } finally {
    await workplace.close()
  }
}

async function measure(
  workplace: SchedulerWorkplace,
  sizes: { readonly tasks: number; readonly instances: number; readonly services: number },
  progress: (message: string) => void,
): Promise<Run> {
  const { ecs, controller } = workplace
  await registerDefinition(ecs, 'registry.example/app:1')
  const before = useOf(workplace)
  progress(`${sizes.services} services of ${sizes.tasks / sizes.services} tasks ...`)
  const watch = watchMemory(controller.pid)
  const endTelling = tellCounts(workplace, progress)
  const begunAt = Date.now()
  const [answered] = await Promise.all([
    workplace.ask({ kind: 'await', running: sizes.tasks, stopped: 0 }),
    createServices(ecs, sizes),
  ])
  watch.end()
  endTelling()
  const after = useOf(workplace)
  await verify(ecs, sizes)
  refuseTrouble(controller, answered)
  return {
    ...sizes,
    begunAt,
    answered,
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    swarmCpuSeconds: after.swarmCpuSeconds - before.swarmCpuSeconds,
    peakMb: watch.peakMb,
    restMb: after.residentMb,
    storeMb: storeMbOf(controller),
    flags: workplace.flags,
  }
}

async function createServices(
  ecs: EcsClient,
  { tasks, services }: { readonly tasks: number; readonly services: number },
): Promise<void> {
  const waiting = Array.from({ length: services }, (_, index) => index)
  const one = async (): Promise<void> => {
    for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) {
      const desiredCount = Math.floor(tasks / services) + (index < tasks % services ? 1 : 0)
      await ecs.call('CreateService', { serviceName: `web-${index}`, taskDefinition: 'bench', desiredCount })
    }
  }
  await Promise.all(Array.from({ length: callsAtOnce }, one))
}

/** What the API answers is what was counted. */
async function verify(
  ecs: EcsClient,
  { tasks, services }: { readonly tasks: number; readonly services: number },
): Promise<void> {
  let running = 0
  for (let from = 0; from < services; from += describedAtOnce) {
    const names = Array.from(
      { length: Math.min(describedAtOnce, services - from) },
      (_, index) => `web-${from + index}`,
    )
    const answer = await ecs.call('DescribeServices', { services: names })
    for (const { runningCount = 0 } of answer.services ?? []) running += runningCount
  }
  if (running !== tasks) throw new Error(`DescribeServices counts ${running} running tasks, and ${tasks} were reported`)
}

/** Tasks a second from one hundredth to another. */
function rateOf({ answered, begunAt, tasks }: Run, from: number, to: number): number {
  const at = (hundredth: number): number => (hundredth === 0 ? begunAt : (answered.marks[hundredth - 1] ?? Number.NaN))
  return ((tasks * (to - from)) / 100 / (at(to) - at(from))) * 1000
}

function rowsOf(run: Run): readonly Row[] {
  const { tasks, instances, cpuSeconds, swarmCpuSeconds, peakMb, restMb, storeMb } = run
  const seconds = tasks / rateOf(run, 0, 100)
  const millionSeconds = million / rateOf(run, 90, 100)
  const isWhole = tasks === million
  const aim = { text: `a million in ${aimSeconds} s`, isMet: (isWhole ? seconds : millionSeconds) <= aimSeconds }
  const perTask = (cpu: number): number => (cpu * 1e6) / tasks
  return [
    figureOf(`${tasks.toLocaleString('en-US')} tasks on ${instances} instances, all acknowledged`, 's', seconds, aim),
    figureOf('  tasks a second', '/s', rateOf(run, 0, 100)),
    figureOf('  over the first tenth', '/s', rateOf(run, 0, 10)),
    figureOf('  over the last tenth', '/s', rateOf(run, 90, 100)),
    ...(isWhole ? [] : [figureOf('  a million would need, by the last tenth', 's', millionSeconds)]),
    ...(isWhole ? [] : [figureOf('  a million would need, by all of it', 's', (million / tasks) * seconds)]),
    figureOf("  the controller's CPU for a task, all threads", 'µs', perTask(cpuSeconds)),
    figureOf("  the agents' CPU for a task", 'µs', perTask(swarmCpuSeconds)),
    figureOf("  the controller's memory, at most", 'MB', peakMb),
    figureOf("  the controller's memory, at the end", 'MB', restMb),
    figureOf('  its database, at the end', 'MB', storeMb),
  ]
}

function notesOf({ services, tasks, instances, flags }: Run): readonly string[] {
  return [
    `Tasks: ${services} services of ${digits(tasks / services)} tasks on ${instances} instances, created by signed HTTP calls, ${callsAtOnce} at once, while their tasks are placed already.`,
    '  Each task is placed, appended to SQLite with synchronous=FULL, sent in a payload, and counts once its payload is acknowledged and its RUNNING committed: the agent is answered after the commit, and it acknowledges a payload before it reports on it.',
    '  The agents are simulated, in one other process: real links, one signed WebSocket each, no engine behind them. The rate counts from the first CreateService.',
    '  Of few tasks the last tenth flatters: nothing is placed any more while it is acknowledged.',
    `  The controller ran with ${flags.join(' ')}, its log at level info in a file.`,
  ]
}
