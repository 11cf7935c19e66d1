/**
 * StopServiceDeployment: takes a deployment that goes on back to the revision that last completed (ROLLBACK, the default),
 * or leaves the service as it stands (ABORT). Source: AWS documentation, "Stopping Amazon ECS service deployments".
 */
import { ApiError } from '../../proto/errors.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { abortDeployment, rollBackDeployment } from '../decide/deployment-outcome.ts'
import { rollbackTarget } from '../decide/deployment-rollback.ts'
import { isEnded } from '../decide/deployment-start.ts'
import type { Transaction } from '../state/transaction.ts'
import type { Call } from './handler.ts'
import { findServiceDeployment } from './service-deployments.ts'

/** ServiceDeploymentNotFoundException; ConflictException where it is over, or has nothing to go back to. */
export function stopServiceDeployment(
  tx: Transaction,
  input: Input<'StopServiceDeployment'>,
  call: Call,
  world: World,
): Output<'StopServiceDeployment'> {
  const { serviceDeploymentArn = '', stopType = 'ROLLBACK' } = input
  const row = findServiceDeployment(tx, serviceDeploymentArn)
  if (row === undefined) {
    throw new ApiError(
      'ServiceDeploymentNotFoundException',
      `There is no service deployment ${serviceDeploymentArn}. ListServiceDeployments names those of a service.`,
    )
  }
  const service = tx.get('service', row.serviceKey)
  const deployment = tx.get('deployment', row.deploymentId)
  if (isEnded(row) || service?.status !== 'ACTIVE' || deployment?.status !== 'PRIMARY') {
    throw new ApiError(
      'ConflictException',
      `The service deployment is ${row.status} and can't be stopped any more. UpdateService starts another one.`,
    )
  }
  if (stopType === 'ABORT') {
    abortDeployment(tx, service, deployment, call.now, world)
    return { serviceDeploymentArn }
  }
  // It is on its way back already, and goes on with that.
  if (row.rollback !== undefined) return { serviceDeploymentArn }
  const target = rollbackTarget(tx, service, deployment)
  if (target === undefined) {
    throw new ApiError(
      'ConflictException',
      'No deployment of the service has completed yet, so there is no revision to roll back to. Stop it with stopType ' +
        'ABORT, or update the service to a task definition that works.',
    )
  }
  rollBackDeployment(tx, service, deployment, target, call.now, world)
  return { serviceDeploymentArn }
}
