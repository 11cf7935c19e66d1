/**
 * What to do where no host has an attribute that a task requires: a name such as `ecs.capability.env-files.s3` tells few
 * people what is missing.
 */

interface Advice {
  readonly names: RegExp
  readonly remedy: string
}

const advices: readonly Advice[] = [
  {
    names: /^ecs\.capability\.secrets\./,
    remedy: "the host's agent is too old to fetch secrets: update it",
  },
  {
    names: /^ecs\.capability\.env-files\./,
    remedy: "the host's agent is too old to fetch environmentFiles: update it",
  },
  {
    names: /private-registry-authentication/,
    remedy:
      "the host's agent is too old to fetch repositoryCredentials: update it, or give it ECS_ENGINE_AUTH_TYPE and " +
      'ECS_ENGINE_AUTH_DATA and leave them out',
  },
  {
    names: /\.task-iam-role(?:-network-host)?$/,
    remedy:
      "the host's agent gives tasks no keys of a role: see ECS_ENABLE_TASK_IAM_ROLE and " +
      'ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST, and what it logged when it started',
  },
  {
    names: /\.execution-role-awslogs$/,
    remedy:
      "the host's agent ships no logs by an execution role: update it, or with the official agent give it " +
      'ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE',
  },
  {
    names: /ecr-auth$|execution-role-ecr-pull$/,
    remedy: 'images of Amazon ECR need an AWS account: push the image to a registry of your own',
  },
  {
    names: /\.firelens\.|logging-driver\.awsfirelens/,
    remedy: 'FireLens runs only on hosts with the official agent: name another log driver',
  },
  {
    names: /\.logging-driver\./,
    remedy: "Docker's log driver has to be named in ECS_AVAILABLE_LOGGING_DRIVERS of the host's agent",
  },
  { names: /\.gmsa/, remedy: 'credentialSpecs need a host that is joined to an Active Directory' },
  { names: /\.fault-injection$/, remedy: 'enableFaultInjection runs only on hosts with the official agent' },
  {
    names: /\.(?:selinux|apparmor)$/,
    remedy: 'Docker Engine on the host has no such security module: see docker info',
  },
  { names: /\.privileged-container$/, remedy: "the host's agent has ECS_DISABLE_PRIVILEGED" },
  { names: /\.container-health-check$/, remedy: "the host's agent has ECS_DISABLE_DOCKER_HEALTH_CHECK" },
  { names: /\.docker-plugin\./, remedy: 'install the volume plugin on the host, and start its agent again' },
  {
    names: /^gantry\.capability\.ephemeral-storage$/,
    remedy:
      "ephemeralStorage is held to by Docker's storage drivers btrfs and zfs, and by overlay2 on xfs mounted with pquota: " +
      'move /var/lib/docker to such a file system, or leave ephemeralStorage out',
  },
  {
    names: /^gantry\.capability\.file-system\.(?:nfs|cifs)$/,
    remedy: "the host's kernel has no module for it: install it (nfs or cifs), and start the host's agent again",
  },
  { names: /^gantry\.capability\.file-system$/, remedy: "only hosts with Gantry's agent mount file systems" },
  {
    names: /\.task-eni$/,
    remedy: 'the host cannot give tasks addresses of their own; its agent logged why when it started',
  },
  {
    names: /\.(?:task-cpu-mem-limit|increased-task-cpu-limit)$/,
    remedy: 'tasks get no cgroup of their own on the host; its agent logged why when it started',
  },
  {
    names: /\.pid-ipc-namespace-sharing$/,
    remedy: 'the host cannot run pause containers; its agent logged why when it started',
  },
]

/** ` (advice; advice)` on the names that there is something to say of; empty where there is none. */
export function adviceOn(names: readonly string[]): string {
  const found = advices.filter(({ names: pattern }) => names.some((name) => pattern.test(name)))
  return found.length === 0 ? '' : ` (${[...new Set(found.map(({ remedy }) => remedy))].join('; ')})`
}
