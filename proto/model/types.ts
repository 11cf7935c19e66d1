/**
 * AWS's own types of the APIs that are built, erased at run time. `Stored` is how such a shape lives inside Gantry: the
 * same names and nesting, with instants as epoch milliseconds; the codec converts at the edge.
 */
import type * as ecs from '@aws-sdk/client-ecs'
import type * as iam from '@aws-sdk/client-iam'
import type * as secretsmanager from '@aws-sdk/client-secrets-manager'
import type * as ssm from '@aws-sdk/client-ssm'
import type * as sts from '@aws-sdk/client-sts'

type Plain<T> = Exclude<T, undefined>

export type Stored<T> = T extends Date
  ? number
  : T extends readonly (infer U)[]
    ? readonly Stored<U>[]
    : T extends Uint8Array
      ? T
      : T extends object
        ? { readonly [K in keyof T]: Stored<T[K]> }
        : T

/** T with the named members certain to be there. */
export type With<T, K extends keyof T> = Omit<T, K> & { readonly [P in K]-?: Plain<T[P]> }

/** By the name that a signature is scoped to. */
interface Clients {
  ecs: typeof ecs
  iam: typeof iam
  secretsmanager: typeof secretsmanager
  ssm: typeof ssm
  sts: typeof sts
}

/** The services that one controller answers for, by the name that a signature is scoped to. */
export type ServiceName = keyof Clients

type CommandName<C> = Exclude<Extract<keyof C, `${string}Command`>, '$Command'>
type RequestOf<Command> = Command extends new (...args: never[]) => { readonly input: infer I } ? I : never
type ResponseOf<Command> = Command extends new (
  ...args: never[]
) => { resolveMiddleware: (...rest: never[]) => (input: never) => Promise<{ output: infer O }> }
  ? O
  : never
type CommandOf<S extends ServiceName, Op extends string> = Clients[S][`${Op}Command` & keyof Clients[S]]

/** Every operation that the service's SDK knows, whether it is built here or not. */
export type OperationOf<S extends ServiceName> = CommandName<Clients[S]> extends `${infer Name}Command` ? Name : never
export type InputOf<S extends ServiceName, Op extends OperationOf<S>> = Stored<RequestOf<CommandOf<S, Op>>>
export type OutputOf<S extends ServiceName, Op extends OperationOf<S>> = Omit<
  Stored<ResponseOf<CommandOf<S, Op>>>,
  '$metadata'
>

/** The operations of the ECS model, 88 in client-ecs 3.1162.0. */
export type OperationName = OperationOf<'ecs'>

export type Input<Op extends OperationName> = InputOf<'ecs', Op>
export type Output<Op extends OperationName> = OutputOf<'ecs', Op>

export type Attachment = Stored<ecs.Attachment>
export type Attribute = Stored<ecs.Attribute>
export type Cluster = Stored<ecs.Cluster>
export type Container = Stored<ecs.Container>
export type ContainerDefinition = Stored<ecs.ContainerDefinition>
export type ContainerImage = Stored<ecs.ContainerImage>
export type ContainerInstance = Stored<ecs.ContainerInstance>
export type ContainerOverride = Stored<ecs.ContainerOverride>
export type ContainerStateChange = Stored<ecs.ContainerStateChange>
export type Deployment = Stored<ecs.Deployment>
export type DeploymentConfiguration = Stored<ecs.DeploymentConfiguration>
export type Failure = Stored<ecs.Failure>
export type KeyValuePair = Stored<ecs.KeyValuePair>
export type NetworkBinding = Stored<ecs.NetworkBinding>
export type PlacementConstraint = Stored<ecs.PlacementConstraint>
export type PlacementStrategy = Stored<ecs.PlacementStrategy>
export type PortMapping = Stored<ecs.PortMapping>
export type ProtectedTask = Stored<ecs.ProtectedTask>
export type Resource = Stored<ecs.Resource>
export type Service = Stored<ecs.Service>
export type ServiceDeployment = Stored<ecs.ServiceDeployment>
export type ServiceEvent = Stored<ecs.ServiceEvent>
export type ServiceRevision = Stored<ecs.ServiceRevision>
export type Setting = Stored<ecs.Setting>
export type Tag = Stored<ecs.Tag>
export type Task = Stored<ecs.Task>
export type TaskDefinition = Stored<ecs.TaskDefinition>
export type TaskOverride = Stored<ecs.TaskOverride>
export type VersionInfo = Stored<ecs.VersionInfo>
export type Volume = Stored<ecs.Volume>
export type TaskSet = Stored<ecs.TaskSet>
