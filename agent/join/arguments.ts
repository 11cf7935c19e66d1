/** What was asked of `gantry join`. */
import { parseArgs } from 'node:util'
import { joinTokenId, parseCaFingerprint, parseControllerUrl } from '../../proto/joining.ts'

export interface JoinWish {
  readonly controllerUrl: string
  /** Absent with plain HTTP on loopback alone. */
  readonly caFingerprint: string | undefined
  readonly cluster: string | undefined
  readonly name: string | undefined
  readonly directory: string | undefined
  /** The host leaves the controller, or the identity, that it has. */
  readonly replace: boolean
  readonly json: boolean
}

/** Wrong usage: the message says what is expected. */
export class UsageError extends Error {}

export const usage = `usage: gantry join https://ADDRESS:51443 --ca sha256:FINGERPRINT [--cluster NAME] [--name NAME]
                   [--directory DIRECTORY] [--replace] [--json]

Lets this host join a controller. The single-use token is read from standard input; \`npx gantry join-token\` on the
controller prints the whole line.

  --ca          the fingerprint of the controller's CA; a controller with another one is refused
  --cluster     the cluster that the host is meant for; another than the token's is refused
  --name        what the host is called; its host name where it is absent
  --directory   the agent's directory (ECS_DATADIR); where an agent is installed as a service, that one's
  --replace     join although the host has joined before: its former keys and its former CA are forgotten here
  --json        tell what was done as one line of JSON

exit codes: 0 the host has joined, 1 it has not, 2 wrong usage
`

const nameMax = 255

/** undefined where help was asked for. Throws UsageError. */
export function readJoinWish(given: readonly string[]): JoinWish | undefined {
  if (given.some((word) => joinTokenId(word) !== undefined || /^(--)?(token=)?gantry-join-/.test(word))) {
    throw new UsageError(
      'a token does not belong among the arguments, which every user of this machine can read: give it on standard ' +
        'input, as the line of the controller does. Take this one back: npx gantry join-token --delete ID on the ' +
        'controller, with the twelve letters behind gantry-join-.',
    )
  }
  const { values, positionals } = parse(given)
  if (values.help === true) return undefined
  const [url, ...more] = positionals
  if (url === undefined)
    throw new UsageError('the address of the controller is missing, such as https://10.0.0.5:51443')
  if (more.length > 0) throw new UsageError(`${JSON.stringify(more[0])} is one too many`)
  const controllerUrl = parseControllerUrl(url)
  if (controllerUrl === undefined) {
    throw new UsageError(
      `${JSON.stringify(url)} is no address to join: https://, a host and a port, such as https://10.0.0.5:51443 or ` +
        'https://[fd00::5]:51443 (plain http:// for this very host alone)',
    )
  }
  const { name, cluster } = values
  if (name !== undefined && (name === '' || name.length > nameMax)) {
    throw new UsageError(`--name takes 1 to ${nameMax} characters`)
  }
  const caFingerprint = readFingerprint(values.ca, controllerUrl)
  const { replace = false, json = false, directory } = values
  return { controllerUrl, caFingerprint, cluster, name, directory, replace, json }
}

function readFingerprint(text: string | undefined, controllerUrl: string): string | undefined {
  if (text === undefined) {
    if (controllerUrl.startsWith('http:')) return undefined
    throw new UsageError(
      '--ca is missing: the fingerprint of the CA, which the controller prints (`npx gantry join-token` there). ' +
        'Without it anybody on the way could be taken for the controller',
    )
  }
  const fingerprint = parseCaFingerprint(text)
  if (fingerprint !== undefined) return fingerprint
  throw new UsageError(`--ca takes sha256: and 64 hex digits, not ${JSON.stringify(text)}`)
}

function parse(given: readonly string[]) {
  try {
    return parseArgs({
      args: [...given],
      allowPositionals: true,
      options: {
        ca: { type: 'string' },
        cluster: { type: 'string' },
        name: { type: 'string' },
        directory: { type: 'string' },
        replace: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
