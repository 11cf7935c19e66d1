/**
 * UpdateContainerAgent. On ECS it has the agent of an instance with Amazon's own image download a newer version. Nothing
 * here can replace a program on a host, so it never says that an update has begun: it says who can do it, and how.
 */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import { requireCluster } from './clusters.ts'
import { type Handlers, read } from './handler.ts'
import { requireInstance } from './instance-lookup.ts'

export const containerAgentHandlers = {
  UpdateContainerAgent: read<'UpdateContainerAgent'>((reader, input) => {
    const cluster = requireCluster(reader, input.cluster)
    if (input.containerInstance === undefined || input.containerInstance === '') {
      throw invalidParameter('Container instance cannot be empty.')
    }
    const instance = requireInstance(reader, cluster, input.containerInstance)
    if (instance.status === 'INACTIVE') {
      throw invalidParameter(`Container instance ${instance.instanceId} is INACTIVE: it was deregistered.`)
    }
    const version = instance.versionInfo?.agentVersion
    if (version === undefined || version === '') {
      throw new ApiError(
        'MissingVersionException',
        `The container agent of ${instance.instanceId} has not told its version yet: it does so when it connects.`,
      )
    }
    throw new ApiError(
      'NoUpdateAvailableException',
      'There is no update available for your container agent. ' +
        (instance.gantryProtocol
          ? `It is Gantry's, version ${version}, and is upgraded on its host, where its containers go on meanwhile: stop ` +
            'it, update Gantry, start it.'
          : `It is not Gantry's, has version ${version}, and is upgraded on its host with whatever installed it there.`),
    )
  }),
} satisfies Handlers
