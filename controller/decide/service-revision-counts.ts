/** How many tasks each revision has that a service deployment goes from and to, as ECS counts them. */
import type { ServiceDeployment } from '../../proto/model/types.ts'
import type { DeploymentRow, ServiceDeploymentRow } from '../state/service-tables.ts'
import { servicePhases } from '../state/service-phase.ts'
import type { Reader } from '../state/transaction.ts'

type Summary = NonNullable<ServiceDeployment['targetServiceRevision']>

/** The row's summaries with their counts as they are now. Asked while the service deployment goes on. */
export function revisionCounts(
  reader: Reader,
  row: ServiceDeploymentRow,
): Pick<ServiceDeploymentRow, 'sourceServiceRevisions' | 'targetServiceRevision'> {
  const live = reader.find('deployment', 'liveByService', row.serviceKey)
  const countsOf = (summary: Summary): Summary => {
    const id = summary.arn?.slice(summary.arn.lastIndexOf('/') + 1)
    return counted(
      reader,
      summary,
      live.filter(({ serviceRevisionId }) => serviceRevisionId === id),
    )
  }
  return {
    sourceServiceRevisions: (row.sourceServiceRevisions ?? []).map(countsOf),
    targetServiceRevision: row.targetServiceRevision === undefined ? undefined : countsOf(row.targetServiceRevision),
  }
}

function counted(reader: Reader, { arn }: Summary, deployments: readonly DeploymentRow[]): Summary {
  const total = (count: (row: DeploymentRow) => number): number => deployments.reduce((sum, row) => sum + count(row), 0)
  const status = (row: DeploymentRow, name: string): number =>
    reader.count('task', 'byDeploymentStatus', `${row.id}/${name}`)
  return {
    arn,
    requestedTaskCount: total((row) => requestedOf(reader, row)),
    runningTaskCount: total((row) => status(row, 'RUNNING')),
    pendingTaskCount: total((row) => status(row, 'PROVISIONING') + status(row, 'PENDING') + status(row, 'ACTIVATING')),
  }
}

/** What the service desires of its PRIMARY deployment, and what is left of an older one. */
function requestedOf(reader: Reader, { id, status, serviceKey }: DeploymentRow): number {
  if (status === 'PRIMARY') return reader.get('service', serviceKey)?.desiredCount ?? 0
  return servicePhases
    .filter((phase) => phase !== 'stopping' && phase !== 'lost')
    .reduce((sum, phase) => sum + reader.count('task', 'byDeploymentPhase', `${id}/${phase}`), 0)
}
