/** Connections that speak bytes, for what no client would send: to either listener of a controller. */
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { TlsEnd } from './tls-client.ts'

export interface Listener {
  readonly name: string
  /** An open connection, after TLS where there is TLS. */
  open(): Promise<Socket>
}

export function listenersOf(port: number, tls: Pick<TlsEnd, 'port' | 'ca'>): readonly Listener[] {
  const secure = { host: '127.0.0.1', port: tls.port, ca: tls.ca, servername: 'localhost' }
  return [
    { name: 'plain', open: () => ready(connectPlain(port, '127.0.0.1'), 'connect') },
    { name: 'TLS', open: () => ready(connectTls(secure), 'secureConnect') },
  ]
}

function ready(socket: Socket, event: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => resolve(socket))
    socket.once('error', reject)
    // Later errors are ends, and seen as such.
    socket.on('error', () => undefined)
  })
}

/** Generous: the machine may be busy with something else. */
const firstMs = 60_000

/** All that is answered to these bytes until the connection ends, or nothing more comes for a while. */
export async function answerTo(listener: Listener, bytes: string | Buffer, quietMs = 400): Promise<string> {
  const socket = await listener.open()
  let text = ''
  return new Promise((resolve) => {
    const end = (): void => {
      socket.destroy()
      resolve(text)
    }
    let timer = setTimeout(end, firstMs)
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      clearTimeout(timer)
      timer = setTimeout(end, quietMs)
    })
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(text)
    })
    socket.write(bytes)
  })
}

export function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => (socket.destroyed ? resolve() : socket.once('close', () => resolve())))
}
