/** The values that some subjects ask for: versions, instants and counts, from their written forms. */

/** Numbers of a version, and what stands behind a hyphen. */
export interface Version {
  readonly numbers: readonly [number, number, number]
  readonly preRelease: readonly string[]
}

/** `1.14.5`, `v1.14.5`, `1.14`, `1.69.0-rc.1+build`. Undefined where the text is no version. */
export function readVersion(text: string): Version | undefined {
  const match = /^v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/.exec(text)
  if (match === null) return undefined
  const [, major, minor, patch, preRelease] = match
  return {
    numbers: [Number(major), Number(minor ?? 0), Number(patch ?? 0)],
    preRelease: preRelease === undefined ? [] : preRelease.split('.'),
  }
}

/** Negative where `left` is older. By semver.org: a pre-release is older than its release, build metadata is nothing. */
export function compareVersions(left: Version, right: Version): number {
  for (const [index, number] of left.numbers.entries()) {
    const difference = number - (right.numbers[index] ?? 0)
    if (difference !== 0) return difference
  }
  if (left.preRelease.length === 0 || right.preRelease.length === 0) {
    return right.preRelease.length - left.preRelease.length
  }
  for (const [index, identifier] of left.preRelease.entries()) {
    const other = right.preRelease[index]
    if (other === undefined) return 1
    const difference = compareIdentifiers(identifier, other)
    if (difference !== 0) return difference
  }
  return left.preRelease.length - right.preRelease.length
}

/** Numbers are older than words. */
function compareIdentifiers(left: string, right: string): number {
  const isLeftNumber = /^\d+$/.test(left)
  const isRightNumber = /^\d+$/.test(right)
  if (isLeftNumber && isRightNumber) return Number(left) - Number(right)
  if (isLeftNumber !== isRightNumber) return isLeftNumber ? -1 : 1
  if (left === right) return 0
  return left < right ? -1 : 1
}

export const instantForms = '2018-06-18T22:28:28+00:00, 2018-06-18T22:28:28Z, 2018-06-18T22:28:28 or 2018-06-18'

/**
 * Epoch milliseconds; without a zone it is UTC, and a date is its midnight. Undefined where the text is no instant of
 * the calendar.
 */
export function readInstant(text: string): number | undefined {
  const match =
    /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3})\d{0,6})?(?:Z|([+-])(\d\d):(\d\d))?)?$/.exec(text)
  if (match === null) return undefined
  const part = (index: number): number => Number(match[index] ?? 0)
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)]
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 || part(9) > 18 || part(10) > 59) {
    return undefined
  }
  const daysInMonth = new Date(Date.UTC(year, month, 0)).getUTCDate()
  if (year < 1000 || day < 1 || day > daysInMonth) return undefined
  const milliseconds = Number((match[7] ?? '').padEnd(3, '0'))
  const offsetMinutes = (match[8] === '-' ? -1 : 1) * (part(9) * 60 + part(10))
  return Date.UTC(year, month - 1, day, hour, minute - offsetMinutes, second, milliseconds)
}

export function readCount(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
