/**
 * The settings and the configuration of a cluster. Source: the ECS API reference, ClusterSetting and
 * ExecuteCommandConfiguration.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Cluster } from '../../proto/model/types.ts'

type Settings = NonNullable<Cluster['settings']>
type Configuration = NonNullable<Cluster['configuration']>

const containerInsightsValues = ['enhanced', 'enabled', 'disabled']

/** What a new cluster has where its creator says nothing: as the account setting of that name is. */
export function initialClusterSettings(containerInsights: string): Settings {
  return [{ name: 'containerInsights', value: containerInsights }]
}

/** The settings of `before` with those that are given put over them. */
export function checkClusterSettings(given: Settings | undefined, before: Settings | undefined): Settings {
  const values = new Map((before ?? initialClusterSettings('disabled')).map((s) => [s.name, s]))
  for (const setting of given ?? []) {
    if (setting.name === undefined) throw invalidParameter('settings.name should not be null or empty.')
    if (!containerInsightsValues.includes(setting.value ?? '')) {
      throw invalidParameter(
        `Invalid value '${setting.value ?? ''}' for setting ${setting.name}. ` +
          `It takes one of ${containerInsightsValues.join(', ')}.`,
      )
    }
    values.set(setting.name, setting)
  }
  return [...values.values()]
}

/** InvalidParameterException where execute-command logging is to be overridden and nothing says by what. */
export function checkClusterConfiguration(configuration: Configuration): Configuration {
  const command = configuration.executeCommandConfiguration
  if (command?.logging === 'OVERRIDE' && command.logConfiguration === undefined) {
    throw invalidParameter(
      'executeCommandConfiguration.logConfiguration is required where executeCommandConfiguration.logging is OVERRIDE.',
    )
  }
  if (command?.logging !== 'OVERRIDE' && command?.logConfiguration !== undefined) {
    throw invalidParameter(
      'executeCommandConfiguration.logConfiguration is allowed only where executeCommandConfiguration.logging is OVERRIDE.',
    )
  }
  return configuration
}
