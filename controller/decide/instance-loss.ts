/**
 * When so many instances of a cluster vanish at once that a broken network is likelier than broken hosts: then what ran on
 * them is not started again elsewhere, because it still runs where it was.
 */

/** An instance counts as lost after this silence unless its cluster says otherwise, milliseconds. */
export const lostAfterMsDefault = 15_000
/** Silence is noticed by three heartbeat intervals, so that a shorter patience could not be kept. */
export const lostAfterMsMin = 15_000
export const lostAfterMsMax = 86_400_000
/** Silence of an instance that is still connected which makes it a suspect: a heartbeat and a half. */
export const suspectAfterMs = 7500

/**
 * For so long an instance whose agent is back still counts as lost: first the agent tells which of its tasks ended
 * meanwhile. Otherwise tasks that died with their host would count again, and healthy replacements be stopped for them.
 * Reports of our agent come with its connection; the rest is for stopping what is too much, within 5 s of the return.
 */
export const returnSettleMs = 3000

/**
 * For so long after a pause has ended by itself, the instances that were lost with the others and are still away are waited
 * for, milliseconds: an official agent that was cut off for long tries again after pauses of up to two minutes, and then
 * some.
 */
export const returnPatienceMs = 150_000

/** Instances that fall silent within this time of each other vanish together, milliseconds. */
export const massWindowMs = 60_000
/** Fewer than this are never a mass... */
export const massMin = 3
/** ...nor is this share of the cluster, or less. */
export const massPercent = 30

/** An instance of the cluster as the loss of many is judged by: one that is ACTIVE and was connected at least once. */
export interface InstanceSight {
  /** Since when nothing was heard of it; absent while it is well. Epoch milliseconds. */
  readonly silentSince?: number | undefined
  /** True where it comes to count as lost just now, so that its tasks would be replaced. */
  readonly isDue: boolean
}

/** What the cluster remembers of it. */
export interface LossMemory {
  readonly replacementPausedSince?: number | undefined
  readonly lossWindowSince?: number | undefined
  readonly lossesAcceptedAt?: number | undefined
}

/** A loss that may be held: `silentSince` is absent where nobody knows better than when it came to count as lost. */
export interface Loss {
  readonly lostSince: number
  readonly silentSince?: number | undefined
}

/** True where what ran there is not to be started elsewhere: it was lost with many others, and may yet come back. */
export function isHeld(
  { lostSince, silentSince = lostSince }: Loss,
  { replacementPausedSince, lossWindowSince = Number.NEGATIVE_INFINITY, returnsAwaited }: LossMemory & Awaiting,
): boolean {
  if (replacementPausedSince !== undefined && lostSince >= lossWindowSince) return true
  if (returnsAwaited === undefined) return false
  return lostSince >= returnsAwaited.since && silentSince <= returnsAwaited.pausedUntil
}

interface Awaiting {
  readonly returnsAwaited?: { readonly since: number; readonly pausedUntil: number } | undefined
}

export interface MassLoss {
  /** When the first of them fell silent, epoch milliseconds. */
  readonly windowSince: number
  /** How many fell silent within a minute of that and still are. */
  readonly vanished: number
  /** Of how many that were well before. */
  readonly of: number
}

/**
 * The mass loss for which replacement is to be paused now, if any. It begins where an instance is lost and more than 30 %
 * of the instances, and at least three, fell silent within a minute with it: suspects count, since hosts behind one switch
 * are not noticed in the same second. It ends once so many of those are back, or gone from the cluster, that it would not
 * have begun. What an operator accepted never counts again.
 */
export function massLossOf(sights: readonly InstanceSight[], memory: LossMemory): MassLoss | undefined {
  const { replacementPausedSince, lossWindowSince, lossesAcceptedAt = Number.NEGATIVE_INFINITY } = memory
  const silences = sights
    .flatMap(({ silentSince }) => (silentSince === undefined ? [] : [silentSince]))
    .toSorted((one, other) => one - other)
  if (replacementPausedSince !== undefined && lossWindowSince !== undefined) {
    const goingOn = asMass(silences, sights.length, lossWindowSince)
    if (goingOn !== undefined) return goingOn
  }
  const due = sights.flatMap(({ silentSince, isDue }) => (isDue && silentSince !== undefined ? [silentSince] : []))
  const starts = new Set(silences.filter((since) => since > lossesAcceptedAt && due.some((at) => isWithin(since, at))))
  for (const since of starts) {
    const begun = asMass(silences, sights.length, since)
    if (begun !== undefined) return begun
  }
  return undefined
}

function asMass(silences: readonly number[], instances: number, windowSince: number): MassLoss | undefined {
  const vanished = silences.filter((since) => isWithin(windowSince, since)).length
  const of = instances - silences.filter((since) => since < windowSince).length
  const isMass = vanished >= massMin && vanished * 100 > of * massPercent
  return isMass ? { windowSince, vanished, of } : undefined
}

function isWithin(windowSince: number, since: number): boolean {
  return since >= windowSince && since <= windowSince + massWindowMs
}
