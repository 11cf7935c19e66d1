/**
 * A controller of a few lines that hosts can join: TLS by certificates of its own, tokens that are good once, and pairs of
 * keys that follow each other as `proto/joining.ts` says. It can be made wrong in each way that a host has to notice.
 */
import { createServer } from 'node:https'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { X509Certificate } from 'node:crypto'
import { makeCertificate } from '../../controller/certificates.ts'
import type { Pair } from '../../controller/certificates.ts'
import { fingerprintOf, hostKeysPath, joinPath, writeJoinToken } from '../../proto/joining.ts'
import type { HostKeysAnswer, JoinAnswer, JoinRequest } from '../../proto/joining.ts'
import { ApiError } from '../../proto/errors.ts'
import { verifyRequest } from '../../proto/sigv4.ts'

const dayMs = 86_400_000
const hostId = '0123456789abcdef0123456789abcdef'

export interface Authority extends Pair {
  readonly fingerprint: string
}

export async function makeAuthority(name: string): Promise<Authority> {
  const times = { notBefore: Date.now() - dayMs, notAfter: Date.now() + 10 * dayMs }
  const pair = await makeCertificate({ make: 'authority', name, ...times })
  return { ...pair, fingerprint: fingerprintOf(new X509Certificate(pair.certificatePem).raw) }
}

export interface JoinPeerOptions {
  readonly authority: Authority
  /** What stands behind the leaf in the chain, where it is not the authority that signed it. */
  readonly shown?: Pair | undefined
  /** Names and addresses of the leaf; 127.0.0.1 and localhost. */
  readonly addresses?: readonly string[] | undefined
  readonly names?: readonly string[] | undefined
  /** Days from now: when the leaf begins and ends. */
  readonly beginsInDays?: number | undefined
  readonly endsInDays?: number | undefined
}

interface KeyPair {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export class JoinPeer {
  readonly url: string
  /** Paths of the requests that reached it, inside of TLS. */
  readonly requests: string[] = []
  readonly tokens = new Set<string>()
  joined: JoinRequest | undefined
  /** The pair that was last used, and a newer one that was given out. */
  keys: KeyPair | undefined
  newer: KeyPair | undefined
  /** A pair whose hour is over: it may still ask for a new one. */
  endedKeys: KeyPair | undefined
  /** As a revocation does: no pair is known. */
  isRevoked = false
  clockSkewMs = 0
  /** What each join waits for before it is answered; what came to the peer is in `requests` by then. */
  gate: Promise<void> = Promise.resolve()
  #made = 0
  readonly #server: ReturnType<typeof createServer>
  readonly #caPem: string

  constructor(server: ReturnType<typeof createServer>, caPem: string) {
    this.#server = server
    this.#caPem = caPem
    this.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => {
        const { status, value } = this.#answer(request, body)
        const answer = (): void => {
          response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
        }
        if (request.url === joinPath) void this.gate.then(answer)
        else answer()
      })
    })
  }

  /** One more token. */
  token(): string {
    const token = writeJoinToken('0123456789ab', String(++this.#made).padStart(40, '0'))
    this.tokens.add(token)
    return token
  }

  /** The pair in use is over. */
  end(): void {
    this.endedKeys = this.keys
    this.keys = undefined
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #answer(request: IncomingMessage, body: string): { status: number; value: object } {
    const { url = '', method = '' } = request
    this.requests.push(url)
    if (url === joinPath) return this.#join(JSON.parse(body) as JoinRequest)
    try {
      const headers = request.headers as Record<string, string>
      const secretOf = (id: string) => this.#secretOf(id, url)
      const signer = verifyRequest({ method, path: url, headers, body }, secretOf, Date.now())
      if (this.newer?.accessKeyId === signer.accessKeyId) {
        this.keys = this.newer
        this.newer = undefined
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      const name = url === hostKeysPath ? 'code' : '__type'
      return { status: 403, value: { [name]: error.code, message: error.message } }
    }
    return { status: 200, value: url === hostKeysPath ? this.#newKeys() : { endpoint: this.url } }
  }

  #secretOf(accessKeyId: string, url: string): string | undefined {
    if (this.isRevoked) return undefined
    const ended = url === hostKeysPath ? this.endedKeys : undefined
    return [this.keys, this.newer, ended].find((pair) => pair?.accessKeyId === accessKeyId)?.secretAccessKey
  }

  #join(request: JoinRequest): { status: number; value: object } {
    if (!this.tokens.delete(request.token)) {
      return { status: 403, value: { message: 'The join token was used, is over, or never was.' } }
    }
    this.joined = request
    this.keys = this.#pair()
    const answer: JoinAnswer = {
      hostId,
      cluster: request.cluster ?? 'default',
      region: 'us-east-1',
      account: '123456789012',
      ...this.keys,
      controllerTime: new Date(Date.now() - this.clockSkewMs).toISOString(),
      caPem: this.#caPem,
    }
    return { status: 200, value: answer }
  }

  #newKeys(): HostKeysAnswer {
    this.newer = this.#pair()
    return { hostId, ...this.newer, previousEndsAt: new Date(Date.now() + 3_600_000).toISOString() }
  }

  #pair(): KeyPair {
    this.#made += 1
    return { accessKeyId: `GANTRYTEST${this.#made}`, secretAccessKey: `not-a-secret-${this.#made}` }
  }
}

/** Listens on 127.0.0.1, on any free port. */
export async function startJoinPeer(options: JoinPeerOptions): Promise<JoinPeer> {
  const { authority, shown = authority } = options
  const leaf = await makeCertificate({
    make: 'leaf',
    kind: 'ecdsa',
    authority,
    names: options.names ?? ['localhost'],
    addresses: options.addresses ?? ['127.0.0.1'],
    notBefore: Date.now() + (options.beginsInDays ?? -1) * dayMs,
    notAfter: Date.now() + (options.endsInDays ?? 1) * dayMs,
  })
  const server = createServer({ cert: `${leaf.certificatePem}\n${shown.certificatePem}\n`, key: leaf.keyPem })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return new JoinPeer(server, authority.certificatePem)
}
