/**
 * How the official agent brings a task to where it should be: one container operation after the other for each task, with
 * another look at the engine wherever an answer was not to be had.
 */
import { EngineError, labels } from '../../../agent/engine.ts'
import type { Engine, ObservedContainer } from '../../../agent/engine.ts'
import type { PayloadContainer } from '../../../proto/acs.ts'
import { idOf } from '../../../proto/arn.ts'
import { type OfficialContainer, type OfficialTask, readiness, stateOf } from './official-task.ts'

const stopTimeoutSeconds = 30
const pullLimits = { timeoutMs: 60_000, inactivityMs: 30_000 }

export interface RunnerParts {
  readonly engine: Engine
  readonly containerInstanceArn: string
  /** Puts the task on disk before anything that must not be forgotten. */
  readonly save: (task: OfficialTask) => void
}

export class OfficialRunner {
  readonly #parts: RunnerParts

  constructor(parts: RunnerParts) {
    this.#parts = parts
  }

  /** Looks at what the engine has of the task, then does what can be done now. False where there was nothing to do. */
  async step(task: OfficialTask): Promise<boolean> {
    for (const container of task.payload.containers) await this.#look(task, container)
    if (task.desired === 'STOPPED') return this.#stopOne(task)
    const next = task.payload.containers.find((container) => {
      return stateOf(task, container.name).status === 'NONE' && readiness(task, container) === 'now'
    })
    return next === undefined ? false : this.#advance(task, next)
  }

  /** Removes what is left of a task that has ended; false where the engine did not let it. */
  async cleanUp(task: OfficialTask): Promise<boolean> {
    try {
      for (const { name } of task.payload.containers) {
        const found = await this.#parts.engine.inspectContainer(nameOf(task, name))
        if (found?.status === 'running') await this.#parts.engine.stopContainer(found.id, stopTimeoutSeconds)
        if (found !== undefined) await this.#parts.engine.removeContainer(found.id)
      }
      return true
    } catch {
      return false
    }
  }

  /** False where the engine did not say. */
  async #look(task: OfficialTask, { name }: PayloadContainer): Promise<boolean> {
    const state = stateOf(task, name)
    if (state.status === 'STOPPED') return true
    const found = await this.#parts.engine.inspectContainer(nameOf(task, name)).catch(unknown)
    if (found === 'unknown') return false
    take(state, found)
    if (found !== undefined) return true
    state.dockerId = undefined
    if (state.startAsked) end(state, 'CannotInspectContainerError: No such container')
    return true
  }

  async #stopOne(task: OfficialTask): Promise<boolean> {
    const { engine } = this.#parts
    for (const [name, state] of Object.entries(task.containers)) {
      if (state.status === 'STOPPED') continue
      const found = await engine.inspectContainer(nameOf(task, name)).catch(unknown)
      if (found === 'unknown') return false
      if (found === undefined || (found.status !== 'running' && found.startedAt !== undefined)) {
        take(state, found)
        end(state, undefined)
        return true
      }
      const timeout = task.payload.containers.find((container) => container.name === name)?.stopTimeout
      // One that never ran is removed, behind a start that may still be under way in the engine.
      const done =
        found.status === 'running'
          ? engine.stopContainer(found.id, timeout ?? stopTimeoutSeconds)
          : engine.removeContainer(found.id)
      if ((await done.catch(unknown)) === 'unknown') return false
      if (found.status === 'running') take(state, await engine.inspectContainer(found.id).catch(nothing))
      else end(state, undefined)
      return true
    }
    return false
  }

  async #advance(task: OfficialTask, container: PayloadContainer): Promise<boolean> {
    const state = stateOf(task, container.name)
    if (!state.pulled) return this.#pull(container, state)
    const { engine, save } = this.#parts
    // A start that was given up may have happened since: one that has run must not be started again.
    if (state.startAsked && !(await this.#look(task, container))) return false
    if (state.status !== 'NONE') return true
    try {
      state.dockerId ??= await engine.createContainer(nameOf(task, container.name), this.#bodyOf(task, container))
      state.startAsked = true
      save(task)
      await engine.startContainer(state.dockerId)
      state.status = 'RUNNING'
      return true
    } catch (error) {
      // Where it is not known what came of it, the next look tells.
      if (!(error instanceof EngineError)) throw error
      if (error.kind === 'refused') end(state, `CannotStartContainerError: ${error.message}`)
      return error.kind === 'refused'
    }
  }

  async #pull({ image }: PayloadContainer, state: OfficialContainer): Promise<boolean> {
    const { engine } = this.#parts
    const pulled = await engine.pullImage(image, undefined, pullLimits).catch((error: unknown) => error)
    const isDefinite = pulled === undefined || (pulled instanceof EngineError && !pulled.retryable)
    if (!isDefinite) return false
    const found = pulled === undefined ? 'pulled' : await engine.inspectImage(image).catch(unknown)
    if (found === 'unknown') return false
    // An image that no registry has is used where the host has it.
    if (found === undefined) end(state, `CannotPullContainerError: ${String(pulled)}`)
    state.pulled = true
    return true
  }

  #bodyOf(task: OfficialTask, { name, image }: PayloadContainer): Readonly<Record<string, unknown>> {
    const { arn, family, version } = task.payload
    const { bindings } = stateOf(task, name)
    return {
      Image: image,
      Labels: {
        [labels.taskArn]: arn,
        [labels.containerName]: name,
        [labels.family]: family,
        [labels.version]: version,
        // Not the official agent's: by it the look over everything knows whose the container is.
        [labels.instanceArn]: this.#parts.containerInstanceArn,
      },
      HostConfig: {
        NetworkMode: 'bridge',
        PortBindings: Object.fromEntries(
          bindings.map(({ containerPort, hostPort, protocol }) => [
            `${containerPort}/${protocol}`,
            [{ HostPort: String(hostPort) }],
          ]),
        ),
      },
    }
  }
}

function nameOf({ payload }: OfficialTask, containerName: string): string {
  return `ecs-${payload.family}-${payload.version}-${containerName}-${idOf(payload.arn)}`
}

function take(state: OfficialContainer, found: ObservedContainer | undefined): void {
  if (found === undefined) return
  state.dockerId = found.id
  if (found.status === 'running') state.status = 'RUNNING'
  else if (found.startedAt !== undefined) {
    state.exitCode = found.exitCode
    state.status = 'STOPPED'
  } else if (found.error !== '') end(state, `CannotStartContainerError: ${found.error}`)
}

function end(state: OfficialContainer, reason: string | undefined): void {
  state.status = 'STOPPED'
  state.reason ??= reason
}

function unknown(): 'unknown' {
  return 'unknown'
}

function nothing(): undefined {
  return undefined
}
