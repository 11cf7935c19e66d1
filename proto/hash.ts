/**
 * Digests and comparisons. The only file of `proto/` that knows node:crypto; all of it is a function of its arguments.
 */
import { createHmac, hash, timingSafeEqual } from 'node:crypto'

/** SHA-256 as 64 lower-case hex digits. Text is taken as UTF-8. */
export function sha256Hex(data: string | Uint8Array): string {
  return hash('sha256', data, 'hex')
}

/** HMAC-SHA256, 32 bytes. Text is taken as UTF-8. */
export function hmacSha256(key: string | Uint8Array, data: string): Uint8Array {
  return createHmac('sha256', key).update(data, 'utf8').digest()
}

/** Compares two texts in a time that depends on their lengths alone, so that a guess learns nothing from a near miss. */
export function constantTimeEqual(a: string, b: string): boolean {
  const left = Buffer.from(a, 'utf8')
  const right = Buffer.from(b, 'utf8')
  return left.length === right.length && timingSafeEqual(left, right)
}

/** SHA-256 of a JSON value in a form that doesn't depend on the order of members; undefined members don't count. */
export function stableHash(value: unknown): string {
  return sha256Hex(JSON.stringify(value, sortMembers) ?? 'undefined')
}

function sortMembers(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
}
