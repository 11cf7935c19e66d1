/**
 * ExecuteCommand: whether a command may be run in a container, in ECS's words. The session itself is opened by the shell.
 *
 * Source: ECS API reference, ExecuteCommand; ECS developer guide, "Using ECS Exec", and its list of errors.
 */
import { gantryProtocolAttribute } from '../../proto/acs.ts'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import { commandWords, dataChannelPath } from '../../proto/streams.ts'
import type { TaskContainer, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { findTask } from './describe-task.ts'
import { type Call, type CommandPlan, type OpenedSession, session } from './handler.ts'

/** The attribute of an instance whose agent runs commands. */
export const executeCommandAttribute = 'ecs.capability.execute-command'

/** Sessions that wait for their clients hold it, a thousand of them at most. */
const commandCharactersMax = 16_384

export const executeCommandHandlers = {
  ExecuteCommand: session<'ExecuteCommand'>({ plan: planCommand, answer }),
}

const notEnabled =
  'The execute command failed because execute command was not enabled when the task was run or the execute command ' +
  "agent isn't running. Wait and try again or run a new task with execute command enabled and try again."

export function planCommand(reader: Reader, input: Input<'ExecuteCommand'>, call: Call): CommandPlan {
  const cluster = requireCluster(reader, input.cluster)
  const commandLine = input.command ?? ''
  if (commandLine.length > commandCharactersMax) {
    throw invalidParameter(
      `command can have at most ${commandCharactersMax} characters, and has ${commandLine.length}.`,
    )
  }
  const command = commandWords(commandLine)
  if (command === undefined) throw invalidParameter('command has a quote that is not closed.')
  if (command.length === 0) throw invalidParameter('command can not be blank.')
  if (input.interactive !== true) {
    throw invalidParameter('Interactive is the only mode supported currently. Give interactive true.')
  }
  const task = findTask(reader, cluster, input.task ?? '')
  if (task === undefined) {
    throw invalidParameter(`The task ${JSON.stringify((input.task ?? '').slice(0, 300))} was not found.`)
  }
  if (task.lastStatus === 'STOPPED' || task.desiredStatus === 'STOPPED') {
    throw invalidParameter('The task is stopped or stopping; a command can be run in a running task only.')
  }
  if (task.enableExecuteCommand !== true) throw invalidParameter(notEnabled)
  const container = containerOf(task, input.container)
  checkAgent(reader, task)
  if (container.lastStatus !== 'RUNNING') {
    throw notConnected(
      `container ${container.name} is ${container.lastStatus}, and only a RUNNING one can run a command`,
    )
  }
  const { taskArn, clusterArn, instanceId } = task
  const { name, containerArn } = container
  return {
    instanceId,
    taskArn,
    clusterArn,
    container: name,
    containerArn,
    command,
    principalArn: call.principalArn,
  }
}

function answer(
  plan: CommandPlan,
  { sessionId, tokenValue }: OpenedSession,
  { origin }: Call,
): Output<'ExecuteCommand'> {
  const { taskArn, clusterArn, container, containerArn } = plan
  const streamUrl = `${origin.replace(/^http/, 'ws')}${dataChannelPath}${sessionId}`
  return {
    clusterArn,
    taskArn,
    containerArn,
    containerName: container,
    interactive: true,
    session: { sessionId, streamUrl, tokenValue },
  }
}

function containerOf({ containers }: TaskRow, name: string | undefined): TaskContainer {
  const [first, ...others] = containers
  if (name === undefined || name === '') {
    if (first !== undefined && others.length === 0) return first
    throw invalidParameter(
      `The task has ${containers.length} containers: name one of them as container (${containers.map((one) => one.name).join(', ')}).`,
    )
  }
  const found = containers.find((container) => container.name === name)
  if (found !== undefined) return found
  throw invalidParameter(
    `The task has no container ${JSON.stringify(name.slice(0, 255))}; it has ${containers.map((one) => one.name).join(', ')}.`,
  )
}

function checkAgent(reader: Reader, task: TaskRow): void {
  const instance = reader.get('instance', task.instanceId)
  const attributes = instance?.attributes ?? []
  if (!attributes.some(({ name }) => name === gantryProtocolAttribute)) {
    throw notConnected("the task's agent is not Gantry's own, and takes no sessions from this controller")
  }
  if (!attributes.some(({ name }) => name === executeCommandAttribute)) {
    throw notConnected("the task's agent is of a version that runs no commands: upgrade it")
  }
  if (instance?.agentConnected !== true)
    throw notConnected("the task's agent is not connected: see whether its host is up")
}

function notConnected(why: string): ApiError {
  return new ApiError(
    'TargetNotConnectedException',
    `The execute command failed because the target is not connected: ${why}.`,
  )
}
