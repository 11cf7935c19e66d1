/**
 * What is secret in a history: values that carry a mark, so that one is recognised wherever it turns up; and the store of
 * environment files, which is outside of the controller. Whoever stores, sends or writes a line looks for the mark.
 */
import type { SimLog } from './sim-log.ts'

/** In each value of a secret or an environment file. A vault of the tests turns it round. */
const mark = 'SeCrEt7'
/** What the token of each role's keys begins with: those too are held in memory alone. */
const tokenMark = 'gantry1.'

/** True where a text holds what must stay in the memory of who uses it. */
export function isSecret(text: string): boolean {
  return text.includes(mark) || text.includes(tokenMark)
}

export function keepsSecrets(log: Pick<SimLog, 'violated'>, place: string, text: string): void {
  if (isSecret(text)) log.violated('secretsStayWhereTheyBelong', place)
}

/** So short that keys of tasks' roles are replaced in the midst of all faults, and end while a host is cut off. */
export const keysLifeMs = 180_000

/** What tasks of the simulation are given, by the `valueFrom` of their definitions. */
export const secretArn = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db'
export const parameterName = '/app/token'
export const fileArn = 'arn:aws:s3:::files/app.env'
/** Nobody ever puts this one. */
export const missingParameter = '/never/there'
/** The variable that stands in the file. */
export const fileVariable = 'SETTING'

export type SecretThing = 'secret' | 'parameter' | 'file'

export class SimSecrets {
  /** What the store of environment files holds now, by ARN. */
  readonly files = new Map<string, string>()
  /** The store of environment files answers that it can't now. */
  areFilesAway = false
  readonly #values = new Map<SecretThing, Set<string>>()
  #made = 0

  /** A value that nothing had before. From now on a container may have been given it. */
  newValue(thing: SecretThing): string {
    this.#made += 1
    const value = `${mark}-${thing}-${this.#made}`
    this.#values.set(thing, (this.#values.get(thing) ?? new Set()).add(value))
    return value
  }

  /** Undefined where the container has what its payload asks for; else what it lacks. */
  lackOf(wanted: Wanted, environment: readonly string[]): string | undefined {
    const has = new Map(environment.map((one) => one.split(/=(.*)/s).slice(0, 2) as [string, string]))
    const named = (wanted.secrets ?? []).map(({ name, valueFrom }) => [name, thingOf(valueFrom)] as const)
    const all = [...named, ...(wanted.environmentFiles ?? []).map(() => [fileVariable, 'file'] as const)]
    const lacking = all.find(([name, thing]) => {
      const value = has.get(name)
      return thing === undefined || value === undefined || this.#values.get(thing)?.has(value) !== true
    })
    return lacking?.[0]
  }
}

interface Wanted {
  readonly secrets?: readonly { readonly name: string; readonly valueFrom: string }[] | undefined
  readonly environmentFiles?: readonly object[] | undefined
}

function thingOf(valueFrom: string): SecretThing | undefined {
  if (valueFrom.startsWith(secretArn)) return 'secret'
  return valueFrom === parameterName ? 'parameter' : undefined
}
