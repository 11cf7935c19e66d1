/** What a container may use, in the numbers that the official agent gives Docker. */

const memoryBytesMin = 4 * 1024 * 1024
const cpuSharesMin = 2
const cpuSharesMax = 262_144

/** CPU shares as the official agent gives them: 0 and 1 are Docker's least, 2; there is a most. */
export function cpuShares(cpuUnits: number): number {
  return Math.min(cpuSharesMax, Math.max(cpuSharesMin, cpuUnits))
}

/** Bytes of a hard limit in MiB; 0 is none, and Docker's floor of old is 4 MiB. */
export function memoryBytes(memoryMiB: number): number {
  return memoryMiB <= 0 ? 0 : Math.max(memoryBytesMin, memoryMiB * 1024 * 1024)
}

/** Shares (2 to 262,144) on version 2's scale (1 to 10,000), as runc puts them. */
export function cpuWeight(shares: number): number {
  return 1 + Math.floor(((shares - 2) * 9999) / 262_142)
}
