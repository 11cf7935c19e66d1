/**
 * How many connections each client has open, and how many of those have shown nothing yet: who fills the listener keeps
 * nobody but itself out. A client is an address, or the /64 of an IPv6 one; the machine itself is not counted.
 */
import { clientNetworkOf } from './access/ip-range.ts'
import { isLoopback } from './config.ts'

export interface ClientLimits {
  readonly connectionsPerAddressMax: number
  readonly handshakesPerAddressMax: number
}

/** One connection that was let in. Telling the same twice changes nothing. */
export interface ClientConnection {
  handshakeEnded(): void
  closed(): void
}

interface Counts {
  open: number
  shaking: number
}

export class ClientConnections {
  readonly #limits: ClientLimits
  readonly #byClient = new Map<string, Counts>()

  constructor(limits: ClientLimits) {
    this.#limits = limits
  }

  /** Clients that have a connection. */
  get size(): number {
    return this.#byClient.size
  }

  /** Undefined where the client has too many already. */
  admit(address: string): ClientConnection | undefined {
    if (isLoopback(address.replace(/^::ffff:/i, '')))
      return { handshakeEnded: () => undefined, closed: () => undefined }
    const client = clientNetworkOf(address)
    const counts = this.#byClient.get(client) ?? { open: 0, shaking: 0 }
    const { connectionsPerAddressMax, handshakesPerAddressMax } = this.#limits
    if (counts.open >= connectionsPerAddressMax || counts.shaking >= handshakesPerAddressMax) return undefined
    counts.open += 1
    counts.shaking += 1
    this.#byClient.set(client, counts)
    let isShaking = true
    let isOpen = true
    const handshakeEnded = (): void => {
      if (isShaking) counts.shaking -= 1
      isShaking = false
    }
    return {
      handshakeEnded,
      closed: () => {
        handshakeEnded()
        if (isOpen) counts.open -= 1
        isOpen = false
        if (counts.open === 0 && this.#byClient.get(client) === counts) this.#byClient.delete(client)
      },
    }
  }
}
