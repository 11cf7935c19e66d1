/**
 * `npm test`: static checks, then the tests, then a look at what they left behind; ends with `N passed, N failed`.
 *
 *   npm test                    everything, in the order below
 *   npm run test:unit           one group: static, unit, sim, api, engine or lab
 *   npm test -- placement       the test files whose path holds this text
 */
import { globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { engineProcess, findEngine, removeEngine, startEngine } from './engine.ts'
import { apiTestPackages, enginePackages, engineTestPackages, installPackages } from './packages.ts'
import { commandLineOf, endProcess, processesUsing } from './processes.ts'
import { ScriptError, runScript, say, seconds } from './report.ts'
import { runCommand } from './run-command.ts'
import { type TestRun, type TestRunResult, runTestFiles } from './run-tests.ts'

const testFiles = {
  unit: ['proto/**/*.test.ts', 'controller/**/*.test.ts', 'agent/**/*.test.ts', 'cli/**/*.test.ts', 'test/*.test.ts'],
  sim: ['test/sim/*.test.ts'],
  api: ['test/api/*.test.ts'],
  engine: ['test/engine/*.test.ts'],
  lab: ['test/lab/*.test.ts'],
} as const

type TestGroup = keyof typeof testFiles
type Group = 'static' | TestGroup

const groups: readonly Group[] = ['static', 'unit', 'sim', 'api', 'engine', 'lab']

/**
 * How each group runs: engine tests share one Docker Engine and its host's ports, so they go one after the other; each lab
 * has a network of its own, and mostly waits.
 */
const manner: Readonly<Record<TestGroup, { fileTimeoutSeconds: number; jobs: number }>> = {
  unit: { fileTimeoutSeconds: 300, jobs: 2 },
  // The simulation is a fixed amount of work, and a busy machine takes its time over it.
  sim: { fileTimeoutSeconds: 420, jobs: 1 },
  api: { fileTimeoutSeconds: 420, jobs: 2 },
  engine: { fileTimeoutSeconds: 420, jobs: 1 },
  lab: { fileTimeoutSeconds: 420, jobs: 2 },
}

const staticChecks = [
  { name: 'types (tsc)', command: ['tsc', '-p', '.'] },
  { name: 'lint (oxlint)', command: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'format (biome)', command: ['biome', 'format'] },
] as const

let isInterrupted = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    isInterrupted = true
  })
}

async function runStaticChecks(directory: string): Promise<TestRunResult> {
  let failed = 0
  // Otherwise biome makes a directory of its own in the operator's home.
  const env = { XDG_CACHE_HOME: join(directory, 'tmp') }
  for (const check of staticChecks) {
    if (isInterrupted) break
    const startedAt = Date.now()
    const [tool, ...args] = check.command
    const { code, output } = await runCommand(process.execPath, [join('node_modules', '.bin', tool), ...args], { env })
    say(`${code === 0 ? 'ok    ' : 'FAILED'} ${check.name} (${seconds(startedAt)})`)
    if (code === 0) continue
    failed += 1
    process.stdout.write(`${output.trim().split('\n').slice(-60).join('\n')}\n`)
  }
  return { passed: 0, failed }
}

/** The environment of the tests: nothing of the operator's own Gantry, agent, AWS or Docker set-up may reach them. */
function testEnvironment(directory: string): Record<string, string | undefined> {
  const foreign = Object.keys(process.env).filter((name) => /^(GANTRY|ECS|AWS|DOCKER|TAP)_/.test(name))
  const cleared = foreign.filter((name) => name !== 'GANTRY_OFFICIAL_AGENT').map((name) => [name, undefined] as const)
  return { ...Object.fromEntries(cleared), TMPDIR: join(directory, 'tmp') }
}

async function runGroup(group: TestGroup, pattern: string, directory: string): Promise<TestRunResult> {
  const files = globSync([...testFiles[group]]).filter((file) => file.includes(pattern))
  if (files.length === 0) {
    if (pattern !== '') return { passed: 0, failed: 0 }
    say(`FAILED ${group}: no test file was found`)
    return { passed: 0, failed: 1 }
  }
  const run = {
    files: files.toSorted(),
    env: testEnvironment(directory),
    ...manner[group],
    isInterrupted: () => isInterrupted,
  }
  if (group === 'api') await installPackages(apiTestPackages)
  if (group === 'lab') await installPackages([...enginePackages, ...engineTestPackages])
  say(`${group} tests (${files.length} files) ...`)
  return group === 'engine' ? runEngineTests(run, directory) : runTestFiles(run)
}

/** On the machine's engine where one answers; else on one of our own, in a network namespace of its own. */
async function runEngineTests(run: TestRun, directory: string): Promise<TestRunResult> {
  await installPackages(engineTestPackages)
  const found = await findEngine()
  if (found !== undefined) {
    say(`using the Docker Engine ${found.version.version} at ${found.dockerHost}`)
    return runTestFiles({ ...run, env: { ...run.env, DOCKER_HOST: found.dockerHost } })
  }
  const engineDirectory = join(directory, 'engine')
  const { dockerHost } = await startEngine(engineDirectory, { isolated: true })
  const networkOf = engineProcess(engineDirectory)
  return runTestFiles({ ...run, env: { ...run.env, DOCKER_HOST: dockerHost }, networkOf })
}

/**
 * Ends what the tests left running, known by their TMPDIR or by a directory below it: a program that a test starts may
 * have been given nothing else. A test that leaves a process behind has failed, unless it was interrupted.
 */
async function endLeftProcesses(directory: string): Promise<number> {
  const left = processesUsing(join(directory, 'tmp'))
  for (const pid of left) {
    const line = commandLineOf(pid).replaceAll('\0', ' ').slice(0, 120)
    say(isInterrupted ? `ending ${pid} ${line}` : `FAILED a test left a process behind: ${pid} ${line}`)
  }
  await Promise.all(left.map((pid) => endProcess(pid, 2_000)))
  return left.length
}

async function main(): Promise<number> {
  const startedAt = Date.now()
  const wish = process.argv[2] ?? ''
  const group = groups.find((name) => name === wish)
  const pattern = group === undefined ? wish : ''
  const wanted = group !== undefined ? [group] : groups.filter((name) => pattern === '' || name !== 'static')
  const directory = mkdtempSync('/tmp/gantry-test-')
  mkdirSync(join(directory, 'tmp'))
  const totals = { passed: 0, failed: 0 }
  try {
    for (const name of wanted) {
      if (isInterrupted) break
      const result = name === 'static' ? await runStaticChecks(directory) : await runGroup(name, pattern, directory)
      totals.passed += result.passed
      totals.failed += result.failed
    }
  } catch (error) {
    // What can't be installed or started fails the run, and the count still has to be the last line.
    totals.failed += 1
    say(`FAILED ${error instanceof ScriptError ? error.message : error instanceof Error ? error.stack : String(error)}`)
  } finally {
    totals.failed += await endLeftProcesses(directory)
    await removeEngine(join(directory, 'engine'))
    rmSync(directory, { recursive: true, force: true })
  }
  if (isInterrupted) say('interrupted: what was started is removed again')
  const isStaticOnly = wanted.length === 1 && group === 'static'
  if (isInterrupted || (totals.passed === 0 && !isStaticOnly && totals.failed === 0)) totals.failed += 1
  say(`took ${seconds(startedAt)}`)
  process.stdout.write(`${totals.passed} passed, ${totals.failed} failed\n`)
  return totals.failed === 0 ? 0 : 1
}

await runScript(main)
