/** What operators ask of the services beside ECS, by `service:Operation`: the handlers themselves, without a codec. */
import { iamOperations } from '../../controller/iam/operations.ts'
import { secretsmanagerOperations } from '../../controller/secretsmanager/operations.ts'
import { ssmOperations } from '../../controller/ssm/operations.ts'
import type { Call } from '../../controller/ecs/handler.ts'
import type { Transaction } from '../../controller/state/transaction.ts'
import type { World } from '../../proto/world.ts'
import { fileArn, missingParameter, parameterName, secretArn } from './sim-secrets.ts'

type OtherCall = (tx: Transaction, input: object, call: Call, world: World) => object

/** The compiler has checked each handler under its own name; here the name is known at run time alone. */
function writesOf(service: string, handlers: object): readonly (readonly [string, OtherCall])[] {
  const all = Object.entries(handlers) as [string, { readonly kind: string; readonly handle: OtherCall }][]
  return all.filter(([, { kind }]) => kind === 'write').map(([name, { handle }]) => [`${service}:${name}`, handle])
}

export const otherCalls: ReadonlyMap<string, OtherCall> = new Map([
  ...writesOf('iam', iamOperations),
  ...writesOf('secretsmanager', secretsmanagerOperations),
  ...writesOf('ssm', ssmOperations),
])

/** What the execution role of the simulation's tasks may do, while nobody takes it away. */
export const executorPolicy = {
  PolicyName: 'fetches',
  PolicyDocument: JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 'secretsmanager:GetSecretValue', Resource: `${secretArn}*` },
      {
        Effect: 'Allow',
        Action: 'ssm:GetParameters',
        Resource: [parameterName, missingParameter].map((name) => `arn:aws:ssm:*:*:parameter${name}`),
      },
      { Effect: 'Allow', Action: 's3:GetObject', Resource: fileArn },
    ],
  }),
}
