/** Brings a service of one actor into being, however often that has to be asked. */
import type { DefinitionActor } from './definition-actor.ts'
import type { Operator } from './operator.ts'

interface Plan {
  readonly serviceName: string
  readonly taskDefinition?: string
}

async function isServiceActive(operator: Operator, serviceName: string): Promise<boolean> {
  const answer = await operator.call('DescribeServices', { services: [serviceName] })
  return answer?.services?.[0]?.status === 'ACTIVE'
}

/** Asks again until it is there: definitions come at about the same time, and a deleted one has to end first. */
export async function createServiceSurely(
  operator: Operator,
  definitions: DefinitionActor,
  plan: Plan,
  create: () => Promise<boolean>,
): Promise<void> {
  for (let attempts = 30; attempts > 0; attempts -= 1) {
    if (await isServiceActive(operator, plan.serviceName)) return
    if (await create()) return
    if (plan.taskDefinition !== undefined) await definitions.renew(plan.taskDefinition)
    await operator.time.sleep(operator.random.between(500, 5000))
  }
}
