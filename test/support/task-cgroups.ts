/**
 * The cgroups that agents keep around tasks, on the kernel that all engines of a machine share. An agent removes them with
 * its tasks; one that a test killed does not. So the agents of a test process keep theirs in one place, which goes with it.
 */
import { join } from 'node:path'
import { namesIn, removeEmpty, removeTree } from '../../scripts/task-cgroups.ts'

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
