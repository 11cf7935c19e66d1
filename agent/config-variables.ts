/**
 * The variables of the agent's configuration: one table. The names are the official agent's own where it has one.
 * `config.ts` reads them; `docs/agent-configuration.md` is printed from this table.
 */
import {
  durationAtLeast,
  durationBetween,
  oneOf,
  readCgroupParent,
  readBoolean,
  readList,
  readLogDrivers,
  readNamedValues,
  readOptionalText,
  readOptionalWhole,
  readPidsLimit,
  readPercent,
  readOrigin,
  readPort,
  readPortRange,
  readPorts,
  readRate,
  readText,
  readWhole,
} from './config-values.ts'

export interface Variable<T> {
  readonly name: string
  /** A second name, read where the first is not set. */
  readonly otherName?: string
  readonly meaning: string
  /** As one would write it; read by the same reader. */
  readonly defaultText: string
  /** What a number means, for example MiB; empty where the form says it. */
  readonly unit: string
  readonly read: (text: string) => T
  /** A bad value ends the agent rather than giving way to the default. */
  readonly fatal?: boolean
  /** The value is never shown. */
  readonly secret?: boolean
}

function variable<T>(one: Variable<T>): Variable<T> {
  return one
}

const duration = (name: string, defaultText: string, minimum: string, meaning: string): Variable<number> =>
  variable({ name, meaning: `${meaning} (at least ${minimum})`, defaultText, unit: '', read: durationAtLeast(minimum) })

const flag = (name: string, meaning: string): Variable<boolean> =>
  variable({ name, meaning, defaultText: 'false', unit: '', read: readBoolean })

