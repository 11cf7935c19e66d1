/**
 * The TLS handshakes of a thousand agents at once: the controller is killed and started on the same data, and all agents
 * dial again, by TLS and, in the same run, by plain HTTP on loopback.
 */
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BenchOptions } from './options.ts'
import { describeMachine } from './machine.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import { openSchedulerWorkplace, refuseTrouble } from './scheduler-workplace.ts'
import { quantile, summarize } from './statistics.ts'

const instancesDefault = 1000
/** A link that has stood for this long is dialled again at once when it breaks; a younger one waits first. */
const settleMs = 7000
const probeEveryMs = 10

interface Storm {
  /** From ready until half, and until the last of them, is back; milliseconds. */
  readonly halfMs: number
  readonly lastMs: number
  /** The longest that /healthz took meanwhile: how long the one thread was busy without a pause. */
  readonly longestProbeMs: number
}

export async function benchTlsStorm(
  place: Place,
  { rounds, progress, scheduler = {} }: BenchOptions,
): Promise<BenchResult> {
  const instances = scheduler.instances ?? instancesDefault
  const measured: Record<'plain' | 'secure', Storm[]> = { plain: [], secure: [] }
  for (let round = 1; round <= rounds; round += 1) {
    for (const kind of ['plain', 'secure'] as const) {
      progress(
        `round ${round} of ${rounds}: ${instances} agents, ${kind === 'secure' ? 'by TLS' : 'by plain HTTP'} ...`,
      )
      measured[kind].push(await measure(`${place.directory}/${kind}-${round}`, instances, kind === 'secure', scheduler))
    }
  }
  return {
    bench: 'tls-storm',
    machine: await describeMachine(undefined),
    rows: [
      rowOf(`${instances} agents back by TLS after a restart, the last`, measured, ({ lastMs }) => lastMs),
      rowOf('  half of them', measured, ({ halfMs }) => halfMs),
      rowOf('  longest wait of /healthz on loopback meanwhile', measured, ({ longestProbeMs }) => longestProbeMs),
    ],
    notes: [
      'Back: TLS handshake (where there is one), signed WebSocket handshake, connected as far as the store says, and the ' +
        'manifest received, since the controller said that it is ready. Agents share one process and the machine.',
    ],
  }
}

async function measure(
  directory: string,
  instances: number,
  isSecure: boolean,
  options: BenchOptions['scheduler'] = {},
): Promise<Storm> {
  const workplace = await openSchedulerWorkplace(directory, { tasks: 1, instances }, options, isSecure)
  try {
    await sleep(settleMs)
    await workplace.ask({ kind: 'mark' })
    await workplace.restart()
    const readyAt = Date.now()
    const probe = startProbe(`${workplace.controller.endpoint}/healthz`)
    const answered = await workplace.ask({ kind: 'awaitBack' })
    const longestProbeMs = await probe.end()
    refuseTrouble(workplace.controller, answered, instances)
    return {
      halfMs: quantile(answered.backAt, 0.5) - readyAt,
      lastMs: Math.max(...answered.backAt) - readyAt,
      longestProbeMs,
    }
  } finally {
    await workplace.close()
  }
}

/** Asks again and again, one after the other; the end answers the longest wait in milliseconds. */
function startProbe(url: string): { end(): Promise<number> } {
  const over = new AbortController()
  let longest = 0
  const asking = (async () => {
    while (!over.signal.aborted) {
      const begun = performance.now()
      await new Promise<void>((resolve, reject) => {
        get(url, (answer) => answer.resume().once('end', resolve)).once('error', reject)
      })
      longest = Math.max(longest, performance.now() - begun)
      await sleep(probeEveryMs)
    }
  })()
  return {
    async end() {
      over.abort()
      await asking
      return longest
    },
  }
}

function rowOf(
  figure: string,
  { plain, secure }: Readonly<Record<'plain' | 'secure', readonly Storm[]>>,
  read: (storm: Storm) => number,
): Row {
  const measured = summarize(secure.map(read))
  const beside = summarize(plain.map(read))
  return {
    figure,
    unit: 'ms',
    ratio: measured.median / beside.median,
    measured,
    beside: { what: 'plain HTTP', measured: beside },
  }
}
