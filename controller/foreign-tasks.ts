/** Tasks that an agent names and that are another host's. What is of no consequence, such as a forgotten task, is none. */
import { idOf } from '../proto/arn.ts'
import { areOfOneHost } from './access/host-ownership.ts'
import type { Reader } from './state/transaction.ts'

/** The ARN or id as it was named, of the first such one. A task that is not known is nobody's. */
export function foreignTaskAmong(reader: Reader, instanceId: string, named: readonly unknown[]): string | undefined {
  for (const each of named) {
    if (typeof each !== 'string') continue
    const task = reader.get('task', idOf(each))
    if (task !== undefined && !areOfOneHost(reader, task.instanceId, instanceId)) return each
  }
  return undefined
}

/** The tasks that a telemetry message speaks of; a message has ten at most, and what is beyond is not looked at. */
export function tasksNamedIn(message: Readonly<Record<string, unknown>>): readonly unknown[] {
  return [message['taskMetrics'], message['tasks']]
    .flatMap((list) => (Array.isArray(list) ? (list as readonly unknown[]).slice(0, namedMax) : []))
    .map((each) => (typeof each === 'object' && each !== null ? (each as { taskArn?: unknown }).taskArn : undefined))
}

const namedMax = 20
