/** Ports that programs of this host listen on, and the report of those that are not Gantry's own. */
import { readFileSync } from 'node:fs'
import type { GantryHostReport } from '../proto/acs.ts'
import type { Timers } from './timers.ts'

export interface HostPorts {
  readonly tcp: readonly number[]
  readonly udp: readonly number[]
}

/** How often the host's ports are looked at. */
const lookIntervalMs = 5_000
/** Where nobody takes the report, there is less to hurry. */
const untoldLookIntervalMs = 60_000

const tcpListen = '0A'
/** Linux shows an unconnected UDP socket as closed. */
const udpUnconnected = '07'

/** Every port that some program listens on right now, on any address. */
export function listeningPorts(): HostPorts {
  return {
    tcp: portsIn(['/proc/net/tcp', '/proc/net/tcp6'], tcpListen),
    udp: portsIn(['/proc/net/udp', '/proc/net/udp6'], udpUnconnected),
  }
}

function portsIn(files: readonly string[], state: string): readonly number[] {
  const ports = new Set<number>()
  for (const file of files) for (const port of portsOfTable(readOr(file), state)) ports.add(port)
  return [...ports].toSorted((a, b) => a - b)
}

/** The local ports of a table of /proc/net whose sockets are in the given state (two hex digits). */
export function portsOfTable(text: string, state: string): readonly number[] {
  const ports: number[] = []
  for (const line of text.split('\n').slice(1)) {
    const [, local, , its] = line.trim().split(/\s+/)
    const port = Number.parseInt(local?.slice(local.lastIndexOf(':') + 1) ?? '', 16)
    if (its === state && port > 0) ports.push(port)
  }
  return ports
}

/** A host without IPv6 has no tcp6. */
function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export interface HostPortsReporter {
  /** Sends the report again, whether or not it changed: a new connection knows nothing. */
  report(): void
  close(): void
}

interface HostPortsOptions {
  readonly timers: Timers
  readonly uuid: () => string
  /** Ports that this agent's tasks hold, which are no news. */
  readonly ownPorts: () => HostPorts
  readonly send: (type: string, message: object) => boolean
  readonly look?: () => HostPorts
}

/** Sends a GantryHostReport on each change that outlasts one look: a client's short-lived socket is not worth a word. */
export function startHostPortsReporter(options: HostPortsOptions): HostPortsReporter {
  const look = options.look ?? listeningPorts
  let before = foreign(look(), options.ownPorts())
  let told = ''
  let isTaken = true
  const send = (ports: HostPorts): void => {
    const message: GantryHostReport = {
      messageId: options.uuid(),
      usedTcpPorts: ports.tcp,
      usedUdpPorts: ports.udp,
    }
    isTaken = options.send('GantryHostReport', message)
    if (isTaken) told = JSON.stringify(ports)
  }
  const tick = (): void => {
    const now = foreign(look(), options.ownPorts())
    const lasting = { tcp: both(before.tcp, now.tcp), udp: both(before.udp, now.udp) }
    before = now
    if (JSON.stringify(lasting) !== told) send(lasting)
    cancel = options.timers.after(isTaken ? lookIntervalMs : untoldLookIntervalMs, tick)
  }
  let cancel = options.timers.after(lookIntervalMs, tick)
  return {
    report() {
      cancel()
      cancel = options.timers.after(lookIntervalMs, tick)
      before = foreign(look(), options.ownPorts())
      send(before)
    },
    close: () => cancel(),
  }
}

function foreign(all: HostPorts, own: HostPorts): HostPorts {
  return {
    tcp: all.tcp.filter((port) => !own.tcp.includes(port)),
    udp: all.udp.filter((port) => !own.udp.includes(port)),
  }
}

function both(before: readonly number[], now: readonly number[]): readonly number[] {
  return now.filter((port) => before.includes(port))
}
