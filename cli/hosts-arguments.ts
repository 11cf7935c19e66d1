/** What was asked of `gantry join-token` and `gantry hosts` on the command line. */
import { UsageError } from './arguments.ts'
import type { Given } from './controller.ts'

interface Common extends Given {
  readonly json: boolean
}

export type HostsCommand =
  | (Common & {
      readonly name: 'make-token'
      readonly cluster: string | undefined
      readonly expiresInSeconds: number | undefined
      readonly bindAddress: string | undefined
      readonly containerInstance: string | undefined
    })
  | (Common & { readonly name: 'list-tokens' | 'host-events' })
  | (Common & { readonly name: 'delete-token' | 'revoke-host' | 'forget-host'; readonly id: string })
  | (Common & { readonly name: 'list-hosts'; readonly cluster: string | undefined })

export const hostsUsage = `usage: gantry join-token [--cluster NAME] [--expires 1h] [--address IP] [--instance ID] [--json]
       gantry join-token --list | --delete TOKEN_ID [--json]
       gantry hosts [--cluster NAME] [--json]
       gantry hosts revoke HOST_ID | forget HOST_ID | events [--json]

join-token prints the line with which one host joins. --expires takes 10m, 2h or 1d (an hour where nothing is said, 7d at
most); --address is the only address that the token, and then the host's keys, are good from; --instance is a container
instance that the host may take over, such as the one that it was before it had keys of its own.
revoke ends a host's keys at once; forget removes a revoked host from the list; events tells what happened around hosts.
On the host itself: gantry join (gantry join --help) lets it join, and in a checkout npx gantry agent runs its agent.

exit codes: 0 done, 1 refused or failed, 2 wrong usage
`

const withValue = new Set([
  '--cluster',
  '--expires',
  '--address',
  '--instance',
  '--delete',
  '--endpoint-url',
  '--region',
  '--profile',
])
const ofAll = ['--json', '--endpoint-url', '--region', '--profile']
const ofJoinToken = new Set([...ofAll, '--cluster', '--expires', '--address', '--instance', '--list', '--delete'])
const ofHosts = new Set([...ofAll, '--cluster'])

export function isHostsCommand(name: string | undefined): boolean {
  return name === 'join-token' || name === 'hosts'
}

/** Throws UsageError. */
export function readHostsArguments([name = '', ...given]: readonly string[]): HostsCommand {
  const { options, words } = readOptions(name, given)
  const common = {
    endpointUrl: options.get('--endpoint-url'),
    region: options.get('--region'),
    profile: options.get('--profile'),
    json: options.has('--json'),
  }
  return name === 'join-token' ? readJoinToken(common, options, words) : readHosts(common, options, words)
}

function readJoinToken(
  common: Common,
  options: ReadonlyMap<string, string>,
  [stranger]: readonly string[],
): HostsCommand {
  if (stranger !== undefined) throw new UsageError(`${JSON.stringify(stranger)} is one too many`)
  const id = options.get('--delete')
  const isOther = options.has('--list') || id !== undefined
  const own = ['--cluster', '--expires', '--address', '--instance'].filter((option) => options.has(option))
  if (isOther && (own.length > 0 || (options.has('--list') && id !== undefined))) {
    throw new UsageError(`--list and --delete stand alone${own.length > 0 ? `, without ${own[0]}` : ''}`)
  }
  if (id !== undefined) return { ...common, name: 'delete-token', id }
  if (options.has('--list')) return { ...common, name: 'list-tokens' }
  const expires = options.get('--expires')
  return {
    ...common,
    name: 'make-token',
    cluster: options.get('--cluster'),
    expiresInSeconds: expires === undefined ? undefined : readSeconds(expires),
    bindAddress: options.get('--address'),
    containerInstance: options.get('--instance'),
  }
}

function readHosts(
  common: Common,
  options: ReadonlyMap<string, string>,
  [verb, id, stranger]: readonly string[],
): HostsCommand {
  const cluster = options.get('--cluster')
  if (verb === undefined) return { ...common, name: 'list-hosts', cluster }
  if (cluster !== undefined) throw new UsageError(`hosts ${verb} takes no --cluster`)
  if (verb === 'events') {
    if (id !== undefined) throw new UsageError(`${JSON.stringify(id)} is one too many`)
    return { ...common, name: 'host-events' }
  }
  if (verb !== 'revoke' && verb !== 'forget') {
    throw new UsageError(`hosts knows revoke, forget and events, not ${JSON.stringify(verb)}`)
  }
  if (id === undefined) throw new UsageError(`the host is missing: gantry hosts lists them with their ids`)
  if (stranger !== undefined) throw new UsageError(`${JSON.stringify(stranger)} is one too many`)
  return { ...common, name: verb === 'revoke' ? 'revoke-host' : 'forget-host', id }
}

function readOptions(
  name: string,
  given: readonly string[],
): { readonly options: ReadonlyMap<string, string>; readonly words: readonly string[] } {
  const known = name === 'join-token' ? ofJoinToken : ofHosts
  const options = new Map<string, string>()
  const words: string[] = []
  for (let at = 0; at < given.length; at += 1) {
    const word = given[at] ?? ''
    if (!word.startsWith('-')) {
      words.push(word)
      continue
    }
    const [option = '', ...joined] = word.split('=')
    if (!known.has(option)) throw new UsageError(`${name} has no option ${option}`)
    if (!withValue.has(option)) {
      options.set(option, '')
      continue
    }
    if (joined.length === 0) at += 1
    const value = joined.length > 0 ? joined.join('=') : given[at]
    if (value === undefined || value === '') throw new UsageError(`${option} needs a value`)
    options.set(option, value)
  }
  return { options, words }
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

function readSeconds(text: string): number {
  const match = /^(\d{1,7})([smhd])$/.exec(text)
  const seconds = Number(match?.[1]) * (unitSeconds[match?.[2] ?? ''] ?? 0)
  if (match !== null && seconds >= 60 && seconds <= 7 * 86_400) return seconds
  throw new UsageError(`--expires takes 60s to 7d, such as 10m, 2h or 1d, not ${JSON.stringify(text)}`)
}
