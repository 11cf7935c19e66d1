/**
 * The version before this one, for tests of upgrades: its agent, controller and proto as they were released. It runs with
 * this version's packages. Node strips no types below node_modules, so it is unpacked elsewhere.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** Its programs and its installer. */
export const previousArchive = resolve(import.meta.dirname, '../engine/previous/gantry-0.2.0.tar.gz')
const packages = resolve(import.meta.dirname, '../../node_modules')

export interface PreviousVersion {
  readonly agent: string
  readonly controller: string
  remove(): void
}

export function unpackPreviousVersion(): PreviousVersion {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-previous-'))
  execFileSync('tar', ['-xzf', previousArchive, '-C', directory])
  symlinkSync(packages, join(directory, 'node_modules'))
  return {
    agent: join(directory, 'agent/main.ts'),
    controller: join(directory, 'controller/main.ts'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
