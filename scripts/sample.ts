/** The sample task of `npm start`: a small web page from an image made here, so that no registry is needed. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallApi } from '../agent/ecs-api.ts'
import type { Input, Output } from '../proto/model/types.ts'
import { findImage, importImage } from './engine-api.ts'
import { installPackages, samplePackages, staticBusybox } from './packages.ts'
import { ScriptError, say } from './report.ts'
import { runCommand } from './run-command.ts'

export const sampleImage = 'gantry/sample:1'
const family = 'gantry-sample'
const containerName = 'web'
const waitMs = 90_000
const pollMs = 500

const page = `<!doctype html>
<title>Gantry</title>
<h1>It runs</h1>
<p>This page comes from a container that Gantry started for the ECS task definition ${family}.</p>
`

const definition: Input<'RegisterTaskDefinition'> = {
  family,
  networkMode: 'bridge',
  requiresCompatibilities: ['EC2'],
  containerDefinitions: [
    {
      name: containerName,
      image: sampleImage,
      essential: true,
      cpu: 64,
      memory: 32,
      // As process 1 httpd has no handler for SIGTERM; the shell has one, and what is left ends with it.
      command: ['/bin/busybox', 'sh', '-c', 'trap "exit 0" TERM; /bin/busybox httpd -f -p 80 -h /www & wait $!'],
      // Any free port of the host, as ECS gives one for hostPort 0.
      portMappings: [{ containerPort: 80, hostPort: 0, protocol: 'tcp' }],
    },
  ],
}

/** Imports the sample's image into the engine, once. */
export async function makeSampleImage(dockerHost: string): Promise<void> {
  if ((await findImage(dockerHost, sampleImage)) !== undefined) return
  await installPackages(samplePackages)
  const busybox = staticBusybox()
  if (busybox === undefined) throw new ScriptError('no static busybox was found, though busybox-static is installed.')
  const root = mkdtempSync(join(tmpdir(), 'gantry-sample-'))
  try {
    mkdirSync(join(root, 'bin'))
    mkdirSync(join(root, 'www'))
    copyFileSync(busybox, join(root, 'bin', 'busybox'))
    writeFileSync(join(root, 'www', 'index.html'), page)
    const tar = await runCommand('tar', ['--owner=0', '--group=0', '--mode=a+rX', '-C', root, '-c', 'bin', 'www'])
    if (tar.code !== 0) throw new ScriptError(`tar could not pack the sample image: ${tar.output.slice(0, 500)}`)
    await importImage(dockerHost, sampleImage, tar.stdout, [])
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
  say(`made the image ${sampleImage} from ${busybox}`)
}

export interface RunningSample {
  readonly taskArn: string
  readonly url: string
}

/**
 * Brings the sample to where its page answers: takes up a task that runs already, and starts one where none does.
 * Throws ScriptError with the reason when a task stopped or nothing answers in time. `isDone` ends the wait early.
 */
export async function runSample(
  call: CallApi,
  host: string,
  isDone: () => boolean,
): Promise<RunningSample | undefined> {
  const giveUpAt = Date.now() + waitMs
  let started: string | undefined
  let state = 'no container instance has connected yet'
  while (Date.now() < giveUpAt && !isDone()) {
    const task = await findTask(call, started)
    if (task === undefined) {
      if (await hasConnectedInstance(call)) {
        const outcome = await startTask(call)
        if ('taskArn' in outcome) started = outcome.taskArn
        else state = outcome.refusal
      }
    } else if (task.lastStatus === 'STOPPED') {
      throw new ScriptError(
        `the sample task stopped: ${task.stoppedReason ?? 'no reason was given'} (${reasons(task)})`,
      )
    } else {
      const url = urlOf(task, host)
      if (url !== undefined && (await answers(url))) return { taskArn: task.taskArn ?? '', url }
      state = `the task ${task.taskArn} is ${task.lastStatus}`
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
  if (isDone()) return undefined
  throw new ScriptError(`the sample did not answer within ${waitMs / 1000} s: ${state}.`)
}

type Task = NonNullable<Output<'DescribeTasks'>['tasks']>[number]

/** The task that we started, stopped or not; else any of the family that should run. */
async function findTask(call: CallApi, started: string | undefined): Promise<Task | undefined> {
  let taskArn = started
  if (taskArn === undefined) {
    const listed = (await call('ListTasks', { family, desiredStatus: 'RUNNING' })) as Output<'ListTasks'>
    taskArn = listed.taskArns?.[0]
  }
  if (taskArn === undefined) return undefined
  const described = (await call('DescribeTasks', { tasks: [taskArn] })) as Output<'DescribeTasks'>
  const task = described.tasks?.[0]
  // One of an earlier start that has stopped in the meantime is history: a new one is started instead.
  return started === undefined && task?.lastStatus === 'STOPPED' ? undefined : task
}

async function hasConnectedInstance(call: CallApi): Promise<boolean> {
  const listed = (await call('ListContainerInstances', { status: 'ACTIVE' })) as Output<'ListContainerInstances'>
  const arns = listed.containerInstanceArns ?? []
  if (arns.length === 0) return false
  const described = (await call('DescribeContainerInstances', {
    containerInstances: arns,
  })) as Output<'DescribeContainerInstances'>
  return described.containerInstances?.some((instance) => instance.agentConnected === true) ?? false
}

async function startTask(call: CallApi): Promise<{ taskArn: string } | { refusal: string }> {
  const listed = (await call('ListTaskDefinitions', { familyPrefix: family })) as Output<'ListTaskDefinitions'>
  if ((listed.taskDefinitionArns?.length ?? 0) === 0) await call('RegisterTaskDefinition', definition)
  const ran = (await call('RunTask', { taskDefinition: family, startedBy: 'npm start' })) as Output<'RunTask'>
  const taskArn = ran.tasks?.[0]?.taskArn
  if (taskArn !== undefined) return { taskArn }
  const failure = ran.failures?.[0]
  return { refusal: `RunTask said ${failure?.reason ?? 'nothing'}: ${failure?.detail ?? ''}` }
}

function reasons(task: Task): string {
  const found = task.containers?.flatMap((container) =>
    container.reason === undefined ? [] : `${container.name}: ${container.reason}`,
  )
  return found === undefined || found.length === 0 ? 'no container gave a reason' : found.join('; ')
}

function urlOf(task: Task, host: string): string | undefined {
  if (task.lastStatus !== 'RUNNING') return undefined
  const web = task.containers?.find((container) => container.name === containerName)
  const port = web?.networkBindings?.find((binding) => binding.containerPort === 80)?.hostPort
  return port === undefined ? undefined : `http://${host}:${port}/`
}

async function answers(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    return answer.ok && (await answer.text()) === page
  } catch {
    return false
  }
}
