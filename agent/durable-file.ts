/** Small files that must be whole at every instant, whatever ends the process: written beside their place, synced, renamed. */
import { closeSync, existsSync, fchmodSync, fsyncSync, linkSync, openSync } from 'node:fs'
import { readdirSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'

export interface DurableWrite {
  /** Where there is such a file already: by default it is replaced; `keep` leaves it, with the error code EEXIST. */
  readonly existing?: 'replace' | 'keep' | undefined
}

/** Durable when it returns, readable by its owner alone, and never half-written. */
export function writeDurably(path: string, text: string, { existing = 'replace' }: DurableWrite = {}): void {
  // Of this process alone: an agent and a command may be at the same file.
  const fresh = `${path}.${process.pid}.new`
  rmSync(fresh, { force: true })
  try {
    const file = openSync(fresh, 'wx', 0o600)
    try {
      // The umask can only take away; a mode that is narrower than the owner's own would be refused when it is read.
      fchmodSync(file, 0o600)
      writeSync(file, text)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    if (existing === 'keep') linkSync(fresh, path)
    else renameSync(fresh, path)
    syncDirectory(dirname(path))
  } finally {
    rmSync(fresh, { force: true })
  }
}

/** Removes what processes left here that were killed while they wrote: it may hold secrets. */
export function removeHalfWritten(directory: string): void {
  for (const name of readdirSync(directory)) {
    const [, pid] = /\.(\d+)\.new$/.exec(name) ?? []
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(directory, name), { force: true })
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}
