/** Builders of what the agent is sent: a sensible default each, and what the test is about on top. */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'

export const clusterArn = 'arn:aws:ecs:us-east-1:123456789012:cluster/default'
export const instanceArn =
  'arn:aws:ecs:us-east-1:123456789012:container-instance/default/0123456789abcdef0123456789abcdef'

export function taskArnOf(number: number): string {
  return `arn:aws:ecs:us-east-1:123456789012:task/default/${number.toString(16).padStart(32, '0')}`
}

export function aPayloadContainer(over: Partial<PayloadContainer> = {}): PayloadContainer {
  return {
    name: 'web',
    containerArn: 'arn:aws:ecs:us-east-1:123456789012:container/default/1/1',
    image: 'busybox:1',
    essential: true,
    cpu: 0,
    memory: 32,
    environment: {},
    links: [],
    mountPoints: [],
    portMappings: [],
    volumesFrom: [],
    dependsOn: [],
    dockerConfig: { version: '1.21', config: '{}', hostConfig: '{}' },
    overrides: '{}',
    ...over,
  }
}

export function aPayloadTask(over: Partial<PayloadTask> = {}): PayloadTask {
  return {
    arn: taskArnOf(1),
    taskClusterArn: clusterArn,
    family: 'hello',
    version: '3',
    desiredStatus: 'RUNNING',
    networkMode: 'bridge',
    launchType: 'EXTERNAL',
    containers: [aPayloadContainer()],
    volumes: [],
    ...over,
  }
}

/** A PayloadMessage's body for the builders' own instance. */
export function aPayloadMessage(tasks: readonly PayloadTask[], over: Readonly<Record<string, unknown>> = {}) {
  return {
    clusterArn,
    containerInstanceArn: instanceArn,
    messageId: 'payload-1',
    generatedAt: 0,
    seqNum: 1,
    timeline: 1,
    tasks,
    ...over,
  }
}
