/** What must be true of a controller that was killed and has recovered; each violation is one sentence. */
import {
  DescribeTaskDefinitionCommand,
  DescribeTasksCommand,
  type ECSClient,
  ListTasksCommand,
  RunTaskCommand,
  type Task,
} from '@aws-sdk/client-ecs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import {
  type FireCall,
  type RegisterCall,
  type RunCall,
  type StopCall,
  families,
  inputOf,
  markerVariable,
} from './fire-calls.ts'
import { type KnownState, count, hold } from './fire-violation.ts'

/** Checks all calls of the last round. Throws the first Violation. */
export async function checkCalls(client: ECSClient, calls: readonly FireCall[], known: KnownState): Promise<void> {
  const registers = calls.filter((call) => call.kind === 'register')
  const runs = calls.filter((call) => call.kind === 'run')
  const stops = calls.filter((call) => call.kind === 'stop')
  await Promise.all([
    ...families.map(async (family) => checkRegisters(client, family, registers, known)),
    ...runs.map(async (call) => checkRun(client, call, known)),
    ...stops.map(async (call) => checkStop(client, call, known)),
  ])
}

/** Each new revision was made whole by one call; each answered call made its revision; no number is left out. */
async function checkRegisters(
  client: ECSClient,
  family: string,
  registers: readonly RegisterCall[],
  known: KnownState,
): Promise<void> {
  const ofFamily = registers.filter((call) => call.family === family)
  const made = new Map<string, number>()
  for (let revision = (known.revisions.get(family) ?? 0) + 1; ; revision += 1) {
    const containers = await describeRevision(client, `${family}:${revision}`)
    if (containers === undefined) break
    const marker = containers[0]?.marker ?? ''
    const call = ofFamily.find(({ id }) => id === marker)
    hold(known, call !== undefined && !made.has(marker), () => `${family}:${revision} was made by no call of its own`)
    const isWhole = containers.length === call?.containers && containers.every((one) => one.marker === marker)
    hold(known, isWhole, () => `${family}:${revision} is not whole: ${JSON.stringify(containers)}`)
    made.set(marker, revision)
    known.revisions.set(family, revision)
  }
  for (const call of ofFamily) {
    const revision = made.get(call.id)
    if (call.revision === undefined) count(known, revision !== undefined)
    else {
      known.counts.answered += 1
      hold(known, revision === call.revision, () => `${family}:${call.revision} was answered (${call.id}) and is lost`)
    }
  }
}

async function describeRevision(client: ECSClient, taskDefinition: string) {
  try {
    const answer = await client.send(new DescribeTaskDefinitionCommand({ taskDefinition }))
    return (answer.taskDefinition?.containerDefinitions ?? []).map(({ name, environment = [] }) => ({
      name,
      marker: environment.find((variable) => variable.name === markerVariable)?.value,
    }))
  } catch (error) {
    if (error instanceof Error && error.name === 'ClientException') return undefined
    throw error
  }
}

/** All of its tasks or none; and the same token gives the same tasks, and never more of them. */
async function checkRun(client: ECSClient, call: RunCall, known: KnownState): Promise<void> {
  const before = await tasksOf(client, call)
  if (call.arns === undefined) {
    count(known, before.length > 0)
    const isWhole = before.length === 0 || before.length === call.count
    hold(known, isWhole, () => `RunTask ${call.id} was not answered and left ${before.length} of ${call.count} tasks`)
  } else {
    known.counts.answered += 1
    hold(
      known,
      isSame(before, call.arns),
      () => `RunTask ${call.id} answered ${call.arns?.join()}, there are ${before.join()}`,
    )
  }
  const { tasks = [] } = await client.send(new RunTaskCommand(inputOf(call)))
  const again = tasks.map(({ taskArn = '' }) => taskArn)
  const expected = call.arns ?? (before.length > 0 ? before : again)
  hold(
    known,
    isSame(again, expected),
    () => `RunTask ${call.id}, repeated, gave ${again.join()} and not ${expected.join()}`,
  )
  hold(known, again.length === call.count, () => `RunTask ${call.id}, repeated, gave ${again.length} tasks`)
  const after = await tasksOf(client, call)
  hold(known, isSame(after, again), () => `RunTask ${call.id}, repeated, left ${after.join()} and not ${again.join()}`)
  call.arns = again
}

/** The tasks that the call started, ended or not. */
async function tasksOf(client: ECSClient, call: RunCall): Promise<readonly string[]> {
  const lists = await Promise.all(
    (['RUNNING', 'STOPPED'] as const).map(async (desiredStatus) => {
      return client.send(new ListTasksCommand({ startedBy: call.id, desiredStatus }))
    }),
  )
  return lists.flatMap(({ taskArns = [] }) => taskArns)
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && new Set([...some, ...others]).size === some.length
}

/** An answered stop is wanted for ever; one that was not answered is wanted with its reason, or not at all. */
async function checkStop(client: ECSClient, call: StopCall, known: KnownState): Promise<void> {
  const [task] = await describeTasks(client, [call.arn])
  hold(known, task !== undefined, () => `the task ${call.arn}, which ${call.id} stopped, is lost`)
  const isStopped = task?.desiredStatus === 'STOPPED'
  if (call.isAnswered === true) {
    known.counts.answered += 1
    hold(known, isStopped, () => `StopTask ${call.id} was answered, and ${call.arn} is wanted again`)
  } else {
    count(known, isStopped)
  }
  const isWhole = isStopped ? task.stoppedReason === call.id : task?.stopCode === undefined
  hold(known, isWhole, () => `StopTask ${call.id} is half done: ${task?.stopCode} ${task?.stoppedReason}`)
}

export async function describeTasks(client: ECSClient, arns: readonly string[]): Promise<readonly Task[]> {
  const chunks = Array.from({ length: Math.ceil(arns.length / 100) }, (_, at) => arns.slice(at * 100, at * 100 + 100))
  const answers = await Promise.all(
    chunks.map(async (tasks) => client.send(new DescribeTasksCommand({ tasks: [...tasks] }))),
  )
  return answers.flatMap(({ tasks = [] }) => tasks)
}

/** An agent is told of nothing that is not there, nor to stop what shall run. */
export async function checkTold(
  client: ECSClient,
  told: ReadonlyMap<string, string>,
  known: KnownState,
): Promise<void> {
  const tasks = new Map((await describeTasks(client, [...told.keys()])).map((task) => [task.taskArn ?? '', task]))
  for (const [arn, status] of told) {
    const task = tasks.get(arn)
    hold(known, task !== undefined, () => `an agent was told of ${arn}, and there is no such task`)
    const isTrue = status !== 'STOPPED' || task?.desiredStatus === 'STOPPED'
    hold(known, isTrue, () => `an agent was told to stop ${arn}, which shall run`)
  }
}

/** SQLite's own look at its file, from beside the controller that uses it. */
export function checkDatabase(dataDir: string, pragma: 'quick_check' | 'integrity_check', known: KnownState): void {
  const database = new DatabaseSync(join(dataDir, 'controller.db'), { readOnly: true })
  try {
    const found = database.prepare(`pragma ${pragma}`).all()
    const isSound = found.length === 1 && found[0]?.[pragma] === 'ok'
    hold(known, isSound, () => `SQLite finds its file damaged: ${JSON.stringify(found)}`)
  } finally {
    database.close()
  }
}
