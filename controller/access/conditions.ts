/**
 * A statement's Condition: every operator and every key in it must hold; of a key's values one is enough.
 *
 * Source: AWS IAM User Guide, "Conditions with multiple context keys or values", "Set operators for multi-valued
 * context keys", and "IfExists".
 */
import type { Operator, ValueTest } from './condition-operators.ts'
import type { KeyReader } from './policy-template.ts'

export type Quantifier = 'all' | 'any'

export interface ComparingCondition {
  readonly kind: 'compare'
  /** In lower case. */
  readonly key: string
  readonly operator: Operator
  /** ForAllValues or ForAnyValue. */
  readonly quantifier: Quantifier | undefined
  readonly isIfExists: boolean
  readonly tests: readonly ValueTest[]
}

export interface NullCondition {
  readonly kind: 'null'
  readonly key: string
  /** True where the request must not have the key. Both, where a policy lists both. */
  readonly wanted: readonly boolean[]
}

export type Condition = ComparingCondition | NullCondition

/**
 * `isDeny` says which way is safe where a variable has no value: such a comparison never makes an allow hold, nor keeps a
 * deny that asks for a difference from holding.
 */
export function holdsCondition(condition: Condition, read: KeyReader, isDeny: boolean): boolean {
  const values = valuesOf(read(condition.key))
  if (condition.kind === 'null') return condition.wanted.includes(values.length === 0)
  const { operator, quantifier, isIfExists, tests } = condition
  if (values.length === 0) {
    // A set operator says by itself what no values are, with IfExists behind it too.
    if (quantifier !== undefined) return quantifier === 'all'
    return isIfExists || operator.isNegated
  }
  const holds = (value: string): boolean => {
    let isUnresolved = false
    for (const test of tests) {
      const fits = test(value, read)
      if (fits === true) return !operator.isNegated
      isUnresolved ||= fits === undefined
    }
    return operator.isNegated && (isDeny || !isUnresolved)
  }
  // AWS requires a set operator for several values, and doesn't say what they are without one. Here an allow holds for all
  // of them or not at all, and a deny for any.
  const isForAll = quantifier === undefined ? !isDeny : quantifier === 'all'
  return isForAll ? values.every(holds) : values.some(holds)
}

function valuesOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return []
  return typeof value === 'string' ? [value] : value
}
