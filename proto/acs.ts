/**
 * The agent's control channel (ACS, api 2014-11-13): one WebSocket that carries `{"type", "message"}` as JSON text, and
 * what each message holds. Member names and types are those of the official agent, so that it and ours run the same
 * payload. What Gantry adds is at the end, sent only between peers that registered `gantry.protocol`.
 */
import type { ContainerStateChange, NetworkBinding } from './model/types.ts'
import type { DesiredStatus } from './status.ts'

/** A frame in either direction. */
export interface Frame {
  readonly type: string
  readonly message: Readonly<Record<string, unknown>>
}

/** The largest frame that either side takes, in bytes. A payload of ten tasks of 64 KiB definitions fits. */
export const frameBytesMax = 4 * 1024 * 1024

/** Tasks in one PayloadMessage; more are split over several messages. */
export const payloadTasksMax = 10

// ---- controller -> agent -------------------------------------------------------------------------------------------

export interface HeartbeatMessage {
  readonly healthy: boolean
  readonly messageId: string
}

export interface PayloadMessage {
  readonly clusterArn: string
  readonly containerInstanceArn: string
  readonly messageId: string
  /** Epoch milliseconds. */
  readonly generatedAt: number
  readonly seqNum: number
  readonly timeline: number
  readonly tasks: readonly PayloadTask[]
}

export interface PayloadTask {
  readonly arn: string
  readonly taskClusterArn: string
  readonly family: string
  /** The revision, as a string. */
  readonly version: string
  readonly desiredStatus: DesiredStatus
  readonly networkMode: 'bridge' | 'host' | 'none' | 'awsvpc'
  readonly launchType: string
  /** vCPUs: 0.25 is 256 CPU units. Absent where the task definition names no task size. */
  readonly cpu?: number | undefined
  /** MiB. Absent where the task definition names no task size. */
  readonly memory?: number | undefined
  readonly pidMode?: string | undefined
  readonly ipcMode?: string | undefined
  readonly group?: string | undefined
  readonly serviceName?: string | undefined
  readonly containers: readonly PayloadContainer[]
  readonly volumes: readonly PayloadVolume[]
  /** With networkMode awsvpc: the task's own interface; exactly one. */
  readonly elasticNetworkInterfaces?: readonly PayloadNetworkInterface[] | undefined
  /** GPUs that the controller gave to containers. */
  readonly associations?: readonly PayloadAssociation[] | undefined
  readonly roleCredentials?: PayloadCredentials | undefined
  readonly executionRoleCredentials?: PayloadCredentials | undefined
  /** Gantry only, and only to an agent with `gantry.protocol`. */
  readonly gantry?: PayloadTaskExtension | undefined
}

export interface PayloadTaskExtension {
  /**
   * The task's status as the controller last heard it from an agent. An agent that has no trace of a task which already
   * ran reports it STOPPED instead of starting it a second time.
   */
  readonly knownStatus: string
  /** True where the agent may start the task again in place, with back-off, while it has no controller. */
  readonly restartAlone?: true | undefined
  /** How the task's interface is attached to its subnet; beside `elasticNetworkInterfaces`. */
  readonly network?: PayloadNetwork | undefined
  /** The file systems of `efsVolumeConfiguration`, by the volume's name. */
  readonly fileSystems?: Readonly<Record<string, PayloadFileSystem>> | undefined
  /** What each container's own file system may grow to. */
  readonly ephemeralStorageGiB?: number | undefined
  /** The role whose keys the task's containers may ask for. */
  readonly taskRoleArn?: string | undefined
  /** True where ExecuteCommand is allowed. */
  readonly enableExecuteCommand?: true | undefined
}

/** The official agent's form of a task's own network interface. */
export interface PayloadNetworkInterface {
  readonly name?: string | undefined
  readonly attachmentArn: string
  /** `eni-` and hex digits. */
  readonly ec2Id: string
  readonly index: number
  readonly macAddress: string
  readonly ipv4Addresses: readonly { readonly privateAddress: string; readonly primary: boolean }[]
  /** Search domains. */
  readonly domainName: readonly string[]
  readonly domainNameServers: readonly string[]
  readonly privateDnsName?: string | undefined
  /** `10.0.0.1/24`: the gateway with the subnet's prefix length. */
  readonly subnetGatewayIpv4Address: string
}

