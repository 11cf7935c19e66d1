/** Tells the controller when the disk of Docker Engine becomes nearly full, and when there is room again. */
import type { GantryDiskUse, GantryHostReport } from '../proto/acs.ts'

export interface DiskReporterOptions {
  readonly uuid: () => string
  /** False where there is no link, or it is full: then the next look tells. */
  readonly send: (type: string, message: object) => boolean
}

export class DiskReporter {
  readonly #options: DiskReporterOptions
  #last: GantryDiskUse | undefined
  #told: boolean | undefined

  constructor(options: DiskReporterOptions) {
    this.#options = options
  }

  /** A new connection knows nothing. */
  linkUp(): void {
    this.#told = undefined
    this.#tell()
  }

  seen(use: GantryDiskUse): void {
    this.#last = use
    this.#tell()
  }

  #tell(): void {
    if (this.#last === undefined || this.#last.isPressed === this.#told) return
    const message: GantryHostReport = { messageId: this.#options.uuid(), disk: this.#last }
    if (this.#options.send('GantryHostReport', message)) this.#told = this.#last.isPressed
  }
}
