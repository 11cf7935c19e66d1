/**
 * Certificates that the controller makes for itself: an authority of ten years at the first start, and under it a leaf for
 * each kind of key, made anew well before they end and whenever the machine has an address that they lack.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { X509Certificate } from 'node:crypto'
import type { CertificateOrder, KeyKind, Pair } from './certificates.ts'
import {
  authorityFingerprint,
  type CertificateNames,
  checkKey,
  clockSlackMs,
  endOf,
  isoOf,
  messageOf,
  readCertificates,
  renewalReason,
  type ServedCertificates,
  startOf,
  TlsError,
  type WantedNames,
  writeChain,
} from './tls-certificate.ts'
import { readIfThere, requirePrivate, writePrivate, writePublic } from './tls-files.ts'

const dayMs = 86_400_000
const authorityLifeMs = 3652 * dayMs
export const leafLifeMs = 90 * dayMs
/** When this was written: a machine whose clock says less has none, or has not heard the time yet. */
const earliestNow = Date.UTC(2026, 10, 1)

const kinds: readonly KeyKind[] = ['rsa', 'ecdsa']

export interface OwnCertificates {
  readonly authority: X509Certificate
  readonly served: ServedCertificates
  /** What was made anew, and why. */
  readonly renewed: readonly string[]
  /** Why what was due could not be made, such as a full disk; what is served holds for now. */
  readonly problem: string | undefined
}

interface Authority extends Pair {
  readonly certificate: X509Certificate
}

export function authorityPathIn(directory: string): string {
  return join(directory, 'ca.pem')
}

/**
 * Makes what is missing or due. Throws TlsError for files that can't be used, and what went wrong where nothing that holds
 * could be made. `now` is epoch milliseconds.
 */
export async function openOwnCertificates(
  directory: string,
  wanted: WantedNames,
  now: number,
): Promise<OwnCertificates> {
  await mkdir(directory, { recursive: true, mode: 0o755 })
  const authority = (await readAuthority(directory)) ?? (await makeAuthority(directory, now))
  const leaves: { certificate: X509Certificate; keyPem: string }[] = []
  const renewed: string[] = []
  let problem: string | undefined
  for (const kind of kinds) {
    const path = join(directory, `${kind}.pem`)
    const known = await readLeaf(path)
    const reason =
      known === undefined ? 'there was none' : renewalReason(known.certificate, authority.certificate, wanted, now)
    // Under an authority that is not valid now a new one would be no better.
    const isDue = known === undefined || (reason !== undefined && isValid(authority.certificate, now))
    if (!isDue) {
      leaves.push(known)
      continue
    }
    try {
      const { names, addresses } = wanted
      leaves.push(await makeLeaf(path, kind, authority, { names, addresses }, now))
      renewed.push(`${kind}: ${reason}`)
    } catch (error) {
      // It was due long before its end: that a disk is full is no reason not to start.
      if (known === undefined || !isTrusted(known.certificate, authority.certificate, now)) throw error
      leaves.push(known)
      problem = messageOf(error)
    }
  }
  const served: ServedCertificates = {
    cert: leaves.map(({ certificate }) => writeChain([certificate], authority.certificate)),
    key: leaves.map(({ keyPem }) => keyPem),
    authorityPem: authority.certificatePem,
    fingerprint: authorityFingerprint(authority.certificate),
    endsAt: Math.min(...leaves.map(({ certificate }) => endOf(certificate))),
  }
  return { authority: authority.certificate, served, renewed, problem }
}

async function readAuthority(directory: string): Promise<Authority | undefined> {
  const path = authorityPathIn(directory)
  const keyPath = join(directory, 'ca.key')
  const certificatePem = await readIfThere(path)
  // The key is written first: without a certificate nobody has seen anything of it.
  if (certificatePem === undefined) return undefined
  const keyPem = await readIfThere(keyPath)
  if (keyPem === undefined) {
    throw new TlsError(
      `${keyPath} is gone, and without it no certificate can be renewed. Put it back from your backup; or remove ` +
        `${directory}, so that a new authority is made, to which every host has to join anew.`,
    )
  }
  await requirePrivate(keyPath, 'own')
  const [certificate] = readCertificates(certificatePem, path)
  checkKey(certificate, keyPem, keyPath)
  return { certificate, certificatePem, keyPem }
}

async function makeAuthority(directory: string, now: number): Promise<Authority> {
  if (now < earliestNow) {
    throw new TlsError(
      `The clock of this machine says ${isoOf(now)}, so certificates that were made now would be wrong once it is set. ` +
        'Set it (timedatectl) and start again, or do without TLS for now (GANTRY_TLS_LISTEN=off).',
    )
  }
  // Each authority has a name of its own, so that what an older one signed is never taken for this one's.
  const name = `Gantry CA ${isoOf(now).slice(0, 19)}Z`
  const times = { notBefore: now - clockSlackMs, notAfter: now + authorityLifeMs }
  const made = await order({ make: 'authority', name, ...times })
  await writePrivate(join(directory, 'ca.key'), made.keyPem)
  await writePublic(authorityPathIn(directory), made.certificatePem)
  const [certificate] = readCertificates(made.certificatePem, authorityPathIn(directory))
  return { ...made, certificate }
}

/** One that can't be read, or whose key does not fit, counts as none: the next one replaces it. */
async function readLeaf(path: string): Promise<{ certificate: X509Certificate; keyPem: string } | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  await requirePrivate(path, 'own')
  try {
    const [certificate] = readCertificates(text, path)
    const keyPem = /-----BEGIN PRIVATE KEY-----[\s\S]+-----END PRIVATE KEY-----\n?/.exec(text)?.[0] ?? ''
    checkKey(certificate, keyPem, path)
    return { certificate, keyPem }
  } catch (error) {
    if (error instanceof TlsError) return undefined
    throw error
  }
}

async function makeLeaf(
  path: string,
  kind: KeyKind,
  authority: Authority,
  wanted: CertificateNames,
  now: number,
): Promise<{ certificate: X509Certificate; keyPem: string }> {
  const notBefore = Math.max(now - clockSlackMs, startOf(authority.certificate))
  const notAfter = Math.min(now + leafLifeMs, endOf(authority.certificate))
  const { certificatePem, keyPem } = authority
  const leaf = await order({
    make: 'leaf',
    kind,
    authority: { certificatePem, keyPem },
    ...wanted,
    notBefore,
    notAfter,
  })
  // One file for both, so that they never come apart.
  await writePrivate(path, leaf.certificatePem + leaf.keyPem)
  const [certificate] = readCertificates(leaf.certificatePem, path)
  return { certificate, keyPem: leaf.keyPem }
}

function isValid(certificate: X509Certificate, now: number): boolean {
  return now >= startOf(certificate) && now < endOf(certificate)
}

function isTrusted(leaf: X509Certificate, authority: X509Certificate, now: number): boolean {
  return leaf.checkIssued(authority) && leaf.verify(authority.publicKey) && isValid(leaf, now)
}

function order(workerData: CertificateOrder): Promise<Pair> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./certificates.ts', import.meta.url), { workerData })
    worker.once('message', (pair: Pair) => resolve(pair))
    worker.once('error', reject)
    worker.once('exit', (code) => reject(new Error(`the making of a certificate ended with ${code}`)))
  })
}
