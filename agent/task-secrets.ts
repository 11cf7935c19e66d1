/** All that an agent holds in memory for its tasks and writes nowhere: keys of their roles, and what is fetched with them. */
import { openControllerApi } from './controller-api.ts'
import type { ControllerApi, ControllerApiOptions } from './controller-api.ts'
import { createFetchedSecrets } from './fetched-secrets.ts'
import type { FetchedSecrets } from './fetched-secrets.ts'
import { createRoleCredentials } from './role-credentials.ts'
import type { RoleCredentials } from './role-credentials.ts'
import type { TurnLog } from './turn-options.ts'

export interface TaskSecrets {
  /** In the name of tasks' roles. */
  readonly api: ControllerApi
  readonly roleCredentials: RoleCredentials
  readonly fetched: FetchedSecrets
}

export function openTaskSecrets(options: ControllerApiOptions & { readonly log: TurnLog }): TaskSecrets {
  const { now, log } = options
  const api = openControllerApi(options)
  const roleCredentials = createRoleCredentials()
  return { api, roleCredentials, fetched: createFetchedSecrets({ api, roleCredentials, now, log }) }
}
