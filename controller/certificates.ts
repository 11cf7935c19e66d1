/**
 * Makes certificates, as a worker thread: what that takes is 20 MB of memory that goes with the thread, once at the first
 * start and then every two months. The one file that knows @peculiar/x509.
 */
// oxlint-disable-next-line import/no-unassigned-import -- what @peculiar/x509 registers its types with.
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

export interface Pair {
  readonly certificatePem: string
  /** PKCS #8, PEM. */
  readonly keyPem: string
}

export type KeyKind = 'rsa' | 'ecdsa'

export interface CertificateTimes {
  /** Epoch milliseconds, both. */
  readonly notBefore: number
  readonly notAfter: number
}

export type CertificateOrder =
  | ({ readonly make: 'authority'; readonly name: string } & CertificateTimes)
  | ({
      readonly make: 'leaf'
      readonly kind: KeyKind
      readonly authority: Pair
      /** DNS names, and addresses in their text form. */
      readonly names: readonly string[]
      readonly addresses: readonly string[]
    } & CertificateTimes)

/** P-256 signs in a tenth of a millisecond, and every client that takes RSA leaves takes it from an authority. */
const authorityKeys = { name: 'ECDSA', namedCurve: 'P-256' } as const
const leafKeys = {
  rsa: {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    publicExponent: new Uint8Array([1, 0, 1]),
    modulusLength: 2048,
  },
  ecdsa: authorityKeys,
} as const
/** Clients of old that know no Diffie-Hellman encrypt their secret for the RSA key itself. */
const leafUsages = {
  rsa: (KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment) as KeyUsageFlags,
  ecdsa: KeyUsageFlags.digitalSignature,
} as const
const signature = { name: 'ECDSA', hash: 'SHA-256' } as const

if (!isMainThread) parentPort?.postMessage(await makeCertificate(workerData as CertificateOrder), [])

export async function makeCertificate(order: CertificateOrder): Promise<Pair> {
  cryptoProvider.set(webcrypto)
  return order.make === 'authority' ? makeAuthority(order) : makeLeaf(order)
}

async function makeAuthority(order: CertificateOrder & { readonly make: 'authority' }): Promise<Pair> {
  const keys = await webcrypto.subtle.generateKey(authorityKeys, true, ['sign', 'verify'])
  const usages = (KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign) as KeyUsageFlags
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${order.name},O=Gantry`,
    keys,
    signingAlgorithm: signature,
    ...frameOf(order),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(usages, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificatePem: `${certificate.toString('pem')}\n`, keyPem: await keyPemOf(keys.privateKey) }
}

async function makeLeaf(order: CertificateOrder & { readonly make: 'leaf' }): Promise<Pair> {
  const authority = new X509Certificate(order.authority.certificatePem)
  const pkcs8 = PemConverter.decode(order.authority.keyPem)[0] ?? new ArrayBuffer(0)
  const signingKey = await webcrypto.subtle.importKey('pkcs8', pkcs8, authorityKeys, false, ['sign'])
  const keys = await webcrypto.subtle.generateKey(leafKeys[order.kind], true, ['sign', 'verify'])
  const publicKey = keys.publicKey
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(leafUsages[order.kind], true),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    new SubjectAlternativeNameExtension([
      ...order.names.map((value) => ({ type: 'dns' as const, value })),
      ...order.addresses.map((value) => ({ type: 'ip' as const, value })),
    ]),
    await SubjectKeyIdentifierExtension.create(publicKey),
    await AuthorityKeyIdentifierExtension.create(authority.publicKey),
  ]
  const certificate = await X509CertificateGenerator.create({
    subject: 'CN=Gantry controller,O=Gantry',
    issuer: authority.subject,
    publicKey,
    signingKey,
    signingAlgorithm: signature,
    ...frameOf(order),
    extensions,
  })
  return { certificatePem: `${certificate.toString('pem')}\n`, keyPem: await keyPemOf(keys.privateKey) }
}

function frameOf({ notBefore, notAfter }: CertificateTimes) {
  // A serial number is positive, of at most twenty bytes, and not to be guessed.
  const serialNumber = `00${randomBytes(16).toString('hex')}`
  return { serialNumber, notBefore: new Date(notBefore), notAfter: new Date(notAfter) }
}

async function keyPemOf(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}
