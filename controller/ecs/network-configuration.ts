/**
 * `networkConfiguration` of RunTask, StartTask, CreateService, UpdateService and CreateTaskSet: what tasks with an address
 * of their own (network mode awsvpc) are attached to. In ECS's words where they are known.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Input } from '../../proto/model/types.ts'
import type { ClusterRow, TaskDefinitionRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'

export type NetworkConfiguration = NonNullable<Input<'RunTask'>['networkConfiguration']>

/** Source: the ECS API reference, AwsVpcConfiguration ("There's a limit of 16 subnets", "of 5 security groups"). */
const subnetsMax = 16
const securityGroupsMax = 5

/**
 * The configuration that tasks of `definition` have; undefined where its network mode has none. Without one, the cluster's
 * default subnet is taken. InvalidParameterException.
 */
export function checkNetworkConfiguration(
  reader: Reader,
  cluster: ClusterRow,
  definition: TaskDefinitionRow,
  asked: NetworkConfiguration | undefined,
): NetworkConfiguration | undefined {
  if (definition.networkMode !== 'awsvpc') {
    if (asked === undefined) return undefined
    throw invalidParameter('Network Configuration is not valid for the given networkMode of this task definition.')
  }
  const { subnets = [], securityGroups = [], assignPublicIp = 'DISABLED' } = wantedOf(cluster, asked)
  if (subnets.length === 0) throw invalidParameter('subnets can not be empty.')
  if (subnets.length > subnetsMax) throw invalidParameter(`subnets can have at most ${subnetsMax} items.`)
  if (securityGroups.length > securityGroupsMax) {
    throw invalidParameter(`securityGroups can have at most ${securityGroupsMax} items.`)
  }
  for (const subnetId of subnets) checkSubnet(reader, subnetId, assignPublicIp)
  return { awsvpcConfiguration: { subnets: [...new Set(subnets)], securityGroups, assignPublicIp } }
}

/** The subnets among which a task's address is chosen; undefined where it has none of its own. */
export function subnetsOf(configuration: NetworkConfiguration | undefined): readonly string[] | undefined {
  return configuration?.awsvpcConfiguration?.subnets
}

function wantedOf(
  { clusterName, defaultSubnetId }: ClusterRow,
  asked: NetworkConfiguration | undefined,
): NonNullable<NetworkConfiguration['awsvpcConfiguration']> {
  if (asked?.awsvpcConfiguration !== undefined) return asked.awsvpcConfiguration
  if (defaultSubnetId !== undefined) return { subnets: [defaultSubnetId] }
  throw invalidParameter(
    "Network Configuration must be provided when networkMode 'awsvpc' is specified. Cluster " +
      `${clusterName} has no default subnet either (PATCH /v1/clusters/${clusterName} with defaultSubnetId sets one).`,
  )
}

function checkSubnet(reader: Reader, subnetId: string, assignPublicIp: 'ENABLED' | 'DISABLED'): void {
  const subnet = reader.get('subnet', subnetId)
  if (subnet === undefined) {
    throw invalidParameter(
      `Error retrieving subnet information for [${subnetId.slice(0, 100)}]: The subnet ID '${subnetId.slice(0, 100)}' does ` +
        'not exist (ErrorCode: InvalidSubnetID.NotFound). GET /v1/subnets lists those that there are.',
    )
  }
  if (assignPublicIp === 'DISABLED' || subnet.assignPublicIp === 'lan') return
  throw invalidParameter(
    `Assign public IP is not supported for this launch type. Subnet ${subnetId} gives out no public addresses: give ` +
      "assignPublicIp DISABLED, or set the subnet's assignPublicIp to lan where its own addresses are to count as such.",
  )
}
