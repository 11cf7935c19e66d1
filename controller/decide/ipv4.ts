/** IPv4 addresses as numbers, and blocks of them in CIDR notation. */

export interface Ipv4Block {
  /** The first address of the block: the network's own. */
  readonly network: number
  readonly prefix: number
  /** The last address of the block: the broadcast address. */
  readonly broadcast: number
}

/** Four decimal numbers from 0 to 255 without leading zeros; undefined for any other text. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let value = 0
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined
    value = value * 256 + Number(part)
  }
  return value
}

export function formatIpv4(address: number): string {
  return octetsOf(address).join('.')
}

export function octetsOf(address: number): readonly number[] {
  return [24, 16, 8, 0].map((bits) => Math.floor(address / 2 ** bits) % 256)
}

/** The block that `address/prefix` lies in, also where the address is not its first one; undefined for other text. */
export function parseCidr(text: string): Ipv4Block | undefined {
  const match = /^([0-9.]+)\/(0|[1-9][0-9]?)$/.exec(text)
  const address = parseIpv4(match?.[1] ?? '')
  const prefix = Number(match?.[2] ?? 33)
  if (address === undefined || prefix > 32) return undefined
  const size = 2 ** (32 - prefix)
  const network = Math.floor(address / size) * size
  return { network, prefix, broadcast: network + size - 1 }
}

export function formatCidr({ network, prefix }: Ipv4Block): string {
  return `${formatIpv4(network)}/${prefix}`
}

export function isInBlock(address: number, { network, broadcast }: Ipv4Block): boolean {
  return address >= network && address <= broadcast
}

export function blocksOverlap(one: Ipv4Block, other: Ipv4Block): boolean {
  return one.network <= other.broadcast && other.network <= one.broadcast
}
