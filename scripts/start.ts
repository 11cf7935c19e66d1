/**
 * `npm start`: an engine, the controller, the agent and a sample task, and then what an operator needs to know. Stays
 * in the foreground and keeps both programs running; Ctrl-C stops them, and the containers go on.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultProfile } from '../agent/credentials.ts'
import { variables } from '../agent/config-variables.ts'
import { fingerprintsOf } from '../agent/controller-trust.ts'
import { type CallApi, openApi } from '../agent/ecs-api.ts'
import { type FoundEngine, ensureEngine, isEngineRunning, socketOf, startEngine } from './engine.ts'
import { type Addresses, type Home, controllerEnvironment, readAddresses, readHome, repository } from './home.ts'
import { keepEngine } from './keep-engine.ts'
import { findProgram } from './packages.ts'
import { identify } from './processes.ts'
import { ScriptError, runScript, say, seconds } from './report.ts'
import { type RunningSample, makeSampleImage, runSample } from './sample.ts'
import { endOrphans, runningSupervisor, writeState } from './start-state.ts'
import { type Supervised, endOfLog, supervise } from './supervise.ts'
import { cgroupParentOf } from './task-cgroups.ts'

const readyTimeoutMs = 60_000
/** The agent's own code for what another start can't mend. */
const agentNeedsAPerson = 5

/** Aborted by the first signal that asks for the end. */
const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ending.abort())

/** Fails with a sentence where another program has the port: the programs' own errors would come too late. */
async function requireFreePort(host: string, port: number, what: string, variable: string): Promise<void> {
  const server = createServer()
  const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once('error', resolve)
    server.listen({ host, port, exclusive: true }, () => resolve(undefined))
  })
  await new Promise((resolve) => server.close(resolve))
  if (error === undefined) return
  const why = error.code === 'EADDRINUSE' ? 'another program has it (`ss -ltnp` tells which)' : error.message
  throw new ScriptError(`port ${port} on ${host}, for ${what}, can't be used: ${why}. Another one: ${variable}.`)
}

/** The operator's environment without what would reach the programs by accident, such as the AWS keys of a shell. */
function inheritedEnvironment(isKept: (name: string) => boolean): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(GANTRY|ECS|AWS)_/.test(name) || isKept(name)),
  )
}

/** Whatever the agent can be told; but the shell's own keys for a cloud never reach it. */
const agentVariables: ReadonlySet<string> = new Set(
  Object.values(variables)
    .map(({ name }) => name)
    .filter((name) => !name.startsWith('AWS_')),
)

function startController(home: Home, onChange: () => void): Supervised {
  const program = {
    name: 'controller' as const,
    file: join(repository, 'controller', 'main.ts'),
    env: { ...inheritedEnvironment(() => false), ...controllerEnvironment(), GANTRY_DATA_DIR: home.controller },
    logFile: join(home.log, 'controller.log'),
    finalExitCodes: [],
  }
  return supervise(program, onChange)
}

function startAgent(home: Home, addresses: Addresses, engine: FoundEngine, onChange: () => void): Supervised {
  const given = {
    ECS_BACKEND_HOST: addresses.endpoint,
    ECS_DATADIR: home.agent,
    AWS_DEFAULT_REGION: addresses.region,
    AWS_SHARED_CREDENTIALS_FILE: join(home.controller, 'agent-credentials'),
    DOCKER_HOST: engine.dockerHost,
    GANTRY_INTROSPECTION_PORT: String(addresses.introspectionPort),
    // The controller itself refuses plain HTTP beyond loopback unless it is told otherwise.
    GANTRY_INSECURE_BACKEND: process.env['GANTRY_INSECURE_LISTEN'],
    GANTRY_CGROUP_PARENT: process.env['GANTRY_CGROUP_PARENT'] ?? cgroupParentOf(home),
  }
  const program = {
    name: 'agent' as const,
    file: join(repository, 'agent', 'main.ts'),
    env: { ...inheritedEnvironment((name) => agentVariables.has(name) || name.startsWith('ECS_')), ...given },
    logFile: join(home.log, 'agent.log'),
    finalExitCodes: [agentNeedsAPerson],
  }
  return supervise(program, onChange)
}

