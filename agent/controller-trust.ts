/**
 * Whom the agent takes for its controller: who shows a certificate of the one CA that the host pinned when it joined, or
 * that GANTRY_CA_FILE names. Every connection of the agent to its controller goes by these settings, and none without.
 */
import { X509Certificate } from 'node:crypto'
import { fingerprintOf } from '../proto/joining.ts'

export interface TlsSettings {
  /** Absent: the CAs that the system trusts. */
  readonly ca?: readonly string[] | undefined
  /** Said each time: NODE_TLS_REJECT_UNAUTHORIZED in the environment must not undo it. */
  readonly rejectUnauthorized: true
  readonly minVersion: 'TLSv1.2'
}

export interface ControllerTrust {
  /** For each new connection: the CA can change under a running agent, by word of the controller that it trusts. */
  tls(): TlsSettings
}

export function trustIn(caPem: () => string | undefined): ControllerTrust {
  return {
    tls() {
      const ca = caPem()
      return { ...(ca !== undefined && { ca: certificatesOf(ca) }), rejectUnauthorized: true, minVersion: 'TLSv1.2' }
    },
  }
}

/** The CAs of the system: where nothing is pinned, a certificate still has to be right. */
export const systemTrust: ControllerTrust = trustIn(() => undefined)

const certificatePattern = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g

/** The certificates of a PEM text, each by itself. Throws an Error where there is none, or one can't be read. */
export function certificatesOf(pem: string): readonly string[] {
  const found = pem.match(certificatePattern) ?? []
  if (found.length === 0) throw new Error('it holds no certificate in PEM form')
  return found.map((one) => new X509Certificate(one).toString())
}

export function fingerprintsOf(pem: string): readonly string[] {
  return certificatesOf(pem).map((one) => fingerprintOf(new X509Certificate(one).raw))
}

/** OpenSSL's words for a chain that ends in no CA that is trusted. */
const strangers = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'INVALID_CA',
  'CERT_UNTRUSTED',
])

/**
 * A sentence, with what to do, for what goes wrong with a certificate; undefined for any other error. `origin` is where
 * the agent meant to connect to, `now` its clock in epoch milliseconds.
 */
export function explainTlsError(
  error: unknown,
  at: { readonly origin: string; readonly trust: ControllerTrust; readonly now: number },
): string | undefined {
  const { origin } = at
  const { code, reason } = error as { code?: string; reason?: string }
  if (code === undefined) return undefined
  if (strangers.has(code)) {
    const { ca } = at.trust.tls()
    const trusted =
      ca === undefined ? 'the system trusts' : `this host trusts (${shortList(fingerprintsOf(ca.join('\n')))})`
    return (
      `Whoever answers at ${origin} has no certificate of a CA that ${trusted} (${code}). Nothing was sent. Either it is ` +
      'not your controller, or that was given another CA: compare the fingerprints that it prints. If it was, join this ' +
      'host again: a line from `npx gantry join-token`, with --replace.'
    )
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return (
      `The controller's certificate is not for ${new URL(origin).hostname} (${reason ?? code}). Call it by one of its ` +
      'names, or have the controller add this one (GANTRY_TLS_NAMES in its settings, then restart it).'
    )
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const clock = new Date(at.now).toISOString().slice(0, 19)
    return (
      `The certificate of ${origin} is ${code === 'CERT_HAS_EXPIRED' ? 'over' : 'not valid yet'} by this host's clock, ` +
      `which says ${clock}Z. Set that clock if it is wrong (timedatectl set-ntp true); else look at the controller, ` +
      'which renews its certificate by itself.'
    )
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) {
    return `Whoever answers at ${origin} does not speak TLS as a controller does (${reason ?? code}). Check the port: 51443.`
  }
  return undefined
}

/** A bundle may have a hundred and more. */
function shortList(fingerprints: readonly string[]): string {
  const shown = fingerprints.slice(0, 2)
  const more = fingerprints.length - shown.length
  return more === 0 ? shown.join(', ') : `${shown.join(', ')} and ${more} more`
}

/** Plain HTTP is for this very host. */
export function isLoopback(origin: string): boolean {
  const { hostname } = new URL(origin)
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}
