/**
 * A program of the lab imports this before all else, so that nothing is done twice: it starts anew in a network of its own,
 * unless it has.
 */
import { enterOwnNetwork } from './own-network.ts'

/** The network namespace that the lab is in. */
export const network = enterOwnNetwork()