async function waitUntilReady(
  addresses: Addresses,
  controller: Supervised,
  home: Home,
  startedAt: number,
): Promise<void> {
  const giveUpAt = startedAt + readyTimeoutMs
  while (Date.now() < giveUpAt && !ending.signal.aborted) {
    const answer = await fetch(`${addresses.endpoint}/readyz`, { signal: AbortSignal.timeout(2_000) }).catch(() => null)
    if (answer?.ok === true) return
    // It was started a moment ago: an end this early is a wrong setting or a broken directory, and will repeat.
    if (controller.pid() === undefined) break
    await sleep(100)
  }
  if (ending.signal.aborted) return
  const log = join(home.log, 'controller.log')
  throw new ScriptError(`the controller did not become ready. The end of its log, ${log}:\n${endOfLog(log, startedAt)}`)
}

function openOperatorApi(home: Home, addresses: Addresses): CallApi {
  const file = join(home.controller, 'root-credentials')
  const credentials = async () => {
    const found = existsSync(file) ? defaultProfile(readFileSync(file, 'utf8')) : undefined
    if (found === undefined) throw new ScriptError(`${file} holds no keys: the controller should have written them.`)
    return found
  }
  return openApi({
    origin: addresses.endpoint,
    region: addresses.region,
    credentials,
    clock: { now: () => Date.now() },
  })
}

/** For curl, so that the secret need not stand in its arguments, where every user of the machine could read it. */
function writeCurlConfig(home: Home, addresses: Addresses): void {
  const keys = defaultProfile(readFileSync(join(home.controller, 'root-credentials'), 'utf8'))
  if (keys === undefined) return
  const lines = [
    `aws-sigv4 = "aws:amz:${addresses.region}:ecs"`,
    `user = "${keys.accessKeyId}:${keys.secretAccessKey}"`,
    'silent',
    'show-error',
    // The answers are one line of JSON without an end: a prompt would stand right behind it.
    'write-out = "\\n"',
  ]
  writeFileSync(home.curlConfig, `${lines.join('\n')}\n`, { mode: 0o600 })
}

