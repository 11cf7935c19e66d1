/**
 * The cgroups that agents keep around tasks, on the kernel that all engines of a machine share. An agent removes them with
 * its tasks; one that a test killed does not. So the agents of a test process keep theirs in one place, which goes with it.
 */
import { readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'

const root = '/sys/fs/cgroup'
const parentOfTests = 'gantry-test'

/** GANTRY_CGROUP_PARENT of the agents that this process starts. */
export const cgroupOfTests = `/${parentOfTests}/${process.pid}`

process.once('exit', () => {
  // In version 1 each tree has its own; in version 2 there is one.
  for (const tree of ['', ...namesIn(root)]) {
    const parent = join(root, tree, parentOfTests)
    for (const pid of namesIn(parent)) if (!isOther(Number(pid))) removeTree(join(parent, pid))
    removeEmpty(parent)
  }
})

/** A test that was killed leaves its own to those that come after it. */
function isOther(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** The innermost first; one that still holds a process stays. */
function removeTree(directory: string): void {
  for (const name of namesIn(directory)) removeTree(join(directory, name))
  removeEmpty(directory)
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Not there in this tree, or in use.
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
  } catch {
    return []
  }
}
