/**
 * How this agent comes to its controller: where that is, whom it believes there, and the keys that it signs with. A host
 * that has joined has all three in its directory; settings come before them, each for itself.
 */
import { readFileSync } from 'node:fs'
import type { AgentConfig } from './config.ts'
import { type ControllerTrust, certificatesOf, isLoopback, systemTrust, trustIn } from './controller-trust.ts'
import { type CredentialsSource, credentialsSource } from './credentials.ts'
import { removeHalfWritten } from './durable-file.ts'
import { type HostKeyring, openHostKeyring } from './host-keyring.ts'
import { type JoinedIdentity, mendCaFile, readJoined } from './joined-identity.ts'
import type { Log } from './log.ts'
import type { Timers } from './timers.ts'

export interface ControllerAccess {
  /** With what the host was told when it joined, where the settings say nothing. */
  readonly config: AgentConfig
  readonly credentials: CredentialsSource
  readonly trust: ControllerTrust
  /** Where the agent signs with the keys of the host, not with such that were given to it. */
  readonly keyring: HostKeyring | undefined
}

/** The settings contradict each other or what is safe; nothing but a person can mend that. */
export class AccessError extends Error {}

export interface AccessOptions {
  /** As it is without what a join tells. */
  readonly config: AgentConfig
  /** As it is with that. */
  readonly withJoined: (joined: Readonly<Record<string, string>>) => AgentConfig
  readonly timers: Timers
  readonly log: Log
  /** The host has neither joined nor keys of its own, and the agent waits for that. */
  readonly onWait: () => void
}

const lookMs = 1000

/** Waits where the host has not joined yet. Throws AccessError and JoinedIdentityError. */
export async function openControllerAccess(options: AccessOptions): Promise<ControllerAccess> {
  const { config, log } = options
  removeHalfWritten(config.dataDirectory)
  const hasOwnKeys = (config.accessKeyId ?? config.credentialsFile) !== undefined
  const joined = hasOwnKeys ? readJoined(config.dataDirectory) : await joinedOnce(options)
  if (joined !== undefined) keepCaFile(options, joined)
  const all = joined === undefined ? config : options.withJoined(settingsOf(joined))
  requireTls(all)
  if (hasOwnKeys && joined !== undefined) {
    log.warn(
      { hostId: joined.hostId },
      'This host has joined, but its keys are not used: AWS_ACCESS_KEY_ID or AWS_SHARED_CREDENTIALS_FILE names others, ' +
        'which no revocation of this host ends. Unset it, unless that is meant.',
    )
  }
  const keyring =
    hasOwnKeys || joined === undefined ? undefined : openHostKeyring({ directory: config.dataDirectory, joined, log })
  return {
    config: all,
    trust: trustOf(all, joined, keyring),
    credentials: keyring === undefined ? credentialsSource(config) : async () => keyring.current(),
    keyring,
  }
}

/** A join that was killed at its end, or that found the disk full, leaves `ca.pem` to the agent, which does without it. */
function keepCaFile({ config, log }: AccessOptions, joined: JoinedIdentity): void {
  try {
    mendCaFile(config.dataDirectory, joined)
  } catch (error) {
    log.warn({ err: error }, `ca.pem in ${config.dataDirectory}, for other programs, could not be written.`)
  }
}

/** By the names of the agent's variables. */
export function settingsOf({ controllerUrl, cluster, region }: JoinedIdentity): Readonly<Record<string, string>> {
  return { ECS_BACKEND_HOST: controllerUrl, ECS_CLUSTER: cluster, AWS_DEFAULT_REGION: region }
}

async function joinedOnce(options: AccessOptions): Promise<JoinedIdentity> {
  const { config, timers, log, onWait } = options
  const { dataDirectory } = config
  for (let isFirst = true; ; isFirst = false) {
    const joined = readJoined(dataDirectory)
    if (joined !== undefined) return joined
    if (isFirst) {
      log.warn(
        { dataDirectory },
        'This host has not joined a controller yet. Have the controller print a line for it (`npx gantry join-token` ' +
          'there), and run that line here; the agent waits for it. (Or set AWS_SHARED_CREDENTIALS_FILE to keys of your own.)',
      )
      onWait()
    }
    await new Promise<void>((resolve) => timers.after(lookMs, resolve))
  }
}

function requireTls({ backendOrigin, insecureBackend }: AgentConfig): void {
  if (backendOrigin.startsWith('https:') || isLoopback(backendOrigin) || insecureBackend) return
  throw new AccessError(
    `ECS_BACKEND_HOST is ${backendOrigin}: plain HTTP to another host, where whoever is on the way can read and change ` +
      'what the agent is told. Let the host join by TLS instead (`npx gantry join-token` on the controller prints the ' +
      'line) and remove ECS_BACKEND_HOST; or, on a wire of your own, set GANTRY_INSECURE_BACKEND=true.',
  )
}

function trustOf(
  config: AgentConfig,
  joined: JoinedIdentity | undefined,
  keyring: HostKeyring | undefined,
): ControllerTrust {
  const { caFile } = config
  if (caFile !== undefined) {
    const pem = readCaFile(caFile)
    return trustIn(() => pem)
  }
  if (joined?.caPem === undefined) return systemTrust
  return trustIn(() => (keyring?.joined() ?? joined).caPem)
}

function readCaFile(path: string): string {
  try {
    const pem = readFileSync(path, 'utf8')
    certificatesOf(pem)
    return pem
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new AccessError(
      `The CA file ${path} that GANTRY_CA_FILE names can't be used: ${why}. Copy the controller's ` +
        'ca.pem there, or remove the setting.',
      { cause: error },
    )
  }
}
