/** The form of one variable of the agent's configuration, and short ways to write the usual kinds. */
import { durationAtLeast, readBoolean } from './config-values.ts'

export interface Variable<T> {
  readonly name: string
  /** A second name, read where the first is not set. */
  readonly otherName?: string
  readonly meaning: string
  /** As one would write it; read by the same reader. */
  readonly defaultText: string
  /** What a number means, for example MiB; empty where the form says it. */
  readonly unit: string
  readonly read: (text: string) => T
  /** A bad value ends the agent rather than giving way to the default. */
  readonly fatal?: boolean
  /** The value is never shown. */
  readonly secret?: boolean
}

export function variable<T>(one: Variable<T>): Variable<T> {
  return one
}

export const duration = (name: string, defaultText: string, minimum: string, meaning: string): Variable<number> =>
  variable({ name, meaning: `${meaning} (at least ${minimum})`, defaultText, unit: '', read: durationAtLeast(minimum) })

export const flag = (name: string, meaning: string): Variable<boolean> =>
  variable({ name, meaning, defaultText: 'false', unit: '', read: readBoolean })
