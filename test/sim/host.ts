/** A host as the rest of the simulation sees it, whatever agent runs on it. */
import type { FakeContainer } from '../support/fake-engine.ts'
import type { SimEngine } from './sim-engine.ts'

export interface Host {
  readonly name: string
  readonly engine: SimEngine
  /** What its wall clock shows beside the simulated time. */
  clockOffsetMs: number
  version: string
  /** False while the machine is without power. */
  readonly powered: boolean
  /** Ports that programs outside of Gantry hold. */
  readonly busyTcp: Set<number>
  readonly containerInstanceArn: string | undefined
  /** The agent's process is there and registered. */
  readonly isRunning: boolean
  /** It is,  and its control channel is open. */
  readonly isConnected: boolean
  /** False where its containers may go and its journal may not: a host loses one of the two, never both. */
  readonly mayLoseJournal: boolean
  /**
   * Its disk holds that this container was made. The journal syncs that a moment later, since Docker tells it again: until
   * then a crash and the container's loss together are the loss of both, after which nobody could know that it ran.
   */
  hasNoted(container: FakeContainer): boolean
  start(): void
  /** As `kill -9` of the agent, which is started again by whoever keeps it. */
  kill(silently?: boolean): void
  powerCut(): void
  powerOn(): void
  setDiskFull(isFull: boolean): void
  loseJournal(): void
  /** Tasks that the running agent knows; empty while there is none. */
  knownTaskArns(): readonly string[]
  /** It holds keys of a task's role under this id. */
  hasKeys(credentialsId: string): boolean
  /** For how long the keys of a task's role under this id are good by its clock; nought where it holds none. */
  keysLeftMs(credentialsId: string): number
  /** What it holds in memory for tasks: values that no container was given yet, keys of roles. */
  heldSecrets(): readonly string[]
  /** Tasks that its disk holds. */
  keptTaskArns(): readonly string[]
  /** One sentence for each report that the controller has not acknowledged. */
  unreported(): readonly string[]
}
