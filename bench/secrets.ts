/**
 * What sealing costs: a thousand secrets read over and over, each answer decrypted, beside reads of the same secrets that
 * open nothing, turn about in the same run.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { openKeyring } from '../controller/keyring.ts'
import { type RunningController, startController } from '../test/support/controller.ts'
import { type Child, startChild } from './child.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import type { SecretsLoadPlan, SecretsLoadResult } from './secrets-load.ts'
import { pairedRatio, quantile, summarize } from './statistics.ts'

const secretCount = 1000
/** A user, a password and a host, as JSON. */
const valueBytes = 200

interface Compared {
  readonly figure: string
  readonly service: SecretsLoadPlan['service']
  readonly sealed: Asked
  /** What answers as much and opens nothing. */
  readonly plain: Asked
  readonly what: string
  readonly concurrency: number
}

interface Asked {
  readonly target: string
  readonly bodies: readonly string[]
}

interface Round {
  readonly sealed: SecretsLoadResult
  readonly plain: SecretsLoadResult
}

export async function benchSecrets(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const machine = await describeMachine(undefined)
  const opened = await benchKeyring(place, rounds)
  const controller = await startController({ env: { GANTRY_LOG_LEVEL: 'info' } })
  const load = startChild('secrets-load.ts')
  try {
    progress(`${secretCount} secrets and ${2 * secretCount} parameters ...`)
    await fill(load, controller)
    const figures = new Map<Compared, Round[]>(comparedOf().map((compared) => [compared, []]))
    // The first round warms both up, and does not count.
    for (let round = 0; round <= rounds; round += 1) {
      progress(round === 0 ? 'warming up ...' : `round ${round} of ${rounds} ...`)
      for (const [compared, seen] of figures) {
        const one = await measure(load, controller, compared, round % 2 === 0)
        if (round > 0) seen.push(one)
      }
    }
    const rows = [...figures].flatMap(([what, seen]) => rowsOf(what, seen))
    return { bench: 'secrets', machine, rows: [opened, ...rows], notes }
  } finally {
    await load.end()
    await controller.stop()
  }
}

const notes = [
  `${secretCount} values of ${valueBytes} bytes. One load process with signed requests on kept-alive connections; the ` +
    'controller is the real program at its defaults, and shares the cores with the load.',
  'Beside GetSecretValue: DescribeSecret of the same secrets; beside a SecureString: a String of the same size.',
]

/** Without any wire: what AES-256-GCM itself takes. */
async function benchKeyring({ directory }: Place, rounds: number): Promise<Row> {
  const keyring = await openKeyring(join(directory, 'secret-key'), undefined)
  const sealed = Array.from({ length: secretCount }, (_, index) => keyring.seal(aValue(), `bench/${index}`))
  const durations = Array.from({ length: Math.max(rounds, 3) + 1 }, () => {
    const begun = performance.now()
    for (const [index, text] of sealed.entries()) keyring.open(text, `bench/${index}`)
    return performance.now() - begun
  })
  return {
    figure: `${secretCount} values decrypted in the process`,
    unit: 'ms',
    measured: summarize(durations.slice(1)),
  }
}

function aValue(): string {
  return randomBytes(valueBytes / 2).toString('hex')
}

/** Secrets Manager's tokens have 32 characters at least. */
function aToken(): string {
  return randomBytes(16).toString('hex')
}

function bodiesOf(each: (index: number) => object): readonly string[] {
  return Array.from({ length: secretCount }, (_, index) => JSON.stringify(each(index)))
}

async function fill(load: Child, { endpoint, credentials }: RunningController): Promise<void> {
  const bounds = { endpoint, key: credentials, concurrency: 16, laps: 1, timeMaxMs: 120_000 }
  const put = async (service: SecretsLoadPlan['service'], target: string, bodies: readonly string[]): Promise<void> => {
    const { count } = await load.ask<SecretsLoadResult>({ ...bounds, service, target, bodies })
    if (count !== secretCount) throw new Error(`${target} made ${count} of ${secretCount}`)
  }
  const secrets = bodiesOf((index) => ({
    Name: `bench/${index}`,
    SecretString: aValue(),
    ClientRequestToken: aToken(),
  }))
  await put('secretsmanager', 'secretsmanager.CreateSecret', secrets)
  for (const Type of ['SecureString', 'String']) {
    const parameters = bodiesOf((index) => ({ Name: `/bench/${Type}/${index}`, Type, Value: aValue() }))
    await put('ssm', 'AmazonSSM.PutParameter', parameters)
  }
}

function comparedOf(): readonly Compared[] {
  const bodies = bodiesOf((index) => ({ SecretId: `bench/${index}` }))
  const secret = {
    service: 'secretsmanager',
    sealed: { target: 'secretsmanager.GetSecretValue', bodies },
    plain: { target: 'secretsmanager.DescribeSecret', bodies },
    what: 'DescribeSecret',
  } as const
  const parameter = (Type: string): Asked => ({
    target: 'AmazonSSM.GetParameter',
    bodies: bodiesOf((index) => ({ Name: `/bench/${Type}/${index}`, WithDecryption: true })),
  })
  return [
    { figure: 'GetSecretValue, one at a time', concurrency: 1, ...secret },
    { figure: 'GetSecretValue, 8 at once', concurrency: 8, ...secret },
    {
      figure: 'GetParameter of a SecureString, 8 at once',
      service: 'ssm',
      sealed: parameter('SecureString'),
      plain: parameter('String'),
      what: 'of a String',
      concurrency: 8,
    },
  ]
}

async function measure(
  load: Child,
  { endpoint, credentials }: RunningController,
  { service, sealed, plain, concurrency }: Compared,
  isPlainFirst: boolean,
): Promise<Round> {
  const bounds = { endpoint, key: credentials, service, concurrency, laps: 3, timeMaxMs: 6000 }
  const ask = (asked: Asked): Promise<SecretsLoadResult> => load.ask<SecretsLoadResult>({ ...bounds, ...asked })
  const early = isPlainFirst ? await ask(plain) : undefined
  const ours = await ask(sealed)
  return { sealed: ours, plain: early ?? (await ask(plain)) }
}

function rowsOf({ figure, what }: Compared, rounds: readonly Round[]): readonly Row[] {
  const compared = (name: string, unit: Row['unit'], of: (result: SecretsLoadResult) => number): Row => {
    const [ours, theirs] = [rounds.map(({ sealed }) => of(sealed)), rounds.map(({ plain }) => of(plain))]
    const beside = { what, measured: summarize(theirs) }
    return { figure: name, ratio: pairedRatio(ours, theirs), unit, measured: summarize(ours), beside }
  }
  return [
    compared(figure, '/s', ({ count, durationMs }) => (count * 1000) / durationMs),
    compared('  p50', 'ms', ({ latenciesMs }) => quantile(latenciesMs, 0.5)),
    compared('  p99', 'ms', ({ latenciesMs }) => quantile(latenciesMs, 0.99)),
  ]
}
