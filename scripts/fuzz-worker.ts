/** The program of the threads behind `npm run fuzz`. */
import { targetNamed } from '../test/fuzz/targets.ts'
import { serveBatches } from './fuzz-batches.ts'

serveBatches(targetNamed)
