/**
 * `npm run bundle`: releases that install without a network, one for each architecture: the programs, the npm packages
 * that they need, Node, a library that Node needs, units and installer, in one tar.
 *
 *   npm run bundle                         both architectures, into GANTRY_HOME/release
 *   npm run bundle -- --arch x86_64        one of them
 *   npm run bundle -- --output DIRECTORY   elsewhere
 *   npm run bundle -- --tree DIRECTORY     this machine's release as a directory, not as a tar
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Architecture, architectures, makeRelease, ownArchitecture } from './release.ts'
import { readHome } from './home.ts'
import { ScriptError, runScript, say, seconds } from './report.ts'
import { runCommand } from './run-command.ts'

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { arch: { type: 'string' }, output: { type: 'string' }, tree: { type: 'string' } },
  })
  if (values.tree !== undefined) {
    const release = await makeRelease(ownArchitecture(), resolve(values.tree))
    say(`the release ${release.id} is in ${resolve(values.tree)}`)
    return 0
  }
  const output = resolve(values.output ?? join(readHome().directory, 'release'))
  mkdirSync(output, { recursive: true })
  for (const architecture of wantedArchitectures(values.arch)) await writeTar(architecture, output)
  return 0
}

function wantedArchitectures(wish: string | undefined): readonly Architecture[] {
  if (wish === undefined) return architectures
  const found = architectures.find((architecture) => architecture === wish)
  if (found === undefined) throw new ScriptError(`--arch takes ${architectures.join(' or ')}, not ${wish}.`)
  return [found]
}

async function writeTar(architecture: Architecture, output: string): Promise<void> {
  const startedAt = Date.now()
  const directory = mkdtempSync(join(tmpdir(), 'gantry-bundle-'))
  try {
    const release = await makeRelease(architecture, join(directory, 'release'))
    const name = `gantry-${release.id}-linux-${architecture}`
    renameSync(join(directory, 'release'), join(directory, name))
    const file = join(output, `${name}.tar.gz`)
    const args = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '-C', directory, '-czf', `${file}.part`]
    const { code, output: said } = await runCommand('tar', [...args, name])
    if (code !== 0) throw new ScriptError(`tar could not write ${file}: ${said.trim()}`)
    renameSync(`${file}.part`, file)
    say(`${file} (${seconds(startedAt)})`)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

await runScript(main)
