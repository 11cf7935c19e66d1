/** Where an installation keeps things. docs/install.md shows it to operators. */
import { join } from 'node:path'
import type { Role } from './arguments.ts'

export const layout = {
  directory: '/opt/gantry',
  versions: '/opt/gantry/versions',
  current: '/opt/gantry/current',
  settings: '/etc/gantry',
  credentials: '/etc/gantry/agent-credentials',
  data: '/var/lib/gantry',
  units: '/etc/systemd/system',
  command: '/usr/local/bin/gantry',
} as const

/** The operators' command: cli/main.ts of the version that is current, or its way for a host to join. */
export const commandText = `#!/bin/sh
# Gantry's command, written by its installer.
program=cli/main.ts
if [ "\${1:-}" = join ]; then
  shift
  program=agent/join/main.ts
fi
LD_LIBRARY_PATH=${layout.current}/lib exec ${layout.current}/bin/node ${layout.current}/$program "$@"
`

/** The controller's own system user; the agent, which drives Docker, is root. */
export const userOf: Readonly<Record<Role, string | undefined>> = { controller: 'gantry', agent: undefined }

export const unitOf = (role: Role): string => `gantry-${role}.service`
export const unitFileOf = (role: Role): string => join(layout.units, unitOf(role))
export const envFileOf = (role: Role): string => join(layout.settings, `${role}.env`)
export const dataOf = (role: Role): string => join(layout.data, role)
export const versionDirectory = (id: string): string => join(layout.versions, id)
