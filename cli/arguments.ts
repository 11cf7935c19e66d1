/** What was asked for on the command line. */

export interface Command {
  readonly name: 'logs' | 'exec'
  readonly task: string
  readonly container: string | undefined
  readonly endpointUrl: string | undefined
  readonly region: string | undefined
  readonly profile: string | undefined
  readonly json: boolean
  readonly timestamps: boolean
  readonly follow: boolean
  readonly tail: number | undefined
  readonly since: string | undefined
  /** Undefined: as the terminal is. */
  readonly tty: boolean | undefined
  /** What comes after `--`. */
  readonly words: readonly string[]
}

/** Wrong usage: the message says what is expected. */
export class UsageError extends Error {}

export const usage = `usage: gantry logs TASK [--container NAME] [--follow] [--tail N] [--since TIME] [--timestamps] [--json]
       gantry exec TASK [--container NAME] [--tty | --no-tty] -- COMMAND [ARGUMENT...]

TASK is the id or the ARN of a task. TIME is 10m, 2h, 1d ago, or 2026-01-31T12:00:00Z.
Both take --endpoint-url URL, --region NAME and --profile NAME; else they find the controller and the keys as the aws
CLI does (AWS_ENDPOINT_URL_ECS, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE), or in
the directory of npm start.

exit codes of logs: 0 done, 1 refused or failed, 2 wrong usage
exit codes of exec: the command's own, 125 where it could not be run or the connection was lost
`

const withValue = new Set(['--container', '--tail', '--since', '--endpoint-url', '--region', '--profile'])
const ofCommand: Readonly<Record<Command['name'], ReadonlySet<string>>> = {
  logs: new Set(['--follow', '--tail', '--since', '--timestamps', '--json']),
  exec: new Set(['--tty', '--no-tty']),
}
const ofBoth = new Set(['--container', '--endpoint-url', '--region', '--profile'])
const short: Readonly<Record<string, string>> = { '-f': '--follow', '-n': '--tail', '-c': '--container', '-t': '--tty' }

/** Throws UsageError. */
export function readArguments(given: readonly string[]): Command {
  const end = given.indexOf('--')
  const words = end < 0 ? [] : given.slice(end + 1)
  const [name, ...rest] = end < 0 ? given : given.slice(0, end)
  if (name !== 'logs' && name !== 'exec') {
    throw new UsageError(name === undefined ? 'a command is missing' : `there is no command ${JSON.stringify(name)}`)
  }
  const { options, others } = readOptions(name, rest)
  const [task, ...strangers] = others
  if (task === undefined) throw new UsageError('the task is missing: give its id or its ARN')
  if (strangers.length > 0) {
    const hint = name === 'exec' ? ': the command to run comes after --' : ''
    throw new UsageError(`${JSON.stringify(strangers[0])} is one too many${hint}`)
  }
  if (name === 'exec' && words.length === 0) throw new UsageError('the command to run is missing: give it after --')
  if (name === 'logs' && words.length > 0) throw new UsageError('logs takes nothing after --')
  const tail = options.get('--tail')
  if (tail !== undefined && !/^\d{1,5}$/.test(tail)) throw new UsageError(`--tail takes a number of lines, not ${tail}`)
  return {
    name,
    task,
    words,
    container: options.get('--container'),
    endpointUrl: options.get('--endpoint-url'),
    region: options.get('--region'),
    profile: options.get('--profile'),
    json: options.has('--json'),
    timestamps: options.has('--timestamps'),
    follow: options.has('--follow'),
    tail: tail === undefined ? undefined : Number(tail),
    since: options.get('--since'),
    tty: options.has('--tty') ? true : options.has('--no-tty') ? false : undefined,
  }
}

function readOptions(
  name: Command['name'],
  given: readonly string[],
): { readonly options: ReadonlyMap<string, string>; readonly others: readonly string[] } {
  const options = new Map<string, string>()
  const others: string[] = []
  for (let at = 0; at < given.length; at += 1) {
    const word = given[at] ?? ''
    if (!word.startsWith('-')) {
      others.push(word)
      continue
    }
    const [written = '', ...joined] = word.split('=')
    const option = short[written] ?? written
    if (!ofBoth.has(option) && !ofCommand[name].has(option)) throw new UsageError(`${name} has no option ${written}`)
    if (!withValue.has(option)) {
      options.set(option, '')
      continue
    }
    if (joined.length === 0) at += 1
    const value = joined.length > 0 ? joined.join('=') : given[at]
    if (value === undefined || value === '') throw new UsageError(`${written} needs a value`)
    options.set(option, value)
  }
  return { options, others }
}

const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `10m` is ten minutes before `now`; a time stays as it is. Epoch milliseconds. Throws UsageError. */
export function readSince(text: string, now: number): number {
  const ago = /^(\d+)([smhd])$/.exec(text)
  if (ago !== null) return now - Number(ago[1]) * (unitMs[ago[2] ?? ''] ?? 0)
  const time = Date.parse(text)
  if (Number.isNaN(time))
    throw new UsageError(`--since is ${JSON.stringify(text)}: give 10m, 2h, 1d, or a time in ISO 8601`)
  return time
}
