/** What the agent knows of its machine: read once, at start. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { PortRange } from './config-values.ts'

/** It starts a Node and a dozen shells: on an emulated machine under load that took more than half a minute. */
const readTimeoutMs = 180_000
const errorsShown = 2000

export interface HostFacts {
  /** Logical CPUs. */
  readonly cpus: number
  readonly cpuModel: string
  /** `x86_64` or `arm64`. */
  readonly cpuArchitecture: string
  readonly memoryMiB: number
  readonly operatingSystem: string
  readonly kernel: string
  /** As the maker wrote it into the firmware; may be empty. */
  readonly productName: string
}

/**
 * Runs `host.ts` as a child and reads the line that it prints; the child is ended then, whatever it still waits for.
 * Fails where the machine can't be read within three minutes.
 */
export async function hostFacts(): Promise<HostFacts> {
  const program = fileURLToPath(new URL('host.ts', import.meta.url))
  const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'], timeout: readTimeoutMs })
  const line = await new Promise<string>((resolve, reject) => {
    let text = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      if (text.endsWith('\n')) resolve(text)
    })
    child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-errorsShown)))
    child.once('error', reject)
    child.once('close', (code, signal) => {
      reject(new Error(`The machine could not be read: ${program} ended with ${code ?? signal}. ${errors}`.trim()))
    })
  }).finally(() => child.kill('SIGKILL'))
  return JSON.parse(line) as HostFacts
}

/** The range that the kernel gives clients from; the official agent's own where it can't be read. */
export function kernelPortRange(): PortRange {
  try {
    const [first, last] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number)
    if (first !== undefined && last !== undefined && first > 0 && first <= last) return { first, last }
  } catch {
    // Not Linux's usual /proc: the fallback stands.
  }
  return { first: 49_153, last: 65_535 }
}
