/**
 * Keeps values that a container was given out of what the engine says of it: a log driver that refuses its options, or a
 * runtime that refuses a variable, repeats them when the container is started, and Docker keeps its words.
 */
import { withoutValues } from './decide/fetched-values.ts'
import type { FetchedValues } from './decide/fetched-values.ts'
import { EngineError } from './engine.ts'
import type { Engine, ObservedContainer } from './engine.ts'

export interface HiddenValuesOptions<E extends Engine> {
  readonly engine: E
  /** What a container was given; undefined for one without any, and for one that has started. */
  readonly givenTo: (dockerId: string) => FetchedValues | undefined
}

export function withValuesHidden<E extends Engine>({ engine, givenTo }: HiddenValuesOptions<E>): E {
  const clean = (shown: ObservedContainer): ObservedContainer => {
    const error = withoutValues(shown.error, givenTo(shown.id))
    return error === shown.error ? shown : { ...shown, error }
  }
  return {
    ...engine,
    startContainer: async (id) => hidingErrors(givenTo(id), async () => engine.startContainer(id)),
    async inspectContainer(idOrName) {
      const shown = await engine.inspectContainer(idOrName)
      return shown === undefined ? undefined : clean(shown)
    },
    async listContainers() {
      const list = await engine.listContainers()
      return { ...list, shown: list.shown.map(clean) }
    },
  }
}

/** Its error, too, holds none of the values; its cause, which may, is let go. */
export async function hidingErrors<T>(values: FetchedValues | undefined, act: () => Promise<T>): Promise<T> {
  if (values === undefined) return act()
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    throw new EngineError(error.kind, withoutValues(error.message, values))
  }
}
