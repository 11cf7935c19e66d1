/**
 * Which capacity providers a cluster may name, and its default strategy over them.
 *
 * FARGATE and FARGATE_SPOT exist in every ECS account, and Terraform's modules attach them to every cluster, so a cluster
 * may name them; no task can be placed on them here. Any other provider has to have been created first, which is not
 * possible yet. Source: the ECS API reference, PutClusterCapacityProviders and CapacityProviderStrategyItem.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Cluster } from '../../proto/model/types.ts'

type Strategy = NonNullable<Cluster['defaultCapacityProviderStrategy']>

const predefinedProviders = ['FARGATE', 'FARGATE_SPOT']
const providersMax = 20
const weightMax = 1000
const baseMax = 100_000

/** Both members as a cluster stores them; InvalidParameterException where one breaks a rule. */
export function checkCapacityProviders(
  providers: readonly string[] | undefined,
  strategy: Strategy | undefined,
): { capacityProviders: readonly string[]; defaultCapacityProviderStrategy: Strategy } {
  const names = providers ?? []
  if (names.length > providersMax) {
    throw invalidParameter(
      `A cluster can have at most ${providersMax} capacity providers, and ${names.length} are given.`,
    )
  }
  for (const [index, name] of names.entries()) {
    if (!predefinedProviders.includes(name)) throw unknownProvider(name)
    if (names.indexOf(name) !== index) throw invalidParameter(`Capacity provider ${name} is given twice.`)
  }
  return { capacityProviders: names, defaultCapacityProviderStrategy: checkStrategy(strategy ?? [], names) }
}

function unknownProvider(name: string): Error {
  return invalidParameter(
    `The specified capacity provider '${name}' could not be found. Specify a valid name or ARN and try again. ` +
      `Known here: ${predefinedProviders.join(', ')}.`,
  )
}

function checkStrategy(strategy: Strategy, names: readonly string[]): Strategy {
  for (const item of strategy) checkItem(item, names)
  const used = strategy.map((item) => item.capacityProvider)
  if (new Set(used).size !== used.length) {
    throw invalidParameter('A capacity provider can be in a capacity provider strategy only once.')
  }
  if (strategy.filter((item) => (item.base ?? 0) > 0).length > 1) {
    throw invalidParameter('Only one capacity provider in a capacity provider strategy can have a base other than 0.')
  }
  if (strategy.length > 0 && strategy.every((item) => (item.weight ?? 0) === 0)) {
    throw invalidParameter('At least one capacity provider of a strategy must have a weight greater than 0.')
  }
  return strategy.map((item) => ({ ...item, weight: item.weight ?? 0, base: item.base ?? 0 }))
}

function checkItem(item: Strategy[number], names: readonly string[]): void {
  const { capacityProvider, weight = 0, base = 0 } = item
  if (capacityProvider === undefined || !names.includes(capacityProvider)) {
    throw invalidParameter(
      'The specified capacity provider strategy cannot contain a capacity provider that is not associated with the ' +
        `cluster ('${capacityProvider ?? ''}'). Associate the capacity provider with the cluster and try again.`,
    )
  }
  if (!Number.isInteger(weight) || weight < 0 || weight > weightMax) {
    throw invalidParameter(`The weight of ${capacityProvider} must be a whole number from 0 to ${weightMax}.`)
  }
  if (!Number.isInteger(base) || base < 0 || base > baseMax) {
    throw invalidParameter(`The base of ${capacityProvider} must be a whole number from 0 to ${baseMax}.`)
  }
}
