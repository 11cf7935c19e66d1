/** What a dockerd makes outside the directories that it is given, so that removing an engine of ours removes it too. */
import { existsSync, rmSync, rmdirSync } from 'node:fs'
import { commandLineOf, processIds } from './processes.ts'

/** The key names an engine in its answers; the directories hold sockets of shims and plugins. Innermost first. */
const traces = [
  '/etc/docker/key.json',
  '/run/containerd/s',
  '/run/containerd',
  '/run/docker/plugins',
  '/run/docker',
] as const

/** Those that aren't there before an engine's first start, and so are its own afterwards. */
export function absentTraces(): string[] {
  return traces.filter((path) => !existsSync(path))
}

/** Removes what was absent before, unless another engine runs by now: it has become that one's too. */
export function removeTraces(absentBefore: readonly string[]): void {
  if (processIds().some((pid) => isDockerd(commandLineOf(pid)))) return
  for (const path of traces) {
    if (!absentBefore.includes(path)) continue
    try {
      if (path.endsWith('.json')) rmSync(path, { force: true })
      else rmdirSync(path)
    } catch {
      // Gone already, or something else is in it.
    }
  }
}

/** Of any engine, by its command line with arguments ended by NUL. */
export function isDockerd(commandLine: string): boolean {
  return /^([^\0]*\/)?dockerd\0/.test(commandLine)
}
