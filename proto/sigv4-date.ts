/**
 * The age of a signature: how its date is written, and how far it may be from the controller's clock. A refusal names
 * the skew in words, because a wrong clock is the commonest cause and nothing else about it shows.
 */
import { ApiError } from './errors.ts'

/** How far a signature's date may be from now, either way. Source: AWS, "Signature Version 4 request dates". */
export const skewMaxMs = 15 * 60_000

/** `20261121T130500Z`. */
export function formatAmzDate(atMs: number): string {
  return new Date(atMs).toISOString().replace(/[-:]|\.\d{3}/g, '')
}

/** Reads an X-Amz-Date, or the Date header in its place, and answers it in the form of X-Amz-Date. */
export function parseRequestDate(text: string): string {
  const atMs = isHttpDate(text) ? Date.parse(text) : parseAmzDate(text)
  if (Number.isNaN(atMs)) {
    throw new ApiError(
      'IncompleteSignatureException',
      `Date must be in ISO-8601 'basic format'. Got '${text.slice(0, 40)}'. See http://en.wikipedia.org/wiki/ISO_8601`,
    )
  }
  return formatAmzDate(atMs)
}

export interface Freshness {
  /** In the form of X-Amz-Date. */
  readonly date: string
  /** How long a presigned URL holds; absent for a signature that holds as long as the skew allows. */
  readonly expiresSeconds: number | undefined
}

/** Throws InvalidSignatureException for a signature of another time. `nowMs` is the controller's clock. */
export function checkFreshness({ date, expiresSeconds }: Freshness, nowMs: number): void {
  const signedMs = parseAmzDate(date)
  const skewMs = nowMs - signedMs
  const now = formatAmzDate(nowMs)
  if (-skewMs > skewMaxMs) {
    throw stale(
      `Signature not yet current: ${date} is still later than ${formatAmzDate(nowMs + skewMaxMs)} (${now} + 15 min.). ` +
        `The caller's clock is ${inWords(-skewMs)} ahead of the controller's. Set the clocks, then try again.`,
    )
  }
  if (expiresSeconds !== undefined) {
    if (skewMs <= expiresSeconds * 1000) return
    throw stale(
      `Signature expired: ${formatAmzDate(signedMs + expiresSeconds * 1000)} is now earlier than ${now}. ` +
        `The URL was signed ${inWords(skewMs)} ago for ${inWords(expiresSeconds * 1000)}. Sign a new one, and if it ` +
        'is fresh by your clock, set the clocks.',
    )
  }
  if (skewMs > skewMaxMs) {
    throw stale(
      `Signature expired: ${date} is now earlier than ${formatAmzDate(nowMs - skewMaxMs)} (${now} - 15 min.). ` +
        `The caller's clock is ${inWords(skewMs)} behind the controller's. Set the clocks, then try again.`,
    )
  }
}

function stale(message: string): ApiError {
  return new ApiError('InvalidSignatureException', message)
}

function isHttpDate(text: string): boolean {
  return /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)
}

function parseAmzDate(text: string): number {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(text)
  if (match === null) return Number.NaN
  const [, year, month, day, hour, minute, second] = match
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

/** `2 hours 5 minutes`: the two largest units that count. */
function inWords(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000)
  const units: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'day'],
    [Math.floor(seconds / 3600) % 24, 'hour'],
    [Math.floor(seconds / 60) % 60, 'minute'],
    [seconds % 60, 'second'],
  ]
  const first = units.findIndex(([count]) => count > 0)
  if (first === -1) return '0 seconds'
  return units
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}${count === 1 ? '' : 's'}`)
    .join(' ')
}
