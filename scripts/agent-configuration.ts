/** Writes docs/agent-configuration.md from the agent's table of variables; a test sees to it that it was run. */
import { writeFileSync } from 'node:fs'
import { configFileDefault, configFileVariable } from '../agent/config.ts'
import { variables } from '../agent/config-variables.ts'
import type { Variable } from '../agent/config-variable.ts'

export const configurationPage = new URL('../docs/agent-configuration.md', import.meta.url)

const opening = `# The agent's configuration

The names are those of the Amazon ECS container agent wherever it has one; names with \`GANTRY_\` are Gantry's own.
A variable comes from the environment or from \`${configFileDefault}\` (lines of \`KEY=VALUE\`; another file by
\`${configFileVariable}\`); the environment comes first. Durations are written as \`30s\`, \`10m\` or \`1h30m\`.

A bad value is logged and the default stands, except where "fatal" is noted: there the agent ends and says why.
A variable with \`ECS_\` that is not in this table is logged and has no effect. Values marked "secret" are never shown.

| variable | meaning | default |
|---|---|---|
`

export function renderConfigurationPage(): string {
  const rows = Object.values<Variable<unknown>>(variables).map((one) => {
    const names = [one.name, one.otherName].filter((name) => name !== undefined).map((name) => `\`${name}\``)
    const notes = [one.fatal === true ? 'fatal' : '', one.secret === true ? 'secret' : ''].filter((note) => note !== '')
    const meaning = notes.length === 0 ? one.meaning : `${one.meaning} (${notes.join(', ')})`
    const fallback = one.defaultText === '' ? '' : `\`${one.defaultText}\`${one.unit === '' ? '' : ` ${one.unit}`}`
    return `| ${names.join(', ')} | ${meaning} | ${fallback} |\n`
  })
  return opening + rows.join('')
}

if (import.meta.main) writeFileSync(configurationPage, renderConfigurationPage())
