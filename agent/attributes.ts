/**
 * What this instance can do, in the names that ECS asks for: a task is placed only where all that its definition
 * requires is among them. Nothing stands here that the agent does not truly have.
 *
 * Source: amazon-ecs-agent 1.105, agent capabilities; `reference/ecs-agent.md` section 9.
 */
import { gantryProtocolAttribute, gantryProtocolVersion, tasksMaxAttribute } from '../proto/acs.ts'
import type { AgentConfig } from './config.ts'
import type { PortRange } from './config-values.ts'
import type { EngineInfo } from './engine.ts'
import type { HostFacts } from './host-facts.ts'

export interface Attribute {
  readonly name: string
  readonly value?: string
}

const legacy = 'com.amazonaws.ecs.capability.'
const current = 'ecs.capability.'
/** Definitions ask for these on every engine; 1.26, 1.27 and 1.31 are left out as the official agent does. */
const remoteApis = [17, 18, 19, 20, 21, 22, 23, 24, 25, 28, 29, 30, 32]

/** What the agent fetches for a container before it makes it: by calls to the controller, whatever the engine can do. */
const fetched = [
  'private-registry-authentication.secretsmanager',
  'secrets.ssm.environment-variables',
  'secrets.ssm.bootstrap.log-driver',
  'secrets.asm.environment-variables',
  'secrets.asm.bootstrap.log-driver',
  'env-files.s3',
]

export function instanceAttributes(
  config: AgentConfig,
  host: HostFacts,
  engine: EngineInfo,
  portRange: PortRange,
  /** What was found out about the host at start, by the names of attributes. */
  abilities: readonly Attribute[] = [],
): readonly Attribute[] {
  return [
    ...config.instanceAttributes,
    ...capabilities(config, engine).map((name) => ({ name })),
    ...abilities,
    { name: 'ecs.os-type', value: 'linux' },
    { name: 'ecs.os-family', value: 'LINUX' },
    { name: 'ecs.cpu-architecture', value: host.cpuArchitecture },
    { name: 'ecs.availability-zone', value: config.availabilityZone ?? `${config.region}a` },
    { name: 'ecs.instance-type', value: attributeValue(config.instanceType ?? host.productName) },
    { name: gantryProtocolAttribute, value: gantryProtocolVersion },
    ...(config.tasksMax === undefined ? [] : [{ name: tasksMaxAttribute, value: String(config.tasksMax) }]),
    { name: 'gantry.dynamic-host-port-range', value: `${portRange.first}-${portRange.last}` },
  ]
}

function capabilities(config: AgentConfig, engine: EngineInfo): readonly string[] {
  // `none` is no plugin of the engine's, and always there.
  const ofEngine = config.loggingDrivers.filter((name) => name === 'none' || engine.loggingDrivers.includes(name))
  // What is for `awslogs` is shipped by the agent itself, whatever the engine can do.
  const drivers = [...ofEngine.filter((name) => name !== 'awslogs'), 'awslogs']
  return [
    ...(config.privilegedDisabled ? [] : [`${legacy}privileged-container`]),
    ...remoteApis.map((minor) => `${legacy}docker-remote-api.1.${minor}`),
    ...drivers.map((name) => `${legacy}logging-driver.${name}`),
    `${current}execution-role-awslogs`,
    ...fetched.map((name) => `${current}${name}`),
    `${current}execute-command`,
    ...securityModules(engine.securityOptions).map((name) => `${legacy}${name}`),
    `${current}container-ordering`,
    `${current}container-restart-policy`,
    `${current}full-sync`,
    `${current}network.container-port-range`,
    ...(config.healthCheckDisabled ? [] : [`${current}container-health-check`]),
    ...volumePlugins(engine.volumePlugins).map((name) => `${current}docker-plugin.${name}`),
    ...(config.external ? [`${current}external`] : []),
  ]
}

/** Those that Docker Engine itself works with: `name=apparmor`, and on hosts that have it `name=selinux`. */
function securityModules(options: readonly string[]): readonly string[] {
  const names = options.map((option) => /(?:^|,)(?:name=)?(\w+)/.exec(option)?.[1])
  return ['apparmor', 'selinux'].filter((module) => names.includes(module))
}

/** `rexray/ebs:latest` counts under two names, as a definition may leave the tag out. */
function volumePlugins(installed: readonly string[]): readonly string[] {
  const names = ['local', ...installed].flatMap((name) => [name.replaceAll(':', '.'), name.replace(/:latest$/, '')])
  return [...new Set(names)].filter((name) => !name.includes(':'))
}

/** ECS takes letters, digits and a few signs in an attribute's value, 128 at most. */
function attributeValue(text: string): string {
  const clean = text
    .replaceAll(/[^A-Za-z0-9\-_.@/: ]/g, '')
    .trim()
    .slice(0, 128)
  return clean === '' ? 'unknown' : clean
}
