/**
 * The agent: one per host. Wires the parts together. `main.ts` runs it.
 *
 * Exit codes, as the official agent's: 0 told to end, 1 start me again, 5 do not (a person has to look).
 */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { hostKeysPath } from '../proto/joining.ts'
import { findAbilities } from './abilities.ts'
import type { HostAbilities } from './abilities.ts'
import { instanceAttributes } from './attributes.ts'
import { openChannels } from './channels.ts'
import { configFileDefault, configFileVariable, readConfig } from './config.ts'
import type { AgentConfig } from './config.ts'
import type { PortRange } from './config-values.ts'
import { startContainerServices } from './container-services.ts'
import type { ContainerServices } from './container-services.ts'
import { AccessError, openControllerAccess } from './controller-access.ts'
import type { ControllerAccess } from './controller-access.ts'
import { lockDirectory } from './directory-lock.ts'
import type { DirectoryLock } from './directory-lock.ts'
import { defaultEngineLimits } from './docker-limits.ts'
import { openDocker } from './docker.ts'
import type { Journal } from './decide/journal-records.ts'
import { backInUse } from './drain.ts'
import type { DrainOptions } from './drain.ts'
import { openApi, postRest } from './ecs-api.ts'
import type { ApiOptions, CallApi } from './ecs-api.ts'
import { type Exit, endOnSignal } from './end-on-signal.ts'
import type { Engine, EngineInfo } from './engine.ts'
import type { EngineStreams } from './engine-streams.ts'
import { secretOptionsIn, withValuesHidden } from './hidden-values.ts'
import { hostFacts, kernelPortRange } from './host-facts.ts'
import type { HostFacts } from './host-facts.ts'
import { listeningPorts } from './host-ports.ts'
import { readIdentity } from './identity.ts'
import { startIntrospection } from './introspection.ts'
import { openIp } from './ip-command.ts'
import { JoinedIdentityError } from './joined-identity.ts'
import { openJournal } from './journal.ts'
import { hostKeysAnswer, startKeyRotation } from './key-rotation.ts'
import type { Link } from './link.ts'
import { openLog } from './log.ts'
import { startTaskNetworks } from './network-upkeep.ts'
import type { Log } from './log.ts'
import { withMemoryTruth } from './memory-kills.ts'
import { registryAuthFor } from './registry-auth.ts'
import { ClusterMismatch, registerInstance } from './register.ts'
import { ownPaths, withOwnFilesHidden } from './own-files.ts'
import { openSdNotify } from './sd-notify.ts'
import type { SdNotify } from './sd-notify.ts'
import { openTaskSecrets } from './task-secrets.ts'
import type { TaskSecrets } from './task-secrets.ts'
import { realTimers } from './timers.ts'
import { startAgentTurn } from './turn.ts'
import type { AgentTurn, TurnTask } from './turn.ts'
import { startVolumeSweep } from './volume-sweep.ts'
import { volumeDefaults } from './volumes.ts'
import { startUpkeep } from './upkeep.ts'
import type { Upkeep } from './upkeep.ts'
import { worldOf } from './world-of.ts'

const exitRetry = 1
const exitForGood = 5
const version = readVersion()
const clock = { now: () => Date.now() }
const startsMax = 32

/** Resolves once the agent is registered and its channel is being kept. A start that fails says why and ends. */
export async function runAgent(env: NodeJS.ProcessEnv, exit: Exit): Promise<void> {
  let log = openLog('info')
  try {
    const fileText = readConfigFile(env[configFileVariable])
    const { config, warnings } = readConfig(env, fileText)
    log = openLog(config.logLevel)
    for (const warning of warnings) log.warn({}, warning)
    const lock = lockDirectory(config.dataDirectory)
    const systemd = await openSdNotify({ env, timers: realTimers, pid: process.pid })
    const withJoined = (joined: Readonly<Record<string, string>>): AgentConfig =>
      readConfig(env, fileText, joined).config
    await run({ config, withJoined, lock, log, systemd, exit })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    log.fatal({ stack: error instanceof Error ? error.stack : undefined }, message)
    exit(isForAPerson(error) ? exitForGood : exitRetry)
  }
}

function isForAPerson(error: unknown): boolean {
  return error instanceof ClusterMismatch || error instanceof AccessError || error instanceof JoinedIdentityError
}

