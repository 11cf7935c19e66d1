/** One agent's socket as the channels see it, so that they can be driven without one. */
export interface Peer {
  /** For the log. */
  readonly id: string
  /** Sends one text frame; closes the socket instead where the agent reads too slowly. */
  send(text: string): void
  /** Closes with a code and a reason; a peer that does not answer the close is cut off soon after. */
  close(code: number, reason: string): void
  /** Takes no more frames for now: what is in hand has to be worked off first. */
  pause(): void
  resume(): void
}
