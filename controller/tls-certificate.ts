/**
 * What is asked of certificates before they are served: that key and certificate belong together, that a chain leads to
 * its authority, that both are valid now, and when a new one is due. Reads with node:crypto alone, which costs no memory.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { fingerprintOf } from '../proto/joining.ts'

/** A certificate or key that can't be served; the message names the file, says why and what to do. */
export class TlsError extends Error {
  override readonly name = 'TlsError'
}

/** What clients are shown, and what they trust. */
export interface ServedCertificates {
  /** For node:tls, one entry for each kind of key. Each certificate is followed by its chain, the authority last. */
  readonly cert: readonly string[]
  readonly key: readonly string[]
  readonly authorityPem: string
  /** `sha256:` and hex, of the authority. */
  readonly fingerprint: string
  /** The soonest end of what is served, epoch milliseconds. */
  readonly endsAt: number
}

/** Names and addresses under which clients call. */
export interface CertificateNames {
  readonly names: readonly string[]
  readonly addresses: readonly string[]
}

/** What a certificate has to have: all of them, some of them not at once. */
export interface WantedNames extends CertificateNames {
  /** Of the addresses: for the lack of one of these no certificate is made anew before it has this age, milliseconds. */
  readonly canWaitMs: ReadonlyMap<string, number>
}

/** Clocks of hosts go a little wrong; a certificate holds a day before it was made. */
export const clockSlackMs = 86_400_000

const pemPattern = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g

/** All certificates of a file, in its order. Throws TlsError where there is none, or one can't be read. */
export function readCertificates(pem: string, path: string): readonly [X509Certificate, ...X509Certificate[]] {
  try {
    const [first, ...more] = (pem.match(pemPattern) ?? []).map((text) => new X509Certificate(text))
    if (first !== undefined) return [first, ...more]
  } catch (error) {
    throw new TlsError(`${path} holds a certificate that can't be read: ${messageOf(error)}.`, { cause: error })
  }
  throw new TlsError(`${path} holds no certificate: it takes PEM, "-----BEGIN CERTIFICATE-----" and so on.`)
}

/** Throws TlsError for a key that can't be read, has a passphrase, or belongs to another certificate. */
export function checkKey(certificate: X509Certificate, keyPem: string, path: string): void {
  let matches: boolean
  try {
    matches = certificate.checkPrivateKey(createPrivateKey(keyPem))
  } catch (error) {
    // What OpenSSL says names the problem, such as a passphrase that lacks, and nothing of the key.
    throw new TlsError(`${path} holds no private key that can be used (PEM, no passphrase): ${messageOf(error)}.`, {
      cause: error,
    })
  }
  if (!matches) {
    throw new TlsError(`${path} holds the private key of another certificate: give the two that were made together.`)
  }
}

/** Throws TlsError unless each certificate is signed by the next, and the last by the authority. */
export function checkChain(
  chain: readonly [X509Certificate, ...X509Certificate[]],
  authority: X509Certificate,
  path: string,
): void {
  if (!authority.ca) {
    throw new TlsError(`${path}: the authority ${oneLine(authority.subject)} is not a CA, so it can sign nothing.`)
  }
  const signers = [...chain.slice(1), authority]
  for (const [index, certificate] of chain.entries()) {
    const signer = signers[index] ?? authority
    if (certificate.raw.equals(authority.raw)) continue
    if (certificate.checkIssued(signer) && certificate.verify(signer.publicKey)) continue
    throw new TlsError(
      `${path}: ${oneLine(certificate.subject)} was not signed by ${oneLine(signer.subject)}. Put the certificate first, ` +
        'then those between it and the authority, in this order.',
    )
  }
}

/** Certificate, chain and authority as one PEM text, each once: a host that joins looks for the authority in it. */
export function writeChain(chain: readonly X509Certificate[], authority: X509Certificate): string {
  const known = new Map([...chain, authority].map((each) => [each.fingerprint256, each]))
  return [...known.values()].map((each) => each.toString().trimEnd()).join('\n') + '\n'
}

export function authorityFingerprint(authority: X509Certificate): string {
  return fingerprintOf(authority.raw)
}

export function startOf(certificate: X509Certificate): number {
  return certificate.validFromDate.getTime()
}

export function endOf(certificate: X509Certificate): number {
  return certificate.validToDate.getTime()
}

/** Why a certificate that Gantry made is to be made anew; undefined while it is good. `now` is epoch milliseconds. */
export function renewalReason(
  leaf: X509Certificate,
  authority: X509Certificate,
  wanted: WantedNames,
  now: number,
): string | undefined {
  if (!leaf.checkIssued(authority) || !leaf.verify(authority.publicKey)) return 'another authority signed it'
  const [start, end] = [startOf(leaf), endOf(leaf)]
  if (now < start) return 'it is not valid yet'
  if (now >= end) return 'it has ended'
  if (now >= start + ((end - start) * 2) / 3) return 'two thirds of its life are over'
  const age = now - (start + clockSlackMs)
  const missing = [
    ...wanted.names.filter((name) => leaf.checkHost(probeOf(name)) === undefined),
    ...wanted.addresses.filter(
      (address) => leaf.checkIP(address) === undefined && age >= (wanted.canWaitMs.get(address) ?? 0),
    ),
  ]
  return missing.length === 0 ? undefined : `it lacks ${missing.slice(0, 5).join(', ')}`
}

/** What is wrong with the clock or the authority, for people; undefined where nothing is. */
export function clockProblem(authority: X509Certificate, now: number, path: string): string | undefined {
  const shown = `The clock of this machine says ${isoOf(now)}`
  if (now < startOf(authority)) {
    return (
      `${shown}, and the authority in ${path} is valid from ${isoOf(startOf(authority))} on: clients refuse it until then. ` +
      'Set the clock (timedatectl). Was it wrong when the authority was made, remove the directory that it is in and ' +
      'start again; hosts that joined then have to join anew.'
    )
  }
  if (now >= endOf(authority)) {
    return (
      `${shown}, and the authority in ${path} ended at ${isoOf(endOf(authority))}: no client trusts it any more. Is the ` +
      'clock right, remove the directory that it is in and start again: a new one is made, and hosts have to join anew.'
    )
  }
  return undefined
}

/** A wildcard is asked for by a name that it covers. */
function probeOf(name: string): string {
  return name.startsWith('*.') ? `any${name.slice(1)}` : name
}

function oneLine(subject: string): string {
  return subject.replaceAll('\n', ', ')
}

export function isoOf(epochMs: number): string {
  return new Date(epochMs).toISOString()
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
