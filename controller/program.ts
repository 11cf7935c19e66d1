/**
 * The controller program: reads the environment, takes the data directory, recovers the state, and serves until a
 * signal ends it. `main.ts` runs it.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Clock, World } from '../proto/world.ts'
import { startAgents } from './agents.ts'
import { auditedTurn } from './api/call-trail.ts'
import { announce, endsOf, openCertificates } from './announce.ts'
import { startServer } from './api/server.ts'
import { startChangeFeed } from './change-feed.ts'
import { type Config, type ListenAddress, readConfig } from './config.ts'
import { loadCredentials } from './credentials.ts'
import { addressDecider } from './decide/address.ts'
import { instanceDecider } from './decide/instance.ts'
import { instanceTasksDecider } from './decide/instance-tasks.ts'
import { missingKeys } from './decide/reseal.ts'
import { serviceDecider } from './decide/service.ts'
import { serviceTaskDecider } from './decide/service-task.ts'
import { taskDecider } from './decide/task.ts'
import { taskCredentials } from './decide/task-credentials.ts'
import { taskDefinitionDecider } from './decide/task-definition.ts'
import { lockDirectory } from './directory-lock.ts'
import { createDefaultCluster } from './ecs/clusters.ts'
import { startHousekeeping } from './housekeeping.ts'
import { joinEndsOf } from './join-ends.ts'
import { createEcsRole, needsEcsRole } from './iam/service-linked-roles.ts'
import { startIdentity } from './identity.ts'
import { type Keyring, openKeyring } from './keyring.ts'
import { createLog, type Log } from './log.ts'
import { openLogStore } from './log-store.ts'
import type { LogLimits } from './state/sqlite-logs.ts'
import { createMetrics } from './metrics.ts'
import { openObjectStore } from './object-store.ts'
import { openSqliteStore } from './state/sqlite.ts'
import type { Store } from './state/store.ts'
import type { Reader } from './state/transaction.ts'
import { openSdNotify, type SdNotify } from './sd-notify.ts'
import { logTransitions } from './transitions.ts'
import { startTurn, type Turn } from './turn.ts'

/** The longest that a clean end may take before the process ends anyway; the next start recovers. */
const closeTimeoutMs = 10_000

/** One stream of logs leaves room for others: it gets the store divided by this at most. */
const logStreamsMin = 8

const clock: Clock = { now: () => Date.now() }

/** Ends the process, with this exit code. */
export type Exit = (code: number) => never

/** Resolves once the controller is ready. A start that fails says why and ends the process with 1. */
export async function runController(env: NodeJS.ProcessEnv, exit: Exit): Promise<void> {
  try {
    await serve(env, exit)
  } catch (error) {
    createLog('error').fatal({ err: error }, `the controller can't start: ${explainStart(error)}`)
    exit(1)
  }
}

async function serve(env: NodeJS.ProcessEnv, exit: Exit): Promise<void> {
  const { config, unknownVariables } = readConfig(env)
  const log = createLog(config.logLevel)
  endOnBug(log, exit)
  for (const variable of unknownVariables) log.warn({ variable }, `${variable} is not a setting of the controller`)
  const systemd = await openSdNotify({ env, after: (ms, then) => setTimeout(then, ms), pid: process.pid })
  const running = await start({ config, log, systemd, credentialsDirectory: env['CREDENTIALS_DIRECTORY'] })
  let ending = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (ending) return
      ending = true
      log.info({ signal }, 'closing')
      systemd.stopping()
      setTimeout(() => exit(1), closeTimeoutMs).unref()
      running.close().then(
        () => exit(0),
        (error: unknown) => {
          log.error({ err: error }, 'closing failed; the next start recovers')
          exit(1)
        },
      )
    })
  }
}

interface Start {
  readonly config: Config
  readonly log: Log
  readonly systemd: SdNotify
  /** Where systemd puts what it hands in. */
  readonly credentialsDirectory: string | undefined
}

