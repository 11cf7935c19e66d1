/**
 * AWS's own types of the ECS API, erased at run time. `Stored` is how such a shape lives inside Gantry: the same names
 * and nesting, with instants as epoch milliseconds; the codec converts at the edge.
 */
import type * as ecs from '@aws-sdk/client-ecs'

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

type Commands = typeof ecs
type CommandName = Exclude<Extract<keyof Commands, `${string}Command`>, '$Command'>
type RequestOf<C extends CommandName> = Commands[C] extends new (
  ...args: never[]
) => { readonly input: infer I }
  ? I
  : never
type ResponseOf<C extends CommandName> = Commands[C] extends new (
  ...args: never[]
) => { resolveMiddleware: (...rest: never[]) => (input: never) => Promise<{ output: infer O }> }
  ? O
  : never

/** The operations of the ECS model, 88 in client-ecs 3.1162.0. */
export type OperationName = CommandName extends `${infer Name}Command` ? Name : never

export type Input<Op extends OperationName> = Stored<RequestOf<`${Op}Command`>>
export type Output<Op extends OperationName> = Omit<Stored<ResponseOf<`${Op}Command`>>, '$metadata'>

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
