/**
 * Containers that are started again in place: by their restart policy, or with their whole task where no controller is
 * there to replace it. Each start begins a run of its own, and within a run a known status never decreases.
 *
 * Source of the policy: the ECS API reference, ContainerRestartPolicy; amazon-ecs-agent 1.105.1, `agent/api/container`
 * (a container that ends before its attempt period is over is not restarted; the period counts from its last start).
 */
import type { PayloadContainer } from '../../proto/acs.ts'
import type { ObservedContainer } from '../engine.ts'
import type { ContainerFacts } from './view.ts'

/** Source: the ECS API reference, restartAttemptPeriod. Seconds. */
const attemptPeriodSecondsDefault = 300

/** True where the container has ended by itself and its policy has it started again. A stop that was asked for is none. */
export function restartsByPolicy(container: PayloadContainer, facts: ContainerFacts): boolean {
  const policy = container.restartPolicy
  if (policy?.enabled !== true || facts.knownStatus !== 'STOPPED' || !facts.started) return false
  const { exitCode, startedAt, finishedAt, stopAskedAt } = facts
  if (exitCode === undefined || startedAt === undefined || finishedAt === undefined) return false
  if (stopAskedAt !== undefined || policy.ignoredExitCodes?.includes(exitCode) === true) return false
  const ranMs = finishedAt - startedAt
  // An end before its start is one after the clock was set back: how long it ran nobody knows.
  return ranMs < 0 || ranMs >= (policy.restartAttemptPeriod ?? attemptPeriodSecondsDefault) * 1000
}

/**
 * The container at the beginning of its next run: Docker's own container, name and ports are kept, and what it was like
 * before is remembered, so that nothing which Docker still shows of that is taken for news.
 */
export function startedAgain(facts: ContainerFacts): ContainerFacts {
  const isThere = facts.dockerId !== undefined && facts.removed !== true
  const { startedAt, finishedAt, exitCode, reason } = facts
  return {
    knownStatus: 'PENDING',
    dockerName: facts.dockerName,
    dockerId: isThere ? facts.dockerId : undefined,
    hostPorts: facts.hostPorts,
    // What is made anew needs its image, which may be gone by now.
    imageReady: isThere && facts.imageReady,
    imageDigest: facts.imageDigest,
    started: facts.started,
    healthStatus: facts.healthStatus === undefined ? undefined : 'UNKNOWN',
    refusedPorts: facts.refusedPorts,
    firstStartedAt: facts.firstStartedAt ?? startedAt,
    restartCount: (facts.restartCount ?? 0) + 1,
    lastRun: { startedAt, finishedAt, exitCode, reason },
  }
}

/** True where Docker shows the run before the one that is known of: it has been dealt with. */
export function isLastRun({ lastRun }: ContainerFacts, shown: ObservedContainer): boolean {
  if (lastRun === undefined || shown.startedAt !== lastRun.startedAt) return false
  const hasEnded = shown.status === 'exited' || shown.status === 'dead'
  return !hasEnded || shown.finishedAt === lastRun.finishedAt
}

/** To be removed and made as it was: Docker refuses to start the container that is there. Once in each run. */
export function isToBeRemade(facts: ContainerFacts): boolean {
  return facts.lastRun !== undefined && facts.knownStatus === 'PENDING' && facts.remadeInRun !== facts.restartCount
}

export function remadeAsItWas(facts: ContainerFacts): ContainerFacts {
  return { ...facts, remake: true, remadeInRun: facts.restartCount, retry: undefined }
}
