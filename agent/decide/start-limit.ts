/**
 * How many containers of this host may be on their way up at once. No one number is right: too few leave a host idle
 * while each waits for its own disk and kernel, and with too many Docker Engine gets slower for all. So the limit follows
 * what was measured: up by a few while the rate of starts holds, half the way back to where the rate was best when it
 * fell, and down at once when starts have no answer any more.
 */
export interface StartLimit {
  readonly limit: number
  readonly most: number
  /** The starts since the limit was last thought over; only those count that others waited behind. */
  readonly window: StartWindow | undefined
  /** The best rate, in starts per second, and the limit it was seen at. */
  readonly best: { readonly rate: number; readonly limit: number } | undefined
}

interface StartWindow {
  readonly begunAt: number
  readonly ended: number
}

export interface EndedStart {
  readonly startedAt: number
  readonly now: number
  /** There was no answer at all. */
  readonly timedOut: boolean
  /** Others wait for its place: without them the rate says how much there was to do, and nothing of the host. */
  readonly othersWait: boolean
}

const least = 2
const first = 8
const raiseBy = 4
/** A window is as many starts as may be under way, and not fewer than this: of a few the rate says little. */
const windowLeast = 8
/** A rate that is this close to the best one holds; neighbouring windows differ by so much on a quiet host. */
const holds = 0.9
const slowMs = 15_000
const giveWay = 0.7

export function newStartLimit(most: number): StartLimit {
  return { limit: Math.min(first, most), most, window: undefined, best: undefined }
}

/** After one start that ended, well or not. */
export function afterStart(limit: StartLimit, ended: EndedStart): StartLimit {
  if (ended.timedOut || ended.now - ended.startedAt > slowMs) return gaveWay(limit)
  if (!ended.othersWait) return { ...limit, window: undefined }
  // The first answer opens the window and is not of it: its start began while nothing was measured.
  if (limit.window === undefined) return { ...limit, window: { begunAt: ended.now, ended: 0 } }
  const window = { ...limit.window, ended: limit.window.ended + 1 }
  const durationMs = ended.now - window.begunAt
  if (window.ended < Math.max(windowLeast, limit.limit) || durationMs <= 0) return { ...limit, window }
  return thoughtOver(limit, (window.ended * 1000) / durationMs, ended.now)
}

export function startSlotsFree(limit: StartLimit, starting: number): number {
  return Math.max(0, limit.limit - starting)
}

function thoughtOver(before: StartLimit, rate: number, now: number): StartLimit {
  const best = bestOf(before, rate)
  const limit =
    rate >= best.rate * holds ? Math.min(before.most, before.limit + raiseBy) : halfwayTo(best.limit, before.limit)
  return { ...before, limit, best, window: { begunAt: now, ended: 0 } }
}

/** What was seen at the best limit before gives way to what is seen there now: hosts get busy with other things. */
function bestOf({ best, limit }: StartLimit, rate: number): { readonly rate: number; readonly limit: number } {
  if (best === undefined || rate >= best.rate) return { rate, limit }
  return limit === best.limit ? { rate: (best.rate + rate) / 2, limit } : best
}

function halfwayTo(target: number, limit: number): number {
  const between = (target + limit) / 2
  return limit > target ? Math.floor(between) : Math.ceil(between)
}

function gaveWay(limit: StartLimit): StartLimit {
  const lower = within(Math.floor(limit.limit * giveWay), limit.most)
  return { ...limit, limit: lower, window: undefined, best: undefined }
}

function within(limit: number, most: number): number {
  return Math.max(Math.min(least, most), Math.min(most, limit))
}
