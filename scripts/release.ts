/** Makes the tree of a release: what a host gets under /opt/gantry/versions. */
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { repository } from './home.ts'
import { ScriptError, say } from './report.ts'
import { runCommand } from './run-command.ts'

export type Architecture = 'x86_64' | 'arm64'
export const architectures: readonly Architecture[] = ['x86_64', 'arm64']

/** What a release says of itself, in its release.json. */
export interface Release {
  /** Version and a digest of all that is in it but Node: the name of its directory. */
  readonly id: string
  readonly version: string
  readonly architecture: Architecture
  readonly node: string
}

/** As npm and Debian call them. */
const names = {
  x86_64: { npm: 'x64', debian: 'amd64', library: 'x86_64-linux-gnu' },
  arm64: { npm: 'arm64', debian: 'arm64', library: 'aarch64-linux-gnu' },
} as const

const rooms = ['agent', 'controller', 'proto', 'cli', 'systemd', 'scripts', 'docs']
const files = ['package.json', 'LICENSE', 'README.md', 'CHANGELOG.md']
/** Of scripts/, only what the installer is made of. */
const installerFiles = /^scripts(\/(install|install\/.*|report\.ts|engine-api\.ts|run-command\.ts))?(\.ts)?$/

export function ownArchitecture(): Architecture {
  const found = architectures.find((architecture) => names[architecture].npm === process.arch)
  if (found === undefined) throw new ScriptError(`no release can be made for ${process.arch}: x86_64 and arm64 can.`)
  return found
}

/** Throws ScriptError where something that belongs into it can't be had. `directory` is made anew. */
export async function makeRelease(architecture: Architecture, directory: string): Promise<Release> {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  copySources(directory)
  copyPackages(directory)
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string }
  const node = nodeVersion()
  const digest = digestOf(directory, `node ${node}`)
  await addNode(architecture, node, directory)
  await addLibrary(architecture, directory)
  const release: Release = { id: `${version}-${digest.slice(0, 10)}`, version, architecture, node }
  writeFileSync(join(directory, 'release.json'), `${JSON.stringify(release, undefined, 2)}\n`)
  return release
}

function isWanted(path: string): boolean {
  if (path.endsWith('.test.ts')) return false
  return !path.startsWith('scripts') || installerFiles.test(path)
}

/** Times are kept: an agent's cache of compiled code is as old as the newest source. */
function copySources(directory: string): void {
  for (const name of [...rooms, ...files]) {
    const from = join(repository, name)
    if (!existsSync(from)) continue
    cpSync(from, join(directory, name), {
      recursive: true,
      preserveTimestamps: true,
      filter: (path) => isWanted(relative(repository, path)),
    })
  }
}

/** The packages that package-lock.json does not mark as for development, without Node itself, which comes on its own. */
function copyPackages(directory: string): void {
  const lock = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>
  }
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '' || entry.dev === true || entry.devOptional === true || /^node_modules\/node(\/|-bin-|$)/.test(path))
      continue
    const from = join(repository, path)
    if (!existsSync(from)) continue
    const isOwn = (file: string) => file === from || !relative(from, file).split('/').includes('node_modules')
    cpSync(from, join(directory, path), { recursive: true, preserveTimestamps: true, filter: isOwn })
  }
}

function nodeVersion(): string {
  const file = join(repository, 'node_modules', 'node', 'package.json')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** Of names and contents, so that the same sources give the same release wherever it is made. */
function digestOf(directory: string, salt: string): string {
  const hash = createHash('sha256').update(salt)
  const entries = globSync('**/*', { cwd: directory, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).toSorted()
  for (const path of paths) hash.update(`\0${relative(directory, path)}\0`).update(readFileSync(path))
  return hash.digest('hex')
}

async function addNode(architecture: Architecture, version: string, directory: string): Promise<void> {
  const target = join(directory, 'bin', 'node')
  mkdirSync(dirname(target))
  if (architecture === ownArchitecture()) copyFileSync(process.execPath, target)
  else {
    const name = `node-linux-${names[architecture].npm}@${version}`
    say(`fetching ${name} from the npm registry ...`)
    await inScratchDirectory(async (scratch) => {
      await run('npm', ['pack', name, '--pack-destination', scratch, '--silent'])
      const tar = readdirSync(scratch).find((file) => file.endsWith('.tgz'))
      if (tar === undefined) throw new ScriptError(`npm pack ${name} left no file.`)
      await run('tar', ['-xzf', join(scratch, tar), '-C', scratch, 'package/bin/node'])
      copyFileSync(join(scratch, 'package', 'bin', 'node'), target)
    })
  }
  chmodSync(target, 0o755)
}

/** Node's own directory of libraries: libatomic.so.1, which minimal systems lack. */
async function addLibrary(architecture: Architecture, directory: string): Promise<void> {
  const library = 'libatomic.so.1'
  const target = join(directory, 'lib', library)
  mkdirSync(dirname(target))
  const installed = ['/usr/lib', '/lib'].map((place) => join(place, names[architecture].library, library))
  const here = installed.find((path) => existsSync(path))
  if (here !== undefined) copyFileSync(here, target)
  else await inScratchDirectory(async (scratch) => fetchLibrary(architecture, scratch, target))
  chmodSync(target, 0o755)
}

/** By an apt with a state of its own: this machine's lists and architectures stay as they are. */
async function fetchLibrary(architecture: Architecture, scratch: string, target: string): Promise<void> {
  say(`fetching libatomic1 for ${architecture} from Debian ...`)
  const { debian } = names[architecture]
  mkdirSync(join(scratch, 'lists', 'partial'), { recursive: true })
  mkdirSync(join(scratch, 'sources'))
  writeFileSync(join(scratch, 'status'), '')
  writeFileSync(
    join(scratch, 'sources', 'debian.sources'),
    'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm\nComponents: main\n' +
      'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n',
  )
  const settings = {
    'APT::Architecture': debian,
    'APT::Architectures': debian,
    'APT::Sandbox::User': 'root',
    'Dir::State::Lists': join(scratch, 'lists'),
    'Dir::State::status': join(scratch, 'status'),
    'Dir::Cache': scratch,
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': join(scratch, 'sources'),
  }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  await run('apt-get', ['-q', ...options, 'update'])
  await run('sh', ['-c', 'cd "$0" && exec apt-get -q "$@" download libatomic1', scratch, ...options])
  const deb = readdirSync(scratch).find((file) => file.endsWith('.deb'))
  if (deb === undefined) throw new ScriptError('apt-get download libatomic1 left no file.')
  await run('dpkg-deb', ['-x', join(scratch, deb), join(scratch, 'tree')])
  const [found] = globSync('**/libatomic.so.1.*', { cwd: join(scratch, 'tree') })
  if (found === undefined) throw new ScriptError(`${basename(deb)} holds no libatomic.so.1.`)
  copyFileSync(join(scratch, 'tree', found), target)
}

async function inScratchDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'gantry-release-'))
  try {
    await work(scratch)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const { code, output } = await runCommand(command, args)
  if (code !== 0) throw new ScriptError(`${command} failed (exit ${code}):\n${output.trim().slice(-2000)}`)
}
