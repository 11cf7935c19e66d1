/** Reads the Condition of a statement: `{ operator: { key: value or values } }`. */
import { isConditionKey } from './condition-keys.ts'
import { type Operator, operatorNames, operatorOf, type ValueTest } from './condition-operators.ts'
import type { Condition, Quantifier } from './conditions.ts'
import { PolicyProblem, readObject } from './policy-members.ts'
import { parseTemplate, variablesOf } from './policy-template.ts'

interface ConditionPlace {
  readonly place: string
  readonly hasVariables: boolean
}

interface OperatorName {
  readonly base: string
  readonly quantifier: Quantifier | undefined
  readonly isIfExists: boolean
}

export function parseConditions(given: unknown, { place, hasVariables }: ConditionPlace): readonly Condition[] {
  if (given === undefined) return []
  return Object.entries(readObject(given, `${place}.Condition`)).flatMap(([operator, keys]) => {
    const where = `${place}.Condition.${operator}`
    const name = parseOperatorName(operator)
    return Object.entries(readObject(keys, where)).map(([key, value]) => {
      if (!isConditionKey(key)) throw new PolicyProblem(unknownKey(key), where)
      const values = readValues(value, `${where}.${key}`)
      if (name.base.toLowerCase() === 'null') return nullCondition(key, values, name, where)
      const found = operatorOf(name.base)
      if (found === undefined) throw new PolicyProblem(unknownOperator(operator), `${place}.Condition`)
      const tests = values.map((text) => parseValue(found, text, { place: `${where}.${key}`, hasVariables }))
      const { quantifier, isIfExists } = name
      return { kind: 'compare', key: key.toLowerCase(), operator: found, quantifier, isIfExists, tests } as const
    })
  })
}

function parseOperatorName(operator: string): OperatorName {
  const [, set, base = '', ifExists] = /^(?:(ForAllValues|ForAnyValue):)?(.*?)(IfExists)?$/i.exec(operator) ?? []
  const quantifier = set === undefined ? undefined : set.toLowerCase() === 'forallvalues' ? 'all' : 'any'
  return { base, quantifier, isIfExists: ifExists !== undefined }
}

function nullCondition(key: string, values: readonly string[], name: OperatorName, place: string): Condition {
  if (name.isIfExists || name.quantifier !== undefined) {
    throw new PolicyProblem('Null says by itself whether a key exists: it takes no IfExists and no set operator', place)
  }
  const wanted = values.map((text) => {
    const value = text.toLowerCase()
    if (value !== 'true' && value !== 'false') throw new PolicyProblem(`Null takes true or false, not ${text}`, place)
    return value === 'true'
  })
  return { kind: 'null', key: key.toLowerCase(), wanted }
}

function parseValue(operator: Operator, text: string, { place, hasVariables }: ConditionPlace): ValueTest {
  const template = parseTemplate(text, hasVariables && operator.takesVariables)
  if ('problem' in template) throw new PolicyProblem(template.problem, place)
  const unknown = variablesOf(template).find((key) => !isConditionKey(key))
  if (unknown !== undefined) throw new PolicyProblem(unknownKey(unknown), place)
  const test = operator.compile(template, text)
  if (test === undefined) throw new PolicyProblem(`${JSON.stringify(text)} is not ${operator.takes}`, place)
  return test
}

/** Numbers and booleans stand for their texts, as IAM reads them. */
function readValues(value: unknown, place: string): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (list.length === 0) throw new PolicyProblem('A condition without a value never holds', place)
  return list.map((one) => {
    if (typeof one === 'string') return one
    if (typeof one === 'number' || typeof one === 'boolean') return String(one)
    throw new PolicyProblem('Syntax errors in policy: a condition has a text or a list of texts', place)
  })
}

function unknownOperator(name: string): string {
  return (
    `Invalid Condition type : ${name}. There are ${operatorNames.join(', ')}, each but Null also with IfExists behind ` +
    'it and with ForAllValues: or ForAnyValue: before it'
  )
}

function unknownKey(key: string): string {
  return (
    `The condition key ${key} is not one that Gantry evaluates, so a policy with it would not do what it says: ` +
    'docs/authorisation.md lists the keys'
  )
}
