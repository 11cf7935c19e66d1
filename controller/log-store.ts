/**
 * The controller's side of the store of shipped logs (`state/sqlite-logs.ts`): requests to its thread, one after the other,
 * batches that wait together in one commit. An append is answered once it is on disk.
 */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Clock } from '../proto/world.ts'
import type { Log } from './log.ts'
import type { LogBatch, LogLimits, LogRequests } from './state/sqlite-logs.ts'

export interface LogStore {
  ask<Name extends Exclude<keyof LogRequests, 'append'>>(
    name: Name,
    args: LogRequests[Name]['args'],
  ): Promise<LogRequests[Name]['answer']>
  /** False for a batch that does not follow on what is there. */
  append(batch: LogBatch): Promise<boolean>
  /** Bytes of batches that are not on disk yet. */
  readonly waitingBytes: number
  close(): Promise<void>
}

interface Waiting {
  readonly batch: LogBatch
  readonly settle: (taken: boolean) => void
  readonly fail: (error: Error) => void
}

/** What the thread answers. */
interface Told {
  readonly id: number
  readonly answer?: unknown
  readonly error?: string
}

/** Batches of one commit. */
const commitBytes = 4 * 1024 * 1024

export function openLogStore(directory: string, limits: Omit<LogLimits, 'path'>, clock: Clock, log: Log): LogStore {
  const path = join(directory, 'logs.db')
  // What containers write is nobody else's business; SQLite's own files take over this mode.
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  return new Store({ ...limits, path }, clock, log)
}

class Store implements LogStore {
  readonly #limits: LogLimits
  readonly #clock: Clock
  readonly #log: Log
  readonly #asked = new Map<number, { settle: (answer: unknown) => void; fail: (error: Error) => void }>()
  readonly #waiting: Waiting[] = []
  /** Started by the first request: a thread takes 12 MB and more, and many clusters ship no logs. */
  #worker: Worker | undefined
  #ids = 0
  #isAppending = false
  #broken: Error | undefined
  #closed = false
  waitingBytes = 0

  constructor(limits: LogLimits, clock: Clock, log: Log) {
    this.#limits = limits
    this.#clock = clock
    this.#log = log
  }

  #start(): Worker {
    const log = this.#log
    const worker = new Worker(new URL('./state/sqlite-logs.ts', import.meta.url), {
      workerData: { logLimits: this.#limits },
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    worker.unref()
    worker.on('message', (given: Told | { movedTo: string }) => {
      if ('movedTo' in given) {
        log.error(given, 'the store of container logs could not be read: it was moved aside, and begins anew')
        return
      }
      const asked = this.#asked.get(given.id)
      this.#asked.delete(given.id)
      if (given.error === undefined) asked?.settle(given.answer)
      else asked?.fail(new Error(`The log store ${this.#limits.path} does not work: ${given.error}`))
    })
    worker.on('error', (error) => {
      log.error(
        { err: error },
        'the store of container logs is gone; agents keep what is not stored. Restart to try again',
      )
      this.#broken = error instanceof Error ? error : new Error(String(error))
    })
    worker.on('exit', () => {
      this.#broken ??= closedError()
      for (const { fail } of this.#asked.values()) fail(this.#broken)
      this.#asked.clear()
    })
    return worker
  }

  async ask<Name extends keyof LogRequests>(
    name: Name,
    args: LogRequests[Name]['args'],
  ): Promise<LogRequests[Name]['answer']> {
    if (this.#broken !== undefined) throw this.#broken
    this.#worker ??= this.#start()
    const worker = this.#worker
    const id = ++this.#ids
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { settle: (answer) => resolve(answer as LogRequests[Name]['answer']), fail: reject })
      worker.postMessage({ id, name, args }, [])
    })
  }

  async append(batch: LogBatch): Promise<boolean> {
    this.waitingBytes += batch.body.length
    return new Promise<boolean>((resolve, reject) => {
      this.#waiting.push({ batch, settle: resolve, fail: reject })
      void this.#appendAll()
    }).finally(() => (this.waitingBytes -= batch.body.length))
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#worker === undefined) {
      this.#broken = closedError()
      return
    }
    await this.ask('size', {}).catch(() => 0)
    await this.#worker.terminate()
  }

  async #appendAll(): Promise<void> {
    if (this.#isAppending) return
    this.#isAppending = true
    while (this.#waiting.length > 0 && !this.#closed) {
      const together: Waiting[] = []
      for (let bytes = 0; bytes < commitBytes; ) {
        const next = this.#waiting.shift()
        if (next === undefined) break
        together.push(next)
        bytes += next.batch.body.length
      }
      try {
        const batches = together.map(({ batch }) => batch)
        const taken = await this.ask('append', { batches, now: this.#clock.now() })
        for (const [index, { settle }] of together.entries()) settle(taken[index] === true)
      } catch (error) {
        for (const { fail } of together) fail(error instanceof Error ? error : new Error(String(error)))
      }
    }
    this.#isAppending = false
  }
}

function closedError(): Error {
  return new Error('The log store is closed.')
}
