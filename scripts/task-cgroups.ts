/**
 * The cgroups that `npm start`'s agent keeps around its tasks: below a parent of this home's own, so that removing the home
 * can take them with it. They are the kernel's, and in no directory of ours.
 */
import { createHash } from 'node:crypto'
import { readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Home } from './home.ts'

const root = '/sys/fs/cgroup'
const common = 'gantry'

/** GANTRY_CGROUP_PARENT of this home's agent. */
export function cgroupParentOf(home: Home): string {
  return `/${common}/${createHash('sha256').update(home.directory).digest('hex').slice(0, 12)}`
}

/** Removes what no process is in any more; in version 1 each tree has its own, in version 2 there is one. */
export function removeTaskCgroups(home: Home): void {
  for (const tree of ['', ...namesIn(root)]) {
    removeTree(join(root, tree, cgroupParentOf(home)))
    removeEmpty(join(root, tree, common))
  }
}

/** The innermost first: a cgroup is removed once there is none below it, and stays while a process is in it. */
export function removeTree(directory: string): void {
  for (const name of namesIn(directory)) removeTree(join(directory, name))
  removeEmpty(directory)
}

export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Not there in this tree, or in use.
  }
}

export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
  } catch {
    return []
  }
}
