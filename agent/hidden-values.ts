/**
 * Keeps values that a container was given out of what the engine says of it: a log driver that refuses its options, or a
 * runtime that refuses a variable, repeats them when the container is started, and Docker keeps its words.
 */
import { secretLogOptions, withoutValues } from './decide/fetched-values.ts'
import type { FetchedValues } from './decide/fetched-values.ts'
import { EngineError, labels } from './engine.ts'
import type { Engine, ObservedContainer } from './engine.ts'
import type { TurnTask } from './turn-options.ts'

export interface HiddenValuesOptions<E extends Engine> {
  readonly engine: E
  /** What a container was given; undefined for one without any, one that has started, and one of an earlier life. */
  readonly givenTo: (dockerId: string) => FetchedValues | undefined
  /** Names of the options of its log driver that hold a secret, by its task's definition. */
  readonly secretOptionsOf: (shown: ObservedContainer) => ReadonlySet<string>
}

export function withValuesHidden<E extends Engine>(options: HiddenValuesOptions<E>): E {
  const { engine, givenTo } = options
  const clean = (shown: ObservedContainer): ObservedContainer => {
    if (shown.error === '') return shown
    const error = withoutValues(shown.error, valuesIn(options, shown))
    return error === shown.error ? shown : { ...shown, error }
  }
  return {
    ...engine,
    async startContainer(id) {
      try {
        await engine.startContainer(id)
      } catch (error) {
        if (!(error instanceof EngineError)) throw error
        const values = givenTo(id) ?? (await madeBefore(options, id))
        throw values === undefined ? error : new EngineError(error.kind, withoutValues(error.message, values))
      }
    },
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

/** By the definitions of the tasks that the agent knows; where it has none, each may be one. */
export function secretOptionsIn(tasks: () => readonly TurnTask[]): (shown: ObservedContainer) => ReadonlySet<string> {
  return ({ labels: of, details }) => {
    const task = tasks().find(({ payload }) => payload.arn === of[labels.taskArn])
    if (task?.facts.adopted === true) return new Set(Object.keys(details?.logOptions ?? {}))
    return secretLogOptions(task?.payload.containers.find(({ name }) => name === of[labels.containerName])?.secrets)
  }
}

async function madeBefore(options: HiddenValuesOptions<Engine>, id: string): Promise<FetchedValues | undefined> {
  const shown = await options.engine.inspectContainer(id).catch(() => undefined)
  return shown === undefined ? undefined : valuesIn(options, shown)
}

/** Of a container that was made in an earlier life, or has run before, Docker itself still has them. */
function valuesIn(
  { givenTo, secretOptionsOf }: HiddenValuesOptions<Engine>,
  shown: ObservedContainer,
): FetchedValues | undefined {
  const given = givenTo(shown.id)
  if (given !== undefined) return given
  const names = secretOptionsOf(shown)
  const options = Object.entries(shown.details?.logOptions ?? {}).filter(([name]) => names.has(name))
  if (options.length === 0) return undefined
  return { environment: new Map(), fileVariables: new Map(), logOptions: new Map(options) }
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
