/**
 * The canonical forms that both sides of a signature agree on: path, query and headers, each written in one way only.
 *
 * Source: AWS documentation, "Create a canonical request", in the form for services other than S3: the path is
 * normalised and encoded once more than on the wire.
 */

/** Headers by lower-case name; a header that came several times has its values in the order of arrival. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>

/** One parameter of a query, decoded. */
export interface Parameter {
  readonly name: string
  readonly value: string
}

/** A header's values joined by commas, trimmed, runs of spaces collapsed; '' where there is none. */
export function canonicalHeader(headers: Headers, name: string): string {
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined
  if (value === undefined) return ''
  return typeof value === 'string' ? collapse(value) : value.map(collapse).join(',')
}

/** Takes the path as it stands in the request line, percent-encoded. */
export function canonicalPath(path: string): string {
  const segments: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.') continue
    if (segment === '..') segments.pop()
    else segments.push(encode(segment))
  }
  if (segments.length === 0) return '/'
  return `/${segments.join('/')}${path.endsWith('/') ? '/' : ''}`
}

/** Takes a query with or without its question mark. A plus is a space, as Go's and browsers' encoders write it. */
export function parseQuery(query: string): Parameter[] {
  const text = query.startsWith('?') ? query.slice(1) : query
  return text
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=')
      return equals === -1
        ? { name: decode(part), value: '' }
        : { name: decode(part.slice(0, equals)), value: decode(part.slice(equals + 1)) }
    })
}

/** Sorted by encoded name, then by encoded value, in the order of their code units. */
export function canonicalQuery(query: readonly Parameter[]): string {
  return query
    .map(({ name, value }) => ({ name: encode(name), value: encode(value) }))
    .toSorted((a, b) => compare(a.name, b.name) || compare(a.value, b.value))
    .map(({ name, value }) => `${name}=${value}`)
    .join('&')
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function collapse(value: string): string {
  return value.trim().replace(/\s+/g, ' ')
}

/** RFC 3986: all but letters, digits and `-._~`. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** A wrong escape stands for itself: such a request merely fails to verify. */
function decode(text: string): string {
  const spaced = text.replaceAll('+', ' ')
  try {
    return decodeURIComponent(spaced)
  } catch {
    return spaced
  }
}
