/** One process of the official agent: takes payloads and manifests, runs its tasks, reports, publishes telemetry. */
import type { Engine } from '../../../agent/engine.ts'
import {
  type Frame,
  type PayloadCredentials,
  type PayloadTask,
  type TaskIdentifier,
  writeFrame,
} from '../../../proto/acs.ts'
import type { Chaos } from '../chaos.ts'
import type { Random } from '../random.ts'
import type { SimLog } from '../sim-log.ts'
import type { Route } from '../sim-network.ts'
import { OfficialChannel } from './official-channel.ts'
import type { OfficialDisk, OfficialProcess } from './official-host.ts'
import { OfficialReporter } from './official-reporter.ts'
import { OfficialRunner } from './official-runner.ts'
import { newTask, type OfficialTask, settle } from './official-task.ts'
import { telemetryOf } from './official-telemetry.ts'

const lookEveryMs = 15_000
const publishEveryMs = 20_000
/** Longer than anything that was sent of a task can be under way: the real agent waits three hours. */
const cleanupWaitMs = 130_000

export interface OfficialAgentParts {
  readonly name: string
  readonly version: string
  readonly dockerVersion: string
  readonly cluster: string
  readonly containerInstanceArn: string
  readonly process: OfficialProcess
  readonly engine: Engine
  readonly disk: OfficialDisk
  readonly log: SimLog
  readonly chaos: Chaos
  readonly route: Route
  readonly random: Random
  readonly now: () => number
  readonly nextPort: () => number
}

export class OfficialAgent {
  readonly #parts: OfficialAgentParts
  readonly #tasks = new Map<string, OfficialTask>()
  readonly #wakes = new Map<OfficialTask, () => void>()
  /** Ids of the keys of tasks' roles that this process was sent, and when those end. */
  readonly keys = new Map<string, number>()
  readonly #runner: OfficialRunner
  readonly #reporter: OfficialReporter
  readonly #control: OfficialChannel
  readonly #telemetry: OfficialChannel
  #manifestId: string | undefined
  #everConnected = false
  #isHealthChecked = false

