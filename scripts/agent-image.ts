/**
 * `npm run agent-image`: a container image of the agent, for hosts where it is not to be a system service. Made without
 * a base image: Node, the programs that the agent calls and the libraries that they need are this machine's own.
 *
 *   npm run agent-image                      imported into the Docker Engine, as gantry-agent:VERSION
 *   npm run agent-image -- --output FILE     written as a tar, for `docker load`-less hosts: docker import FILE
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { importImage } from './engine-api.ts'
import { findEngine } from './engine.ts'
import { findProgram } from './packages.ts'
import { type Release, makeRelease, ownArchitecture } from './release.ts'
import { ScriptError, runScript, say, seconds } from './report.ts'
import { runCommand } from './run-command.ts'

const home = '/opt/gantry'
/** What the agent has no use for. */
const left = ['controller', 'cli', 'scripts', 'systemd', 'docs', 'lib', 'README.md', 'CHANGELOG.md']
/** The first three for addresses of tasks' own and the task endpoint; busctl for the slices of Docker's systemd driver. */
const programs = { required: ['ip', 'unshare', 'nsenter'], optional: ['busctl'] } as const

/** As Dockerfile lines. */
export const imageChanges: readonly string[] = [
  `ENTRYPOINT ["${home}/bin/node", "${home}/agent/main.ts"]`,
  'ENV PATH=/usr/sbin:/usr/bin ECS_DATADIR=/var/lib/gantry/agent',
  'LABEL org.opencontainers.image.title=gantry-agent org.opencontainers.image.licenses=Apache-2.0',
]

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { output: { type: 'string' } } })
  const startedAt = Date.now()
  const directory = mkdtempSync(join(tmpdir(), 'gantry-image-'))
  try {
    const { release, tar } = await packRoot(directory)
    if (values.output !== undefined) {
      copyFileSync(tar, resolve(values.output))
      const changes = imageChanges.map((line) => `-c '${line}'`).join(' ')
      say(`written in ${seconds(startedAt)}. Where it is to run:`)
      say(`  docker import ${changes} ${resolve(values.output)} gantry-agent:${release.version}`)
      return 0
    }
    const engine = await findEngine()
    if (engine === undefined) throw new ScriptError('no Docker Engine answers: set DOCKER_HOST, or use --output FILE.')
    const name = `gantry-agent:${release.version}`
    await importImage(engine.dockerHost, name, readFileSync(tar), imageChanges)
    say(
      `${name} is in the Docker Engine at ${engine.dockerHost} (${seconds(startedAt)}); docs/install.md says how it runs`,
    )
    return 0
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function packRoot(directory: string): Promise<{ readonly release: Release; readonly tar: string }> {
  const root = join(directory, 'root')
  const release = await makeRelease(ownArchitecture(), join(root, home))
  for (const name of left) rmSync(join(root, home, name), { recursive: true, force: true })
  await addWithLibraries(root, join(root, home, 'bin', 'node'), undefined)
  for (const name of [...programs.required, ...programs.optional]) await addProgram(root, name)
  addFiles(root)
  const tar = join(directory, 'root.tar')
  const { code, output } = await runCommand('tar', ['--owner=0', '--group=0', '-C', root, '-cf', tar, '.'])
  if (code !== 0) throw new ScriptError(`tar could not pack the image: ${output.trim()}`)
  return { release, tar }
}

async function addProgram(root: string, name: string): Promise<void> {
  const path = findProgram(name)
  if (path !== undefined) return addWithLibraries(root, path, `/usr/bin/${name}`)
  if (programs.required.some((each) => each === name))
    throw new ScriptError(`${name} is missing: apt-get install iproute2 util-linux`)
  say(`without ${name}, which is not on this machine`)
}

/** Copies a program to a place of the image (undefined: it is there already), and what ldd says it needs. */
async function addWithLibraries(root: string, path: string, place: string | undefined): Promise<void> {
  if (place !== undefined) copy(realpathSync(path), join(root, place))
  const { code, output } = await runCommand('ldd', [path])
  if (code !== 0 || /not found/.test(output))
    throw new ScriptError(`the libraries of ${path} can't be found: ${output}`)
  for (const [, library = ''] of output.matchAll(/(?:=> |^\s*)(\/\S+)/gm))
    copy(realpathSync(library), join(root, library))
}

function copy(from: string, to: string): void {
  if (existsSync(to)) return
  mkdirSync(dirname(to), { recursive: true })
  copyFileSync(from, to)
}

/** Names are looked up by the C library, certificates by Node itself. */
function addFiles(root: string): void {
  for (const name of ['etc', 'tmp', 'run', 'var/lib/gantry/agent']) mkdirSync(join(root, name), { recursive: true })
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/false\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n')
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n')
}

await runScript(main)
