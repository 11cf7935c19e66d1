/** Small files that must be whole at every instant, whatever ends the process: written beside their place, synced, renamed. */
import { closeSync, existsSync, fchmodSync, fsyncSync, ftruncateSync, linkSync, openSync } from 'node:fs'
import { readdirSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'

export interface DurableWrite {
  /** Where there is such a file already: by default it is replaced; `keep` leaves it, with the error code EEXIST. */
  readonly existing?: 'replace' | 'keep' | undefined
}

/** A file that is made beside its place, where nobody sees it before it is put there. */
export interface DraftFile {
  /** Durable when it returns; the draft is gone then, also where it throws. */
  put(text: string, how?: DurableWrite): void
  /** Of one that was not put. */
  discard(): void
}

/**
 * Takes room for that many bytes on the disk, so that what is told once, and is to be kept whatever happens, finds it.
 * Readable by its owner alone.
 */
export function draftFile(path: string, roomBytes = 0): DraftFile {
  // Of this process alone: an agent and a command may be at the same file.
  const fresh = `${path}.${process.pid}.new`
  const discard = (): void => rmSync(fresh, { force: true })
  discard()
  try {
    inFile(openSync(fresh, 'wx', 0o600), (file) => {
      // The umask can only take away; a mode that is narrower than the owner's own would be refused when it is read.
      fchmodSync(file, 0o600)
      if (roomBytes > 0) overwrite(file, ' '.repeat(roomBytes))
    })
  } catch (error) {
    discard()
    throw error
  }
  return {
    put(text, { existing = 'replace' } = {}) {
      try {
        inFile(openSync(fresh, 'r+'), (file) => overwrite(file, text))
        if (existing === 'keep') linkSync(fresh, path)
        else renameSync(fresh, path)
        syncDirectory(dirname(path))
      } finally {
        discard()
      }
    },
    discard,
  }
}

/** Durable when it returns, readable by its owner alone, and never half-written. */
export function writeDurably(path: string, text: string, how?: DurableWrite): void {
  draftFile(path).put(text, how)
}

function inFile(file: number, work: (file: number) => void): void {
  try {
    work(file)
  } finally {
    closeSync(file)
  }
}

function overwrite(file: number, text: string): void {
  const bytes = Buffer.from(text)
  // A disk that fills up takes a part, and says so only at the next write.
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, at)
  ftruncateSync(file, bytes.length)
  fsyncSync(file)
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
