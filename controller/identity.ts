/** Who calls, whether they may, and the record of it: the parts that stand before every call, wired together. */
import type { Clock } from '../proto/world.ts'
import { type Access, createAccess } from './access/check.ts'
import { createAuthenticator, type Authenticator } from './api/auth.ts'
import { type AuditTrail, startAudit } from './audit.ts'
import type { Config } from './config.ts'
import type { ControllerCredentials } from './credentials.ts'
import { guardHosts, type HostGuard } from './host-guard.ts'
import { HostNotes } from './host-notes.ts'
import { createJoinLimits, type JoinLimits } from './join-limits.ts'
import type { Keyring } from './keyring.ts'
import { startLastUsedNotes } from './last-used.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Turn } from './turn.ts'

export interface Identity {
  readonly authenticator: Authenticator
  readonly hosts: HostGuard
  readonly hostNotes: HostNotes
  readonly joinLimits: JoinLimits
  readonly access: Access
  readonly audit: AuditTrail
  /** Writes down what is still to be written. */
  close(): Promise<void>
}

export interface IdentityOptions {
  readonly config: Config
  readonly credentials: ControllerCredentials
  readonly keyring: Keyring
  readonly turn: Turn
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

export function startIdentity(options: IdentityOptions): Identity {
  const { config, credentials, keyring, turn, clock, log, metrics } = options
  const lastUsed = startLastUsedNotes({ turn, log })
  const hostNotes = new HostNotes({ turn, log, metrics })
  const signers = createAuthenticator({
    credentials,
    place: config,
    reader: turn.reader,
    vault: keyring,
    noteUse: (principal, now) => lastUsed.note(principal, now),
  })
  const hosts = guardHosts({ turn, clock, log, notes: hostNotes, authenticator: signers })
  const audit = startAudit({ turn, log, every: everyMs })
  return {
    authenticator: hosts.authenticator,
    hosts,
    hostNotes,
    joinLimits: createJoinLimits(),
    access: createAccess(config),
    audit,
    async close() {
      lastUsed.close()
      await audit.close()
    },
  }
}

function everyMs(ms: number, then: () => void): () => void {
  const timer = setInterval(then, ms).unref()
  return () => clearInterval(timer)
}
