/** Each thing that a service may wait for, in words: the gravest first. */
import { idOf } from '../../proto/arn.ts'
import type { DeploymentRow } from '../state/service-tables.ts'
import { ageText } from './age.ts'
import { isProving } from './deployment-backoff.ts'
import { causeSentence } from './deployment-failure.ts'
import { count } from './placement-filter.ts'
import { rollingBounds } from './rolling.ts'
import { minimumInTheWay } from './service-starts.ts'
import type { ServiceScene, WhyService } from './why-service.ts'
import { externalReason } from './why-task-sets.ts'

export interface Reason {
  readonly state: WhyService['state']
  readonly summary: string
  readonly facts?: readonly string[] | undefined
  readonly next?: readonly string[] | undefined
}

/** At least one. */
export function reasonsOf(scene: ServiceScene): readonly Reason[] {
  const only = ended(scene)
  if (only !== undefined) return [only]
  const external = externalReason(scene)
  if (external !== undefined) return [external, paused(scene)].filter((reason) => reason !== undefined)
  const { primary } = scene
  if (primary === undefined) {
    return [{ state: 'starting', summary: 'Its first deployment is about to begin.' }]
  }
  const found = [
    failed(scene, primary),
    paused(scene),
    backoff(scene, primary),
    waiting(scene),
    stuck(scene, primary),
    deploying(scene, primary),
    starting(scene, primary),
  ].filter((reason) => reason !== undefined)
  return found.length > 0 ? found : [steady(scene)]
}

function ended({ service, tasks, now }: ServiceScene): Reason | undefined {
  if (service.status === 'INACTIVE') {
    const since = service.inactiveSince === undefined ? '' : ` ${ageText(now - service.inactiveSince)} ago`
    return { state: 'inactive', summary: `The service was deleted${since}.`, next: ['Create it again to run it.'] }
  }
  if (service.status !== 'DRAINING') return undefined
  const left = tasks.starting + tasks.healthy + tasks.unhealthy + tasks.leaving + tasks.leavingUnready + tasks.stopping
  return {
    state: 'draining',
    summary: `The service is being deleted; ${count(left, 'task has', 'tasks have')} yet to end.`,
  }
}

function failed({ now }: ServiceScene, primary: DeploymentRow): Reason | undefined {
  const { rolloutState, rolloutStateReason, cause } = primary
  if (rolloutState !== 'FAILED') return undefined
  return {
    state: 'failed',
    summary: `Its deployment ${primary.id} has failed, and starts nothing any more: ${withoutDot(rolloutStateReason ?? 'no reason was given')}.`,
    facts: cause === undefined ? [] : [causeFact(cause, now)],
    next: [
      ...lookAtTask(cause),
      'Mend the cause, then update the service: a new task definition revision, or forceNewDeployment.',
    ],
  }
}

function paused({ pausedSince, tasks, service, now }: ServiceScene): Reason | undefined {
  if (pausedSince === undefined || tasks.lost === 0) return undefined
  return {
    state: 'paused',
    summary:
      `${count(tasks.lost, 'task is', 'tasks are')} on instances that fell silent, and not replaced for ` +
      `${ageText(now - pausedSince)} now: so many fell silent at once that the network is the likelier cause.`,
    next: [
      'Check the network between the hosts and the controller: what runs there goes on running.',
      `Where the hosts are truly gone, deregister them, or POST /v1/clusters/${service.clusterName}/resume-replacement.`,
    ],
  }
}

function backoff({ now }: ServiceScene, primary: DeploymentRow): Reason | undefined {
  const { retryAt, failuresInRow, cause, rolloutState } = primary
  if (rolloutState === 'FAILED' || retryAt === undefined || retryAt <= now) return undefined
  return {
    state: 'backoff',
    summary:
      `${count(failuresInRow, 'task has', 'tasks have')} failed in a row; the next start is in ` +
      `${ageText(retryAt - now)} (${new Date(retryAt).toISOString()}).`,
    facts: cause === undefined ? [] : [causeFact(cause, now)],
    next: [...lookAtTask(cause), 'A new deployment starts without the pause.'],
  }
}

function waiting({ waiting: wait, service, ofPrimary, ofOthers, now }: ServiceScene): Reason | undefined {
  if (wait === undefined) return undefined
  const minimum = minimumInTheWay(service, ofPrimary, ofOthers, wait)
  const nearest = wait.nearest.map(({ instanceId, miss }) => `Nearest: instance ${instanceId} ${miss}.`)
  const [first] = wait.nearest
  return {
    state: 'waiting',
    summary: `Its next task has had no place for ${ageText(now - wait.since)}: ${wait.sentence}.`,
    facts: nearest,
    next:
      first === undefined
        ? ['Start an agent on a host, or have it registered in this cluster.']
        : [
            `Make room or add a host; nearest is instance ${first.instanceId}, which ${first.miss}.`,
            ...(minimum === undefined ? [] : [minimum]),
          ],
  }
}

