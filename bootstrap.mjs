/**
 * The way into every npm script of Gantry, and its one plain-JavaScript file: it must run on whatever Node (20 or
 * newer) a machine has, before anything is installed. It installs what package-lock.json names where that is missing,
 * then runs the wanted script under the pinned Node in node_modules.
 *
 *   node bootstrap.mjs [--as-root] <script.ts | tool of node_modules/.bin> [arguments]
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(fileURLToPath(import.meta.url))
const modules = join(root, 'node_modules')
const pinnedNode = join(modules, 'node', 'bin', 'node')
const oldestNode = 20

function fail(message) {
  process.stderr.write(`gantry: ${message}\n`)
  process.exit(1)
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

function checkMachine(asRoot) {
  const major = Number(process.versions.node.split('.')[0])
  if (major < oldestNode) {
    fail(`Node ${oldestNode} or newer is needed to begin, and this is ${process.version} (${process.execPath}).
gantry: install a newer one (nodejs.org has it for every Linux) so that it comes first on the PATH, then run this again.`)
  }
  if (process.platform !== 'linux') {
    fail(`it drives a Linux host's Docker Engine, and this machine runs ${process.platform}. Use a Linux host or VM.`)
  }
  if (asRoot && process.getuid() !== 0) {
    fail('this needs root: it drives Docker, and installs it where it is missing. Run it again as root, or with sudo.')
  }
}

/** The search path without this project's own binaries: an install replaces those while it runs. */
function hostPath() {
  const entries = (process.env.PATH ?? '').split(delimiter)
  return entries.filter((entry) => !entry.startsWith(modules)).join(delimiter)
}

/** A Node outside node_modules, which an install doesn't delete under itself. */
function hostNode() {
  const candidates = [
    process.execPath,
    ...hostPath()
      .split(delimiter)
      .map((entry) => join(entry, 'node')),
  ]
  const outside = candidates.find((path) => !path.startsWith(modules) && existsSync(path))
  return outside ?? fail('no Node was found on the PATH outside node_modules: install Node 20 or newer first.')
}

/** Undefined when node_modules holds exactly what package-lock.json names; else what is wrong, in words. */
function whatLacks() {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages
  if (wanted === undefined) fail('package-lock.json is missing or broken: take it from the repository again.')
  const installed = readJson(join(modules, '.package-lock.json'))?.packages
  if (installed === undefined) return 'nothing is installed yet'
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue
    const found = installed[path]
    if (found === undefined && !entry.optional) return `${path} is missing`
    if (found !== undefined && found.version !== entry.version)
      return `${path} is ${found.version}, not ${entry.version}`
  }
  return undefined
}

/** What the pinned Node says of itself: its version, or why it doesn't run. */
function askPinnedNode() {
  if (!existsSync(pinnedNode)) return 'it is not there'
  const { stdout, stderr, error } = spawnSync(pinnedNode, ['--version'], { encoding: 'utf8' })
  return error?.message ?? (stdout.trim() || stderr.trim())
}

function isPinnedNode(answer) {
  return answer === `v${readJson(join(root, 'package-lock.json'))?.packages?.['node_modules/node']?.version}`
}

/** npm ends an error with a page of usage; what went wrong stands before it. */
function withoutNoise(output) {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !/^npm (warn|notice)/.test(line))
  return lines.slice(0, 20).join('\n')
}

function whatToMend(output) {
  if (/ENOSPC|No space left/i.test(output)) return `the disk of ${root} is full, and this needs about 1 GB.`
  if (/EACCES|EPERM|EROFS|Permission denied|are you root/i.test(output)) return 'this user may not write there.'
  if (/self.signed|unable to (get|verify)/i.test(output))
    return "a certificate isn't known: NODE_EXTRA_CA_CERTS names a file with it."
  return 'are the npm registry and the Debian mirrors within reach?'
}

