/** Every operation of the ECS API that is built. What is modelled and not here answers UnsupportedFeatureException. */
import { accountSettingHandlers } from './account-settings.ts'
import { attributeHandlers } from './attributes.ts'
import { clusterHandlers } from './clusters.ts'
import { executeCommandHandlers } from './execute-command.ts'
import type { Handlers } from './handler.ts'
import { instanceHandlers } from './instances.ts'
import { serviceHistoryHandlers } from './service-history.ts'
import { serviceHandlers } from './services.ts'
import { submitHandlers } from './submit.ts'
import { tagHandlers } from './tag-resource.ts'
import { taskDefinitionHandlers } from './task-definitions.ts'
import { taskProtectionHandlers } from './task-protection.ts'
import { taskSetHandlers } from './task-sets.ts'
import { taskHandlers } from './tasks.ts'
import { containerAgentHandlers } from './update-container-agent.ts'

export const operations: Handlers = {
  ...clusterHandlers,
  ...taskDefinitionHandlers,
  ...taskHandlers,
  ...taskProtectionHandlers,
  ...taskSetHandlers,
  ...instanceHandlers,
  ...serviceHandlers,
  ...serviceHistoryHandlers,
  ...submitHandlers,
  ...tagHandlers,
  ...attributeHandlers,
  ...accountSettingHandlers,
  ...containerAgentHandlers,
  ...executeCommandHandlers,
}
