/** What the task sets of a service wait for, in words: a service with an external controller is explained by these alone. */
import { idOf } from '../../proto/arn.ts'
import type { TaskSetRow } from '../state/service-tables.ts'
import { ageText } from './age.ts'
import { causeSentence } from './deployment-failure.ts'
import { count } from './placement-filter.ts'
import { computedDesiredCount } from './task-set-scale.ts'
import type { ServiceScene, TaskSetScene } from './why-service.ts'
import type { Reason } from './why-service-reasons.ts'

/** Undefined where the service has no external controller. */
export function externalReason(scene: ServiceScene): Reason | undefined {
  const { service, taskSets } = scene
  if (service.deploymentController.type === 'ECS') return undefined
  if (taskSets.length === 0) {
    return {
      state: 'external',
      summary:
        'Its deployment controller is EXTERNAL, and it has no task set: nothing is started until one is created.',
      next: ['Create a task set (aws ecs create-task-set).'],
    }
  }
  const told = taskSets.map((taskSet) => ({ ...taskSet, sentence: sentenceOf(scene, taskSet) }))
  const unsteady = told.find(({ row }) => row.stabilityStatus !== 'STEADY_STATE')
  const howMany = count(told.length, 'task set has', 'task sets have')
  return {
    state: 'external',
    summary: unsteady?.sentence ?? `Its deployment controller is EXTERNAL; its ${howMany} all that it is to have.`,
    facts: told.filter((each) => each !== unsteady).map(({ sentence }) => sentence),
    next: [...new Set(told.flatMap(({ row }) => nextOf(scene, row)))],
  }
}

function sentenceOf(scene: ServiceScene, { row, tasks }: TaskSetScene): string {
  const { id, taskDefinition, status, scale } = row
  const desired = computedDesiredCount(scene.service, row)
  const held = waits(scene, row)
  return (
    `Task set ${id} of ${idOf(taskDefinition)} (${status}, ${scale.value ?? 0} %): ${tasks.healthy} of ` +
    `${count(desired, 'task', 'tasks')} healthy${held.length === 0 ? '' : `; ${held.join('; ')}`}.`
  )
}

function waits(
  { protection, now }: ServiceScene,
  { waiting, failuresInRow, retryAt, cause, stuck }: TaskSetRow,
): string[] {
  const found: string[] = []
  if (waiting !== undefined) {
    found.push(`the next task has had no place for ${ageText(now - waiting.since)}: ${waiting.sentence}`)
  }
  if (retryAt !== undefined && retryAt > now) {
    const last = cause === undefined ? '' : `, the last one ${ageText(now - cause.at)} ago: ${causeSentence(cause)}`
    const failed = count(failuresInRow, 'task has', 'tasks have')
    found.push(`${failed} failed in a row; the next start is in ${ageText(retryAt - now)}${last}`)
  }
  if (stuck?.by === 'protection') {
    const until = protection === undefined ? '' : `, at the latest until ${new Date(protection.until).toISOString()}`
    found.push(`tasks that should end have scale-in protection${until}`)
  }
  if (stuck?.by === 'percentages') found.push('the percentages of the service allow neither a start nor a stop')
  return found
}

function nextOf({ now }: ServiceScene, { waiting, retryAt, cause, stuck }: TaskSetRow): readonly string[] {
  const next: string[] = []
  const [nearest] = waiting?.nearest ?? []
  if (nearest !== undefined) {
    next.push(`Make room or add a host; nearest is instance ${nearest.instanceId}, which ${nearest.miss}.`)
  } else if (waiting !== undefined) next.push('Start an agent on a host, or have it registered in this cluster.')
  if (retryAt !== undefined && retryAt > now) {
    if (cause?.taskArn !== undefined)
      next.push(`Ask why task ${idOf(cause.taskArn)} failed: it has the last log lines.`)
    next.push('Mend the cause, and create another task set where that takes another task definition.')
  }
  if (stuck?.by === 'protection') {
    next.push('Wait for the protection to end, or UpdateTaskProtection with protectionEnabled false.')
  }
  if (stuck?.by === 'percentages') next.push('Lower minimumHealthyPercent, or raise maximumPercent.')
  return next
}
