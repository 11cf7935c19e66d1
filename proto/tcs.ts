/**
 * The agent's telemetry channel (TCS, api 2015-03-10): one WebSocket on which the agent publishes metrics, health and
 * its own status every 20 s, and the controller acknowledges. The official agent puts a signed HTTP header block before
 * the JSON of every frame that it sends; ours doesn't, and neither does the controller.
 */
import { parseFrame } from './acs.ts'
import type { Frame } from './acs.ts'

/** The header block's four lines, a long session token among them, fit many times over. */
const headerBlockCharactersMax = 16 * 1024

/** The official agent splits what it publishes at 1 MiB, which is without the header block. */
export const tcsFrameCharactersMax = 1024 * 1024 + headerBlockCharactersMax

// ---- agent -> controller -------------------------------------------------------------------------------------------

export interface TelemetryMetadata {
  readonly cluster: string
  readonly containerInstance: string
  readonly messageId: string
  /** True on the last part of a message that was split. */
  readonly fin: boolean
}

export interface PublishMetricsRequest {
  readonly metadata: TelemetryMetadata & { readonly idle: boolean }
  /** At most ten tasks in one message. */
  readonly taskMetrics?: readonly TaskMetric[] | undefined
  /** Epoch seconds with a fraction, as every instant on this channel. */
  readonly timestamp: number
}

export interface TaskMetric {
  readonly taskArn: string
  readonly clusterArn?: string | undefined
  readonly taskDefinitionFamily?: string | undefined
  readonly taskDefinitionVersion?: string | undefined
  readonly containerMetrics: readonly ContainerMetric[]
}

export interface ContainerMetric {
  readonly containerArn?: string | undefined
  readonly containerName: string
  /** Percent of the host's CPUs together. */
  readonly cpuStatsSet?: StatsSet | undefined
  /** MiB. */
  readonly memoryStatsSet?: StatsSet | undefined
  readonly networkStatsSet?: Readonly<Record<string, StatsSet>> | undefined
  readonly storageStatsSet?: Readonly<Record<string, StatsSet>> | undefined
  readonly restartStatsSet?: { readonly restartCount: number } | undefined
}

/** What was measured since the last message. A 64-bit counter's excess over a double stands in `overflow*`. */
export interface StatsSet {
  readonly min: number
  readonly max: number
  readonly sampleCount: number
  readonly sum: number
}

export interface PublishHealthRequest {
  readonly metadata: TelemetryMetadata
  /** At most ten tasks in one message. */
  readonly tasks: readonly TaskHealth[]
  readonly timestamp: number
}

export interface TaskHealth {
  readonly taskArn: string
  readonly taskDefinitionFamily?: string | undefined
  readonly taskDefinitionVersion?: string | undefined
  readonly containers: readonly ContainerHealth[]
}

export interface ContainerHealth {
  readonly containerName: string
  readonly healthStatus: 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN'
  /** Epoch seconds. */
  readonly statusSince?: number | undefined
}

export interface PublishInstanceStatusRequest {
  readonly metadata: { readonly cluster: string; readonly containerInstance: string; readonly requestId: string }
  readonly statuses: readonly InstanceStatusReport[]
  readonly timestamp: number
}

export interface InstanceStatusReport {
  /** `ContainerRuntime` on the wire; the API calls it CONTAINER_RUNTIME. */
  readonly type: string
  readonly status: 'OK' | 'IMPAIRED' | 'INSUFFICIENT_DATA' | 'INITIALIZING'
  readonly statusReason?: string | undefined
  readonly lastUpdated?: number | undefined
  readonly lastStatusChange?: number | undefined
}

// ---- Gantry's own, controller -> agent: an older agent ignores it ---------------------------------------------------

/** Publish metrics more often for a while: somebody looks. Every 20 s otherwise. */
export interface GantryTelemetryPace {
  readonly everyMs: number
  readonly forMs: number
}

/** The bounds of a pace; what is asked beyond them is brought within. */
export const telemetryPaceMs = { everyMin: 1000, everyDefault: 20_000, forMax: 300_000 } as const

/** What fits into one message. */
export const tasksPerTelemetryMessage = 10

// ---- reading -------------------------------------------------------------------------------------------------------

export interface TcsFrame {
  readonly frame: Frame
  /** The signed header block, by lower-case name; absent where the frame is bare JSON. */
  readonly signature?: Readonly<Record<string, string>> | undefined
}

/** Reads a telemetry frame, with or without its header block; undefined where the text is no frame or is too long. */
export function parseTcsFrame(text: string): TcsFrame | undefined {
  if (text.length > tcsFrameCharactersMax) return undefined
  const brace = text.indexOf('{')
  if (brace === -1 || brace > headerBlockCharactersMax) return undefined
  const frame = parseFrame(text.slice(brace))
  if (frame === undefined) return undefined
  const signature = readHeaderBlock(text.slice(0, brace))
  return signature === undefined ? { frame } : { frame, signature }
}

function readHeaderBlock(block: string): Readonly<Record<string, string>> | undefined {
  const headers = new Map<string, string>()
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  return headers.size === 0 ? undefined : Object.fromEntries(headers)
}
