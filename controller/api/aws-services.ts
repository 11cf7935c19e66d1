/**
 * The AWS services that this endpoint answers for: how each is found in a request, what its shapes are, who handles its
 * operations. One URL serves them all, as with every emulator's `--endpoint-url`.
 */
import { createJsonCodec, ecsCodec } from '../../proto/codec/json.ts'
import { createQueryCodec } from '../../proto/codec/query.ts'
import { models } from '../../proto/model/model.ts'
import type { ServiceModel } from '../../proto/model/model.ts'
import type { ServiceName } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { Call, CommandPlan, OpenedSession } from '../ecs/handler.ts'
import { operations as ecsOperations } from '../ecs/operations.ts'
import { iamOperations } from '../iam/operations.ts'
import { secretsmanagerOperations } from '../secretsmanager/operations.ts'
import { stsOperations } from '../sts/operations.ts'
import { ssmOperations } from '../ssm/operations.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { jsonWire, type Wire } from './wire-json.ts'
import { queryWire } from './wire-query.ts'

/**
 * A handler of any operation: the tables tie each one's types to its operation's name, and the codec of that same name
 * has checked what goes in and checks what comes out.
 */
export type AnyHandler =
  | { readonly kind: 'read'; handle(reader: Reader, input: unknown, call: Call, world: World): unknown }
  | { readonly kind: 'write'; handle(tx: Transaction, input: unknown, call: Call, world: World): unknown }
  | {
      readonly kind: 'session'
      plan(reader: Reader, input: unknown, call: Call): CommandPlan
      answer(plan: CommandPlan, session: OpenedSession, call: Call): unknown
    }

export interface AwsService {
  /** As a signature's scope names it, and before the colon of its actions. */
  readonly name: ServiceName
  readonly model: ServiceModel
  readonly wire: Wire
  readonly handlers: Readonly<Record<string, AnyHandler | undefined>>
}

export const awsServices: readonly AwsService[] = [
  { name: 'ecs', model: models.ecs, wire: jsonWire(ecsCodec), handlers: handlersOf(ecsOperations) },
  {
    name: 'iam',
    model: models.iam,
    wire: queryWire(createQueryCodec(models.iam)),
    handlers: handlersOf(iamOperations),
  },
  {
    name: 'secretsmanager',
    model: models.secretsmanager,
    wire: jsonWire(createJsonCodec(models.secretsmanager, () => 'ValidationException')),
    handlers: handlersOf(secretsmanagerOperations),
  },
  {
    name: 'ssm',
    model: models.ssm,
    wire: jsonWire(createJsonCodec(models.ssm, () => 'ValidationException')),
    handlers: handlersOf(ssmOperations),
  },
  {
    name: 'sts',
    model: models.sts,
    wire: queryWire(createQueryCodec(models.sts)),
    handlers: handlersOf(stsOperations),
  },
]

const byTargetPrefix = new Map(awsServices.map((service) => [service.model.service.targetPrefix, service]))
const byVersion = new Map(awsServices.map((service) => [service.model.service.apiVersion, service]))

/** By the prefix of `X-Amz-Target`, or by the form's `Version` in the Query protocol: each is one service's alone. */
export function serviceOf(protocol: string, name: string | undefined): AwsService | undefined {
  if (name === undefined) return undefined
  return protocol === 'query' ? byVersion.get(name) : byTargetPrefix.get(name)
}

/** The compiler has checked each handler under its own name; from here on the name is known at run time alone. */
function handlersOf(handlers: object): Readonly<Record<string, AnyHandler | undefined>> {
  return handlers as Readonly<Record<string, AnyHandler | undefined>>
}