/** What all parts are made from, once the engine has answered. */
interface Base {
  readonly config: AgentConfig
  readonly log: Log
  /** Takes a second or more, on a busy machine some; tasks are looked after meanwhile. */
  readonly host: Promise<HostFacts>
  readonly engine: Engine & EngineStreams
  readonly engineInfo: EngineInfo
  readonly portRange: PortRange
  readonly abilities: HostAbilities
  readonly journal: Journal
  readonly access: ControllerAccess
  readonly callApi: CallApi
  readonly secrets: TaskSecrets
  readonly upkeep: Upkeep
  readonly services: ContainerServices
  readonly channel: Channel
}

interface Channel {
  /** The link and the turn, once there are. */
  link: Link | undefined
  turn?: AgentTurn | undefined
  /** What the agent is at, for systemd's status line. */
  doing: string
  /** Docker ids of containers whose output is still to be shipped. */
  readonly unshippedLogs: Set<string>
}

interface Run {
  readonly config: AgentConfig
  /** With what the host was told when it joined. */
  readonly withJoined: (joined: Readonly<Record<string, string>>) => AgentConfig
  readonly lock: DirectoryLock
  readonly log: Log
  readonly systemd: SdNotify
  readonly exit: Exit
}

interface Begun {
  readonly base: Base
  /** What a signal closes, in this order. */
  readonly ends: (() => unknown)[]
  /** What a signal waits for before that. */
  onDrain(this: void, drain: () => Promise<void>): void
}

/** The controller is known, and the engine has answered. */
async function begin({ config, withJoined, lock, log, systemd, exit }: Run): Promise<Begun> {
  const ends: (() => unknown)[] = [() => lock.release()]
  let drain: (() => Promise<void>) | undefined
  const startDrain = async (): Promise<void> => {
    systemd.stopping(drain === undefined ? 0 : config.drainTimeoutMs + 30_000)
    await drain?.()
  }
  endOnSignal(ends, startDrain, log, exit)
  const channel: Channel = { link: undefined, doing: 'starts', unshippedLogs: new Set() }
  systemd.watch(
    () => channel.turn?.beat() ?? clock.now(),
    () => `${channel.doing}; ${channel.turn?.tasks().length ?? 0} tasks`,
  )
  const access = await openControllerAccess({
    config,
    withJoined,
    timers: realTimers,
    log,
    onWait() {
      channel.doing = 'waits to be joined to a controller (gantry join)'
      systemd.ready()
    },
  })
  const base = await prepare(access, log, channel, systemd)
  ends.unshift(() => base.journal.close())
  ends.unshift(() => base.upkeep.close())
  ends.unshift(() => base.services.close())
  return {
    base,
    ends,
    onDrain(by) {
      drain = by
    },
  }
}

async function run(options: Run): Promise<void> {
  const { log, systemd, exit } = options
  const { base, ends, onDrain } = await begin(options)
  const { config, channel } = base

  // A host that was registered before looks after its tasks at once: the controller may be away.
  let containerInstanceArn = readIdentity(config.dataDirectory)?.containerInstanceArn
  let turn = containerInstanceArn === undefined ? undefined : await startTurn(base, containerInstanceArn)
  ends.unshift(() => turn?.close())
  const introspection = await startIntrospection({
    address: config.introspectionOffHost ? '0.0.0.0' : '127.0.0.1',
    port: config.introspectionPort,
    metadata: () => ({ cluster: config.cluster, containerInstanceArn, version }),
    tasks: () => turn?.tasks() ?? [],
  })
  ends.unshift(() => introspection.close())

  // A controller that is away must not keep the host's start from ending: the status says what the agent waits for.
  channel.doing = `registers with ${config.backendOrigin}`
  systemd.ready()
  // Before the first call: it may be made with keys whose time is over.
  ends.unshift(rotateKeys(base, exit))
  const registering = register(base)
  const open = (arn: string, of: AgentTurn): (() => Promise<void>) =>
    openChannels({
      ...base,
      turn: of,
      containerInstanceArn: arn,
      introspection: introspection.port,
      registering,
      version,
      now: clock.now,
      registerAgain: async () => {
        if ((await register(base)) !== arn) leaveForGood(arn, log, exit)
      },
    })
  // What ended while no agent was here is told at once; reading the machine and registering it anew take their time.
  let closeChannels =
    turn === undefined || containerInstanceArn === undefined ? undefined : open(containerInstanceArn, turn)
  ends.unshift(async () => closeChannels?.())
  const registered = await registering
  if (turn === undefined || registered !== containerInstanceArn) {
    containerInstanceArn = registered
    await closeChannels?.()
    await turn?.close()
    turn = await startTurn(base, registered)
    closeChannels = open(registered, turn)
  }
  ends.unshift(sweepVolumes(base, registered))
  const drainAgain = backInUse(drainOptions(base, registered))
  if (config.drainOnStop) onDrain(drainAgain)
  base.services.onceChanged(() => {
    register(base).then(
      (arn) => (arn === registered ? undefined : leaveForGood(registered, log, exit)),
      (error: unknown) => log.warn({ err: error }, 'The host could not be registered again with what it can do now.'),
    )
  })
}

