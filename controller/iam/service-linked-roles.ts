/**
 * Service-linked roles: each belongs to a service of AWS's name, which alone changes it. ECS's own is there from the first
 * start, as every account that uses ECS has it.
 *
 * Source: IAM API reference, CreateServiceLinkedRole; Amazon ECS, "Using service-linked roles".
 */
import { ApiError } from '../../proto/errors.ts'
import type { InputOf, OutputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import type { RoleDeletionRow, RoleRow } from '../state/iam-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { roleArn } from './arns.ts'
import { noSuchEntity, readDescription, required } from './names.ts'
import { describeRole, isServiceLinked, putNewRole, requireRole } from './roles.ts'

interface LinkedService {
  readonly roleName: string
  readonly policy: string
  /** ARNs of what needs the role while it is there. */
  readonly usedBy: (reader: Reader) => readonly string[]
}

const ecsService = 'ecs.amazonaws.com'
/** What ECS writes into the role that it makes by itself. */
const ecsRoleDescription = 'Role to enable Amazon ECS to manage your cluster.'

const services: Readonly<Record<string, LinkedService>> = {
  [ecsService]: {
    roleName: 'AWSServiceRoleForECS',
    policy: 'AmazonECSServiceRolePolicy',
    usedBy: (reader) =>
      reader
        .all('cluster')
        .filter(({ status }) => status === 'ACTIVE')
        .map(({ clusterArn }) => clusterArn),
  },
  'ecs.application-autoscaling.amazonaws.com': {
    roleName: 'AWSServiceRoleForApplicationAutoScaling_ECSService',
    policy: 'AWSApplicationAutoscalingECSServicePolicy',
    usedBy: () => [],
  },
}

/** Answers on deletions are kept for so long, and for so many. */
const deletionKeepMs = 24 * 60 * 60 * 1000
const deletionsMax = 200
const usagesShown = 10

export const serviceLinkedRoleHandlers = {
  CreateServiceLinkedRole: writeOf<'iam', 'CreateServiceLinkedRole'>((tx, input, call, world) => {
    return { Role: describeRole(createLinkedRole(tx, input, call.now, world), 'just made') }
  }),
  DeleteServiceLinkedRole: writeOf<'iam', 'DeleteServiceLinkedRole'>((tx, input, call, world) => {
    const role = requireRole(tx, input.RoleName)
    if (!isServiceLinked(role)) {
      throw new ApiError('InvalidInput', `${role.RoleName} is no service-linked role: DeleteRole deletes it.`)
    }
    return { DeletionTaskId: deleteLinkedRole(tx, role, call.now, world) }
  }),
  GetServiceLinkedRoleDeletionStatus: readOf<'iam', 'GetServiceLinkedRoleDeletionStatus'>((reader, input) => {
    const id = required('deletionTaskId', input.DeletionTaskId)
    const deletion = reader.get('roleDeletion', id)
    if (deletion === undefined) throw noSuchEntity(`The deletion task ${id.slice(0, 300)} cannot be found.`)
    return describeDeletion(deletion)
  }),
} satisfies ServiceHandlers<'iam'>

/** Whether there are clusters without ECS's role: it can be deleted only where there are none. */
export function needsEcsRole(reader: Reader): boolean {
  const service = services[ecsService]
  return (
    service !== undefined && reader.get('role', service.roleName) === undefined && service.usedBy(reader).length > 0
  )
}

/** ECS's role, which comes with the first cluster. */
export function createEcsRole(tx: Transaction, now: number, world: World): void {
  if (!needsEcsRole(tx)) return
  createLinkedRole(tx, { AWSServiceName: ecsService, Description: ecsRoleDescription }, now, world)
}

/** What the role of this service is called here, or would be in AWS's pattern. */
export function linkedRoleArn(place: Pick<World, 'account'>, serviceName: string): string {
  const service = Object.hasOwn(services, serviceName) ? services[serviceName] : undefined
  return roleArn(place, `/aws-service-role/${serviceName}/`, service?.roleName ?? '*')
}

function createLinkedRole(
  tx: Transaction,
  input: InputOf<'iam', 'CreateServiceLinkedRole'>,
  now: number,
  world: World,
): RoleRow {
  const name = required('aWSServiceName', input.AWSServiceName)
  const service = Object.hasOwn(services, name) ? services[name] : undefined
  if (service === undefined) {
    throw new ApiError(
      'InvalidInput',
      `There is no service-linked role of ${name.slice(0, 128)} here: Gantry has those of ` +
        `${Object.keys(services).join(' and ')}.`,
    )
  }
  if (input.CustomSuffix !== undefined) {
    throw new ApiError('InvalidInput', `Custom suffix is not allowed for ${name}`)
  }
  if (tx.get('role', service.roleName) !== undefined) {
    throw new ApiError(
      'InvalidInput',
      `Service role name ${service.roleName} has been taken in this account, please try a different suffix.`,
    )
  }
  const Statement = [{ Effect: 'Allow', Principal: { Service: name }, Action: 'sts:AssumeRole' }]
  const given = {
    Path: `/aws-service-role/${name}/`,
    RoleName: service.roleName,
    AssumeRolePolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement }),
    trustedIds: {},
    ...(input.Description !== undefined && { Description: readDescription(input.Description) }),
    attachedPolicyArns: [`arn:aws:iam::aws:policy/aws-service-role/${service.policy}`],
  }
  return putNewRole(tx, given, now, world)
}

/** Answers the task's id at once, as IAM does; how it ended is asked for. */
function deleteLinkedRole(tx: Transaction, role: RoleRow, now: number, world: World): string {
  const serviceName = role.Path.split('/')[2] ?? ''
  const usedBy = services[serviceName]?.usedBy(tx) ?? []
  const deletionTaskId = `task${role.Path}${role.RoleName}/${world.uuid()}`
  forgetDeletions(tx, now)
  tx.put('roleDeletion', deletionTaskId, {
    deletionTaskId,
    createdAt: now,
    region: world.region,
    usedBy: usedBy.slice(0, usagesShown),
    usedByCount: usedBy.length,
  })
  if (usedBy.length === 0) tx.delete('role', role.RoleName)
  return deletionTaskId
}

function forgetDeletions(tx: Transaction, now: number): void {
  const kept = tx.all('roleDeletion').toSorted((a, b) => b.createdAt - a.createdAt)
  for (const [index, { deletionTaskId, createdAt }] of kept.entries()) {
    if (index >= deletionsMax - 1 || now - createdAt > deletionKeepMs) tx.delete('roleDeletion', deletionTaskId)
  }
}

function describeDeletion({
  usedBy,
  usedByCount,
  region,
}: RoleDeletionRow): OutputOf<'iam', 'GetServiceLinkedRoleDeletionStatus'> {
  if (usedByCount === 0) return { Status: 'SUCCEEDED' }
  return {
    Status: 'FAILED',
    Reason: {
      Reason: `The role is in use by ${usedByCount} resources. Delete them first, then the role.`,
      RoleUsageList: [{ Region: region, Resources: usedBy }],
    },
  }
}
