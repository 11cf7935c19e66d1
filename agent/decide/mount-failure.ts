/** Why a task ended whose file system could not be had, in words that say what to do. */
import type { PayloadFileSystem } from '../../proto/acs.ts'

/** Why the task ends that needs this file system, with what an operator may do. */
export function mountFailure(fileSystem: PayloadFileSystem, volume: string, message: string): string {
  const { fileSystemId, described, rootDirectory } = fileSystem
  const part = rootDirectory === '/' ? '' : `, directory ${rootDirectory}`
  const words = message.replace(/^Error response from daemon: /, '').replace(/\.$/, '')
  const then = adviceFor(words)
  return (
    `ResourceInitializationError: failed to mount file system ${fileSystemId} (${described}${part}) for volume ` +
    `${volume}: ${words}.${then === '' ? '' : ` ${then}`}`
  )
}

const advices: readonly (readonly [RegExp, string])[] = [
  [/is no mount point|not root alone|is not a credentials file/i, ''],
  [/no such device|unknown filesystem type/i, "This host's kernel has no module for it: install it, or run elsewhere."],
  [
    /did not|timed? ?out|connection refused|no route|unreachable|host is down|not connected|stale/i,
    'See that the server runs and that this host reaches it, then start the task again.',
  ],
  [/permission denied|access denied|not permitted/i, 'See what the server lets this host do, and as whom.'],
  [/no such file|does not exist/i, 'Make the directory, or use an access point with creationInfo, which makes it.'],
  [/plugin|driver/i, 'See on the host whether the volume driver runs: docker plugin ls.'],
]

function adviceFor(words: string): string {
  return advices.find(([pattern]) => pattern.test(words))?.[1] ?? ''
}