async function start({ config, log, systemd, credentialsDirectory }: Start): Promise<{ close(): Promise<void> }> {
  const lock = lockDirectory(config.dataDir)
  const credentials = await loadCredentials(config.dataDir)
  const world = createWorld(config)
  const turn = await openTurn(config, world, log)
  const keyFile = config.secretKeyFile ?? join(config.dataDir, 'secret-key')
  const isFirstKey = missingKeys(turn.reader, { keyIds: [] }).length === 0
  const keyring = await openKeyring(keyFile, credentialsDirectory, isFirstKey)
  tellOfMissingKeys(turn.reader, keyring, log)
  const feed = startChangeFeed({ turn, clock, world, log })
  await createClusterAtFirstStart(turn)
  await createRoleForClusters(turn)
  const metrics = createMetrics()
  const identity = startIdentity({ config, credentials, keyring, turn, clock, log, metrics })
  const logStore = openLogStore(config.dataDir, logLimitsOf(config), clock, log)
  const mintCredentials = taskCredentials(keyring, world)
  const agents = startAgents({ turn, clock, world, ...identity, log, metrics, logStore, mintCredentials })
  const objectStore = await openObjectStore(config)
  const certificates = await openCertificates(config, clock, log)
  const server = await startServer({
    ...identity,
    vault: keyring,
    turn: auditedTurn(turn),
    clock,
    world,
    log,
    metrics,
    advertise: config.advertise,
    listen: config.listen,
    ...certificates,
    joinEnds: () => joinEndsOf(endsOf(server, certificates, config)),
    upgrade: agents.upgrade,
    lastHeardAt: agents.lastHeardAt,
    telemetry: agents.telemetry,
    feed,
    logStore,
    logChannels: agents.logChannels,
    streams: agents.streams,
    objectStore,
    openSession: agents.openSession,
  })
  const housekeeping = startHousekeeping({ turn, log, config, agents, keyring })
  announce(log, server, certificates, config)
  showLife(systemd, turn, server.address)
  return {
    async close() {
      await housekeeping.close()
      await agents.close()
      await server.close()
      certificates.tls?.certificates.close()
      objectStore.close()
      await identity.close()
      await logStore.close()
      await turn.close()
      lock.release()
      log.info('closed')
    },
  }
}

function openStore(config: Config, log: Log): Promise<Store> {
  return openSqliteStore(config.dataDir, {
    historyKeepMs: config.stoppedTaskRetentionMs,
    audit: { keepMs: config.auditRetentionMs, keepCount: config.auditRecordsMax },
    onFoldFailure: (error) => log.error({ err: error }, 'the log could not be folded; nothing is lost by it'),
  })
}

async function openTurn(config: Config, world: World, log: Log): Promise<Turn> {
  const store = await openStore(config, log)
  const turn = await startTurn({
    store,
    clock,
    world,
    log,
    deciders: [serviceTaskDecider, taskDecider, instanceDecider, addressDecider, taskDefinitionDecider],
    keyedDeciders: [instanceTasksDecider, serviceDecider],
  })
  turn.onCommit((changes, revision) => logTransitions(log, changes, revision))
  return turn
}

/** A file that was lost, or that systemd did not hand in this time, was made anew: nothing else would say so by itself. */
function tellOfMissingKeys(reader: Reader, keyring: Keyring, log: Log): void {
  const missing = missingKeys(reader, keyring)
  if (missing.length === 0) return
  log.error(
    { missing, keyIds: keyring.keyIds },
    'secrets and access keys are sealed under keys that the key file does not hold, and cannot be opened: put the lines ' +
      'of these keys back behind the first one and start again (docs/secrets.md, "The key")',
  )
}

function logLimitsOf({ logStoreBytes, logRetentionMs }: Config): Omit<LogLimits, 'path'> {
  return {
    bytesMax: logStoreBytes,
    streamBytesMax: Math.ceil(logStoreBytes / logStreamsMin),
    keepMs: logRetentionMs,
  }
}

/** A cluster that an operator deleted stays deleted, also once it is forgotten: only a store without a turn gets one. */
async function createClusterAtFirstStart(turn: Turn): Promise<void> {
  if (turn.status().revision > 0) return
  await turn.submit({ name: 'createDefaultCluster', run: (tx, now, world) => createDefaultCluster(tx, now, world) })
}

/** A store of a version before roles has clusters and no role for them. */
async function createRoleForClusters(turn: Turn): Promise<void> {
  if (!needsEcsRole(turn.reader)) return
  await turn.submit({ name: 'createServiceLinkedRole', run: (tx, now, world) => createEcsRole(tx, now, world) })
}

/** A controller that cannot write is alive: starting it again would mend nothing. */
function showLife(systemd: SdNotify, turn: Turn, { host, port }: ListenAddress): void {
  const beat = (): number => {
    turn.submit({ name: 'watchdog', run: () => undefined }).catch(() => undefined)
    const { turns, readOnly } = turn.status()
    return readOnly === undefined ? turns : clock.now()
  }
  systemd.watch(beat, () => turn.status().readOnly ?? `serves at ${host}:${port}`)
  systemd.ready()
}

function createWorld({ region, account }: Config): World {
  return {
    region,
    account,
    random: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
    hex: (digits) =>
      randomBytes(Math.ceil(digits / 2))
        .toString('hex')
        .slice(0, digits),
    uuid: () => randomUUID(),
  }
}

/** After a bug nothing in memory can be trusted; what was answered is on disk, and starting is recovering. */
function endOnBug(log: Log, exit: Exit): void {
  for (const kind of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(kind, (error: unknown) => {
      log.fatal({ err: error }, 'ended by a bug; start the controller again: it recovers from its data directory')
      exit(1)
    })
  }
}

function explainStart(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && error.code === 'EADDRINUSE') {
    return `Another program has an address of GANTRY_LISTEN or GANTRY_TLS_LISTEN: end it or choose another (${error.message}).`
  }
  return error.message
}
