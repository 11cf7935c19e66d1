/** The ECS operations on what was deployed of a service: its service deployments and service revisions. */
import { type Handlers, read, write } from './handler.ts'
import { describeServiceDeployments, listServiceDeployments } from './service-deployments.ts'
import { describeServiceRevisions } from './service-revisions.ts'
import { stopServiceDeployment } from './stop-service-deployment.ts'

export const serviceHistoryHandlers = {
  ListServiceDeployments: read<'ListServiceDeployments'>((reader, input) => listServiceDeployments(reader, input)),
  DescribeServiceDeployments: read<'DescribeServiceDeployments'>((reader, input) =>
    describeServiceDeployments(reader, input),
  ),
  DescribeServiceRevisions: read<'DescribeServiceRevisions'>((reader, input) =>
    describeServiceRevisions(reader, input),
  ),
  StopServiceDeployment: write<'StopServiceDeployment'>((tx, input, call, world) =>
    stopServiceDeployment(tx, input, call, world),
  ),
} satisfies Handlers
