/**
 * The certificates that the TLS listener shows: the controller's own or the operator's, looked at every minute, and swapped
 * without a restart where they were renewed.
 */
import { hostname } from 'node:os'
import type { X509Certificate } from 'node:crypto'
import type { Clock } from '../proto/world.ts'
import type { Log } from './log.ts'
import {
  authorityFingerprint,
  checkChain,
  checkKey,
  clockProblem,
  endOf,
  isoOf,
  messageOf,
  readCertificates,
  type ServedCertificates,
  startOf,
  TlsError,
  type WantedNames,
  writeChain,
} from './tls-certificate.ts'
import { readThere, requirePrivate } from './tls-files.ts'
import { type MachineAddresses, machineAddresses, wantedNames } from './tls-names.ts'
import { authorityPathIn, openOwnCertificates } from './tls-own.ts'

/** Paths of the operator's own certificate. */
export interface GivenFiles {
  readonly certificate: string
  readonly key: string
  readonly authority: string
}

export interface TlsOptions {
  /** Where the controller keeps those that it makes. */
  readonly directory: string
  readonly given: GivenFiles | undefined
  /** Names and addresses beyond the machine's own. */
  readonly names: readonly string[]
  readonly clock: Clock
  readonly log: Log
  /** Addresses of the machine; as the operating system says unless a test says otherwise. */
  readonly addresses?: (() => MachineAddresses) | undefined
}

export interface Tls {
  readonly current: ServedCertificates
  /** Path of the authority's certificate, for AWS_CA_BUNDLE. */
  readonly authorityPath: string
  /** Called with what is to be shown from now on. */
  onChange(listener: (served: ServedCertificates) => void): void
  /** Renews or reads anew what is due. Never throws: what was shown before is shown on. */
  check(): Promise<void>
  close(): void
}

const checkIntervalMs = 60_000
const dayMs = 86_400_000
/** From then on the log says that an operator's certificate ends, milliseconds before. */
const endNearMs = 14 * dayMs
/** The authority's end is a day on which every host joins anew; it is told early. */
const authorityEndNearMs = 180 * dayMs

/** Throws TlsError where there is nothing that could be shown. */
export async function openTls(options: TlsOptions): Promise<Tls> {
  const keeper = new TlsKeeper(options)
  await keeper.load()
  keeper.watch()
  return keeper
}

class TlsKeeper implements Tls {
  readonly #options: TlsOptions
  readonly #listeners: ((served: ServedCertificates) => void)[] = []
  #served: ServedCertificates | undefined
  #timer: NodeJS.Timeout | undefined
  #checking: Promise<void> | undefined
  /** When this process last made one anew; not at its start, so that an address that comes late at a boot is taken up. */
  #renewedAt = Number.NEGATIVE_INFINITY
  /** What was last complained of: the same again every minute would hide everything else. */
  #told = ''

  constructor(options: TlsOptions) {
    this.#options = options
  }

