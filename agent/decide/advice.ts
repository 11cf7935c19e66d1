/**
 * What to do about what Docker Engine or a registry said, where its words tell. The engine's words stay first: the advice is
 * one more sentence at their end.
 */

interface Advice {
  readonly words: RegExp
  readonly remedy: string
}

const startAdvice: readonly Advice[] = [
  {
    words: /exec format error/i,
    remedy: "The image is for another CPU architecture: build it for this host's, or name its own in runtimePlatform.",
  },
  {
    words: /could not select device driver/i,
    remedy: 'Install the NVIDIA Container Toolkit on the host and restart Docker Engine.',
  },
  {
    words: /nvidia-container-cli|unknown device|device error/i,
    remedy: 'Look at nvidia-smi on the host, and restart its agent.',
  },
  {
    words: /unable to apply caps/i,
    remedy:
      'Docker Engine on this host may not give such capabilities itself: see privileged and linuxParameters.capabilities.',
  },
  {
    words: /error gathering device information/i,
    remedy: 'The host has no such device: check linuxParameters.devices.',
  },
  {
    words: /unable to find (?:user|group)|no matching entries in (?:passwd|group) file/i,
    remedy: 'The image has no such user: give its number in `user`, or make it in the image.',
  },
  {
    words: /executable file not found|no such file or directory/i,
    remedy: 'Check command and entryPoint against what the image holds.',
  },
  {
    words: /is a directory|permission denied/i,
    remedy: 'What command or entryPoint names cannot be executed in the image.',
  },
  {
    words: /port is already allocated|address already in use/i,
    remedy: 'Leave hostPort out for a port that is free, or stop the program of the host that holds it.',
  },
  {
    words: /storage-opt/i,
    remedy:
      'The disk of Docker Engine cannot be held to a size any more: leave ephemeralStorage out, or restart the agent.',
  },
  { words: /bind source path does not exist/i, remedy: 'Make that directory on the host first.' },
  { words: /no space left on device/i, remedy: "The host's disk is full: free some of it." },
  {
    words: /sysctl .*(?:not in a separate|not allowed|is not whitelisted)/i,
    remedy: 'Docker takes in systemControls only what belongs to the container alone; see `docker run --sysctl`.',
  },
  { words: /apparmor|seccomp|selinux/i, remedy: 'Check dockerSecurityOptions against what the host has loaded.' },
  {
    words: /invalid CapAdd|invalid CapDrop|unknown capability/i,
    remedy: 'Check the names in linuxParameters.capabilities.',
  },
  { words: /cgroup/i, remedy: "Check the kernel's cgroups on the host: `docker info` shows what is missing." },
]

/** The message with what to do about it; the message alone where that cannot be known. */
export function withStartAdvice(message: string): string {
  const advice = startAdvice.find(({ words }) => words.test(message))
  return advice === undefined ? message : `${ended(message)} ${advice.remedy}`
}

const pullAdvice: readonly Advice[] = [
  {
    words: /no such host|dial tcp|connection refused|i\/o timeout|network is unreachable|TLS handshake timeout/i,
    remedy: 'The host cannot reach the registry: check its network, DNS and proxy.',
  },
  { words: /server gave HTTP response to HTTPS client/i, remedy: "Name the registry in Docker's insecure-registries." },
  { words: /certificate/i, remedy: "Give the host the registry's certificate, in /etc/docker/certs.d." },
  { words: /no matching manifest/i, remedy: "The image has none for this host's architecture." },
  { words: /toomanyrequests|too many requests/i, remedy: 'Log in to the registry, or use a mirror of it.' },
  { words: /no space left on device/i, remedy: "The host's disk is full: free some of it." },
]

/**
 * As withStartAdvice, for an image that could not be pulled; `kind` is what the registry's answer was taken for, and
 * `hasLogin` is true where the task brought a user and a password of its own.
 */
export function withPullAdvice(message: string, kind: string, hasLogin: boolean): string {
  const known = pullAdvice.find(({ words }) => words.test(message))?.remedy
  const remedy =
    known ?? (kind === 'notFound' ? 'Check its name and tag.' : kind === 'denied' ? deniedRemedy(hasLogin) : undefined)
  return remedy === undefined ? message : `${ended(message)} ${remedy}`
}

function deniedRemedy(hasLogin: boolean): string {
  return hasLogin
    ? 'The registry does not take the user and password of repositoryCredentials for it: correct that secret, or the name.'
    : 'Name repositoryCredentials in the container, or give the agent credentials for the registry ' +
        '(ECS_ENGINE_AUTH_TYPE, ECS_ENGINE_AUTH_DATA), or check the name.'
}

function ended(message: string): string {
  const text = message.trimEnd()
  return /[.!?]$/.test(text) ? text : `${text}.`
}
