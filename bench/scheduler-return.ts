/** Part (d) of the scheduler bench: the controller is killed and started on the same data, and all agents come back. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SwarmAnswer } from './agent-swarm.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import { figureOf, type Row } from './result.ts'
import type { PartResult } from './scheduler-tasks.ts'
import {
  openSchedulerWorkplace,
  refuseTrouble,
  registerDefinition,
  type SchedulerWorkplace,
  tasksPerServiceMax,
} from './scheduler-workplace.ts'
import { quantile } from './statistics.ts'

const instancesDefault = 5000
const tasksDefault = 20_000
const aimSeconds = 10
/** A link that has stood for this long is dialled again at once when it breaks; a younger one waits first. */
const settleMs = 7000
/** After all are back: what is going to be replaced wrongly would be by now. */
const watchMs = 5000

interface Return {
  readonly killedAt: number
  readonly readyAt: number
  readonly readyMs: number
  readonly answered: SwarmAnswer
}

export async function benchReturn(place: Place, { progress, scheduler = {} }: BenchOptions): Promise<PartResult> {
  const tasks = scheduler.tasks ?? tasksDefault
  const instances = scheduler.instances ?? instancesDefault
  progress(`${instances} agents register and connect ...`)
  const workplace = await openSchedulerWorkplace(`${place.directory}/return`, { tasks, instances }, scheduler)
  try {
    await runTasks(workplace, tasks, scheduler.services)
    await sleep(settleMs)
    progress('the controller is killed and started again ...')
    const back = await measure(workplace)
    await sleep(watchMs)
    await verify(workplace, { tasks, instances })
    return { rows: rowsOf(back, instances), notes: notesOf(tasks, instances) }
  } finally {
    await workplace.close()
  }
}

async function runTasks(workplace: SchedulerWorkplace, tasks: number, asked: number | undefined): Promise<void> {
  const services = asked ?? Math.ceil(tasks / tasksPerServiceMax)
  await registerDefinition(workplace.ecs, 'registry.example/app:1')
  const running = workplace.ask({ kind: 'await', running: tasks, stopped: 0 })
  for (let index = 0; index < services; index += 1) {
    const desiredCount = Math.floor(tasks / services) + (index < tasks % services ? 1 : 0)
    await workplace.ecs.call('CreateService', { serviceName: `web-${index}`, taskDefinition: 'bench', desiredCount })
  }
  await running
}

async function measure(workplace: SchedulerWorkplace): Promise<Return> {
  await workplace.ask({ kind: 'mark' })
  const killedAt = Date.now()
  await workplace.restart()
  const readyAt = Date.now()
  const answered = await workplace.ask({ kind: 'awaitBack' })
  return { killedAt, readyAt, readyMs: workplace.controller.readyMs, answered }
}

/** Nothing was replaced, nothing was stopped, and every agent counts as connected. */
async function verify(
  { ask, controller, ecs }: SchedulerWorkplace,
  { tasks, instances }: { readonly tasks: number; readonly instances: number },
): Promise<void> {
  const answered = await ask({ kind: 'await', running: 0, stopped: 0 })
  refuseTrouble(controller, answered, instances)
  if (answered.connected !== instances) throw new Error(`${answered.connected} of ${instances} agents are connected`)
  const [cluster] = (await ecs.call('DescribeClusters', { clusters: ['default'] })).clusters ?? []
  const isWhole = cluster?.runningTasksCount === tasks && cluster.pendingTasksCount === 0
  if (isWhole && answered.running === tasks && answered.stopped === 0) return
  throw new Error(`the restart changed tasks: ${JSON.stringify({ cluster, answered })}`)
}

function secondsSince(at: number, from: number): number {
  return (at - from) / 1000
}

function rowsOf({ killedAt, readyAt, readyMs, answered }: Return, instances: number): readonly Row[] {
  const last = Math.max(...answered.backAt)
  const afterReady = secondsSince(last, readyAt)
  return [
    figureOf(`${instances} agents back after a restart, from ready on`, 's', afterReady, {
      text: `at most ${aimSeconds} s`,
      isMet: afterReady <= aimSeconds,
    }),
    figureOf('  half of them', 's', secondsSince(quantile(answered.backAt, 0.5), readyAt)),
    figureOf('  the start of the controller, until ready', 's', readyMs / 1000),
    figureOf('  from the kill until the last is back', 's', secondsSince(last, killedAt)),
  ]
}

function notesOf(tasks: number, instances: number): readonly string[] {
  return [
    `Return: SIGKILL, then the controller started at once on the same data with ${tasks} running tasks; ${instances} simulated agents with the real agent's link, which dials at once and then with growing pauses. Back: connected, committed as such, and its manifest received.`,
    '  Afterwards nothing had been stopped or replaced, and DescribeClusters counted every task as running.',
  ]
}
