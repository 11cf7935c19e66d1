/**
 * What a lab leaves on the machine that it runs on, and its removal. Processes, mounts and networks end with the test, by
 * the kernel; directories and control groups do not, and those of a test that was killed are removed by the next one.
 */
import { existsSync, readFileSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type ProcessIdentity, endProcess, identify, isSameProcess } from '../../scripts/processes.ts'

const prefix = 'gl-'
const controlGroups = '/sys/fs/cgroup'
/** The parent of all control groups of all labs. */
const controlGroupOfLabs = 'gantry-lab'

/** That of one host of a lab, by the directory that stands for its disk. */
export function controlGroupOf(disk: string): string {
  return `/${controlGroupOfLabs}/${basename(dirname(disk))}/${basename(disk)}`
}

export const labDirectoryPrefix = join(tmpdir(), prefix)

/** Says whose directory this is, so that a later lab can tell whether it is still in use. */
export function claimDirectory(directory: string): void {
  writeFileSync(join(directory, 'owner.json'), JSON.stringify(identify(process.pid)))
}

/** Removes all that a lab left whose machines are off. */
export function removeLeftovers(directory: string): void {
  removeControlGroups(basename(directory))
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}

/** Removes what labs left whose test is no more. */
export async function removeAbandonedLabs(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const directory = join(tmpdir(), name)
    if (!name.startsWith(prefix) || !existsSync(join(directory, 'owner.json'))) continue
    const owner = readIdentity(join(directory, 'owner.json'))
    if (owner !== undefined && isSameProcess(owner)) continue
    for (const number of readdirSync(directory)) {
      const first = readIdentity(join(directory, number, 'machine.json'))
      if (first !== undefined && isSameProcess(first)) await endProcess(first.pid, 0)
    }
    removeLeftovers(directory)
  }
}

function readIdentity(path: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
  } catch {
    return undefined
  }
}

/** In each hierarchy; on a machine with cgroup v2 there is only one. */
function removeControlGroups(lab: string): void {
  for (const hierarchy of ['', ...readdirSync(controlGroups)]) {
    const parent = join(controlGroups, hierarchy, controlGroupOfLabs)
    removeControlGroup(join(parent, lab))
    removeEmpty(parent)
  }
}

function removeControlGroup(group: string): void {
  if (!existsSync(group)) return
  for (const entry of readdirSync(group, { withFileTypes: true })) {
    if (entry.isDirectory()) removeControlGroup(join(group, entry.name))
  }
  removeEmpty(group)
}

function removeEmpty(group: string): void {
  try {
    rmdirSync(group)
  } catch {
    // Another lab's groups are in it, or it is not there.
  }
}
