/**
 * Ids of IAM's things. They have the lengths of AWS's own, and none of its prefixes: nobody shall take a key that was
 * found somewhere for one of AWS.
 */
import type { World } from '../../proto/world.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const keyIdLetters = 14
const uniqueIdLetters = 17
const secretBytes = 30

/** 20 characters. A key that lasts until it is deleted. */
export function newAccessKeyId(world: World): string {
  return `GANTRY${letters(world, keyIdLetters)}`
}

/** 20 characters. A key of a session. */
export function newSessionKeyId(world: World): string {
  return `${sessionKeyPrefix}${letters(world, keyIdLetters)}`
}

export const sessionKeyPrefix = 'GSESSN'

/** 40 characters of base64 over 240 random bits. */
export function newSecretAccessKey(world: World): string {
  const bytes = world.hex(secretBytes * 2).match(/../g) ?? []
  return btoa(bytes.map((byte) => String.fromCharCode(Number.parseInt(byte, 16))).join(''))
}

/** What stands in place of AWS's AIDA, AROA, ANPA and AIPA. */
const uniqueIdPrefixes = { user: 'GUSR', role: 'GROL', policy: 'GPOL', instanceProfile: 'GIPR' } as const

/** 21 characters: an id that is never given twice, also where a name is. */
export function newUniqueId(kind: keyof typeof uniqueIdPrefixes, world: World): string {
  return uniqueIdPrefixes[kind] + letters(world, uniqueIdLetters)
}

/** Five bits of randomness each. */
function letters(world: World, count: number): string {
  const bytes = world.hex(count * 2).match(/../g) ?? []
  return bytes.map((byte) => alphabet[Number.parseInt(byte, 16) % alphabet.length]).join('')
}
