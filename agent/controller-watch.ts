/**
 * Whether the agent has a controller, from what its link says. Timers, not the wall clock, measure how long one is away:
 * a clock that jumps makes nobody alone.
 */
import type { ControllerSight } from './decide/view.ts'
import type { Timers } from './timers.ts'

export interface ControllerWatch {
  sight(): ControllerSight
  /** The link is up or down. */
  linked(isUp: boolean): void
  /** The controller has said something: a link alone may lead to what only looks like one. */
  heard(): void
  close(): void
}

export interface ControllerWatchOptions {
  readonly timers: Timers
  /** How long a controller's return is awaited. */
  readonly patienceMs: number
  /** True where the process before this one had none any more: then its return is awaited for a moment only. */
  readonly wasGone: boolean
  /** It is gone, or there again after it was. */
  readonly onChange: (isGone: boolean) => void
}

/** Enough to find a controller that is there, so that a host that boots without one is up soon. */
const patienceAfterStartMs = 10_000

export function watchController({ timers, patienceMs, wasGone, onChange }: ControllerWatchOptions): ControllerWatch {
  let isLinked = false
  /** Not heard of for longer than its return was awaited, by this process or the one before. */
  let isGone = wasGone
  let cancelWait: (() => void) | undefined
  const awaitReturn = (withinMs: number): void => {
    cancelWait ??= timers.after(withinMs, () => {
      cancelWait = undefined
      isGone = true
      onChange(true)
    })
  }
  awaitReturn(wasGone ? Math.min(patienceMs, patienceAfterStartMs) : patienceMs)
  return {
    sight() {
      if (isLinked) return 'there'
      return isGone && cancelWait === undefined ? 'gone' : 'away'
    },
    linked(isUp) {
      isLinked = isUp
      if (!isUp && !isGone) awaitReturn(patienceMs)
    },
    heard() {
      cancelWait?.()
      cancelWait = undefined
      if (!isGone) return
      isGone = false
      onChange(false)
    },
    close: () => cancelWait?.(),
  }
}
