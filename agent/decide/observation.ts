/** Folds what Docker shows of a container into what is known of it. Within a run a known status never decreases. */
import { labels } from '../engine.ts'
import type { ObservedContainer } from '../engine.ts'
import { isLastRun } from './restart.ts'
import { killedExitCode, outOfMemoryReason } from './out-of-memory.ts'
import type { ContainerFacts } from './view.ts'

export const vanishedReason = 'ContainerVanishedError: No container matching saved ID found'

export function foldObservation(facts: ContainerFacts, observed: ObservedContainer): ContainerFacts {
  const identified: ContainerFacts = {
    ...facts,
    dockerId: observed.id,
    dockerName: observed.name,
    imageReady: true,
    expected: undefined,
    endpointId: facts.endpointId ?? observed.labels[labels.endpointId],
  }
  if (isLastRun(facts, observed)) return identified
  switch (observed.status) {
    case 'created':
    case 'removing':
      return identified
    case 'running':
    case 'paused':
    case 'restarting':
      if (facts.knownStatus === 'STOPPED') return identified
      return {
        ...identified,
        knownStatus: 'RUNNING',
        started: true,
        startedAt: observed.startedAt ?? facts.startedAt,
        healthStatus: observed.health?.status,
        healthSince: healthSince(facts, observed),
        retry: facts.knownStatus === 'PENDING' ? undefined : facts.retry,
      }
    case 'exited':
    case 'dead':
      return foldEnd(identified, observed)
    default:
      return observed.status satisfies never
  }
}

/** A health check that is still in its start period has been so since the start. */
function healthSince(facts: ContainerFacts, { health, details, startedAt }: ObservedContainer): number | undefined {
  if (health === undefined) return undefined
  if (health.status === facts.healthStatus && facts.healthSince !== undefined) return facts.healthSince
  return health.status === 'UNKNOWN' ? startedAt : (details?.healthCheckedAt ?? startedAt)
}

/** Docker showed all its containers, and one that the controller knows to have run was not among them. */
export function foldMissing(facts: ContainerFacts): ContainerFacts {
  if (facts.expected !== true) return facts
  const { expected: _expected, ...kept } = facts
  if (facts.knownStatus !== 'PENDING') return kept
  return { ...kept, knownStatus: 'STOPPED', reason: vanishedReason, lastLogLines: [] }
}

/** The engine said definitely that there is no such container. */
export function foldAbsence(facts: ContainerFacts): ContainerFacts {
  if (facts.dockerId === undefined) return facts
  // Somebody removed it before it could be started again: it is made anew.
  if (facts.knownStatus === 'PENDING' && facts.lastRun !== undefined) {
    return { ...facts, dockerId: undefined, imageReady: false, remake: undefined }
  }
  if (facts.knownStatus === 'STOPPED') return { ...facts, removed: true, lastLogLines: facts.lastLogLines ?? [] }
  return {
    ...facts,
    knownStatus: 'STOPPED',
    reason: facts.reason ?? vanishedReason,
    removed: true,
    lastLogLines: [],
  }
}

function foldEnd(facts: ContainerFacts, observed: ObservedContainer): ContainerFacts {
  if (facts.knownStatus === 'STOPPED') return facts
  const exitCode = observed.exitCode
  // Docker's flag stays from a child that was killed long ago, and a stop ends in the same code.
  const stopped = facts.stopAskedAt !== undefined && (observed.finishedAt ?? facts.stopAskedAt) >= facts.stopAskedAt
  const killedForMemory = observed.oomKilled && exitCode === killedExitCode && !stopped
  const dockerSays = observed.error === '' ? undefined : `DockerStateError: ${observed.error}`
  return {
    ...facts,
    knownStatus: 'STOPPED',
    started: true,
    startedAt: observed.startedAt ?? facts.startedAt,
    finishedAt: observed.finishedAt,
    exitCode,
    reason: facts.reason ?? (killedForMemory ? outOfMemoryReason(observed.memoryUse) : dockerSays),
  }
}
