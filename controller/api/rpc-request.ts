/** A request to `POST /` as it came, and the answer as it goes. */
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { ApiError } from '../../proto/errors.ts'
import { headerText } from './protocol.ts'

export interface RpcRequest {
  readonly requestId: string
  readonly method: string
  /** Path with query, as received. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
  /** The IP address at the other end of the connection. */
  readonly sourceAddress: string
  /** By TLS. */
  readonly isSecure: boolean
}

export interface RpcAnswer {
  readonly status: number
  readonly contentType: string
  /** Bytes, because Fastify would add a charset to the type of a text. */
  readonly body: Buffer
}

/** A name has 253 characters at most, a port five. */
const hostCharactersMax = 260

/** Where agents are to connect: as configured, or the scheme and host of the request itself. */
export function originOf(
  { headers, isSecure }: Pick<RpcRequest, 'headers' | 'isSecure'>,
  advertise: string | undefined,
): string {
  if (advertise !== undefined) return advertise
  const host = headerText(headers['host'])
  if (host.length > hostCharactersMax || !/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(host)) {
    throw new ApiError(
      'InvalidParameterException',
      `The Host header ${JSON.stringify(host.slice(0, 100))} is not a host and port.`,
    )
  }
  return `${isSecure ? 'https' : 'http'}://${host}`
}

/** Of the connection itself: headers that proxies add are anybody's word. An IPv4 address in IPv6's dress is undressed. */
export function sourceOf({ socket }: Pick<IncomingMessage, 'socket'>): { sourceAddress: string; isSecure: boolean } {
  const address = socket.remoteAddress ?? ''
  return { sourceAddress: address.replace(/^::ffff:(?=\d+\.)/, ''), isSecure: socket instanceof TLSSocket }
}
