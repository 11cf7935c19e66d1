/** The TLS side of a running controller, and raw clients for it. */
import { readFileSync } from 'node:fs'
import { request, type RequestOptions } from 'node:https'
import { join } from 'node:path'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { signRequest } from '../../proto/sigv4.ts'
import { type Key, type RawAnswer, region, type RunningController } from './controller.ts'

/** What the environment of a controller with TLS has, on a free port of loopback. */
export const withTls = { GANTRY_TLS_LISTEN: '127.0.0.1:0' }

export interface TlsEnd {
  /** `https://127.0.0.1:port`. */
  readonly endpoint: string
  readonly port: number
  readonly authorityFile: string
  readonly ca: string
  readonly fingerprint: string
}

/** As the controller said it when it was ready. */
export function tlsOf(controller: Pick<RunningController, 'output' | 'dataDir'>): TlsEnd {
  const line =
    controller
      .output()
      .split('\n')
      .find((each) => each.includes('"msg":"ready')) ?? '{}'
  const { tls } = JSON.parse(line) as { tls: { address: string; authority: string; fingerprint: string } }
  return {
    endpoint: tls.address,
    port: Number(new URL(tls.address).port),
    authorityFile: join(controller.dataDir, 'tls', 'ca.pem'),
    ca: readFileSync(tls.authority, 'utf8'),
    fingerprint: tls.fingerprint,
  }
}

/** One request on a connection of its own. `localAddress` is where it comes from. */
export function ask(
  { endpoint, ca }: Pick<TlsEnd, 'endpoint' | 'ca'>,
  method: string,
  path: string,
  over: Pick<RequestOptions, 'headers' | 'localAddress'> & { readonly body?: string } = {},
): Promise<RawAnswer> {
  const { body, ...options } = over
  return new Promise((resolve, reject) => {
    const sent = request(`${endpoint}${path}`, { method, ca, agent: false, ...options }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        const isJson = text.startsWith('{')
        const headers = new Headers(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]))
        resolve({ status: answer.statusCode ?? 0, headers, text, json: isJson ? JSON.parse(text) : {} })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

/** A signed call of ECS, from a source address of loopback that the test chooses. */
export function askEcs(
  end: Pick<TlsEnd, 'endpoint' | 'ca'>,
  key: Key,
  operation: string,
  input: object,
  localAddress = '127.0.0.1',
): Promise<RawAnswer> {
  const body = JSON.stringify(input)
  const headers = signRequest({
    method: 'POST',
    url: `${end.endpoint}/`,
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': `AmazonEC2ContainerServiceV20141113.${operation}`,
    },
    body,
    credentials: key,
    region,
    service: 'ecs',
    now: Date.now(),
  })
  return ask(end, 'POST', '/', { headers, body, localAddress })
}

/** A handshake alone; rejects as it fails. */
export function shakeHands(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ...options }, () => resolve(socket))
    socket.on('error', reject)
  })
}
