/**
 * Names and addresses for the controller's own certificate: those that the operator gives, the machine's own, and, with
 * patience, those of bridges that come and go within it.
 */
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { WantedNames } from './tls-certificate.ts'

/** An address that came is in the certificate within a minute; after it was made anew, the next ones wait so long. */
const renewalFloorMs = 10 * 60_000
/** Networks of containers are made and removed all day. */
const passingFloorMs = 24 * 3600_000
/** A certificate with more is refused by some clients. */
const addressesMax = 200

export interface MachineAddresses {
  /** Loopback, the network's, and those of the engine's default bridge, by which containers call. */
  readonly lasting: readonly string[]
  /** Of bridges that Docker or an agent made for a network: at most containers call by these. */
  readonly passing: readonly string[]
}

/** As `networkInterfaces` of node:os; only what is used of it. */
type Interfaces = Readonly<Record<string, readonly { readonly address: string }[] | undefined>>

/**
 * Docker's bridges are `br-` and twelve digits of the network's id, its cables veth; `gbr-` is an agent's bridge of a
 * subnet, made for the first task there and removed behind the last. Whatever is named otherwise may be a network that
 * others are on, such as `br0`, `virbr0` or `tun0`.
 */
const passingInterface = /^(br-[0-9a-f]{12}|veth\w+|gbr-\w+)$/

/** Link-local IPv6 addresses can't be called without saying by which interface, which no certificate can. */
export function machineAddresses(interfaces: Interfaces = networkInterfaces()): MachineAddresses {
  const found = Object.entries(interfaces).flatMap(([name, addresses = []]) =>
    addresses
      .filter(({ address }) => !/^fe[89ab]/i.test(address))
      .map(({ address }) => ({ address, isPassing: passingInterface.test(name) })),
  )
  const lasting = found.filter(({ isPassing }) => !isPassing).map(({ address }) => address)
  const passing = found.filter(({ isPassing }) => isPassing).map(({ address }) => address)
  return { lasting, passing: passing.filter((address) => !lasting.includes(address)) }
}

/** `given` are names and addresses that it always has. `sinceRenewalMs` is since the last renewal; without end: none yet. */
export function wantedNames(
  given: readonly string[],
  { lasting, passing }: MachineAddresses,
  sinceRenewalMs: number,
): WantedNames {
  const always = [...given.filter((name) => isIP(name) !== 0), '127.0.0.1', '::1']
  const isEarly = sinceRenewalMs < renewalFloorMs
  const canWaitMs = new Map([
    ...passing.map((address) => [address, passingFloorMs] as const),
    ...lasting.map((address) => [address, isEarly ? Number.POSITIVE_INFINITY : 0] as const),
    ...always.map((address) => [address, 0] as const),
  ])
  // Names that certificates can't have, such as one with an underscore, would be missed again after each renewal.
  const names = given.filter((name) => isIP(name) === 0 && /^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name))
  const addresses = [...new Set([...always, ...lasting, ...passing])].slice(0, addressesMax)
  return { names: [...new Set(names)], addresses, canWaitMs }
}
