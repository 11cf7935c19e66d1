/** Small JSON files that the scripts remember things in: whole after a kill or a power cut, or absent. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { say } from './report.ts'

/** Written beside, synced and moved into place, readable by its owner alone: a cut in between leaves the former one. */
export function writeRecord(path: string, value: unknown): void {
  const file = openSync(`${path}.new`, 'w', 0o600)
  writeSync(file, `${JSON.stringify(value, null, 2)}\n`)
  fsyncSync(file)
  closeSync(file)
  renameSync(`${path}.new`, path)
}

const told = new Set<string>()

/** Undefined where there is none, and where it can't be read: then it says so, for a start or a stop must go on. */
export function readRecord(path: string): unknown {
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    if (!told.has(path)) say(`note: ${path} can't be read (${why}); going on without it`)
    told.add(path)
    return undefined
  }
}
