/** Inputs of RegisterTaskDefinition for tests: the least that ECS takes, and what the test is about. */
import type { ContainerDefinition, Input } from '../../proto/model/types.ts'

export type Registration = Input<'RegisterTaskDefinition'>

/** The least that ECS takes: one container `app`. */
export const aContainerDefinition = (over: Partial<ContainerDefinition> = {}): ContainerDefinition => ({
  name: 'app',
  image: 'busybox',
  memory: 64,
  ...over,
})
export const aRegistration = (over: Partial<Registration> = {}): Registration => ({
  family: 'web',
  containerDefinitions: [aContainerDefinition()],
  ...over,
})
export const withContainer = (over: Partial<ContainerDefinition>): Registration =>
  aRegistration({ containerDefinitions: [aContainerDefinition(over)] })
export const withContainers = (...containers: ContainerDefinition[]): Registration =>
  aRegistration({ containerDefinitions: containers })
export const onFargate = (
  over: Partial<Registration> = {},
  container: Partial<ContainerDefinition> = {},
): Registration =>
  aRegistration({
    networkMode: 'awsvpc',
    requiresCompatibilities: ['FARGATE'],
    cpu: '256',
    memory: '512',
    containerDefinitions: [aContainerDefinition(container)],
    ...over,
  })
