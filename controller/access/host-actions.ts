/**
 * What a host's keys allow, each for its own instances alone; the two sockets are AWS's `Poll` and
 * `StartTelemetrySession`. Beyond AWS's own policy (AmazonEC2ContainerServiceforEC2Role) an agent may ask what its own
 * instance is, before it drains it, and protect a task that asks for it.
 */
export const hostActions: ReadonlySet<string> = new Set([
  'ecs:CreateCluster',
  'ecs:DeregisterContainerInstance',
  'ecs:DescribeContainerInstances',
  'ecs:DiscoverPollEndpoint',
  'ecs:GetTaskProtection',
  'ecs:ListTagsForResource',
  'ecs:Poll',
  'ecs:RegisterContainerInstance',
  'ecs:StartTelemetrySession',
  'ecs:SubmitAttachmentStateChanges',
  'ecs:SubmitContainerStateChange',
  'ecs:SubmitTaskStateChange',
  'ecs:TagResource',
  'ecs:UpdateContainerInstancesState',
  'ecs:UpdateTaskProtection',
])
