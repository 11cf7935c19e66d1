/** What the log says once the controller is ready: where it listens, and what its clients are to trust. */
import { join } from 'node:path'
import type { Clock } from '../proto/world.ts'
import type { Server } from './api/server.ts'
import { type Config, isLoopback, type ListenAddress } from './config.ts'
import type { ListeningEnds } from './join-ends.ts'
import type { Log } from './log.ts'
import { openTls, type Tls } from './tls.ts'

export interface Certificates {
  /** Undefined: no TLS. */
  readonly tls: { readonly listen: ListenAddress; readonly certificates: Tls } | undefined
}

/** Throws TlsError where there is a certificate that can't be used. */
export async function openCertificates(config: Config, clock: Clock, log: Log): Promise<Certificates> {
  const { tlsListen, tlsNames, tlsCertFile, tlsKeyFile, tlsCaFile, advertise, dataDir } = config
  if (tlsListen === undefined) return { tls: undefined }
  const isGiven = tlsCertFile !== undefined && tlsKeyFile !== undefined && tlsCaFile !== undefined
  const certificates = await openTls({
    directory: join(dataDir, 'tls'),
    given: isGiven ? { certificate: tlsCertFile, key: tlsKeyFile, authority: tlsCaFile } : undefined,
    names: [...tlsNames, ...namesIn(advertise), ...namesIn(`https://${shown(tlsListen)}`)],
    clock,
    log,
  })
  return { tls: { listen: tlsListen, certificates } }
}

export function endsOf(server: Server, { tls }: Certificates, { advertise }: Config): ListeningEnds {
  const address = server.tlsAddress
  const { fingerprint = '' } = tls?.certificates.current ?? {}
  return { plain: server.address, tls: address === undefined ? undefined : { address, fingerprint }, advertise }
}

export function announce(log: Log, server: Server, { tls }: Certificates, config: Config): void {
  const url = `http://${shown(server.address)}`
  if (!isLoopback(server.address.host)) {
    log.warn(
      { address: url },
      'GANTRY_INSECURE_LISTEN: plain HTTP beyond this machine. Calls are signed, but everybody on the way can read and ' +
        'repeat what is sent, the keys of tasks and their secrets too. For labs on a wire of their own alone',
    )
  }
  const files = {
    rootCredentials: join(config.dataDir, 'root-credentials'),
    agentCredentials: join(config.dataDir, 'agent-credentials'),
  }
  const { region, account } = config
  if (tls === undefined || server.tlsAddress === undefined) {
    const reach = 'without TLS (GANTRY_TLS_LISTEN=off), so other machines cannot connect'
    log.info({ address: url, region, account, files }, `ready at ${url}, ${reach}`)
    return
  }
  const { certificates } = tls
  const tlsUrl = `https://${shown(server.tlsAddress)}`
  const { fingerprint } = certificates.current
  const trust = { address: tlsUrl, authority: certificates.authorityPath, fingerprint }
  log.info(
    { address: url, region, account, files, tls: trust },
    `ready at ${url} for this machine, and by TLS at ${tlsUrl}: clients trust ${certificates.authorityPath} ` +
      `(AWS_CA_BUNDLE), ${fingerprint}`,
  )
}

/** The host of a URL, for the certificate; none where it stands for all addresses. */
function namesIn(url: string | undefined): readonly string[] {
  if (url === undefined) return []
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '')
  return host === '0.0.0.0' || host === '::' ? [] : [host]
}

function shown({ host, port }: ListenAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
