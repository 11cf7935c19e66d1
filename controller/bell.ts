/** Lets one waiter sleep until something has happened; what happens while nobody sleeps is not missed. */
export class Bell {
  #rung = false
  #wake: (() => void) | undefined

  ring(): void {
    this.#rung = true
    this.#wake?.()
  }

  /** At once where it was rung since the last wait. Without a time, for as long as it takes; milliseconds. */
  async wait(timeoutMs?: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        if (timeoutMs !== undefined) setTimeout(resolve, timeoutMs)
      })
    }
    this.#rung = false
    this.#wake = undefined
  }
}