function stuck({ service, protection, now }: ServiceScene, primary: DeploymentRow): Reason | undefined {
  if (primary.stuck === undefined) return undefined
  const since = ageText(now - primary.stuck.since)
  if (primary.stuck.by === 'protection') {
    const until =
      protection === undefined
        ? ''
        : `: ${count(protection.tasks, 'is', 'are')} protected, the last until ${new Date(protection.until).toISOString()}`
    return {
      state: 'stuck',
      summary: `Tasks that should end have had scale-in protection for ${since}${until}.`,
      next: ['Wait for the protection to end, or UpdateTaskProtection with protectionEnabled false.'],
    }
  }
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = service.deploymentConfiguration
  const { lower, upper } = rollingBounds(service.desiredCount, minimumHealthyPercent, maximumPercent)
  return {
    state: 'stuck',
    summary:
      `Its percentages have allowed neither a start nor a stop for ${since}: of ${service.desiredCount} desired, ` +
      `minimumHealthyPercent ${minimumHealthyPercent} keeps ${lower} healthy and maximumPercent ${maximumPercent} ` +
      `allows ${upper} in all.`,
    next: ['Lower minimumHealthyPercent, so that a task may end first, or raise maximumPercent.'],
  }
}

function deploying({ service, ofPrimary, ofOthers, now }: ServiceScene, primary: DeploymentRow): Reason | undefined {
  const { lost, ...held } = ofOthers
  const old = Object.values(held).reduce((sum, each) => sum + each, 0)
  if (primary.rolloutState !== 'IN_PROGRESS' && old === 0) return undefined
  const ofLost = lost === 0 ? '' : `, and ${lost} on lost instances`
  if (primary.rolloutState === 'FAILED') {
    return {
      state: 'failed',
      summary: `Of its tasks ${ofPrimary.healthy} are healthy; ${old} of older deployments go on${ofLost}.`,
    }
  }
  return {
    state: 'deploying',
    summary:
      `Deployment ${primary.id} of ${idOf(primary.taskDefinition)} has been going on for ${ageText(now - primary.createdAt)}: ` +
      `${ofPrimary.healthy} of ${service.desiredCount} new tasks are healthy, ${old} old are left${ofLost}.`,
    facts: [
      ...(primary.rollbackOf === undefined ? [] : [`It takes back deployment ${primary.rollbackOf}, which failed.`]),
      ...proofFact(primary, ofPrimary.healthy, now),
    ],
  }
}

function proofFact(primary: DeploymentRow, healthy: number, now: number): readonly string[] {
  const { provenAt } = primary
  if (provenAt === undefined || healthy === 0 || !isProving(primary, now)) return []
  return [`Its new tasks have to stay up for ${ageText(provenAt - now)} more before healthy old ones go.`]
}

function starting(scene: ServiceScene, primary: DeploymentRow): Reason | undefined {
  const { service, ofPrimary: tasks, now } = scene
  const { retryAt, rolloutState } = primary
  if (tasks.healthy >= service.desiredCount && tasks.unhealthy === 0) return undefined
  const parts: string[] = []
  if (tasks.starting > 0) parts.push(`${count(tasks.starting, 'task', 'tasks')} to become healthy`)
  if (tasks.stopping > 0) parts.push(`${count(tasks.stopping, 'task', 'tasks')} to end`)
  const isFailed = rolloutState === 'FAILED'
  if (tasks.unhealthy > 0 && !isFailed)
    parts.push(`the replacement of ${count(tasks.unhealthy, 'unhealthy task', 'unhealthy tasks')}`)
  const leaving = isFailed ? 0 : tasks.leaving + tasks.leavingUnready
  if (leaving > 0) parts.push(`the replacement of ${count(leaving, 'task', 'tasks')} on draining instances`)
  // What holds the missing ones up is told already.
  const isPaused = paused(scene) !== undefined || primary.stuck !== undefined || (retryAt ?? 0) > now
  const isHeldUp = isFailed || isPaused || scene.waiting !== undefined
  if (parts.length === 0 && isHeldUp) return undefined
  return {
    state: 'starting',
    summary:
      parts.length === 0 ? 'Its scheduler is about to start what is missing.' : `It waits for ${parts.join(', ')}.`,
    next: tasks.starting > 0 ? ['For what a task waits, ask its own why: /v1/tasks/{id}/why.'] : [],
  }
}

function steady({ service, primary, now }: ServiceScene): Reason {
  const since = service.steadySince === undefined ? '' : `, announced ${ageText(now - service.steadySince)} ago`
  const summary = `The service is in a steady state${since}; it waits for nothing.`
  const undone = primary?.rollbackOf
  if (undone === undefined) return { state: 'steady', summary }
  return {
    state: 'steady',
    summary,
    facts: [`It runs what ran before deployment ${undone}, which was rolled back.`],
    next: ['ListServiceDeployments tells why it was rolled back; with the cause mended, update the service again.'],
  }
}

function causeFact(cause: NonNullable<DeploymentRow['cause']>, now: number): string {
  return `Last failure, ${ageText(now - cause.at)} ago: ${withoutDot(causeSentence(cause))}.`
}

function lookAtTask(cause: DeploymentRow['cause']): readonly string[] {
  if (cause?.taskArn === undefined) return []
  return [`Read why the last task failed, with the end of its output: /v1/tasks/${idOf(cause.taskArn)}/why.`]
}

function withoutDot(sentence: string): string {
  return sentence.endsWith('.') ? sentence.slice(0, -1) : sentence
}