/** What an agent needs to know of a subnet to attach a task to it. Each payload carries it whole. */
export interface PayloadNetwork {
  readonly subnetId: string
  readonly cidr: string
  readonly gateway?: string | undefined
  readonly attachment: SubnetAttachment
  /** The address, of the same subnet, that is reserved for this host's own interface in it. */
  readonly hostAddress?: string | undefined
  readonly hostMacAddress?: string | undefined
  readonly mtu?: number | undefined
}

export type SubnetAttachment =
  /** A macvlan child of `parent` (of its VLAN, where one is named): the subnet is the LAN's own. */
  | { readonly kind: 'macvlan'; readonly parent: string; readonly vlan?: number | undefined }
  /** A bridge of each host alone: tasks on other hosts are not reached by their addresses. */
  | { readonly kind: 'bridge' }
  /** Bridges of the hosts, joined by VXLAN over `parent` (absent: where the default route goes). */
  | {
      readonly kind: 'vxlan'
      readonly networkId: number
      readonly multicastGroup: string
      readonly parent?: string | undefined
    }

export interface PayloadAssociation {
  /** The GPU's id on its host. */
  readonly name: string
  readonly type: 'gpu'
  readonly content: { readonly encoding: 'identity'; readonly value: string }
  readonly containers: readonly string[]
}

/** How a shared file system is mounted; secrets of it are not among these. */
export interface PayloadFileSystem {
  readonly fileSystemId: string
  /** `nfs 10.0.0.5:/export`: for messages. */
  readonly described: string
  readonly mount: /** A directory of the host. With `mustBeMounted` nothing is written unless a file system is mounted on it. */
    | { readonly kind: 'path'; readonly path: string; readonly mustBeMounted?: true | undefined }
    /** A Docker volume; `rootDirectory` is among its options already. */
    | {
        readonly kind: 'volume'
        readonly driver: string
        readonly driverOpts: Readonly<Record<string, string>>
        /** One volume for all tasks of the host, which is left where it is; absent: the task's own. */
        readonly name?: string | undefined
        /** A file on the host whose user name and password belong into the mount options. */
        readonly credentialsFile?: string | undefined
      }
  /** Below the file system's own root; `/` is all of it. */
  readonly rootDirectory: string
  /** An access point's: `rootDirectory` is made so where it is missing. */
  readonly creation?: { readonly ownerUid: number; readonly ownerGid: number; readonly permissions: string } | undefined
  /** With `creation`, for a Docker volume: the options that mount all of it. */
  readonly rootOpts?: Readonly<Record<string, string>> | undefined
}

export interface PayloadContainer {
  readonly name: string
  readonly containerArn: string
  readonly image: string
  readonly essential: boolean
  /** CPU shares. */
  readonly cpu: number
  /** Hard limit in MiB; 0 is none. */
  readonly memory: number
  readonly command?: readonly string[] | undefined
  readonly entryPoint?: readonly string[] | undefined
  readonly environment: Readonly<Record<string, string>>
  readonly links: readonly string[]
  readonly mountPoints: readonly PayloadMountPoint[]
  readonly portMappings: readonly PayloadPortMapping[]
  readonly volumesFrom: readonly { readonly sourceContainer: string; readonly readOnly: boolean }[]
  readonly dependsOn?: readonly PayloadDependency[] | undefined
  /** Seconds. */
  readonly startTimeout?: number | undefined
  /** Seconds from SIGTERM to SIGKILL. */
  readonly stopTimeout?: number | undefined
  readonly restartPolicy?:
    | {
        readonly enabled: boolean
        readonly ignoredExitCodes?: readonly number[] | undefined
        /** Seconds that a container must have run to be started again. */
        readonly restartAttemptPeriod?: number | undefined
      }
    | undefined
  readonly healthCheckType?: 'docker' | undefined
  /** What the agent fetches with the task's execution role before the container starts. */
  readonly secrets?: readonly PayloadSecret[] | undefined
  readonly environmentFiles?: readonly { readonly value: string; readonly type: 's3' }[] | undefined
  readonly registryAuthentication?: PayloadRegistryAuthentication | undefined
  /** With log driver awslogs: whose rights the lines are shipped by, where it is not the host's. */
  readonly logsAuthStrategy?: 'ExecutionRole' | undefined
  readonly firelensConfiguration?:
    | { readonly type: string; readonly options?: Readonly<Record<string, string>> | undefined }
    | undefined
  /** Docker's own `config` and `hostConfig`, each a JSON string, merged over the agent's few members. */
  readonly dockerConfig: { readonly version: string; readonly config: string; readonly hostConfig: string }
  /** A JSON string in which the official agent takes `command` and nothing else. */
  readonly overrides: string
  /** Never on the wire: set on containers that an agent adds to the task itself. */
  readonly internal?: 'CNI_PAUSE' | 'NAMESPACE_PAUSE' | undefined
}

