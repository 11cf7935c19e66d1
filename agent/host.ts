/**
 * The machine as systeminformation describes it. That package and the shells it starts are needed once and would stay
 * in memory for ever, so this file is run as a program of its own by `host-facts.ts`: it prints the facts and ends.
 */
import { availableParallelism, arch } from 'node:os'
import si from 'systeminformation'
import type { HostFacts } from './host-facts.ts'

const bytesPerMiB = 1024 * 1024
const disksTimeoutMs = 5000

export async function readHost(): Promise<HostFacts> {
  const [cpu, memory, os, system, disks, interfaces, graphics] = await Promise.all([
    si.cpu(),
    si.mem(),
    si.osInfo(),
    si.system(),
    disksWithin(disksTimeoutMs),
    si.networkInterfaces(),
    si.graphics(),
  ])
  return {
    cpus: cpu.cores > 0 ? cpu.cores : availableParallelism(),
    cpuModel: `${cpu.manufacturer} ${cpu.brand}`.trim(),
    cpuArchitecture: arch() === 'x64' ? 'x86_64' : arch(),
    memoryMiB: Math.floor(memory.total / bytesPerMiB),
    operatingSystem: `${os.distro} ${os.release}`.trim(),
    kernel: os.kernel,
    productName: system.model,
    disks: disks.map(({ fs, mount, type, size }) => ({
      device: fs,
      mount,
      type,
      sizeMiB: Math.floor(size / bytesPerMiB),
    })),
    interfaces: [interfaces].flat().map(({ iface, ip4, ip6, mac }) => ({ name: iface, ipv4: ip4, ipv6: ip6, mac })),
    gpus: graphics.controllers
      .filter(({ vram, vendor }) => (vram ?? 0) > 0 && /nvidia|amd|advanced micro|intel/i.test(vendor))
      .map(({ vendor, model, vram }) => ({ vendor, model, memoryMiB: vram ?? 0 })),
  }
}

/** `df` hangs on a file system whose server is gone, and nothing ends it; an agent has to start on such a host too. */
async function disksWithin(timeoutMs: number): ReturnType<typeof si.fsSize> {
  const { promise: expired, resolve } = Promise.withResolvers<Awaited<ReturnType<typeof si.fsSize>>>()
  const timer = setTimeout(() => resolve([]), timeoutMs)
  return Promise.race([si.fsSize(), expired]).finally(() => clearTimeout(timer))
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await readHost())}\n`)
