/**
 * Counters and gauges as Prometheus text (exposition format 0.0.4). Eighty lines of our own, because the usual package
 * costs more memory than everything that it would count.
 */

export type Labels = Readonly<Record<string, string>>

export interface Metrics {
  /** Adds to a counter. Name and help are those of the first use. */
  count(name: string, labels?: Labels, by?: number): void
  /** A gauge that is read when it is asked for. */
  gauge(name: string, help: string, read: () => readonly { readonly labels: Labels; readonly value: number }[]): void
  /** Names a counter and starts it, so that it shows before it first counts. */
  counter(name: string, help: string): void
  /** The whole text. */
  write(): string
}

/** Label sets of one counter. More would be a mistake of ours: those beyond are counted together as `other`. */
const seriesMax = 1000

interface Counter {
  readonly help: string
  readonly series: Map<string, number>
}

export function createMetrics(): Metrics {
  const counters = new Map<string, Counter>()
  const gauges = new Map<string, { help: string; read: Parameters<Metrics['gauge']>[2] }>()
  const counterOf = (name: string): Counter => {
    const known = counters.get(name)
    if (known !== undefined) return known
    const made: Counter = { help: name, series: new Map() }
    counters.set(name, made)
    return made
  }
  return {
    counter(name, help) {
      counters.set(name, { help, series: new Map() })
    },
    count(name, labels = {}, by = 1) {
      const { series } = counterOf(name)
      const wanted = writeLabels(labels)
      const key = series.has(wanted) || series.size < seriesMax ? wanted : '{series="other"}'
      series.set(key, (series.get(key) ?? 0) + by)
    },
    gauge(name, help, read) {
      gauges.set(name, { help, read })
    },
    write() {
      const lines: string[] = []
      for (const [name, { help, series }] of counters) {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`)
        for (const [labels, value] of series) lines.push(`${name}${labels} ${value}`)
      }
      for (const [name, { help, read }] of gauges) {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`)
        for (const { labels, value } of read()) lines.push(`${name}${writeLabels(labels)} ${value}`)
      }
      return `${lines.join('\n')}\n`
    },
  }
}

function writeLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