export interface PayloadSecret {
  readonly name: string
  readonly valueFrom: string
  readonly type: 'ENVIRONMENT_VARIABLE'
  readonly provider: 'ssm' | 'asm'
  readonly region: string
  readonly target: 'CONTAINER' | 'LOG_DRIVER'
}

export interface PayloadRegistryAuthentication {
  readonly type: 'ecr' | 'asm'
  readonly ecrAuthData?:
    | { readonly registryId: string; readonly region: string; readonly useExecutionRole: boolean }
    | undefined
  readonly asmAuthData?: { readonly credentialsParameter: string; readonly region: string } | undefined
}

export interface PayloadPortMapping {
  readonly containerPort?: number | undefined
  readonly hostPort?: number | undefined
  readonly containerPortRange?: string | undefined
  readonly protocol: 'tcp' | 'udp'
}

export interface PayloadMountPoint {
  readonly sourceVolume: string
  readonly containerPath: string
  readonly readOnly: boolean
}

export interface PayloadDependency {
  readonly containerName: string
  readonly condition: 'START' | 'COMPLETE' | 'SUCCESS' | 'HEALTHY'
}

export interface PayloadVolume {
  readonly name: string
  readonly type?: 'host' | 'docker' | 'efs' | undefined
  readonly host?: { readonly sourcePath?: string | undefined } | undefined
  readonly dockerVolumeConfiguration?:
    | {
        readonly scope?: 'task' | 'shared' | undefined
        readonly autoprovision?: boolean | undefined
        readonly driver?: string | undefined
        readonly driverOpts?: Readonly<Record<string, string>> | undefined
        readonly labels?: Readonly<Record<string, string>> | undefined
      }
    | undefined
  readonly efsVolumeConfiguration?: object | undefined
}

/** Keys of a role for one task. They are made when they are sent; neither side writes them down. */
export interface PayloadCredentials {
  readonly credentialsId: string
  readonly roleArn: string
  readonly roleType?: RoleType | undefined
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken: string
  /** ISO 8601. */
  readonly expiration: string
}

export type RoleType = 'TaskApplication' | 'TaskExecution'

/** Keys that take the place of those that the task had. */
export interface IAMRoleCredentialsMessage {
  readonly messageId: string
  readonly taskArn: string
  readonly taskClusterArn: string
  readonly roleType: RoleType
  readonly roleCredentials: PayloadCredentials
}

export interface TaskManifestMessage {
  readonly clusterArn: string
  readonly containerInstanceArn: string
  readonly messageId: string
  readonly generatedAt: number
  /** Greater than every sequence number sent before it, else the agent throws it away unanswered. */
  readonly timeline: number
  readonly tasks: readonly TaskIdentifier[]
}

export interface TaskIdentifier {
  readonly taskArn: string
  readonly taskClusterArn: string
  readonly desiredStatus: DesiredStatus
}

export interface TaskStopVerificationAck {
  /** The manifest's. */
  readonly messageId: string
  readonly generatedAt: number
  readonly stopTasks: readonly TaskIdentifier[]
}

// ---- agent -> controller -------------------------------------------------------------------------------------------

export interface AckRequest {
  readonly cluster: string
  readonly containerInstance: string
  readonly messageId: string
}

