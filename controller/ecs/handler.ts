/**
 * What every handler of an AWS API is: a pure function of the state, the input and the call. It throws ApiError to
 * refuse, and then nothing that it wrote remains.
 */
import type {
  Input,
  InputOf,
  OperationName,
  OperationOf,
  Output,
  OutputOf,
  ServiceName,
} from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { AccessCheck } from '../access/authorization.ts'
import type { Principal } from '../access/principal.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import type { Vault } from '../state/vault.ts'

export interface Call {
  /** Epoch milliseconds. */
  readonly now: number
  readonly requestId: string
  /** The caller's ARN, for `registeredBy` and for messages. */
  readonly principalArn: string
  /** Scheme and host as the caller wrote them (`http://127.0.0.1:51700`), or as `GANTRY_ADVERTISE` says. */
  readonly origin: string
  readonly principal: Principal
  /** Where the caller's connection comes from: an IP address. */
  readonly sourceAddress: string
  /** By TLS. */
  readonly isSecure: boolean
  /** Seals what must not stand in a row in the clear. */
  readonly vault: Vault
  /**
   * Throws AccessDenied unless the caller may do this too: for what shows only while a call is carried out, such as
   * handing a role to a task. The operation itself was authorised before.
   */
  readonly authorize: (reader: Reader, check: AccessCheck) => void
}

/** Answers from committed state, at once. */
export interface ReadHandlerOf<S extends ServiceName, Op extends OperationOf<S>> {
  readonly kind: 'read'
  handle(reader: Reader, input: InputOf<S, Op>, call: Call, world: World): OutputOf<S, Op>
}

/** Runs inside a turn; answered after the turn is committed. */
export interface WriteHandlerOf<S extends ServiceName, Op extends OperationOf<S>> {
  readonly kind: 'write'
  handle(tx: Transaction, input: InputOf<S, Op>, call: Call, world: World): OutputOf<S, Op>
}

export type ReadHandler<Op extends OperationName> = ReadHandlerOf<'ecs', Op>
export type WriteHandler<Op extends OperationName> = WriteHandlerOf<'ecs', Op>

/** Judged by committed state; then the shell opens a session as planned, and the answer names it. */
export interface SessionHandler<Op extends OperationName> {
  readonly kind: 'session'
  plan(reader: Reader, input: Input<Op>, call: Call): CommandPlan
  answer(plan: CommandPlan, session: OpenedSession, call: Call): Output<Op>
}

/** A command that may be run in a container. */
export interface CommandPlan {
  readonly instanceId: string
  readonly taskArn: string
  readonly clusterArn: string
  readonly container: string
  readonly containerArn: string
  readonly command: readonly string[]
  readonly principalArn: string
}

export interface OpenedSession {
  readonly sessionId: string
  readonly tokenValue: string
}

export type Handlers = {
  readonly [Op in OperationName]?: ReadHandler<Op> | WriteHandler<Op> | SessionHandler<Op>
}

/** The operations of a service beside ECS. */
export type ServiceHandlers<S extends ServiceName> = {
  readonly [Op in OperationOf<S>]?: ReadHandlerOf<S, Op> | WriteHandlerOf<S, Op>
}

export function readOf<S extends ServiceName, Op extends OperationOf<S>>(
  handle: ReadHandlerOf<S, Op>['handle'],
): ReadHandlerOf<S, Op> {
  return { kind: 'read', handle }
}

export function writeOf<S extends ServiceName, Op extends OperationOf<S>>(
  handle: WriteHandlerOf<S, Op>['handle'],
): WriteHandlerOf<S, Op> {
  return { kind: 'write', handle }
}

export function read<Op extends OperationName>(handle: ReadHandler<Op>['handle']): ReadHandler<Op> {
  return { kind: 'read', handle }
}

export function session<Op extends OperationName>(parts: Omit<SessionHandler<Op>, 'kind'>): SessionHandler<Op> {
  return { kind: 'session', ...parts }
}

export function write<Op extends OperationName>(handle: WriteHandler<Op>['handle']): WriteHandler<Op> {
  return { kind: 'write', handle }
}
