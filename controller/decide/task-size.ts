/**
 * The size of a task: how ECS writes CPU and memory (`256`, `.5 vCPU`, `2 GB`), and which pairs Fargate offers.
 * Source: the ECS API reference, RegisterTaskDefinition, parameters cpu and memory.
 */

/** CPU units of `256`, `1 vCPU` or `.5 vCPU`; undefined where the text is none of these or not a whole number of units. */
export function parseCpuUnits(text: string): number | undefined {
  const match = /^\s*(\d+|\d*\.\d+)\s*(vCPUs?)?\s*$/i.exec(text)
  return match === null ? undefined : wholeUnits(Number(match[1]) * (match[2] === undefined ? 1 : 1024))
}

/** MiB of `512`, `2 GB` or `.5GB`; undefined where the text is none of these or not a whole number of MiB. */
export function parseMemoryMiB(text: string): number | undefined {
  const match = /^\s*(\d+|\d*\.\d+)\s*(GB|GiB|MB|MiB)?\s*$/i.exec(text)
  if (match === null) return undefined
  return wholeUnits(Number(match[1]) * (/^g/i.test(match[2] ?? '') ? 1024 : 1))
}

function wholeUnits(value: number): number | undefined {
  return Number.isSafeInteger(value) && value > 0 ? value : undefined
}

interface FargateSize {
  readonly cpuUnits: number
  readonly fromMiB: number
  readonly toMiB: number
  readonly stepMiB: number
}

const fargateSizes: readonly FargateSize[] = [
  { cpuUnits: 256, fromMiB: 1024, toMiB: 2048, stepMiB: 1024 },
  { cpuUnits: 512, fromMiB: 1024, toMiB: 4096, stepMiB: 1024 },
  { cpuUnits: 1024, fromMiB: 2048, toMiB: 8192, stepMiB: 1024 },
  { cpuUnits: 2048, fromMiB: 4096, toMiB: 16_384, stepMiB: 1024 },
  { cpuUnits: 4096, fromMiB: 8192, toMiB: 30_720, stepMiB: 1024 },
  { cpuUnits: 8192, fromMiB: 16_384, toMiB: 61_440, stepMiB: 4096 },
  { cpuUnits: 16_384, fromMiB: 32_768, toMiB: 122_880, stepMiB: 8192 },
]

/** True where Fargate offers this pair. 256 units with 512 MiB is the one pair outside of the regular steps. */
export function isFargateSize(cpuUnits: number, memoryMiB: number): boolean {
  if (cpuUnits === 256 && memoryMiB === 512) return true
  return fargateSizes.some(
    (size) =>
      size.cpuUnits === cpuUnits &&
      memoryMiB >= size.fromMiB &&
      memoryMiB <= size.toMiB &&
      memoryMiB % size.stepMiB === 0,
  )
}
