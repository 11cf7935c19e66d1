/**
 * The machine as systeminformation describes it. That package and the shells it starts are needed once and would stay
 * in memory for ever, so this file is run as a program of its own by `host-facts.ts`: it prints the facts and ends.
 */
import { availableParallelism, arch } from 'node:os'
import si from 'systeminformation'
import type { HostFacts } from './host-facts.ts'

const bytesPerMiB = 1024 * 1024

export async function readHost(): Promise<HostFacts> {
  const [cpu, memory, os, system] = await Promise.all([si.cpu(), si.mem(), si.osInfo(), si.system()])
  return {
    cpus: cpu.cores > 0 ? cpu.cores : availableParallelism(),
    cpuModel: `${cpu.manufacturer} ${cpu.brand}`.trim(),
    cpuArchitecture: arch() === 'x64' ? 'x86_64' : arch(),
    memoryMiB: Math.floor(memory.total / bytesPerMiB),
    operatingSystem: `${os.distro} ${os.release}`.trim(),
    kernel: os.kernel,
    productName: system.model,
  }
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await readHost())}\n`)
