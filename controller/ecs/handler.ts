/**
 * What every handler of the ECS API is: a pure function of the state, the input and the call. It throws ApiError to
 * refuse, and then nothing that it wrote remains.
 */
import type { Input, OperationName, Output } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { Reader, Transaction } from '../state/transaction.ts'

export interface Call {
  /** Epoch milliseconds. */
  readonly now: number
  readonly requestId: string
  /** The caller's ARN, for `registeredBy` and for messages. */
  readonly principalArn: string
  /** Scheme and host as the caller wrote them (`http://127.0.0.1:51700`), or as `GANTRY_ADVERTISE` says. */
  readonly origin: string
}

/** Answers from committed state, at once. */
export interface ReadHandler<Op extends OperationName> {
  readonly kind: 'read'
  handle(reader: Reader, input: Input<Op>, call: Call, world: World): Output<Op>
}

/** Runs inside a turn; answered after the turn is committed. */
export interface WriteHandler<Op extends OperationName> {
  readonly kind: 'write'
  handle(tx: Transaction, input: Input<Op>, call: Call, world: World): Output<Op>
}

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
  /** As the caller wrote it. */
  readonly commandLine: string
  readonly principalArn: string
}

export interface OpenedSession {
  readonly sessionId: string
  readonly tokenValue: string
}

export type Handlers = {
  readonly [Op in OperationName]?: ReadHandler<Op> | WriteHandler<Op> | SessionHandler<Op>
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