export const variables = {
  cluster: variable({
    name: 'ECS_CLUSTER',
    meaning: 'The cluster to join, by name or ARN; empty means the one that the host joined',
    defaultText: 'default',
    unit: '',
    read: readText,
  }),
  backendOrigin: variable({
    name: 'ECS_BACKEND_HOST',
    meaning:
      'Where the controller answers; without a scheme it is https; empty means where the host joined. Plain HTTP is for ' +
      'loopback',
    defaultText: 'http://127.0.0.1:51700',
    unit: '',
    read: readOrigin,
    fatal: true,
  }),
  caFile: variable({
    name: 'GANTRY_CA_FILE',
    meaning:
      'A PEM file with the CA that alone is believed for the controller; empty means the one that was pinned when the ' +
      'host joined, and for a host that has not joined those of the system',
    defaultText: '',
    unit: '',
    read: readOptionalText,
  }),
  insecureBackend: flag(
    'GANTRY_INSECURE_BACKEND',
    'Call a controller on another host by plain HTTP, where whoever is on the way can read and change all; for labs',
  ),
  keyRotationMs: duration(
    'GANTRY_KEY_ROTATION_INTERVAL',
    '24h',
    '1s',
    'How old the keys of a host that has joined get before the agent changes them',
  ),
  region: variable({
    name: 'AWS_DEFAULT_REGION',
    otherName: 'AWS_REGION',
    meaning: 'The region that requests are signed for',
    defaultText: 'us-east-1',
    unit: '',
    read: readText,
  }),
  external: flag('ECS_EXTERNAL', 'Register with the launch type EXTERNAL instead of EC2'),
  dockerHost: variable({
    name: 'DOCKER_HOST',
    meaning: 'The Docker Engine: unix:///path or tcp://host:port',
    defaultText: 'unix:///var/run/docker.sock',
    unit: '',
    read: readText,
  }),
  dataDirectory: variable({
    name: 'ECS_DATADIR',
    meaning: "The agent's own directory: its identity, its journal and its lock; made if missing",
    defaultText: '/var/lib/ecs/data',
    unit: '',
    read: readText,
  }),
  accessKeyId: variable({
    name: 'AWS_ACCESS_KEY_ID',
    meaning: 'The access key to sign with; comes before the credentials file',
    defaultText: '',
    unit: '',
    read: readOptionalText,
  }),
  secretAccessKey: variable({
    name: 'AWS_SECRET_ACCESS_KEY',
    meaning: 'Its secret',
    defaultText: '',
    unit: '',
    read: readOptionalText,
    secret: true,
  }),
  sessionToken: variable({
    name: 'AWS_SESSION_TOKEN',
    meaning: 'Its session token, where it has one',
    defaultText: '',
    unit: '',
    read: readOptionalText,
    secret: true,
  }),
  credentialsFile: variable({
    name: 'AWS_SHARED_CREDENTIALS_FILE',
    meaning:
      'A file with the keys in profile [default], readable by its owner alone, and read again for each use; empty means ' +
      'the keys that the host got when it joined',
    defaultText: '',
    unit: '',
    read: readOptionalText,
  }),
  reservedTcpPorts: variable({
    name: 'ECS_RESERVED_PORTS',
    meaning: 'TCP ports of the host that no task gets',
    defaultText: '[22, 2375, 2376, 51678, 51679, 51700]',
    unit: '',
    read: readPorts,
  }),
  reservedUdpPorts: variable({
    name: 'ECS_RESERVED_PORTS_UDP',
    meaning: 'UDP ports of the host that no task gets',
    defaultText: '[]',
    unit: '',
    read: readPorts,
  }),
  reservedMemoryMiB: variable({
    name: 'ECS_RESERVED_MEMORY',
    meaning: 'Memory of the host that no task gets',
    defaultText: '0',
    unit: 'MiB',
    read: readWhole,
  }),
  tasksMax: variable({
    name: 'GANTRY_TASKS_MAX',
    meaning: 'How many tasks the host holds at most, those that are stopping included; empty means no limit',
    defaultText: '',
    unit: '',
    read: readOptionalWhole,
    fatal: true,
  }),
  taskEniMax: variable({
    name: 'GANTRY_TASK_ENI_MAX',
    meaning:
      'How many tasks with an address of their own (network mode awsvpc) the host holds at most; empty means no limit',
    defaultText: '',
    unit: '',
    read: readOptionalWhole,
    fatal: true,
  }),
  engineAuthType: variable({
    name: 'ECS_ENGINE_AUTH_TYPE',
    meaning: 'The form of ECS_ENGINE_AUTH_DATA: dockercfg or docker',
    defaultText: '',
    unit: '',
    read: readText,
  }),
  engineAuthData: variable({
    name: 'ECS_ENGINE_AUTH_DATA',
    meaning: 'Credentials for private registries, as JSON',
    defaultText: '',
    unit: '',
    read: readText,
    secret: true,
  }),
  logLevel: variable({
    name: 'ECS_LOGLEVEL',
    meaning: 'The least level that is logged: debug, info, warn, error or crit',
    defaultText: 'info',
    unit: '',
    read: oneOf(['debug', 'info', 'warn', 'error', 'crit'] as const),
  }),
  loggingDrivers: variable({
    name: 'ECS_AVAILABLE_LOGGING_DRIVERS',
    meaning:
      'Log drivers that tasks may use, of those that the engine has; awslogs, which the agent does itself, always is one',
    defaultText: '["json-file","none"]',
    unit: '',
    read: readLogDrivers,
    fatal: true,
  }),
  privilegedDisabled: flag('ECS_DISABLE_PRIVILEGED', 'Take no privileged containers'),
  healthCheckDisabled: flag('ECS_DISABLE_DOCKER_HEALTH_CHECK', 'Take no containers with a health check'),
  imagePullBehavior: variable({
    name: 'ECS_IMAGE_PULL_BEHAVIOR',
    meaning: 'When images are pulled: default, always, once or prefer-cached',
    defaultText: 'default',
    unit: '',
    read: oneOf(['default', 'always', 'once', 'prefer-cached'] as const),
  }),
  imagePullInactivityTimeoutMs: duration(
    'ECS_IMAGE_PULL_INACTIVITY_TIMEOUT',
    '1m',
    '1s',
    'How long a pull may stand still',
  ),
  imagePullTimeoutMs: duration('ECS_IMAGE_PULL_TIMEOUT', '2h', '1s', 'How long a whole pull may take'),
  manifestPullTimeoutMs: duration(
    'ECS_MANIFEST_PULL_TIMEOUT',
    '1m',
    '1s',
    "How long the look-up of an image's digest may take",
  ),
  containerStopTimeoutMs: duration(
    'ECS_CONTAINER_STOP_TIMEOUT',
    '30s',
    '1s',
    'From SIGTERM to SIGKILL, for containers without a stopTimeout',
  ),
  containerStartTimeoutMs: duration('ECS_CONTAINER_START_TIMEOUT', '3m', '45s', 'How long a start may take'),
  containerCreateTimeoutMs: duration('ECS_CONTAINER_CREATE_TIMEOUT', '4m', '1m', 'How long a creation may take'),
  taskCleanupWaitMs: duration(
    'ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION',
    '3h',
    '1s',
    'How long the containers of a stopped task are kept',
  ),
  taskCleanupJitterMs: duration(
    'ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER',
    '0s',
    '0s',
    'Added to that wait by up to this much, another for each task',
  ),
  stoppedTasksMax: variable({
    name: 'GANTRY_STOPPED_TASKS_MAX',
    meaning: 'How many stopped tasks keep their containers at most, whatever the wait; those that ended first go first',
    defaultText: '500',
    unit: '',
    read: readWhole,
  }),
  metricsDisabled: flag('ECS_DISABLE_METRICS', 'Open no telemetry channel: metrics are not published'),
  imageCleanupDisabled: flag('ECS_DISABLE_IMAGE_CLEANUP', 'Remove no images'),
  imageCleanupIntervalMs: duration('ECS_IMAGE_CLEANUP_INTERVAL', '30m', '10m', 'How often unused images are removed'),
  imageMinimumCleanupAgeMs: duration(
    'ECS_IMAGE_MINIMUM_CLEANUP_AGE',
    '1h',
    '1m',
    'How long after it came an image stays at least, on a disk with room',
  ),
  imagesPerCycle: variable({
    name: 'ECS_NUM_IMAGES_DELETE_PER_CYCLE',
    meaning: 'How many unused images go at a time, on a disk with room',
    defaultText: '5',
    unit: '',
    read: readWhole,
  }),
  untrackedImageCleanup: flag(
    'ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP',
    'Remove also images that no task of this host used',
  ),
  untrackedImageMinimumAgeMs: duration(
    'NON_ECS_IMAGE_MINIMUM_CLEANUP_AGE',
    '1h',
    '1m',
    'How old such an image must be',
  ),
  excludedImages: variable({
    name: 'ECS_EXCLUDE_UNTRACKED_IMAGE',
    meaning: 'Images that are never removed, separated by commas, such as alpine:latest,base:1',
    defaultText: '',
    unit: '',
    read: readList,
  }),
  diskPressurePercent: variable({
    name: 'GANTRY_DISK_PRESSURE_PERCENT',
    meaning:
      "From how full the disk of Docker Engine on it is called nearly full: images go at once, and ECS's health says so",
    defaultText: '85',
    unit: '%',
    read: readPercent,
  }),
  drainOnStop: flag(
    'GANTRY_DRAIN_ON_STOP',
    'At SIGTERM, drain the host and wait for the tasks of services to leave before the agent ends',
  ),
  drainTimeoutMs: duration('GANTRY_DRAIN_TIMEOUT', '5m', '1s', 'How long that may take'),
  aloneAfterMs: duration(
    'GANTRY_ALONE_AFTER',
    '1m',
    '5s',
    'How long the agent waits for a controller before it starts the tasks of services again by itself when they end',
  ),
  dynamicHostPortRange: variable({
    name: 'ECS_DYNAMIC_HOST_PORT_RANGE',
    meaning: "Ports given where a task asks for port 0, such as 32768-60999; empty means the kernel's own range",
    defaultText: '',
    unit: '',
    read: readPortRange,
  }),
  sharedVolumeMatchFullConfig: flag(
    'ECS_SHARED_VOLUME_MATCH_FULL_CONFIG',
    'Take a shared Docker volume that is there only where its driver, options and labels are those of the definition',
  ),
  taskCpuMemLimit: variable({
    name: 'ECS_ENABLE_TASK_CPU_MEM_LIMIT',
    meaning: 'Keep a cgroup around each task, so that its own cpu and memory limit it; without, they only reserve',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  cgroupPath: variable({
    name: 'ECS_CGROUP_PATH',
    meaning: "Where the host's cgroups are mounted",
    defaultText: '/sys/fs/cgroup',
    unit: '',
    read: readText,
  }),
  cgroupParent: variable({
    name: 'GANTRY_CGROUP_PARENT',
    meaning: "The cgroup in which tasks get theirs, with Docker's driver cgroupfs",
    defaultText: '/ecs',
    unit: '',
    read: readCgroupParent,
  }),
  cgroupCpuPeriodMs: variable({
    name: 'ECS_CGROUP_CPU_PERIOD',
    meaning: "The period in which a task's cpu is measured out, from 8ms to 100ms",
    defaultText: '100ms',
    unit: '',
    read: durationBetween('8ms', '100ms'),
  }),
  taskPidsLimit: variable({
    name: 'ECS_TASK_PIDS_LIMIT',
    meaning: 'How many processes and threads a task may have, from 1 to 4194304; empty means no limit',
    defaultText: '',
    unit: '',
    read: readPidsLimit,
  }),
  gpuSupport: variable({
    name: 'ECS_ENABLE_GPU_SUPPORT',
    meaning: "Register the host's GPUs, so that tasks can be given them",
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  gpuInfoFile: variable({
    name: 'GANTRY_GPU_INFO_FILE',
    meaning:
      'A JSON file {"DriverVersion": "...", "GPUIDs": ["..."]} that says which GPUs the host has; where it is missing they are looked for',
    defaultText: '/var/lib/ecs/gpu/nvidia-gpu-info.json',
    unit: '',
    read: readText,
  }),
  instanceAttributes: variable({
    name: 'ECS_INSTANCE_ATTRIBUTES',
    meaning: 'Attributes of your own, as a JSON object',
    defaultText: '{}',
    unit: '',
    read: readNamedValues,
    fatal: true,
  }),
  containerInstanceTags: variable({
    name: 'ECS_CONTAINER_INSTANCE_TAGS',
    meaning: 'Tags of the container instance, as a JSON object',
    defaultText: '{}',
    unit: '',
    read: readNamedValues,
  }),
  taskEndpointEnabled: variable({
    name: 'GANTRY_TASK_ENDPOINT',
    meaning:
      'Answer containers at 169.254.170.2: metadata, credentials, task protection. One agent of a host can; false for others',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  taskMetadataRate: variable({
    name: 'ECS_TASK_METADATA_RPS_LIMIT',
    meaning: 'Requests a second to the task endpoint, and in a burst, for each container and path',
    defaultText: '40,60',
    unit: '',
    read: readRate,
  }),
  taskMetadataAzDisabled: flag('ECS_DISABLE_TASK_METADATA_AZ', 'Leave the availability zone out of task metadata'),
  containerMetadataEnabled: flag(
    'ECS_ENABLE_CONTAINER_METADATA',
    'Give each container a file with its metadata, named by ECS_CONTAINER_METADATA_FILE',
  ),
  taskRoleEnabled: variable({
    name: 'ECS_ENABLE_TASK_IAM_ROLE',
    meaning: 'Take tasks with a task role',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  taskRoleNetworkHostEnabled: variable({
    name: 'ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST',
    meaning: 'Take tasks with a task role whose network mode is host',
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  taskApiEnabled: variable({
    name: 'GANTRY_TASK_API',
    meaning:
      "Pass calls of the controller's API on for tasks with a role, at the task endpoint, and name it to them in AWS_ENDPOINT_URL",
    defaultText: 'true',
    unit: '',
    read: readBoolean,
  }),
  auditLogDisabled: flag('ECS_AUDIT_LOGFILE_DISABLED', "Log no line for each request for a task role's keys"),
  introspectionPort: variable({
    name: 'GANTRY_INTROSPECTION_PORT',
    meaning: "The introspection API's port",
    defaultText: '51678',
    unit: '',
    read: readPort,
  }),
  introspectionOffHost: flag(
    'ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS',
    'Serve the introspection API on all addresses, not on 127.0.0.1 alone',
  ),
  availabilityZone: variable({
    name: 'GANTRY_AVAILABILITY_ZONE',
    meaning: "The attribute ecs.availability-zone; empty means the region's first zone, such as us-east-1a",
    defaultText: '',
    unit: '',
    read: readOptionalText,
  }),
  instanceType: variable({
    name: 'GANTRY_INSTANCE_TYPE',
    meaning: "The attribute ecs.instance-type; empty means the machine's product name",
    defaultText: '',
    unit: '',
    read: readOptionalText,
  }),
} as const
