/**
 * Whether Docker Engine can hold a container's own file system to a size: it depends on the storage driver, and for
 * overlay2 on the file system below it.
 *
 * Source: Docker's documentation of `--storage-opt size`: btrfs and zfs can, overlay2 only over xfs mounted with pquota.
 */
import { readFileSync } from 'node:fs'
import type { EngineInfo } from './engine.ts'

export type StorageLimits = { readonly canLimit: true } | { readonly canLimit: false; readonly why: string }

/** `mountInfo` is that of /proc/self/mountinfo. */
export function storageLimits(
  { storageDriver, backingFileSystem, rootDirectory }: EngineInfo,
  mountInfo: string = readMountInfo(),
): StorageLimits {
  if (storageDriver === 'btrfs' || storageDriver === 'zfs') return { canLimit: true }
  if (storageDriver !== 'overlay2') {
    return { canLimit: false, why: `the storage driver ${storageDriver} can't limit the size of a container` }
  }
  if (backingFileSystem !== 'xfs') {
    return {
      canLimit: false,
      why: `overlay2 can limit sizes only on xfs, and ${rootDirectory} is on ${backingFileSystem}`,
    }
  }
  if (/(?:^|,)(?:pquota|prjquota)(?:,|$)/.test(mountOptionsOf(rootDirectory, mountInfo))) return { canLimit: true }
  return { canLimit: false, why: `the xfs under ${rootDirectory} is not mounted with the option pquota` }
}

/** The file system's own options of the mount that holds this path. */
function mountOptionsOf(path: string, mountInfo: string): string {
  let best = { point: '', options: '' }
  for (const line of mountInfo.split('\n')) {
    const [mount = '', fileSystem = ''] = line.split(' - ')
    const point = mount.split(' ')[4] ?? ''
    const holds = path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`)
    if (point !== '' && holds && point.length >= best.point.length) {
      best = { point, options: fileSystem.split(' ')[2] ?? '' }
    }
  }
  return best.options
}

function readMountInfo(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return ''
  }
}