/** Nothing to do for an agent whose keys were given to it by settings. */
function rotateKeys({ config, access, callApi, log }: Base, exit: Exit): () => void {
  const { keyring } = access
  if (keyring === undefined) return () => undefined
  return startKeyRotation({
    keyring,
    intervalMs: config.keyRotationMs,
    askForKeys: async () => hostKeysAnswer(await postRest(apiOptions(access), hostKeysPath, {})),
    useKeys: async () => callApi('DiscoverPollEndpoint', { cluster: config.cluster }),
    timers: realTimers,
    now: clock.now,
    random: Math.random,
    log,
    onJoinedAnew() {
      log.warn({}, 'This host has joined anew; the agent starts again with what it was given. Containers go on.')
      exit(exitRetry)
    },
  })
}

function apiOptions({ config, credentials, trust, keyring }: ControllerAccess): ApiOptions {
  return { origin: config.backendOrigin, region: config.region, credentials, clock, trust, keyring }
}

function sweepVolumes({ engine, channel, log }: Base, containerInstanceArn: string): () => void {
  const taskArns = (): string[] => (channel.turn?.tasks() ?? []).map(({ payload }) => payload.arn)
  const sweep = startVolumeSweep({ engine, containerInstanceArn, taskArns, timers: realTimers, log })
  return () => sweep.close()
}

function leaveForGood(containerInstanceArn: string, log: Log, exit: Exit): void {
  log.fatal({ containerInstanceArn }, 'This host is another container instance now; the agent has to start anew.')
  exit(exitRetry)
}

function drainOptions({ config, callApi, channel, log }: Base, containerInstanceArn: string): DrainOptions {
  const { cluster, dataDirectory: directory, drainTimeoutMs: timeoutMs } = config
  const serviceTasks = (): number =>
    (channel.turn?.tasks() ?? []).filter(
      ({ payload, facts }) => payload.serviceName !== undefined && facts.stoppedAcknowledgedAt === undefined,
    ).length
  const { now } = clock
  return { callApi, cluster, containerInstanceArn, directory, serviceTasks, timeoutMs, now, timers: realTimers, log }
}

async function prepare(access: ControllerAccess, log: Log, channel: Channel, systemd: SdNotify): Promise<Base> {
  const { config } = access
  const engine = openDocker(config.dockerHost, {
    ...defaultEngineLimits,
    createMs: config.containerCreateTimeoutMs,
    startMs: config.containerStartTimeoutMs,
    digestMs: config.manifestPullTimeoutMs,
  })
  const host = hostFacts()
  // Whoever needs the facts meets their failure.
  host.catch(() => undefined)
  const engineInfo = await answeringEngine(engine, config, log, () => {
    channel.doing = `waits for the Docker Engine at ${config.dockerHost}`
    systemd.ready()
  })
  const portRange = config.dynamicHostPortRange ?? kernelPortRange()
  const callApi = openApi(apiOptions(access))
  const tasks = (): readonly TurnTask[] => channel.turn?.tasks() ?? []
  const { now } = clock
  const secrets = openTaskSecrets({ ...apiOptions(access), trust: access.trust, now, log })
  const [abilities, services] = await Promise.all([
    findAbilities({ config, engine, engineInfo, log }),
    startContainerServices({ config, engine, engineInfo, tasks, callApi, ...secrets, now, timers: realTimers, log }),
  ])
  const journal = openJournal(config.dataDirectory)
  const upkeep = startUpkeep({
    config,
    engine,
    rootDirectory: engineInfo.rootDirectory,
    tasks,
    send: (type, message) => channel.link?.send(type, message) ?? false,
    now,
    timers: realTimers,
    log,
  })
  const parts = { abilities, journal, access, callApi, secrets, upkeep, services, channel }
  return { config, log, host, engine, engineInfo, portRange, ...parts }
}

