/** What the task endpoint answers with, and how a path is read. */

export interface EndpointAnswer {
  readonly status: number
  /** Sent as JSON; a string too. */
  readonly body?: unknown
  /** Sent as it is, in place of a body. */
  readonly text?: string
  /** Sent as it is, with these headers, in place of both. */
  readonly content?: Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  readonly location?: string
}

export const notFound: EndpointAnswer = { status: 404, text: '404 page not found\n' }

export const methodNotAllowed: EndpointAnswer = { status: 405, text: '' }

/** Source: tollbooth, as in amazon-ecs-agent 1.105. */
export const tooMany: EndpointAnswer = { status: 429, text: 'You have reached maximum request limit.' }

/** The path without `.`, `..` and doubled slashes, as Go's router wants it: another one is sent there by a 301. */
export function cleanPath(path: string): string {
  const kept: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') kept.pop()
    else if (part !== '' && part !== '.') kept.push(part)
  }
  const clean = `/${kept.join('/')}`
  return path.endsWith('/') && clean !== '/' ? `${clean}/` : clean
}
