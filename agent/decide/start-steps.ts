/** Brings a task up: first what it needs beside its containers, then each container as far as its gate is open. */
import type { PayloadContainer } from '../../proto/acs.ts'
import { createBody, logDriverOf } from './container.ts'
import { hasFetchedEnvironment, heldByRegistry, registrySecretOf } from './fetch-steps.ts'
import { awaitsLook, createGate, factsOf, startGate } from './lifecycle.ts'
import type { Gate } from './lifecycle.ts'
import { orWait, retryWait, wait } from './step-forms.ts'
import { startSlotCause, takesStartSlot } from './steps.ts'
import type { EngineSteps, Step } from './steps.ts'
import { heldByResource, prepareResources } from './task-resources.ts'
import type { HostView, TaskView } from './view.ts'

export function startSteps(view: TaskView, now: number, host: HostView): Step[] {
  const resources = prepareResources(view, now, host)
  let slots = host.startSlotsFree
  const containers = view.payload.containers.flatMap((container) => {
    const steps = containerSteps(view, container, now, host, slots)
    slots -= steps.filter(takesStartSlot).length
    return steps
  })
  return [...resources, ...containers]
}

function containerSteps(
  view: TaskView,
  container: PayloadContainer,
  now: number,
  host: HostView,
  startSlotsFree: number,
): Step[] {
  const { name, image } = container
  const facts = factsOf(view.facts, name)
  if (facts.knownStatus !== 'PENDING') return []
  if (awaitsLook(view, name) || facts.expected === true)
    return [wait(`waits for Docker Engine to show container ${name}`, now)]
  const retry = retryWait(facts.retry, now, facts.imageReady ? `container ${name} to start` : `image ${image}`)
  if (retry !== undefined) return [retry]
  if (!facts.imageReady) {
    const held = heldByRegistry(view, container, host)
    if (held !== undefined) return [wait(held, view.facts.acceptedAt)]
    const login = registrySecretOf(container) === undefined ? {} : { loginOf: view.payload.arn }
    const pull = { step: 'pullImage', args: { container: name, image, ...login } } as const
    return orWait(view, pull, `waits for image ${image} to be pulled`)
  }
  if (facts.remake === true && facts.dockerId !== undefined) {
    const remove = { step: 'removeContainer', args: { container: name, dockerId: facts.dockerId } } as const
    return orWait(view, remove, `waits for container ${name} to be made anew`)
  }
  const makeable = createGate(view, container)
  if (makeable.gate !== 'open') return gateWait(view, makeable)
  const gate = startGate(view, container, now)
  const held = heldByResource(view, container, host, now)
  // What it depends on is told first, and may have its own time.
  if (held !== undefined) return gate.gate === 'open' ? [wait(held, view.facts.acceptedAt)] : gateWait(view, gate)
  const isMoving = view.underway.has(`createContainer:${name}`) || view.underway.has(`startContainer:${name}`)
  const hasNoSlot = startSlotsFree <= 0 && !isMoving
  if (facts.dockerId === undefined && hasNoSlot) return [wait(startSlotCause, view.facts.acceptedAt)]
  if (facts.dockerName === undefined) return [{ step: 'prepareContainer', args: { container: name } }]
  if (facts.dockerId === undefined) {
    const body = createBody(view.payload, container, view.facts, host)
    const args = { container: name, dockerName: facts.dockerName, body, ...fetchedFor(container) }
    const create = { step: 'createContainer', args } as const
    return orWait(view, create, `waits for container ${name} to be created`)
  }
  // What it depends on may take its time: the container is made by then.
  if (gate.gate !== 'open') return gateWait(view, gate)
  if (hasNoSlot) return [wait(startSlotCause, view.facts.acceptedAt)]
  const joins = container.internal === 'CNI_PAUSE' ? { joinsEndpoints: true as const } : {}
  const start = { step: 'startContainer', args: { container: name, dockerId: facts.dockerId, ...joins } } as const
  return orWait(view, start, `waits for container ${name} to start`)
}

/** One that failed is concluded elsewhere. */
function gateWait({ facts }: TaskView, gate: Gate): Step[] {
  return gate.gate === 'waiting' ? [wait(gate.cause, facts.acceptedAt, gate.until)] : []
}

function fetchedFor(container: PayloadContainer): Pick<EngineSteps['createContainer'], 'fetched'> {
  if (!hasFetchedEnvironment(container)) return {}
  const takesLogOptions = logDriverOf(container) !== 'awslogs'
  return { fetched: { ownNames: Object.keys(container.environment), takesLogOptions } }
}
