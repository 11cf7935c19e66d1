/**
 * Keeps an eye on Docker Engine: its events as hints, and a full list as truth: at the start, each minute, and whenever
 * the event stream or the engine has come back. The stream is opened before the list is asked for, so that nothing
 * falls between the two.
 */
import { EngineError } from './engine.ts'
import type { ContainerList, Engine } from './engine.ts'
import type { Timers } from './timers.ts'

export interface EngineWatch {
  /** Lists soon; calls while a list is under way become one more list. */
  lookNow(): void
  /** Nothing is called back any more; a call that the engine still owes an answer is not waited for. */
  close(): void
}

export interface EngineWatchOptions {
  readonly engine: Engine
  readonly timers: Timers
  /** Before each list; its answer comes back with the list, to put looks in order. */
  readonly onListBegins: () => number
  readonly onList: (list: ContainerList, begun: number) => void
  readonly onHint: (containerId: string) => void
  /** The engine does not answer; nothing may be concluded about its containers. */
  readonly onSilence: (error: EngineError) => void
}

const listEveryMs = 60_000
const retryFirstMs = 250
/** While it is away its host is given no tasks, and its short restarts are no news: that it is back is to be seen soon. */
const retryMostMs = 1000
/** The stream may open a moment after the call for it: a second list closes the gap. */
const afterOpeningMs = 1000

export function watchEngine(options: EngineWatchOptions): EngineWatch {
  const closing = new AbortController()
  const lists = listRepeatedly(options, closing.signal)
  void streamEvents(options, closing.signal, lists.lookNow)
  lists.lookNow()
  return {
    lookNow: lists.lookNow,
    close() {
      closing.abort()
      lists.wake()
    },
  }
}

async function streamEvents(options: EngineWatchOptions, signal: AbortSignal, lookNow: () => void): Promise<void> {
  const { engine, timers } = options
  for (let delayMs = retryFirstMs; !signal.aborted; delayMs = Math.min(delayMs * 2, retryMostMs)) {
    let events = 0
    const cancel = timers.after(afterOpeningMs, lookNow)
    try {
      await engine.watch((event) => {
        events += 1
        if (!signal.aborted) options.onHint(event.containerId)
      }, signal)
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
    } finally {
      cancel()
    }
    if (signal.aborted) return
    if (events > 0) delayMs = retryFirstMs
    // Whatever happened while nobody listened shows in a list.
    lookNow()
    await pause(timers, delayMs, signal)
  }
}

function listRepeatedly(options: EngineWatchOptions, signal: AbortSignal) {
  let wanted = false
  let wake: (() => void) | undefined
  const lookNow = (): void => {
    wanted = true
    wake?.()
  }
  const run = async (): Promise<void> => {
    let retryMs = retryFirstMs
    while (!signal.aborted) {
      if (!wanted) {
        await new Promise<void>((resolve) => {
          const cancel = options.timers.after(listEveryMs, resolve)
          wake = () => {
            cancel()
            resolve()
          }
        })
      }
      if (signal.aborted) return
      wanted = false
      const answered = await listOnce(options, signal)
      retryMs = answered ? retryFirstMs : Math.min(retryMs * 2, retryMostMs)
      if (!answered) {
        await pause(options.timers, retryMs, signal)
        wanted = true
      }
    }
  }
  void run()
  return { lookNow, wake: () => wake?.() }
}

async function listOnce(options: EngineWatchOptions, signal: AbortSignal): Promise<boolean> {
  const { engine } = options
  try {
    // A list may take its time; a ping tells quickly whether anybody is there at all.
    await engine.ping()
    const begun = options.onListBegins()
    const list = await engine.listContainers()
    if (!signal.aborted) options.onList(list, begun)
    return true
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    if (!signal.aborted) options.onSilence(error)
    return false
  }
}

async function pause(timers: Timers, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    const end = (): void => {
      cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const cancel = timers.after(delayMs, end)
    signal.addEventListener('abort', end)
  })
}
