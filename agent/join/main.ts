/** `gantry join`: lets this host join a controller. Nothing imports this file. */
import { existsSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { joinTokenId } from '../../proto/joining.ts'
import { configFileDefault, configFileVariable, readConfig } from '../config.ts'
import { fingerprintsOf } from '../controller-trust.ts'
import { JoinedIdentityError, joinedFile } from '../joined-identity.ts'
import { type JoinWish, UsageError, readJoinWish, usage } from './arguments.ts'
import { JoinError } from './controller-call.ts'
import { type JoinOutcome, joinController } from './join.ts'
import { readSecretLine } from './secret-line.ts'

const failed = 1
const wrongUsage = 2
/** Of an agent that was installed as a service: docs/install.md. */
const unit = { file: '/etc/systemd/system/gantry-agent.service', directory: '/var/lib/gantry/agent' }

process.exitCode = await run(process.argv.slice(2))

async function run(given: readonly string[]): Promise<number> {
  let wish: JoinWish | undefined
  try {
    wish = readJoinWish(given)
    if (wish === undefined) {
      process.stdout.write(usage)
      return 0
    }
    const directory = wish.directory ?? agentDirectory()
    const outcome = await joinController({ wish, directory, hostName: hostname(), readToken, now: () => Date.now() })
    process.stdout.write(wish.json ? `${JSON.stringify(inJson(outcome, directory))}\n` : inWords(outcome, directory))
    return 0
  } catch (error) {
    const isExpected = [UsageError, JoinError, JoinedIdentityError].some((kind) => error instanceof kind)
    if (!isExpected || !(error instanceof Error)) throw error
    if (wish?.json === true) process.stdout.write(`${JSON.stringify({ state: 'failed', message: error.message })}\n`)
    process.stderr.write(`gantry: ${error.message}\n${error instanceof UsageError ? usage : ''}`)
    return error instanceof UsageError ? wrongUsage : failed
  }
}

/** That of the service where there is one; else what the agent itself would take. */
function agentDirectory(): string {
  const named = process.env['ECS_DATADIR']
  if (named !== undefined && named !== '') return named
  if (existsSync(unit.file)) return unit.directory
  const path = process.env[configFileVariable] ?? configFileDefault
  return readConfig(process.env, existsSync(path) ? readFileSync(path, 'utf8') : '').config.dataDirectory
}

async function readToken(): Promise<string> {
  const token = (await readSecretLine(process.stdin, process.stderr, 'Token: ')).trim()
  if (token === '') {
    throw new JoinError(
      'There is no token on standard input. Run the whole line that the controller prints: echo TOKEN | gantry join ...',
    )
  }
  if (joinTokenId(token) === undefined) {
    throw new JoinError(
      'What stands on standard input is no join token (gantry-join-...): copy the whole line of the controller again.',
    )
  }
  return token
}

function inJson({ state, joined, warnings }: JoinOutcome, directory: string): object {
  const { controllerUrl, hostId, name, cluster, region, caPem } = joined
  const ca = caPem === undefined ? undefined : fingerprintsOf(caPem)[0]
  return { state, hostId, name, cluster, region, controllerUrl, ca, directory, warnings }
}

function inWords({ state, joined, warnings }: JoinOutcome, directory: string): string {
  const { controllerUrl, hostId, name, cluster } = joined
  const lines =
    state === 'already'
      ? [
          `This host has joined ${controllerUrl} already, as ${name} (${hostId}), for the cluster ${cluster}.`,
          'Nothing was done, and the token was not used. To join anew all the same: --replace.',
        ]
      : [
          `This host has joined ${controllerUrl} as ${name} (${hostId}), for the cluster ${cluster}.`,
          `Its keys and the controller's CA are in ${joinedFile(directory)}, for root alone; the agent changes the keys by itself.`,
        ]
  return `${[...lines, ...warnings.map((one) => `Note: ${one}`), ...whatNext(directory)].join('\n')}\n`
}

function whatNext(directory: string): readonly string[] {
  if (existsSync(unit.file) && directory === unit.directory) {
    return [
      '',
      'The agent of this host takes it up within seconds:',
      '',
      '  systemctl status gantry-agent',
      ...overruling(),
    ]
  }
  const setting = directory === agentDirectory() ? '' : `ECS_DATADIR=${directory} `
  return ['', 'Next, start the agent here:', '', `  $(command -v sudo) ${setting}npx gantry agent`]
}

/** Settings come before what was joined; one that was made for another controller would keep the host from this one. */
function overruling(): readonly string[] {
  const file = '/etc/gantry/agent.env'
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return []
  }
  const names = [
    'ECS_BACKEND_HOST',
    'ECS_CLUSTER',
    'AWS_SHARED_CREDENTIALS_FILE',
    'AWS_ACCESS_KEY_ID',
    'GANTRY_CA_FILE',
  ]
  const set = names.filter((name) => new RegExp(`^\\s*${name}=.`, 'm').test(text))
  if (set.length === 0) return []
  return [
    '',
    `Note: ${set.join(', ')} in ${file} come before what the host was given. Remove them there, then:`,
    '',
    '  systemctl restart gantry-agent',
  ]
}
