/**
 * The shapes of the APIs at run time, as scripts/generate-model.ts took them from AWS's own SDK. Data only: what is
 * done with a shape is the codec's.
 */
import ecs from './ecs.json' with { type: 'json' }
import iam from './iam.json' with { type: 'json' }
import secretsmanager from './secretsmanager.json' with { type: 'json' }
import ssm from './ssm.json' with { type: 'json' }
import sts from './sts.json' with { type: 'json' }
import type { OperationName, ServiceName } from './types.ts'

/**
 * What a member is: `string`, `integer`, `double`, `boolean`, `timestamp`, `blob`, `document`; `[X]` for a list of X and `{X}` for
 * a map to X; or the name of a structure, a list, a map or an enum.
 */
export type Target = string

export interface Structure {
  readonly members: Readonly<Record<string, Target>>
  readonly required?: readonly string[] | undefined
  /** Exactly one of the members is there. */
  readonly union?: boolean | undefined
}

export interface OperationModel {
  /** The names of structures. */
  readonly input: string
  readonly output: string
}

export interface ErrorModel {
  readonly status: number
  /** What the error is called in the Query protocol, where that is not the shape's own name. */
  readonly queryCode?: string | undefined
  readonly members: Readonly<Record<string, Target>>
}

export interface ShapeModel {
  readonly structures: Readonly<Record<string, Structure>>
  readonly lists: Readonly<Record<string, Target>>
  readonly maps: Readonly<Record<string, Target>>
  readonly enums: Readonly<Record<string, readonly string[]>>
}

export interface ServiceModel extends ShapeModel {
  readonly service: {
    readonly id: string
    readonly apiVersion: string
    readonly protocol: string
    /** What stands before the operation in `X-Amz-Target`. */
    readonly targetPrefix: string
    /** The service's name in a signature's scope. */
    readonly signingName: string
    /** Of the elements of an answer, in the Query protocol. */
    readonly xmlNamespace?: string | undefined
  }
  /** Operations that AWS has and Gantry does not, without their shapes. */
  readonly unbuilt: readonly string[]
  readonly operations: Readonly<Record<string, OperationModel>>
  readonly errors: Readonly<Record<string, ErrorModel>>
}

/** That every operation of the types is among ECS's is checked by the compiler. */
export const ecsModel: ServiceModel & { readonly operations: Readonly<Record<OperationName, OperationModel>> } = ecs

export const models: Readonly<Record<ServiceName, ServiceModel>> = { ecs: ecsModel, iam, secretsmanager, ssm, sts }

export const operationNames = Object.keys(ecs.operations) as readonly OperationName[]

export function modelOf(operation: OperationName): OperationModel {
  return ecsModel.operations[operation]
}
