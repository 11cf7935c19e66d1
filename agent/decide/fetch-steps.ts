/**
 * What a container needs that is fetched from the controller with the keys of the task's execution role: values of its
 * secrets, its environment files, the login of its registry. Each new Docker container has them fetched anew; one that is
 * started again has them already. They are held in memory until they are given to Docker, and stand in no facts.
 *
 * Source: amazon-ecs-agent 1.105, `agent/taskresource` (asmauth before the pull; ssmsecret, asmsecret and envfile before
 * the creation).
 */
import type { PayloadContainer } from '../../proto/acs.ts'
import { factsOf, shouldStop } from './lifecycle.ts'
import { orWait, retryWait, wait } from './step-forms.ts'
import type { EngineSteps, Step } from './steps.ts'
import type { TaskResource } from './task-resource.ts'
import type { ContainerFacts, HostView, TaskView } from './view.ts'

/** What is fetched for this container is known by it. */
export function fetchedKey(taskArn: string, container: string): string {
  return `${taskArn} ${container}`
}

/** True where the container itself is made with something that is fetched. */
export function hasFetchedEnvironment({ secrets = [], environmentFiles = [] }: PayloadContainer): boolean {
  return secrets.length + environmentFiles.length > 0
}

/** The secret with the login of the container's registry; undefined where its definition names none. */
export function registrySecretOf({ registryAuthentication: registry }: PayloadContainer): string | undefined {
  return registry?.type === 'asm' ? registry.asmAuthData?.credentialsParameter : undefined
}

export const fetchedValues: TaskResource = {
  name: 'fetched',

  prepare(view, now, host) {
    if (view.facts.adopted || shouldStop(view.payload, view.facts, host.pullBehavior)) return []
    return view.payload.containers.flatMap((container) => {
      const facts = factsOf(view.facts, container.name)
      return isMissing(view, container, facts, host) ? fetchSteps(view, container, facts, now, host) : []
    })
  },

  holds(view, container, host) {
    return isMissing(view, container, factsOf(view.facts, container.name), host) ? cause(container) : undefined
  },

  // What is in memory goes with the container's creation, or with the task's end.
  release: () => [],
}

/** What the container's image waits for; undefined where its pull needs no login, or has it. */
export function heldByRegistry(view: TaskView, container: PayloadContainer, host: HostView): string | undefined {
  if (registrySecretOf(container) === undefined || isHere(view, container, host)) return undefined
  return `waits for the login of the registry of container ${container.name}`
}

function isMissing(view: TaskView, container: PayloadContainer, facts: ContainerFacts, host: HostView): boolean {
  if (facts.knownStatus !== 'PENDING' || facts.expected === true || isHere(view, container, host)) return false
  if (view.underway.has(`createContainer:${container.name}`)) return false
  const isToBeMade = facts.dockerId === undefined && hasFetchedEnvironment(container)
  return isToBeMade || (!facts.imageReady && registrySecretOf(container) !== undefined)
}

function isHere({ payload }: TaskView, { name }: PayloadContainer, { fetched }: HostView): boolean {
  return fetched?.has(fetchedKey(payload.arn, name)) === true
}

function fetchSteps(
  view: TaskView,
  container: PayloadContainer,
  facts: ContainerFacts,
  now: number,
  host: HostView,
): readonly Step[] {
  const execution = view.facts.roles?.execution
  const { fetchRetry } = facts
  const why = fetchRetry?.why === undefined ? '' : ` (${fetchRetry.why})`
  const retry = retryWait(fetchRetry, now, `secrets and files of container ${container.name}${why}`)
  const isAlone = host.controller === 'away' || host.controller === 'gone'
  if (isAlone) return [wait(`${cause(container)}, which only the controller can give`, view.facts.acceptedAt)]
  if (retry !== undefined) return [retry]
  if (execution !== undefined && host.roleKeys?.has(execution.credentialsId) !== true) {
    return [
      wait(`waits for keys of the execution role ${execution.roleArn} from the controller`, view.facts.acceptedAt),
    ]
  }
  const args: EngineSteps['fetchForContainer'] = {
    container: container.name,
    taskArn: view.payload.arn,
    secrets: container.secrets ?? [],
    environmentFiles: (container.environmentFiles ?? []).map(({ value }) => value),
    registrySecret: facts.imageReady ? undefined : registrySecretOf(container),
    role: execution,
  }
  return orWait(view, { step: 'fetchForContainer', args }, cause(container))
}

function cause({ name, secrets = [], environmentFiles = [] }: PayloadContainer): string {
  if (secrets.length > 0) return `waits for the secrets of container ${name}`
  if (environmentFiles.length > 0) return `waits for the environment files of container ${name}`
  return `waits for the login of the registry of container ${name}`
}
