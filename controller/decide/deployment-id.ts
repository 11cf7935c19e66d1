/** The ids of deployments, service deployments and service revisions. */
import type { World } from '../../proto/world.ts'

/** `ecs-svc/` and nineteen digits, the first of them not 0, as ECS writes them. */
export function newDeploymentId(world: World): string {
  return `ecs-svc/${nineteenDigits(world)}`
}

/** Nineteen digits: the id of a service revision. */
export function nineteenDigits(world: World): string {
  let digits = String(1 + Math.floor(world.random() * 9))
  while (digits.length < 19) digits += String(Math.floor(world.random() * 10))
  return digits
}
