/** The task definitions of the simulation: each kind of task that an agent has to treat in a way of its own. */
import { fileArn, missingParameter, parameterName, secretArn } from './sim-secrets.ts'

const container = (over: object = {}): object => ({ name: 'app', image: 'busybox:1', cpu: 64, memory: 64, ...over })

const roles = { taskRoleArn: 'app', executionRoleArn: 'arn:aws:iam::123456789012:role/executor' }

const definition = (family: string, ...containerDefinitions: readonly object[]): readonly [string, object] => [
  family,
  // Every other kind of task has roles, so that keys are sent all the time.
  { family, networkMode: 'bridge', containerDefinitions, ...(family.length % 2 === 0 && roles) },
]

/** Made with what is fetched for it. */
const secretive = (family: string, ...containerDefinitions: readonly object[]): readonly [string, object] => [
  family,
  { family, networkMode: 'bridge', containerDefinitions, ...roles },
]

const password = { name: 'PASSWORD', valueFrom: `${secretArn}:password::` }
const token = { name: 'TOKEN', valueFrom: parameterName }
const environmentFiles = [{ type: 's3', value: fileArn }]

const addressed = (family: string, ...containerDefinitions: readonly object[]): readonly [string, object] => [
  family,
  { family, networkMode: 'awsvpc', containerDefinitions },
]

export const taskDefinitions: Readonly<Record<string, object>> = Object.fromEntries([
  definition('plain', container()),
  definition('large', container({ cpu: 900, memory: 700 })),
  definition(
    'web-dynamic',
    container({ image: 'web:1', portMappings: [{ containerPort: 80 }, { containerPort: 81 }] }),
  ),
  definition('web-static', container({ image: 'web:1', portMappings: [{ containerPort: 80, hostPort: 8080 }] })),
  // A static port in the midst of the dynamic range, which both sides have to keep apart.
  definition('web-between', container({ portMappings: [{ containerPort: 80, hostPort: 32770 }] })),
  definition('dns', container({ portMappings: [{ containerPort: 53, hostPort: 53, protocol: 'udp' }] })),
  definition('pair', container(), container({ name: 'side', image: 'job:1', essential: false })),
  definition('fragile-pair', container(), container({ name: 'side', image: 'crash:1' })),
  definition(
    'ordered',
    container({ name: 'first', image: 'job:1', essential: false }),
    container({ name: 'second', dependsOn: [{ containerName: 'first', condition: 'SUCCESS' }] }),
    container({ name: 'third', dependsOn: [{ containerName: 'second', condition: 'START' }] }),
  ),
  definition(
    'never-ready',
    container({ name: 'first', image: 'crash:1', essential: false }),
    container({ name: 'second', dependsOn: [{ containerName: 'first', condition: 'SUCCESS' }] }),
  ),
  // Addresses of their own, from the cluster's default subnet.
  addressed('addressed', container({ portMappings: [{ containerPort: 80 }] })),
  addressed('addressed-pair', container(), container({ name: 'side', image: 'crash:1', essential: false })),
  // Ends by itself every 70 s, and goes on in place.
  definition('flaky', container({ image: 'flaky:1', restartPolicy: { enabled: true, restartAttemptPeriod: 60 } })),
  definition(
    'restarting',
    container({ restartPolicy: { enabled: true, ignoredExitCodes: [0], restartAttemptPeriod: 60 } }),
    container({ name: 'side', image: 'web:1', dependsOn: [{ containerName: 'app', condition: 'START' }] }),
  ),
  definition('checked', container({ image: 'web:1', healthCheck: { command: ['CMD', 'true'] } })),
  definition('sick', container({ image: 'sick:1', healthCheck: { command: ['CMD', 'false'] } })),
  definition('slow', container({ image: 'slow:1', healthCheck: { command: ['CMD', 'true'] } })),
  definition('busy-registry', container({ image: 'busy:1' })),
  definition('job', container({ image: 'job:1' })),
  definition('crash', container({ image: 'crash:1' })),
  definition('stubborn', container({ image: 'stubborn:1', stopTimeout: 5 })),
  secretive('secretive', container({ secrets: [password, token], environmentFiles })),
  secretive(
    'secretive-pair',
    container({ image: 'flaky:1', secrets: [token], restartPolicy: { enabled: true, restartAttemptPeriod: 60 } }),
    container({ name: 'side', environmentFiles, dependsOn: [{ containerName: 'app', condition: 'START' }] }),
  ),
  secretive('secretless', container({ secrets: [token, { name: 'MISSING', valueFrom: missingParameter }] })),
  definition('missing-image', container({ image: 'nowhere:1' })),
  definition('bad-entry', container({ image: 'noentry:1' })),
])