  constructor(parts: OfficialAgentParts) {
    this.#parts = parts
    const { name: host, cluster, chaos, process, engine, containerInstanceArn } = parts
    const save = (task: OfficialTask): void => this.#save(task)
    this.#runner = new OfficialRunner({ engine, containerInstanceArn, save })
    this.#reporter = new OfficialReporter({
      host,
      cluster,
      chaos,
      save,
      timers: process.timers,
      call: (operation, input) => process.call(operation, input),
    })
    for (const text of parts.disk.tasks.values()) this.#keep(JSON.parse(text) as OfficialTask)
    this.#control = this.#openControl()
    this.#telemetry = this.#openTelemetry()
    void this.#watchEngine()
    this.#every(publishEveryMs, () => void this.#publish())
    this.#flushLater()
  }

  get isConnected(): boolean {
    return this.#control.isOpen
  }

  #openControl(): OfficialChannel {
    const { route, process, random, cluster, containerInstanceArn, version, dockerVersion } = this.#parts
    return new OfficialChannel({
      route,
      life: process,
      timers: process.timers,
      random,
      heedsInactive: true,
      backoff: { leastMs: 250, mostMs: 120_000, factor: 1.5 },
      url: () =>
        this.#urlOf('endpoint', {
          agentHash: 'a8b3e7d3',
          agentVersion: version,
          clusterArn: cluster,
          containerInstanceArn,
          dockerVersion: `DockerVersion: ${dockerVersion}`,
          protocolVersion: '2',
          sendCredentials: String(!this.#everConnected),
          seqNum: '1',
        }),
      onOpen: () => {
        this.#everConnected = true
        void this.#confirmAttachment()
      },
      onFrame: (frame) => this.#hear(frame),
    })
  }

  #openTelemetry(): OfficialChannel {
    const { route, process, random, cluster, containerInstanceArn, version, dockerVersion } = this.#parts
    const facts = { agentHash: 'a8b3e7d3', agentVersion: version, cluster, dockerVersion }
    return new OfficialChannel({
      route,
      life: process,
      timers: process.timers,
      random,
      heedsInactive: false,
      backoff: { leastMs: 1000, mostMs: 60_000, factor: 2 },
      url: () => this.#urlOf('telemetryEndpoint', { ...facts, containerInstance: containerInstanceArn }),
      onOpen: () => void this.#publish(),
      onFrame: () => undefined,
    })
  }

  async #urlOf(member: 'endpoint' | 'telemetryEndpoint', query: Readonly<Record<string, string>>): Promise<string> {
    const { process, containerInstanceArn: containerInstance, cluster } = this.#parts
    for (;;) {
      const asked = process.call('DiscoverPollEndpoint', { containerInstance, cluster, zoneId: '' })
      const answer = await asked.catch((): Readonly<Record<string, unknown>> => ({}))
      const endpoint = answer[member]
      if (typeof endpoint === 'string') return `${endpoint}/ws?${new URLSearchParams(query).toString()}`
      await new Promise<void>((resolve) => void process.timers.after(1000, resolve))
    }
  }

  /** Network interfaces and volumes do not come here; the call does, and has to be answered. */
  async #confirmAttachment(): Promise<void> {
    const { process, cluster, random } = this.#parts
    const attachmentArn = `arn:aws:ecs:us-east-1:123456789012:attachment/${random.uuid()}`
    const attachments = [{ attachmentArn, status: 'ATTACHED' }]
    await process.call('SubmitAttachmentStateChanges', { cluster, attachments }).catch(() => undefined)
  }

  #hear({ type, message }: Frame): void {
    const { messageId } = message
    if (type === 'HeartbeatMessage') {
      this.#isHealthChecked = true
      this.#control.send(writeFrame('HeartbeatAckRequest', { messageId }))
    }
    if (type === 'PayloadMessage') {
      const tasks = message['tasks'] as readonly PayloadTask[]
      const stopped = tasks.filter(({ desiredStatus }) => desiredStatus === 'STOPPED')
      for (const task of [...stopped, ...tasks.filter((one) => !stopped.includes(one))]) this.#accept(task)
      const { disk } = this.#parts
      disk.seqNum = Math.max(disk.seqNum, Number(message['seqNum']))
      this.#acknowledge(message)
      for (const { roleCredentials, executionRoleCredentials } of tasks) {
        this.#takeKeys(roleCredentials, messageId)
        this.#takeKeys(executionRoleCredentials, messageId)
      }
    }
    // Of a task that it doesn't know the real agent takes them neither, and doesn't acknowledge them.
    if (type === 'IAMRoleCredentialsMessage' && this.#tasks.has(String(message['taskArn']))) {
      this.#takeKeys(message['roleCredentials'] as PayloadCredentials, messageId)
    }
    if (type === 'TaskManifestMessage') this.#hearManifest(message)
    if (type === 'TaskStopVerificationAck' && messageId === this.#manifestId) {
      this.#manifestId = undefined
      for (const { taskArn } of message['stopTasks'] as readonly TaskIdentifier[]) this.#stop(this.#tasks.get(taskArn))
    }
  }

  #takeKeys(keys: PayloadCredentials | undefined, messageId: unknown): void {
    if (keys === undefined) return
    const { credentialsId, expiration } = keys
    this.keys.set(credentialsId, Date.parse(expiration))
    this.#control.send(writeFrame('IAMRoleCredentialsAckRequest', { messageId, credentialsId, expiration }))
  }

  #acknowledge({ clusterArn, messageId }: Frame['message']): void {
    const { process, containerInstanceArn: containerInstance } = this.#parts
    if (process.isAlive()) {
      this.#control.send(writeFrame('AckRequest', { cluster: clusterArn, containerInstance, messageId }))
    }
  }

  /** One that is not newer than all before is thrown away, unanswered. */
  #hearManifest(message: Frame['message']): void {
    const { disk, cluster } = this.#parts
    const timeline = Number(message['timeline'])
    if (timeline <= disk.seqNum) return
    disk.seqNum = timeline
    const { messageId } = message
    this.#manifestId = String(messageId)
    this.#acknowledge(message)
    const named = new Set((message['tasks'] as readonly TaskIdentifier[]).map(({ taskArn }) => taskArn))
    const stopCandidates = [...this.#tasks.values()]
      .filter((task) => task.desired === 'RUNNING' && !named.has(task.payload.arn))
      .map(({ payload }) => ({ taskArn: payload.arn, taskClusterArn: cluster, desiredStatus: 'STOPPED' }))
    if (stopCandidates.length === 0) return
    this.#control.send(writeFrame('TaskStopVerificationMessage', { messageId, stopCandidates }))
  }

  /** Desired status only moves forward, whatever comes again. */
  #accept(payload: PayloadTask): void {
    const known = this.#tasks.get(payload.arn)
    if (known !== undefined) {
      if (payload.desiredStatus === 'STOPPED') this.#stop(known)
      return
    }
    if ('gantry' in payload) this.#parts.log.violated('officialAgentsHearOnlyTheirOwn', payload.arn)
    const task = newTask(payload, this.#parts.nextPort)
    this.#save(task)
    this.#keep(task)
  }

  #stop(task: OfficialTask | undefined): void {
    if (task === undefined || task.desired === 'STOPPED') return
    task.desired = 'STOPPED'
    this.#save(task)
    this.#wakes.get(task)?.()
  }

  #keep(task: OfficialTask): void {
    this.#tasks.set(task.payload.arn, task)
    void this.#work(task)
  }

  /** Goes on until the task has ended, was reported, and was cleaned up. */
  async #work(task: OfficialTask): Promise<void> {
    const { process, now, disk } = this.#parts
    while (task.known !== 'STOPPED') {
      const before = JSON.stringify(task.containers)
      const isGoingOn = await this.#runner.step(task)
      const isNews = settle(task, now()) || JSON.stringify(task.containers) !== before
      if (isNews) this.#save(task)
      void this.#reporter.tell(task)
      if (!isGoingOn && !isNews) await this.#pause(task)
    }
    await this.#reporter.tell(task)
    do await new Promise<void>((resolve) => void process.timers.after(cleanupWaitMs, resolve))
    while (task.sent !== 'STOPPED' || !(await this.#runner.cleanUp(task)))
    disk.tasks.delete(task.payload.arn)
    this.#tasks.delete(task.payload.arn)
  }

  /** Until something happened to it, or it is time to look again. */
  async #pause(task: OfficialTask): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.process.timers.after(lookEveryMs, resolve)
      this.#wakes.set(task, () => {
        cancel()
        resolve()
      })
    })
    this.#wakes.delete(task)
  }

  #save(task: OfficialTask): void {
    const { process, chaos, disk, name } = this.#parts
    if (process.isAlive() && chaos.strikes(name, 'agentKilledAtCommit', 'before it is written')) process.kill()
    if (!process.isAlive()) return
    disk.tasks.set(task.payload.arn, JSON.stringify(task))
    if (chaos.strikes(name, 'agentKilledAtCommit', 'after it is written')) process.kill()
  }

  async #watchEngine(): Promise<void> {
    const { engine, process } = this.#parts
    for (;;) {
      const wake = (containerId: string): void => {
        for (const [task, wakeUp] of this.#wakes) {
          if (Object.values(task.containers).some(({ dockerId }) => dockerId === containerId)) wakeUp()
        }
      }
      await engine.watch(({ containerId }) => wake(containerId), new AbortController().signal).catch(() => undefined)
      await new Promise<void>((resolve) => void process.timers.after(1000, resolve))
    }
  }

  async #publish(): Promise<void> {
    const { cluster, containerInstanceArn: containerInstance, random, now, engine } = this.#parts
    const isHealthChecked = this.#isHealthChecked
    this.#isHealthChecked = false
    const frames = await telemetryOf({
      cluster,
      containerInstance,
      isHealthChecked,
      engine,
      tasks: [...this.#tasks.values()].filter(({ known }) => known !== 'STOPPED'),
      uuid: () => random.uuid(),
      seconds: now() / 1000,
    })
    for (const { type, text } of frames) if (this.#telemetry.send(text)) this.#parts.log.worked(type)
  }

  /** Container changes are gathered for 10 to 30 seconds. */
  #flushLater(): void {
    const { process, random } = this.#parts
    process.timers.after(random.between(10_000, 30_000), () => {
      const oneByOne = random.chance(0.5)
      for (const task of this.#tasks.values()) void this.#reporter.flush(task, oneByOne)
      this.#flushLater()
    })
  }

  #every(periodMs: number, work: () => void): void {
    this.#parts.process.timers.after(periodMs, () => {
      work()
      this.#every(periodMs, work)
    })
  }
}
