/** Addresses and ranges of IPv4 and IPv6 as conditions compare them. */

interface IpRange {
  readonly bytes: readonly number[]
  readonly prefixBits: number
}

/** `203.0.113.0/24`, `2001:db8::/32` or a single address. Undefined for what is none. */
export function parseIpRange(text: string): IpRange | undefined {
  const [address = '', prefix, ...rest] = text.split('/')
  const bytes = parseIpAddress(address)
  if (bytes === undefined || rest.length > 0) return undefined
  const bitsMax = bytes.length * 8
  if (prefix === undefined) return { bytes, prefixBits: bitsMax }
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bitsMax) return undefined
  return { bytes, prefixBits: Number(prefix) }
}

/** Four bytes or sixteen. An IPv4 address in IPv6's form (`::ffff:192.0.2.1`, as a dual-stack socket has it) is IPv4. */
export function parseIpAddress(text: string): readonly number[] | undefined {
  if (!text.includes(':')) return parseIpv4(text)
  const bytes = parseIpv6(text)
  if (bytes === undefined) return undefined
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff
  return isMapped ? bytes.slice(12) : bytes
}

/** Whether both texts name one address: IPv6 has many spellings of each. A text that names none is like itself alone. */
export function isSameAddress(one: string, other: string): boolean {
  return one === other || (parseIpAddress(one)?.join() ?? one) === (parseIpAddress(other)?.join() ?? other)
}

/**
 * What stands for a client where clients are counted: its IPv4 address, or the /64 that its IPv6 address is of, since
 * whoever has one of those has all 2^64 of them.
 */
export function clientNetworkOf(address: string): string {
  return parseIpAddress(address)?.slice(0, 8).join('.') ?? address
}

export function isInRange(address: readonly number[], range: IpRange): boolean {
  if (address.length !== range.bytes.length) return false
  for (let index = 0; index * 8 < range.prefixBits; index += 1) {
    const bits = Math.min(8, range.prefixBits - index * 8)
    const mask = (0xff << (8 - bits)) & 0xff
    if (((address[index] ?? 0) & mask) !== ((range.bytes[index] ?? 0) & mask)) return false
  }
  return true
}

function parseIpv4(text: string): readonly number[] | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255)) return undefined
  return parts.map(Number)
}

function parseIpv6(text: string): readonly number[] | undefined {
  // A zone (`fe80::1%eth0`) says where the address is reachable, not which it is.
  const address = text.split('%')[0] ?? ''
  const halves = address.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0] ?? '', halves.length === 1)
  const tail = parseGroups(halves[1] ?? '', true)
  if (head === undefined || tail === undefined) return undefined
  const missing = 16 - head.length - tail.length
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail]
}

/** The last group may be an IPv4 address where nothing follows it. */
function parseGroups(text: string, isLast: boolean): readonly number[] | undefined {
  if (text === '') return []
  const groups = text.split(':')
  const bytes: number[] = []
  for (const [index, group] of groups.entries()) {
    if (group.includes('.')) {
      const embedded = isLast && index === groups.length - 1 ? parseIpv4(group) : undefined
      if (embedded === undefined) return undefined
      bytes.push(...embedded)
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 0xff)
    }
  }
  return bytes
}
