/**
 * What a host that joins says to the controller: first nothing, only to see its certificates; then, on a connection that
 * is checked against the one CA with the right fingerprint, the token.
 */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import { connect } from 'node:tls'
import type { DetailedPeerCertificate } from 'node:tls'
import { X509Certificate } from 'node:crypto'
import { fingerprintOf, joinPath } from '../../proto/joining.ts'
import type { JoinAnswer, JoinRequest } from '../../proto/joining.ts'
import { explainTlsError, trustIn } from '../controller-trust.ts'

/** The host has not joined; the message says why, and what to do. */
export class JoinError extends Error {}

const connectTimeoutMs = 10_000
const answerTimeoutMs = 30_000
const answerBytesMax = 256 * 1024
/** Far more than a chain has. */
const chainMax = 10

/** The CA with this fingerprint, from the chain that the server shows. Throws JoinError. */
export async function fetchCa(controllerUrl: string, caFingerprint: string): Promise<string> {
  const chain = await fetchChain(controllerUrl)
  const found = chain.find((certificate) => fingerprintOf(certificate.raw) === caFingerprint)
  if (found?.ca === true) return found.toString()
  const shown = chain.at(-1)
  if (found === undefined && shown !== undefined) {
    throw new JoinError(
      `The CA that ${controllerUrl} shows is not the one that --ca names, so nothing was sent.\n` +
        `  shown:  ${fingerprintOf(shown.raw)}\n  --ca:   ${caFingerprint}\n` +
        'Either it is another machine than you think, or the controller has another CA by now: have it print a new line ' +
        '(`npx gantry join-token` there), and use the token of this one nowhere.',
    )
  }
  throw new JoinError(
    `${controllerUrl} shows ${shown === undefined ? 'no certificate' : 'a certificate with that fingerprint, but it is no CA'}. ` +
      'Use the line that the controller prints: `npx gantry join-token` there.',
  )
}

/** Unchecked: what is shown is only compared, and nothing is sent. From the leaf to the last that was shown. */
async function fetchChain(controllerUrl: string): Promise<readonly X509Certificate[]> {
  const url = new URL(controllerUrl)
  const host = url.hostname.replaceAll(/[[\]]/g, '')
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(url.port || 443),
      ...(isIP(host) === 0 && { servername: host }),
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
    })
    // From the first byte to the last: who sends one now and then holds nobody up.
    const timer = setTimeout(() => socket.destroy(timeoutError()), connectTimeoutMs)
    socket.once('secureConnect', () => {
      resolve(chainOf(socket.getPeerCertificate(true)))
      socket.destroy()
    })
    socket.once('error', (error) => reject(unreachable(controllerUrl, error)))
    socket.once('close', () => {
      clearTimeout(timer)
      reject(unreachable(controllerUrl, closedError()))
    })
  })
}

function chainOf(leaf: DetailedPeerCertificate): readonly X509Certificate[] {
  const chain: X509Certificate[] = []
  for (let next: DetailedPeerCertificate | undefined = leaf; next?.raw !== undefined; next = next.issuerCertificate) {
    const certificate = new X509Certificate(next.raw)
    // The last one is its own issuer.
    if (chain.length === chainMax || chain.at(-1)?.fingerprint256 === certificate.fingerprint256) break
    chain.push(certificate)
  }
  return chain
}

/** `caPem` is undefined for plain HTTP on loopback. Throws JoinError. */
export async function sendJoin(
  controllerUrl: string,
  caPem: string | undefined,
  request: JoinRequest,
  now: () => number,
): Promise<JoinAnswer> {
  const trust = trustIn(() => caPem)
  const { status, text } = await post(controllerUrl, caPem, JSON.stringify(request)).catch((error: unknown) => {
    const explained = explainTlsError(error, { origin: controllerUrl, trust, now: now() })
    throw explained === undefined ? unreachable(controllerUrl, error) : new JoinError(explained)
  })
  const value = parsed(text)
  if (status === 200) return readAnswer(value, controllerUrl)
  const message = value?.['message'] ?? value?.['Message'] ?? value?.['error']
  const said = typeof message === 'string' ? message : text.slice(0, 300)
  if (status === 429) throw new JoinError(`The controller takes no further attempts to join now: ${said}`)
  if (status === 404) {
    throw new JoinError(
      `Who answers at ${controllerUrl} knows no ${joinPath}: is it a Gantry controller of this version?`,
    )
  }
  throw new JoinError(`The controller did not let this host join (${status}): ${said}`)
}

async function post(
  controllerUrl: string,
  caPem: string | undefined,
  body: string,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }
    const common = { method: 'POST', headers, agent: false, signal: AbortSignal.timeout(answerTimeoutMs) } as const
    const take = (response: IncomingMessage): void => {
      readBody(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject)
    }
    const url = `${controllerUrl}${joinPath}`
    const call =
      caPem === undefined
        ? httpRequest(url, common, take)
        : httpsRequest(url, { ...common, ca: [caPem], rejectUnauthorized: true, minVersion: 'TLSv1.2' }, take)
    call.on('error', reject)
    call.end(body)
  })
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length
    if (bytes > answerBytesMax) throw new Error('the answer is longer than an answer can be')
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function readAnswer(value: Readonly<Record<string, unknown>> | undefined, controllerUrl: string): JoinAnswer {
  const text = (name: string): string => {
    const one = value?.[name]
    if (typeof one === 'string' && one !== '') return one
    throw new JoinError(`The answer of ${controllerUrl} has no ${name}: is it a Gantry controller of this version?`)
  }
  return {
    hostId: text('hostId'),
    cluster: text('cluster'),
    region: text('region'),
    account: text('account'),
    accessKeyId: text('accessKeyId'),
    secretAccessKey: text('secretAccessKey'),
    controllerTime: text('controllerTime'),
  }
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined
  } catch {
    return undefined
  }
}

function closedError(): Error {
  return Object.assign(new Error('closed'), { code: 'ECONNRESET' })
}

function timeoutError(): Error {
  return Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: is the controller up, and is that its TLS port (51443 unless it was changed)?',
  ETIMEDOUT: 'there is no answer: does a firewall keep its port from this host?',
  ABORT_ERR: 'there is no answer: does a firewall keep its port from this host?',
  EHOSTUNREACH: 'this host has no way there: look at its routes and cables',
  ENETUNREACH: 'this host has no way there: look at its routes and cables',
  ENOTFOUND: 'no such name is known here: use the address that the controller prints, or mend DNS',
  EAI_AGAIN: 'the name could not be looked up: use the address that the controller prints, or mend DNS',
  ECONNRESET: 'the connection was closed: is that the TLS port of a controller?',
  EPROTO: 'it does not speak TLS: is that the TLS port of the controller (51443), not the plain one?',
}

function unreachable(controllerUrl: string, error: unknown): JoinError {
  const { code = '', message } = error as { code?: string | number; message: string }
  const name = code === 23 || (error as Error).name === 'TimeoutError' ? 'ETIMEDOUT' : String(code)
  const why = reasons[name] ?? (name.startsWith('ERR_SSL') ? reasons['EPROTO'] : undefined) ?? message
  return new JoinError(
    `The controller at ${controllerUrl} can't be reached: ${why} (${name === '' ? message : name})`,
    {
      cause: error,
    },
  )
}
