/** Part (c) of the scheduler bench: one service of thousands of tasks is created, rolled to a new revision, deleted. */
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import { figureOf, type Row } from './result.ts'
import type { PartResult } from './scheduler-tasks.ts'
import {
  awaited,
  openSchedulerWorkplace,
  refuseTrouble,
  registerDefinition,
  type SchedulerWorkplace,
  tasksPerServiceMax,
  useOf,
} from './scheduler-workplace.ts'

const instancesDefault = 500
const stepTimeoutMs = 180_000
const service = 'web'

interface Step {
  readonly name: string
  readonly seconds: number
  readonly cpuSeconds: number
}

export async function benchService(place: Place, { progress, scheduler = {} }: BenchOptions): Promise<PartResult> {
  const tasks = scheduler.tasks ?? tasksPerServiceMax
  const instances = scheduler.instances ?? instancesDefault
  progress(`${instances} agents register and connect ...`)
  const workplace = await openSchedulerWorkplace(`${place.directory}/service`, { tasks, instances }, scheduler)
  try {
    const steps = await measure(workplace, tasks, progress)
    refuseTrouble(workplace.controller, await workplace.ask({ kind: 'await', running: 0, stopped: 0 }))
    return { rows: steps.flatMap((step) => rowsOf(step, tasks)), notes: notesOf(tasks, instances) }
  } finally {
    await workplace.close()
  }
}

async function measure(
  workplace: SchedulerWorkplace,
  tasks: number,
  progress: (message: string) => void,
): Promise<readonly Step[]> {
  const { ecs } = workplace
  const first = await registerDefinition(ecs, 'registry.example/app:1')
  const second = await registerDefinition(ecs, 'registry.example/app:2')
  const steps: Step[] = []
  const step = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    progress(`${name} ...`)
    const before = useOf(workplace)
    const begun = performance.now()
    await work()
    const seconds = (performance.now() - begun) / 1000
    steps.push({ name, seconds, cpuSeconds: useOf(workplace).cpuSeconds - before.cpuSeconds })
  }
  await step(`a service of ${tasks} tasks created, all RUNNING`, async () => {
    await ecs.call('CreateService', { serviceName: service, taskDefinition: first, desiredCount: tasks })
    await workplace.ask({ kind: 'await', running: tasks, stopped: 0 })
  })
  await step('  until its deployment is COMPLETED', () => untilCompleted(workplace, first, tasks))
  await step('updated to a new revision, until COMPLETED and the old tasks gone', async () => {
    await ecs.call('UpdateService', { service, taskDefinition: second })
    await untilCompleted(workplace, second, tasks)
  })
  await step('deleted by force, until INACTIVE', async () => {
    await ecs.call('DeleteService', { service, force: true })
    await awaited('the service to be INACTIVE', stepTimeoutMs, async () => {
      const [found] = (await ecs.call('DescribeServices', { services: [service] })).services ?? []
      return found?.status === 'INACTIVE' ? true : undefined
    })
  })
  return steps
}

/** COMPLETED on this revision with all of its tasks running, and nothing left of another one. */
async function untilCompleted({ ecs }: SchedulerWorkplace, taskDefinition: string, tasks: number): Promise<void> {
  await awaited('the deployment to be COMPLETED', stepTimeoutMs, async () => {
    const [found] = (await ecs.call('DescribeServices', { services: [service] })).services ?? []
    const [only, ...others] = found?.deployments ?? []
    const isDone = only?.rolloutState === 'COMPLETED' && only.taskDefinition === taskDefinition
    return isDone && others.length === 0 && found?.runningCount === tasks ? true : undefined
  })
}

function rowsOf({ name, seconds, cpuSeconds }: Step, tasks: number): readonly Row[] {
  return [
    figureOf(name, 's', seconds),
    figureOf("    the controller's CPU for a task", 'µs', (cpuSeconds * 1e6) / tasks),
  ]
}

function notesOf(tasks: number, instances: number): readonly string[] {
  return [
    `Service: ${tasks} tasks on ${instances} simulated agents in another process, the deployment's percentages ECS's own 100 and 200; states as DescribeServices tells them, asked ten times a second.`,
    '  A deployment is COMPLETED once its last task has run for the time in which it proves itself: that time is part of the figures.',
  ]
}