  get current(): ServedCertificates {
    if (this.#served === undefined) throw new Error('Bug: certificates were asked for before they were loaded.')
    return this.#served
  }

  get authorityPath(): string {
    return this.#options.given?.authority ?? authorityPathIn(this.#options.directory)
  }

  onChange(listener: (served: ServedCertificates) => void): void {
    this.#listeners.push(listener)
  }

  check(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined
    })
    return this.#checking
  }

  close(): void {
    clearInterval(this.#timer)
  }

  watch(): void {
    this.#timer = setInterval(() => void this.check(), checkIntervalMs).unref()
  }

  async load(): Promise<void> {
    const { given, directory, clock, log } = this.#options
    const now = clock.now()
    if (given !== undefined) {
      const { served, authority } = await openGiven(given, now)
      this.#show(served)
      this.#tellTimes(authority, served, now)
      return
    }
    const { served, authority, renewed, problem } = await openOwnCertificates(directory, this.#wanted(now), now)
    for (const what of renewed) log.info({ endsAt: isoOf(served.endsAt) }, `made a certificate, ${what}`)
    if (renewed.length > 0 && this.#served !== undefined) this.#renewedAt = now
    this.#show(served)
    if (problem === undefined) this.#tellTimes(authority, served, now)
    else this.#tellUnrenewed(problem)
  }

  async #check(): Promise<void> {
    try {
      await this.load()
    } catch (error) {
      this.#tellUnrenewed(messageOf(error))
    }
  }

  #tellUnrenewed(problem: string): void {
    const kept = `The one that ends at ${isoOf(this.current.endsAt)} is shown on.`
    this.#tell('error', `the certificate could not be renewed: ${problem} ${kept}`)
  }

  #show(served: ServedCertificates): void {
    const before = this.#served
    this.#served = served
    if (before === undefined || before.cert.join('') === served.cert.join('')) return
    this.#options.log.info({ endsAt: isoOf(served.endsAt) }, 'another certificate is shown from now on')
    for (const listener of this.#listeners) listener(served)
  }

  #tellTimes(authority: X509Certificate, served: ServedCertificates, now: number): void {
    const path = this.authorityPath
    const problem = clockProblem(authority, now, path)
    if (problem !== undefined) this.#tell('error', problem)
    else if (now >= endOf(authority) - authorityEndNearMs) {
      this.#tell(
        'warn',
        `the authority in ${path} ends at ${isoOf(endOf(authority))}: every host then has to join anew`,
      )
    } else if (this.#options.given !== undefined && now >= served.endsAt - endNearMs) {
      const what = `${this.#options.given.certificate} ends at ${isoOf(served.endsAt)}`
      this.#tell('warn', `${what}: put a new one in its place, it is taken up within a minute`)
    } else this.#told = ''
  }

  #tell(level: 'warn' | 'error', message: string): void {
    if (this.#told === message) return
    this.#told = message
    this.#options.log[level](message)
  }

  #wanted(now: number): WantedNames {
    const { names, addresses = machineAddresses } = this.#options
    return wantedNames([...names, 'localhost', hostname().toLowerCase()], addresses(), now - this.#renewedAt)
  }
}

async function openGiven(
  { certificate: path, key: keyPath, authority: authorityPath }: GivenFiles,
  now: number,
): Promise<{ readonly served: ServedCertificates; readonly authority: X509Certificate }> {
  const chain = readCertificates(await readThere(path, 'GANTRY_TLS_CERT_FILE'), path)
  const authorities = readCertificates(await readThere(authorityPath, 'GANTRY_TLS_CA_FILE'), authorityPath)
  const [authority] = authorities
  if (authorities.length > 1) {
    throw new TlsError(
      `${authorityPath} holds ${authorities.length} certificates: GANTRY_TLS_CA_FILE takes the one authority that hosts ` +
        'are to trust; those between it and the certificate belong into GANTRY_TLS_CERT_FILE.',
    )
  }
  const keyPem = await readThere(keyPath, 'GANTRY_TLS_KEY_FILE')
  await requirePrivate(keyPath, 'given')
  const [leaf] = chain
  checkKey(leaf, keyPem, keyPath)
  checkChain(chain, authority, path)
  if (now >= endOf(leaf)) {
    throw new TlsError(`${path} ended at ${isoOf(endOf(leaf))}, and it is ${isoOf(now)}: give one that is valid.`)
  }
  if (now < startOf(leaf)) {
    throw new TlsError(
      `${path} is valid from ${isoOf(startOf(leaf))} on, and it is ${isoOf(now)}: wait, or set the clock (timedatectl).`,
    )
  }
  const served: ServedCertificates = {
    cert: [writeChain(chain, authority)],
    key: [keyPem],
    authorityPem: authority.toString(),
    fingerprint: authorityFingerprint(authority),
    endsAt: Math.min(...chain.map(endOf)),
  }
  return { served, authority }
}
