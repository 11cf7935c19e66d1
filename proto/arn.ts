/**
 * ARNs and ids: how ECS writes them and how it reads what callers give. Every `cluster`, `task`, `containerInstance`
 * parameter takes a short name or a whole ARN.
 *
 * Source: AWS documentation, "Amazon Resource Names (ARNs)" of Amazon ECS, long format.
 */

/** Where the resources of one controller live: the parts of an ARN that never differ. */
export interface Place {
  readonly region: string
  readonly account: string
}

/** Of an ARN of this controller's: the region and the account that stand in it. */
export function placeIn(arn: string): Place {
  const [, , , region = '', account = ''] = arn.split(':')
  return { region, account }
}

export function clusterArn(place: Place, clusterName: string): string {
  return ecsArn(place, `cluster/${clusterName}`)
}

export function taskArn(place: Place, clusterName: string, taskId: string): string {
  return ecsArn(place, `task/${clusterName}/${taskId}`)
}

export function containerArn(place: Place, clusterName: string, taskId: string, containerId: string): string {
  return ecsArn(place, `container/${clusterName}/${taskId}/${containerId}`)
}

export function containerInstanceArn(place: Place, clusterName: string, instanceId: string): string {
  return ecsArn(place, `container-instance/${clusterName}/${instanceId}`)
}

export function taskDefinitionArn(place: Place, family: string, revision: number): string {
  return ecsArn(place, `task-definition/${family}:${revision}`)
}

export function serviceArn(place: Place, clusterName: string, serviceName: string): string {
  return ecsArn(place, `service/${clusterName}/${serviceName}`)
}

/** `deploymentId` is `ecs-svc/` and 19 digits, as of a deployment. */
export function taskSetArn(place: Place, clusterName: string, serviceName: string, deploymentId: string): string {
  return ecsArn(place, `task-set/${clusterName}/${serviceName}/${deploymentId}`)
}

export function serviceDeploymentArn(place: Place, clusterName: string, serviceName: string, id: string): string {
  return ecsArn(place, `service-deployment/${clusterName}/${serviceName}/${id}`)
}

export function serviceRevisionArn(place: Place, clusterName: string, serviceName: string, id: string): string {
  return ecsArn(place, `service-revision/${clusterName}/${serviceName}/${id}`)
}

/** A task's own network interface, as agents name it. */
export function attachmentArn(place: Place, attachmentId: string): string {
  return ecsArn(place, `attachment/${attachmentId}`)
}

export function isArn(text: string): boolean {
  return text.startsWith('arn:')
}

/** `default` for `default` and for `arn:aws:ecs:us-east-1:123456789012:cluster/default`. */
export function clusterNameOf(nameOrArn: string): string {
  return lastSegment(nameOrArn)
}

/** The id behind a task or container instance: the last segment of its ARN, or the text itself. */
export function idOf(idOrArn: string): string {
  return lastSegment(idOrArn)
}

/** The cluster that a task's or instance's ARN names (long format), or undefined for a bare id. */
export function clusterNameInArn(text: string): string | undefined {
  if (!isArn(text)) return undefined
  const segments = text.slice(text.lastIndexOf(':') + 1).split('/')
  return segments.length >= 3 ? segments[1] : undefined
}

/** `web:3`, `web` or a task definition's ARN: its family, and its revision where one is given. */
export function parseTaskDefinitionName(text: string): { family: string; revision: number | undefined } | undefined {
  const name = isArn(text) ? text.split(':task-definition/')[1] : text
  const match = name === undefined ? null : /^([A-Za-z0-9_-]{1,255})(?::([1-9][0-9]{0,9}))?$/.exec(name)
  if (match === null) return undefined
  return { family: match[1] as string, revision: match[2] === undefined ? undefined : Number(match[2]) }
}

function ecsArn(place: Place, resource: string): string {
  return `arn:aws:ecs:${place.region}:${place.account}:${resource}`
}

function lastSegment(text: string): string {
  return text.slice(text.lastIndexOf('/') + 1)
}