async function register(base: Base): Promise<string> {
  const { config, log, callApi } = base
  const host = await base.host
  return registerInstance({
    config,
    host,
    attributes: instanceAttributes(config, host, base.engineInfo, base.portRange, [
      ...base.abilities.attributes,
      ...base.services.attributes(),
    ]),
    gpuIds: base.abilities.gpus.ids,
    callApi,
    isRevoked: () => base.access.keyring?.isRevoked() === true,
    timers: realTimers,
    log,
    uuid: randomUUID,
    random: Math.random,
  })
}

async function startTurn(base: Base, containerInstanceArn: string): Promise<AgentTurn> {
  const { config, log, abilities, upkeep, services, journal, portRange, channel } = base
  const world = worldOf(containerInstanceArn)
  const subnets = startTaskNetworks({
    engine: upkeep.engine,
    ip: openIp(),
    containerInstanceArn,
    tasks: () => channel.turn?.tasks() ?? [],
    timers: realTimers,
    now: clock.now,
    log,
  })
  const turn = startAgentTurn({
    engine: taskEngine(base),
    journal,
    clock,
    timers: realTimers,
    world,
    log,
    config: {
      cluster: config.cluster,
      containerInstanceArn,
      pullBehavior: config.imagePullBehavior,
      pullTimeoutMs: config.imagePullTimeoutMs,
      pullInactivityMs: config.imagePullInactivityTimeoutMs,
      stopTimeoutSeconds: Math.ceil(config.containerStopTimeoutMs / 1000),
      aloneAfterMs: config.aloneAfterMs,
      cleanupWaitMs: config.taskCleanupWaitMs,
      cleanupJitterMs: config.taskCleanupJitterMs,
      stoppedTasksMax: config.stoppedTasksMax,
      dynamicHostPortRange: portRange,
      reservedTcpPorts: [...config.reservedTcpPorts, config.introspectionPort],
      reservedUdpPorts: config.reservedUdpPorts,
      startsMax,
      pauseImage: abilities.pauseImage,
      taskCgroups: abilities.taskCgroups?.settings,
      volumes: {
        matchFullConfig: config.sharedVolumeMatchFullConfig,
        mountTimeoutMs: Math.min(config.containerStartTimeoutMs, volumeDefaults.mountTimeoutMs),
      },
    },
    cgroups: abilities.taskCgroups?.cgroups,
    networks: subnets.networks,
    registryAuth: (registryHost) => registryAuthFor(config.registryAuths, registryHost),
    roleCredentials: base.secrets.roleCredentials,
    fetched: base.secrets.fetched,
    busyPorts: listeningPorts,
    endpoints: () => services.settings(world.region),
    unshippedLogs: channel.unshippedLogs,
    send: (type, message) => channel.link?.send(type, message) ?? false,
  })
  channel.turn = {
    ...turn,
    async close() {
      subnets.close()
      await turn.close()
    },
  }
  return channel.turn
}

/** The engine as tasks use it: with their metadata files, without the agent's own files and words that hold a secret. */
function taskEngine({ config, services, upkeep, secrets, abilities, channel }: Base): Engine {
  const { fetched } = secrets
  const engine = withOwnFilesHidden({
    engine: withValuesHidden({
      engine: services.withFiles(upkeep.engine),
      givenTo: (dockerId) => fetched.givenTo(dockerId),
      secretOptionsOf: secretOptionsIn(() => channel.turn?.tasks() ?? []),
    }),
    paths: ownPaths(config.dataDirectory, config.credentialsFile),
    metadataFiles: join(config.dataDirectory, 'metadata'),
  })
  return withMemoryTruth({ engine, host: abilities.taskCgroups?.host, timers: realTimers, now: clock.now })
}

/** Waits for an engine that answers, and says once in a while what it waits for. */
async function answeringEngine(engine: Engine, config: AgentConfig, log: Log, onWait: () => void): Promise<EngineInfo> {
  for (let waitMs = 500; ; waitMs = Math.min(waitMs * 1.5, 30_000)) {
    try {
      return await engine.info()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      log.error({ dockerHost: config.dockerHost, retryInMs: waitMs }, message)
      onWait()
      await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }
}

function readConfigFile(named: string | undefined): string {
  try {
    return readFileSync(named ?? configFileDefault, 'utf8')
  } catch (error) {
    if (named === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw new Error(
      `The configuration file ${named ?? configFileDefault} can't be read. Make it readable, or remove it.`,
      {
        cause: error,
      },
    )
  }
}

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
