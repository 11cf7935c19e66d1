/** Ends what runs: in the reverse of the order in which it was started, and again where an end did not hold. */
import type { PayloadContainer } from '../../proto/acs.ts'
import { factsOf, stopsBefore } from './lifecycle.ts'
import { retryWait, wait } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { HostView, TaskView } from './view.ts'
import { fileSystemsOf } from './volume-mounts.ts'

/** How long after SIGKILL a container usually is gone. */
const killGraceMs = 5000

export function stopSteps(view: TaskView, now: number, host: HostView): Step[] {
  return view.payload.containers.flatMap((container) => {
    const { name } = container
    if (factsOf(view.facts, name).knownStatus !== 'RUNNING') {
      const starting = view.underway.get(`startContainer:${name}`) ?? view.underway.get(`createContainer:${name}`)
      return starting === undefined
        ? []
        : [wait(`waits for container ${name} to come up before it can stop`, starting.since)]
    }
    const before = stopsBefore(view, name)
    if (before.length > 0) return [wait(`waits for container ${before.join(' and ')} to stop before ${name}`, now)]
    return stopStep(view, container, now, host)
  })
}

/** A container that counts as STOPPED and is seen running (a start that went through late) is stopped again. */
export function straySteps(view: TaskView, now: number, host: HostView): Step[] {
  return view.payload.containers.flatMap((container) => {
    const running = ['running', 'paused', 'restarting'].includes(view.observed.get(container.name)?.status ?? '')
    if (!running || factsOf(view.facts, container.name).knownStatus !== 'STOPPED') return []
    return stopStep(view, container, now, host)
  })
}

function stopStep(view: TaskView, container: PayloadContainer, now: number, host: HostView): Step[] {
  const { name } = container
  const { dockerId, retry } = factsOf(view.facts, name)
  if (dockerId === undefined || view.underway.has(`startContainer:${name}`)) return []
  const fileSystems = fileSystemsOf(view.payload, container)
  const suspicion = fileSystems === '' ? '' : `, which SIGKILL does not end while a file system hangs: ${fileSystems}`
  const again = retryWait(retry, now, `container ${name} to stop${suspicion}`)
  if (again !== undefined) return [again]
  const stopTimeoutSeconds = container.stopTimeout ?? host.stopTimeoutSeconds
  const underway = view.underway.get(`stopContainer:${name}`)
  if (underway === undefined) {
    return [{ step: 'stopContainer', args: { container: name, dockerId, stopTimeoutSeconds } }]
  }
  const cause = `waits for container ${name} to stop`
  if (suspicion === '') return [wait(cause, underway.since)]
  const suspectedAt = underway.since + stopTimeoutSeconds * 1000 + killGraceMs
  return [now < suspectedAt ? wait(cause, underway.since, suspectedAt) : wait(`${cause}${suspicion}`, underway.since)]
}
