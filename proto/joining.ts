/**
 * How a host joins a controller: the one line that the controller prints, what the host sends, what it is given, and how
 * it changes its keys later.
 *
 * The host opens TLS to `controllerUrl`, looks for the certificate with `caFingerprint` in the chain that it is shown
 * (the CA's own is always its last), and from then on trusts that one CA alone: on a new connection it sends the token.
 * `POST /v1/join` is the one call that is not signed.
 */
import { constantTimeEqual, sha256Hex } from './hash.ts'

/** What the line of the controller tells the host. */
export interface JoinLine {
  /** Scheme, host and port alone: `https://10.0.0.5:51443`; `http://` only for a loopback address. */
  readonly controllerUrl: string
  /** `sha256:` and the SHA-256 of the CA certificate's DER in 64 lower-case hex digits. Absent with `http://` alone. */
  readonly caFingerprint?: string | undefined
  readonly token: string
}

export const joinPath = '/v1/join'
export const hostKeysPath = '/v1/hosts/self/keys'

/** `POST /v1/join`, a JSON body. */
export interface JoinRequest {
  readonly token: string
  /** For people: the host's own name. At most 255 characters. */
  readonly name: string
  /** The cluster that the host means to register in. Absent: the token's; another than the token's is refused. */
  readonly cluster?: string | undefined
}

/** The answer to a join, and the only time that the secret is shown. */
export interface JoinAnswer {
  readonly hostId: string
  /** The only cluster that these keys may register an instance in. */
  readonly cluster: string
  /** What calls are signed for. */
  readonly region: string
  readonly account: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** ISO 8601, so that a host whose clock is far off can say so before its first signed call is refused. */
  readonly controllerTime: string
  /** The CA, PEM. Absent where the controller serves no TLS. */
  readonly caPem?: string | undefined
}

/**
 * `POST /v1/hosts/self/keys`, signed with the host's keys, body `{}`. The pair that signed lives until the new one is first
 * used, and at most an hour. Asked again before that, the controller makes another new pair and forgets the unused one: a
 * lost answer costs nothing.
 */
export type HostKeysRequest = Readonly<Record<string, never>>

export interface HostKeysAnswer {
  readonly hostId: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** ISO 8601: when the pair that signed ends, also if the new one is never used. */
  readonly previousEndsAt: string
  /** The CA that signs the controller's certificate now, PEM; another than the pinned one where the operator changed it. */
  readonly caPem?: string | undefined
}

/** How long an old pair lives beside a new one that is not used. */
export const previousKeysLifeMs = 3_600_000

const tokenPattern = /^gantry-join-([0-9a-f]{12})-([0-9a-f]{40})$/
const fingerprintPattern = /^sha256:[0-9a-f]{64}$/

/** A token's two parts: the id, by which it is listed, and a secret of 160 bits. Both are lower-case hex. */
export function writeJoinToken(tokenId: string, secret: string): string {
  return `gantry-join-${tokenId}-${secret}`
}

/** The id of a token of the right form, or undefined. */
export function joinTokenId(token: string): string | undefined {
  return tokenPattern.exec(token)?.[1]
}

/** What is kept of a token. */
export function hashJoinToken(token: string): string {
  return sha256Hex(token)
}

/** In a time that does not tell how near a guess is. */
export function isJoinToken(token: string, kept: string): boolean {
  return constantTimeEqual(hashJoinToken(token), kept)
}

/** `sha256:` and hex, also as `openssl x509 -fingerprint` writes it (upper case, colons); undefined where it is neither. */
export function parseCaFingerprint(text: string): string | undefined {
  const digits = text
    .trim()
    .toLowerCase()
    .replace(/^sha-?256[:=]|^sha256 fingerprint=/, '')
    .replaceAll(':', '')
  const fingerprint = `sha256:${digits}`
  return fingerprintPattern.test(fingerprint) ? fingerprint : undefined
}

/** Of a certificate in DER. */
export function fingerprintOf(certificate: Uint8Array): string {
  return `sha256:${sha256Hex(certificate)}`
}

/** Scheme, host and port of a controller that a host may join, or undefined: TLS, or plain HTTP on loopback. */
export function parseControllerUrl(text: string): string | undefined {
  const match = /^(https?):\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?\/?$/.exec(text)
  const [, scheme = '', host = '', port] = match ?? []
  if (match === null || Number(port ?? 1) > 65_535 || !URL.canParse(text)) return undefined
  const isLoopback = host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
  if (scheme === 'http' && !isLoopback) return undefined
  return `${scheme}://${host}${port === undefined ? '' : `:${port}`}`
}

/** sudo where there is one, and nothing on a machine of root's alone: the line is the same everywhere. */
const asRoot = '$(command -v sudo)'

/**
 * The line for a host with a checkout, as sh takes it. The token goes through a pipe: arguments of a program can be read
 * by every user of a machine, and `echo` is the shell's own.
 */
export function writeJoinLine(line: JoinLine): string {
  return `echo ${line.token} | ${asRoot} npx gantry join ${joinArguments(line)}`
}

/** The line for a host that has the bundle unpacked: it installs the agent as a service and joins. */
export function writeBundleJoinLine(line: JoinLine): string {
  return `echo ${line.token} | ${asRoot} ./systemd/install.sh agent --join ${joinArguments(line)}`
}

/** Reads either line back; undefined where something of it is missing or wrong. */
export function parseJoinLine(text: string): JoinLine | undefined {
  const token = /\becho\s+['"]?(gantry-join-[0-9a-f-]+)['"]?\s*\|/.exec(text)?.[1]
  const controllerUrl = parseControllerUrl(/\bjoin\s+(\S+)/.exec(text.slice(text.indexOf('|')))?.[1] ?? '')
  const ca = /--ca[\s=]+(\S+)/.exec(text)?.[1]
  const caFingerprint = ca === undefined ? undefined : parseCaFingerprint(ca)
  if (token === undefined || joinTokenId(token) === undefined || controllerUrl === undefined) return undefined
  if (caFingerprint === undefined && (ca !== undefined || controllerUrl.startsWith('https:'))) return undefined
  return { controllerUrl, token, ...(caFingerprint !== undefined && { caFingerprint }) }
}

function joinArguments({ controllerUrl, caFingerprint }: JoinLine): string {
  return caFingerprint === undefined ? controllerUrl : `${controllerUrl} --ca ${caFingerprint}`
}
