/** Tells the controller that Docker Engine does not answer, once that has lasted, and at once that it answers again. */
import type { GantryHostReport } from '../proto/acs.ts'

/** A restart of the engine is shorter, and no reason to send tasks elsewhere. */
const silenceToldAfterMs = 5000
/** A link that is full is tried again after this long. */
const retryMs = 1000

export interface EngineReporterOptions {
  readonly uuid: () => string
  /** False where there is no link, or it is full. */
  readonly send: (type: string, message: object) => boolean
}

export class EngineReporter {
  readonly #options: EngineReporterOptions
  #told: 'answers' | 'silent' | undefined

  constructor(options: EngineReporterOptions) {
    this.#options = options
  }

  /** What was said may be lost with the link, and a new connection is told again. */
  linkDown(): void {
    this.#told = undefined
  }

  /** Says what is news; `silentSince` is undefined while the engine answers. Answers when to be called again. */
  tell(silentSince: number | undefined, now: number): number | undefined {
    const silentForMs = silentSince === undefined ? 0 : Math.max(0, now - silentSince)
    if (silentSince !== undefined && silentForMs < silenceToldAfterMs) return silentSince + silenceToldAfterMs
    const news = silentSince === undefined ? 'answers' : 'silent'
    if (news === this.#told) return undefined
    const message: GantryHostReport = { messageId: this.#options.uuid(), engineSilentForMs: silentForMs }
    if (!this.#options.send('GantryHostReport', message)) return now + retryMs
    this.#told = news
    return undefined
  }
}