function tellOperator(home: Home, addresses: Addresses, engine: FoundEngine, sample: RunningSample | undefined): void {
  const { endpoint, region } = addresses
  const aws = `aws --endpoint-url ${endpoint} ecs`
  const taskId = sample?.taskArn.split('/').at(-1)
  const own = ['AWS_ACCESS_KEY_ID', 'AWS_PROFILE', 'AWS_SESSION_TOKEN'].filter(
    (name) => process.env[name] !== undefined,
  )
  const lines = [
    '',
    'Gantry is up.',
    '',
    `  controller   ${endpoint}   (data: ${home.controller})`,
    ...tlsLines(home, addresses),
    `  engine       Docker ${engine.version.version} at ${engine.dockerHost}`,
    `  logs         ${join(home.log, 'controller.log')}, ${join(home.log, 'agent.log')}`,
    ...(sample === undefined ? [] : ['', 'The sample task answers:', '', `  curl ${sample.url}`]),
    '',
    `Drive it with the aws CLI, in another terminal${findProgram('aws') ? '' : ' (apt-get install awscli)'}:`,
    '',
    ...(own.length === 0 ? [] : [`  unset ${own.join(' ')}`]),
    `  export AWS_PAGER= AWS_SHARED_CREDENTIALS_FILE=${quote(join(home.controller, 'root-credentials'))} AWS_DEFAULT_REGION=${region}`,
    `  ${aws} list-container-instances`,
    `  ${aws} list-tasks`,
    ...(taskId === undefined ? [] : [`  ${aws} describe-tasks --tasks ${taskId}`]),
    `  ${aws} run-task --task-definition gantry-sample`,
    ...(taskId === undefined
      ? []
      : [
          '',
          'Ask why a task is as it is:',
          '',
          `  curl -K ${quote(home.curlConfig)} ${endpoint}/v1/tasks/${taskId}/why`,
        ]),
    '',
    ...(addresses.tls === undefined
      ? []
      : [
          'Have another host join: this prints one line for it, with a token that is good once.',
          '',
          '  npx gantry join-token',
          '',
        ]),
    'Ctrl-C stops the controller and the agent; containers go on, and the next npm start takes them up.',
    'npm run stop -- --all removes everything that was made here.',
    '',
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** Where other hosts come, and by what they know that it is this controller. */
function tlsLines(home: Home, { tls, caFile }: Addresses): readonly string[] {
  if (tls === undefined) return []
  const { listenHost, port } = tls
  const [fingerprint = ''] = fingerprintsOf(readFileSync(caFile(home), 'utf8'))
  return [
    `  by TLS       port ${port} of ${listenHost === '0.0.0.0' ? 'every address' : listenHost}   (CA: ${caFile(home)})`,
    `               ${fingerprint}`,
  ]
}

function quote(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

function untilAsked(): Promise<void> {
  return new Promise((resolve) => {
    if (ending.signal.aborted) resolve()
    ending.signal.addEventListener('abort', () => resolve())
  })
}

async function main(): Promise<number> {
  const startedAt = Date.now()
  const home = readHome()
  const addresses = readAddresses()
  const other = runningSupervisor(home)
  if (other !== undefined) {
    throw new ScriptError(`Gantry runs already in ${home.directory} (pid ${other}). To stop it: npm run stop`)
  }
  mkdirSync(home.log, { recursive: true, mode: 0o700 })
  await endOrphans(home)
  await requireFreePort(addresses.listenHost, addresses.port, 'the controller', 'set GANTRY_LISTEN=127.0.0.1:PORT')
  if (addresses.tls !== undefined) {
    const { listenHost, port } = addresses.tls
    await requireFreePort(listenHost, port, 'TLS', 'set GANTRY_TLS_LISTEN=0.0.0.0:PORT, or off')
  }
  await requireFreePort('127.0.0.1', addresses.introspectionPort, 'the agent', 'set GANTRY_INTROSPECTION_PORT')
  const engine = await ensureEngine(home.engine)
  await makeSampleImage(engine.dockerHost)
  const programs: Supervised[] = []
  const note = () =>
    writeState(home, {
      supervisor: identify(process.pid),
      dockerHost: engine.dockerHost,
      programs: Object.fromEntries(programs.map((program) => [program.name, identify(program.pid() ?? 0)])),
    })
  note()
  if (engine.dockerHost === socketOf(home.engine)) {
    void keepEngine({
      isRunning: () => isEngineRunning(home.engine),
      start: () => startEngine(home.engine, { isolated: false }),
      wait: (ms) => sleep(ms, undefined, { signal: ending.signal }),
    })
  }
  try {
    await serve(home, addresses, engine, programs, note)
    if (!ending.signal.aborted) say(`all of it took ${seconds(startedAt)}`)
    await untilAsked()
    return 0
  } finally {
    // The agent first: it tells the controller that it goes.
    for (const program of programs.toReversed()) {
      await program.stop()
      say(`the ${program.name} has stopped`)
    }
    if (programs.length > 0) say('containers go on; the next npm start takes them up')
  }
}

async function serve(
  home: Home,
  addresses: Addresses,
  engine: FoundEngine,
  programs: Supervised[],
  note: () => void,
): Promise<void> {
  if (ending.signal.aborted) return
  say('starting the controller ...')
  const startedAt = Date.now()
  const controller = startController(home, note)
  programs.push(controller)
  note()
  await waitUntilReady(addresses, controller, home, startedAt)
  if (ending.signal.aborted) return
  writeCurlConfig(home, addresses)
  say('starting the agent ...')
  const agent = startAgent(home, addresses, engine, note)
  programs.push(agent)
  note()
  const host = engine.dockerHost.startsWith('unix://') ? '127.0.0.1' : new URL(engine.dockerHost).hostname
  try {
    const sample = await runSample(
      openOperatorApi(home, addresses),
      host,
      () => ending.signal.aborted || agent.gaveUp() !== undefined,
    )
    if (!ending.signal.aborted) tellOperator(home, addresses, engine, sample)
  } catch (error) {
    // Without the sample the controller and the agent serve all the same; why it is missing has been told by itself.
    say(`the sample does not run: ${error instanceof Error ? error.message : String(error)}`)
    say(`the end of ${join(home.log, 'agent.log')}:\n${endOfLog(join(home.log, 'agent.log'), 0)}`)
    if (!ending.signal.aborted) tellOperator(home, addresses, engine, undefined)
  }
}

await runScript(main)
// A pipe or a socket that a child held must not keep the process: all that was started has ended.
process.exit()
