/**
 * What a host's keys allow, each for its own instances alone (whose they are is checked where they are named). This is
 * AWS's own policy for container instances, AmazonEC2ContainerServiceforEC2Role, as far as it is about ECS; and a little
 * more: an agent asks what its own instance is before it drains it, protects a task that asks for it, and changes its keys.
 */
export const hostPolicy = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Action: [
        'ecs:CreateCluster',
        'ecs:DeregisterContainerInstance',
        'ecs:DescribeContainerInstances',
        'ecs:DiscoverPollEndpoint',
        'ecs:GetTaskProtection',
        'ecs:Poll',
        'ecs:RegisterContainerInstance',
        'ecs:StartTelemetrySession',
        'ecs:SubmitAttachmentStateChanges',
        'ecs:SubmitContainerStateChange',
        'ecs:SubmitTaskStateChange',
        'ecs:UpdateContainerInstancesState',
        'ecs:UpdateTaskProtection',
        'gantry:ChangeHostKeys',
      ],
      Resource: '*',
    },
    {
      Effect: 'Allow',
      Action: 'ecs:TagResource',
      Resource: '*',
      Condition: { StringEquals: { 'ecs:CreateAction': ['CreateCluster', 'RegisterContainerInstance'] } },
    },
    {
      Effect: 'Allow',
      Action: 'ecs:ListTagsForResource',
      Resource: ['arn:aws:ecs:*:*:task/*/*', 'arn:aws:ecs:*:*:container-instance/*/*'],
    },
  ],
})