export interface IAMRoleCredentialsAckRequest {
  readonly messageId: string
  readonly expiration: string
  readonly credentialsId: string
}

export interface NackRequest extends AckRequest {
  readonly reason: string
}

export interface HeartbeatAckRequest {
  readonly messageId: string
}

export interface TaskStopVerificationMessage {
  readonly messageId: string
  readonly stopCandidates: readonly TaskIdentifier[]
}

// ---- Gantry's own, version 1: only where `gantry.protocol` = "1" is among the instance's attributes ---------------

export const gantryProtocolAttribute = 'gantry.protocol'
export const gantryProtocolVersion = '1'
/** The attribute by which an agent says how many tasks its host takes at most. */
export const tasksMaxAttribute = 'gantry.tasks-max'
/** The attribute of hosts that can hold a container's own file system to a size. */
export const ephemeralStorageAttribute = 'gantry.capability.ephemeral-storage'

/**
 * One change of a task, agent -> controller. Sent in order per task, at most one unanswered per task, and again after
 * every reconnect until it is answered. The first part is the input of SubmitTaskStateChange.
 */
export interface GantryTaskStateChange {
  readonly messageId: string
  readonly task: string
  readonly status: 'PENDING' | 'RUNNING' | 'STOPPED'
  /** The task's own reason; a container's stands with the container. */
  readonly reason?: string | undefined
  readonly containers: readonly GantryContainerStateChange[]
  readonly pullStartedAt?: number | undefined
  readonly pullStoppedAt?: number | undefined
  readonly executionStoppedAt?: number | undefined
  /** What the task waits for right now, as a sentence; absent where it waits for nothing. */
  readonly waitingFor?: string | undefined
  /** Network interfaces that are up. */
  readonly attachments?: readonly { readonly attachmentArn: string; readonly status: 'ATTACHED' }[] | undefined
}

export interface GantryContainerStateChange extends Omit<ContainerStateChange, 'networkBindings'> {
  readonly networkBindings?: readonly NetworkBinding[] | undefined
  readonly healthStatus?: 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN' | undefined
  /** How often its restart policy, or an agent that was alone, has started it again. */
  readonly restartCount?: number | undefined
  /** Docker's own clock, epoch milliseconds. */
  readonly startedAt?: number | undefined
  readonly finishedAt?: number | undefined
  /** With STOPPED: the last 20 lines of output, at most 4 KiB. For `why` alone: they never show in a Describe answer. */
  readonly lastLogLines?: readonly string[] | undefined
}

/** Controller -> agent: the change with this id is committed. */
export interface GantryTaskStateAck {
  readonly messageId: string
}

/** Controller -> agent: the change is refused for good (a task that is not this agent's); it is not to be sent again. */
export interface GantryTaskStateRefusal {
  readonly messageId: string
  readonly reason: string
}

/** Agent -> controller, at connect and when it changes: the state of its host. What is absent is as it was. */
export interface GantryHostReport {
  readonly messageId: string
  /** Ports that programs outside of Gantry hold. */
  readonly usedTcpPorts?: readonly number[] | undefined
  readonly usedUdpPorts?: readonly number[] | undefined
  /** For how long Docker Engine has not answered; 0 where it answers. */
  readonly engineSilentForMs?: number | undefined
  /** The disk that holds Docker Engine's images and containers; `isPressed` where it is nearly full. */
  readonly disk?: GantryDiskUse | undefined
}

export interface GantryDiskUse {
  readonly path: string
  readonly usedPercent: number
  readonly freeMiB: number
  readonly isPressed: boolean
}

/** The last lines of a container's output that travel with STOPPED. */
export const lastLogLinesMax = 20
export const lastLogBytesMax = 4096

/** Reads a frame; undefined where the text is not a frame at all. */
export function parseFrame(text: string): Frame | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { type, message } = value as { type?: unknown; message?: unknown }
  if (typeof type !== 'string') return undefined
  if (message !== undefined && (typeof message !== 'object' || message === null)) return undefined
  return { type, message: (message ?? {}) as Frame['message'] }
}

/** Writes a frame; members that are undefined are left out. */
export function writeFrame(type: string, message: object): string {
  return JSON.stringify({ type, message })
}
