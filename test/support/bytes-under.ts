import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** All that the files of a data directory hold, one byte a character, to be searched for what must not be there. */
export function bytesUnder(directory: string): string {
  const all = readdirSync(directory, { recursive: true }).map((name) => join(directory, String(name)))
  const kept = all.filter((path) => statSync(path).isFile() && !path.includes('compile-cache'))
  return kept.map((path) => readFileSync(path, 'latin1')).join('\n')
}
