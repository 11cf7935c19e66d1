/** Where a host that joins is sent: the address that most likely works from elsewhere, and the authority to trust there. */
import { networkInterfaces } from 'node:os'
import type { JoinLine } from '../proto/joining.ts'
import { isLoopback, type ListenAddress } from './config.ts'

export type JoinEnds = Omit<JoinLine, 'token'>

export interface ListeningEnds {
  readonly plain: ListenAddress
  /** Undefined: no TLS. */
  readonly tls: { readonly address: ListenAddress; readonly fingerprint: string } | undefined
  readonly advertise: string | undefined
}

/** As `networkInterfaces` of node:os; only what is used of it. */
type Interfaces = Readonly<
  Record<
    string,
    readonly { readonly address: string; readonly family: string; readonly internal: boolean }[] | undefined
  >
>

/** Bridges and interfaces of containers have addresses that no other machine reaches. */
const innerInterface = /^(docker|br-|veth|virbr|lxc|lxd|cni|flannel|gantry|gt|tun|tap|podman)/

export function joinEndsOf(
  { plain, tls, advertise }: ListeningEnds,
  interfaces: Interfaces = networkInterfaces(),
): JoinEnds {
  if (tls === undefined) return { controllerUrl: `http://${shown(plain)}` }
  const caFingerprint = tls.fingerprint
  if (advertise?.startsWith('https:') === true) return { controllerUrl: advertise, caFingerprint }
  const { host, port } = tls.address
  const isEverywhere = host === '0.0.0.0' || host === '::'
  const address = isEverywhere ? (outerAddress(interfaces) ?? '127.0.0.1') : host
  return { controllerUrl: `https://${shown({ host: address, port })}`, caFingerprint }
}

/** IPv4 first: it is what labs have, and what people can type. */
function outerAddress(interfaces: Interfaces): string | undefined {
  const found = Object.entries(interfaces).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter(({ address, internal }) => !internal && !isLoopback(address) && !/^(fe[89ab]|169\.254\.)/i.test(address))
      .map(({ address, family }) => ({
        address,
        rank: (innerInterface.test(name) ? 2 : 0) + (family === 'IPv4' ? 0 : 1),
      })),
  )
  return found.toSorted((left, right) => left.rank - right.rank)[0]?.address
}

function shown({ host, port }: ListenAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
