/** From the engine's list of containers to what each of them is, one look for each. */
import { EngineError } from './engine.ts'
import type { ContainerList, ListedContainer, ObservedContainer } from './engine.ts'

/** Looks in flight at once. */
const parallelLooks = 8

/**
 * Looks at each listed container. One that the engine does not show, slow or broken as it may be, costs the others
 * nothing; only an engine that went away (`unreachable`) fails the list. One that is gone by now is left out.
 */
export async function showEach(
  listed: readonly ListedContainer[],
  look: (id: string) => Promise<ObservedContainer | undefined>,
): Promise<ContainerList> {
  const shown: ObservedContainer[] = []
  const unshown: ListedContainer[] = []
  const queue = [...listed]
  const worker = async (): Promise<void> => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      try {
        const seen = await look(one.id)
        if (seen !== undefined) shown.push(seen)
      } catch (error) {
        if (!(error instanceof EngineError) || error.kind === 'unreachable') throw error
        unshown.push(one)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(parallelLooks, listed.length) }, worker))
  return { shown, unshown }
}
