/** `gantry join-token` and `gantry hosts`: how hosts come in, which there are, and how they are put out. */
import type { HostsCommand } from './hosts-arguments.ts'
import type { Controller } from './controller.ts'
import type { Write } from './logs.ts'

interface Token {
  readonly tokenId: string
  readonly cluster: string
  readonly expiresAt: string
  readonly usedAt?: string
  readonly usedBy?: string
  readonly bindAddress?: string
  readonly line: string
  readonly bundleLine: string
}

interface Host {
  readonly hostId: string
  readonly name: string
  readonly cluster: string
  readonly status: string
  readonly agentConnected: boolean
  readonly lastSeenAt: string
  readonly lastAddress: string
  readonly containerInstance?: string
}

interface HostEvent {
  readonly at: string
  readonly name: string
  readonly count: number
  readonly message: string
}

export async function runHosts(command: HostsCommand, controller: Controller, write: Write): Promise<void> {
  const show = async (answer: unknown, words: () => string): Promise<void> =>
    write(command.json ? `${JSON.stringify(answer)}\n` : words())
  switch (command.name) {
    case 'make-token': {
      const token = (await controller.send('POST', '/v1/join-tokens', wishOf(command))) as Token
      return show(token, () => tokenInWords(token, command.containerInstance))
    }
    case 'list-tokens': {
      const joinTokens = (await listAll(controller, '/v1/join-tokens', 'joinTokens')) as readonly Token[]
      return show({ joinTokens }, () => table(['TOKEN', 'CLUSTER', 'STATE', 'ADDRESS'], joinTokens.map(tokenRow)))
    }
    case 'delete-token':
      await controller.send('DELETE', `/v1/join-tokens/${encodeURIComponent(command.id)}`)
      return show({ tokenId: command.id }, () => `Deleted: nobody can join with ${command.id} any more.\n`)
    case 'list-hosts': {
      const query = command.cluster === undefined ? '' : `?cluster=${encodeURIComponent(command.cluster)}`
      const hosts = (await listAll(controller, `/v1/hosts${query}`, 'hosts')) as readonly Host[]
      return show({ hosts }, () => hostsInWords(hosts))
    }
    case 'host-events': {
      const events = (await listAll(controller, '/v1/hosts/events', 'events')) as readonly HostEvent[]
      return show({ events }, () => events.map(eventLine).join(''))
    }
    case 'revoke-host': {
      const host = (await controller.send('POST', `/v1/hosts/${encodeURIComponent(command.id)}/revoke`)) as Host
      return show(host, () => revokedInWords(host))
    }
    default:
      await controller.send('DELETE', `/v1/hosts/${encodeURIComponent(command.id)}`)
      return show({ hostId: command.id }, () => `Forgotten: ${command.id}.\n`)
  }
}

function wishOf(command: HostsCommand & { readonly name: 'make-token' }): object {
  const { cluster, expiresInSeconds, bindAddress, containerInstance } = command
  return {
    ...(cluster !== undefined && { cluster }),
    ...(expiresInSeconds !== undefined && { expiresInSeconds }),
    ...(bindAddress !== undefined && { bindAddress }),
    ...(containerInstance !== undefined && { containerInstance }),
  }
}

/** All pages. */
async function listAll(controller: Controller, path: string, member: string): Promise<readonly unknown[]> {
  const items: unknown[] = []
  let nextToken: string | undefined
  do {
    const next =
      nextToken === undefined ? '' : `${path.includes('?') ? '&' : '?'}nextToken=${encodeURIComponent(nextToken)}`
    const page = (await controller.get(`${path}${next}`)) as Readonly<Record<string, readonly unknown[]>> & {
      readonly nextToken?: string
    }
    items.push(...(page[member] ?? []))
    nextToken = page.nextToken
  } while (nextToken !== undefined)
  return items
}

function tokenInWords(
  { line, bundleLine, cluster, expiresAt, bindAddress, tokenId }: Token,
  containerInstance: string | undefined,
): string {
  const from = bindAddress === undefined ? '' : ` from ${bindAddress}`
  return [
    'On the host that is to join, in a checkout of Gantry:',
    '',
    `  ${line}`,
    '',
    'or, where the bundle is unpacked, to install the agent as a service:',
    '',
    `  ${bundleLine}`,
    '',
    `It lets one host into the cluster ${cluster}${from}, once, until ${expiresAt}. It is a secret until then; to take it`,
    `back: npx gantry join-token --delete ${tokenId}`,
    ...(containerInstance === undefined
      ? []
      : [`The host goes on as ${containerInstance}. If it has joined before, write --replace at the end of its line.`]),
    '',
  ].join('\n')
}

function tokenRow({ tokenId, cluster, expiresAt, usedAt, usedBy = '', bindAddress = 'any' }: Token): readonly string[] {
  const isOver = Date.parse(expiresAt) <= Date.now()
  const state =
    usedAt !== undefined ? `used ${usedAt} by ${usedBy}` : `${isOver ? 'expired' : 'good until'} ${expiresAt}`
  return [tokenId, cluster, state, bindAddress]
}

function hostsInWords(hosts: readonly Host[]): string {
  if (hosts.length === 0) return 'No host has joined. npx gantry join-token prints the line for one.\n'
  const rows = hosts.map((host) => [
    host.hostId,
    host.name,
    host.cluster,
    host.status === 'ACTIVE' && host.agentConnected ? 'connected' : host.status === 'ACTIVE' ? 'away' : 'revoked',
    host.lastSeenAt,
    host.lastAddress,
    host.containerInstance ?? '',
  ])
  return table(['HOST', 'NAME', 'CLUSTER', 'STATE', 'LAST SEEN', 'FROM', 'INSTANCE'], rows)
}

function revokedInWords({ hostId, name, containerInstance, cluster }: Host): string {
  const lines = [`Revoked: the keys of ${hostId} (${name}) are over, and its channels are closed.`]
  if (containerInstance !== undefined) {
    lines.push(
      'What runs there goes on without a controller; services start theirs elsewhere. To count the host out for good:',
      `  aws ecs deregister-container-instance --cluster ${cluster} --container-instance ${containerInstance} --force`,
    )
  }
  return `${lines.join('\n')}\n`
}

function eventLine({ at, name, count, message }: HostEvent): string {
  return `${at} ${name}${count > 1 ? ` (${count} times)` : ''}: ${message}\n`
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}