/** Runs a step of the install, and says every ten seconds that it still goes on: npm is silent without a terminal. */
function runStep(what, command, args, cwd) {
  const startedAt = Date.now()
  const seconds = () => Math.round((Date.now() - startedAt) / 1000)
  const env = {
    ...process.env,
    DEBIAN_FRONTEND: 'noninteractive',
    PATH: `${dirname(hostNode())}${delimiter}${hostPath()}`,
  }
  // An outer `npm run` hands down what would tie this npm to the outer one's script and folder.
  for (const name of Object.keys(env)) {
    if (/^npm_(lifecycle|package|config_local_prefix|config_prefix$|command)/.test(name)) delete env[name]
  }
  process.stdout.write(`gantry: ${what}\n`)
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    const tick = setInterval(() => process.stdout.write(`gantry:   ... ${seconds()} s\n`), 10_000)
    let output = ''
    const keep = (chunk) => {
      output = (output + chunk).slice(-8_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', (error) => keep(String(error)))
    child.on('close', (code) => {
      clearInterval(tick)
      if (code !== 0) {
        fail(`this step failed (exit ${code}) after ${seconds()} s: ${command} ${args.join(' ')}\n${withoutNoise(output)}
gantry: ${whatToMend(output)} Mend that, then run the same command again.`)
      }
      process.stdout.write(`gantry:   done in ${seconds()} s\n`)
      resolve()
    })
  })
}

async function installWhatLacks() {
  const lack = whatLacks()
  if (lack !== undefined) {
    // No package's install script runs: none is needed but that of the package `node`, which is run below by name.
    // So no compiler is needed either (ssh2 and cpu-features would try to build optional native parts).
    await runStep(
      `installing the npm packages of package-lock.json (${lack}; about 400 MB) ...`,
      'npm',
      ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retry-maxtimeout=10000'],
      root,
    )
  }
  if (isPinnedNode(askPinnedNode())) return
  if (!/lib\w+\.so/.test(askPinnedNode())) {
    const { version } = readJson(join(modules, 'node', 'package.json')) ?? fail('npm did not install the package node.')
    const script = 'installArchSpecificPackage'
    const directory = dirname(dirname(pinnedNode))
    await runStep(`fetching Node ${version}, which runs Gantry (150 MB) ...`, hostNode(), [script], directory)
  }
  if (askPinnedNode().includes('libatomic.so.1')) await installLibrary('libatomic1')
  const answer = askPinnedNode()
  if (!isPinnedNode(answer)) fail(`${pinnedNode} does not run on this machine (${process.arch}): ${answer}`)
}

/** A minimal Debian lacks a library that Node needs, so this one package can't wait for a script that runs on it. */
async function installLibrary(name) {
  const why = readJson(join(root, 'scripts', 'packages.json'))?.[name]
  if (process.getuid() !== 0) fail(`${name} is missing (${why}). Install it as root: apt-get install ${name}`)
  const install = `apt-get -q install -y --no-install-recommends ${name}`
  const command = `${install} || { apt-get -q update && ${install}; }`
  await runStep(`installing ${name} from Debian: ${why} ...`, 'sh', ['-c', command], root)
}

/** Runs the script in the foreground; signals go to it, and its end is ours. */
function runPinned(target, args) {
  const tool = join(modules, '.bin', target)
  const child = spawn(pinnedNode, [existsSync(tool) ? tool : join(root, target), ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${join(modules, '.bin')}${delimiter}${hostPath()}` },
  })
  // A terminal sends its signals to the whole foreground group, so the child has a SIGINT already; a plain `kill` of
  // this process has to be handed on.
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => fail(`${pinnedNode} did not start: ${error.message}`))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}

const args = process.argv.slice(2)
const asRoot = args[0] === '--as-root'
if (asRoot) args.shift()
const target = args.shift() ?? fail('say what to run: node bootstrap.mjs scripts/start.ts')
checkMachine(asRoot)
await installWhatLacks()
runPinned(target, args)
