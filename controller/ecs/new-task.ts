/** The row of a task that has just been placed. */
import { containerArn, taskArn } from '../../proto/arn.ts'
import type { ContainerDefinition } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { withGpuIds } from '../decide/gpus.ts'
import type { Placed } from '../decide/placed.ts'
import { newCredentialsIds } from '../decide/task-roles.ts'
import type { InstanceRow, TaskContainer, TaskRow } from '../state/tables.ts'
import type { TaskRequest } from './task-request.ts'

/**
 * PENDING, wanted RUNNING. Its `seqNum` is 0: the task decider gives it the number under which the agent is told. CPU and
 * memory are those reserved, as ECS shows them also where the task definition names no task size.
 */
export function newTask(
  request: TaskRequest,
  launchType: 'EC2' | 'EXTERNAL',
  instance: InstanceRow,
  { reserved, gpuIds }: Pick<Placed, 'reserved' | 'gpuIds'>,
  now: number,
  world: World,
): TaskRow {
  const { cluster, definition } = request
  const { securityGroups = [] } = request.networkConfiguration?.awsvpcConfiguration ?? {}
  const taskId = world.hex(32)
  const arn = taskArn(world, cluster.clusterName, taskId)
  const architecture = attributeOf(instance, 'ecs.cpu-architecture')
  const availabilityZone = attributeOf(instance, 'ecs.availability-zone')
  const containers = definition.containerDefinitions.map((container) =>
    newContainer(container, request, arn, containerArn(world, cluster.clusterName, taskId, world.uuid())),
  )
  return {
    taskId,
    clusterName: cluster.clusterName,
    instanceId: instance.instanceId,
    family: definition.family,
    taskArn: arn,
    clusterArn: cluster.clusterArn,
    containerInstanceArn: instance.containerInstanceArn,
    taskDefinitionArn: definition.taskDefinitionArn,
    group: request.group,
    ...(request.startedBy === undefined ? {} : { startedBy: request.startedBy }),
    launchType,
    ...(availabilityZone === undefined ? {} : { availabilityZone }),
    attributes: architecture === undefined ? [] : [{ name: 'ecs.cpu-architecture', value: architecture }],
    attachments: [],
    cpu: String(reserved.cpuUnits),
    memory: String(reserved.memoryMiB),
    overrides: request.overrides,
    enableExecuteCommand: request.enableExecuteCommand,
    healthStatus: 'UNKNOWN',
    version: 1,
    createdAt: now,
    lastStatus: 'PENDING',
    desiredStatus: 'RUNNING',
    containers: withGpuIds(containers, definition, request.overrides, gpuIds),
    tags: request.tags,
    ...(securityGroups.length === 0 ? {} : { securityGroups }),
    ...(request.logDriverMode === undefined ? {} : { logDriverMode: request.logDriverMode }),
    ...newCredentialsIds(definition, request.overrides, world),
    reserved,
    seqNum: 0,
    acknowledgedSeqNum: 0,
  }
}

function newContainer(
  definition: ContainerDefinition,
  { overrides }: TaskRequest,
  arnOfTask: string,
  arn: string,
): TaskContainer {
  const override = overrides.containerOverrides?.find((candidate) => candidate.name === definition.name)
  const memory = override?.memory ?? definition.memory
  const memoryReservation = override?.memoryReservation ?? definition.memoryReservation
  return {
    containerArn: arn,
    taskArn: arnOfTask,
    name: definition.name ?? '',
    ...(definition.image === undefined ? {} : { image: definition.image }),
    lastStatus: 'PENDING',
    networkBindings: [],
    networkInterfaces: [],
    managedAgents: [],
    healthStatus: 'UNKNOWN',
    cpu: String(override?.cpu ?? definition.cpu ?? 0),
    ...(memory === undefined ? {} : { memory: String(memory) }),
    ...(memoryReservation === undefined ? {} : { memoryReservation: String(memoryReservation) }),
    gpuIds: [],
    essential: definition.essential ?? true,
  }
}

function attributeOf(instance: InstanceRow, name: string): string | undefined {
  return instance.attributes.find((attribute) => attribute.name === name)?.value
}
