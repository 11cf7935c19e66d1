/**
 * `npm run stop` ends a running `npm start`; containers go on. With `--all` it removes all that was ever made there:
 * containers, the sample's image, the engine with its bridge and rules, logs, keys and state.
 */
import { existsSync, readFileSync, rmSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { askVersion, listContainers, removeContainer, removeImage, removeNetworks } from './engine-api.ts'
import { removeEngine } from './engine.ts'
import { type Home, readHome } from './home.ts'
import { endProcess } from './processes.ts'
import { ScriptError, runScript, say } from './report.ts'
import { sampleImage } from './sample.ts'
import { endOrphans, readState, runningSupervisor } from './start-state.ts'
import { removeTaskCgroups } from './task-cgroups.ts'

/** Longer than the supervisor gives each of its two programs. */
const supervisorTimeoutMs = 40_000

async function stopPrograms(home: Home): Promise<void> {
  const supervisor = runningSupervisor(home)
  if (supervisor !== undefined) {
    await endProcess(supervisor, supervisorTimeoutMs)
    say(`stopped the controller and the agent (supervisor pid ${supervisor})`)
  }
  const orphans = await endOrphans(home)
  if (supervisor === undefined && orphans === 0) say(`nothing runs in ${home.directory}`)
}

/** The containers that this home's agent made, found by the label that names its container instance. */
async function removeOurContainers(home: Home, dockerHost: string): Promise<void> {
  if ((await askVersion(dockerHost)) === undefined) {
    say(`the Docker Engine at ${dockerHost} does not answer: containers and image there, if any, were left as they are`)
    return
  }
  const identityFile = join(home.agent, 'identity.json')
  if (existsSync(identityFile)) {
    const { containerInstanceArn } = JSON.parse(readFileSync(identityFile, 'utf8')) as { containerInstanceArn: string }
    const label = `gantry.container-instance-arn=${containerInstanceArn}`
    const containers = await listContainers(dockerHost, label)
    for (const container of containers) await removeContainer(dockerHost, container.Id)
    say(`removed ${counted(containers.length)}`)
  }
  // Another agent of this engine makes its own again before the next start that needs one.
  await removeNetworks(dockerHost, 'gantry.')
  if (await removeImage(dockerHost, sampleImage)) say(`removed the image ${sampleImage}`)
}

async function removeAll(home: Home): Promise<void> {
  if (!existsSync(home.directory)) {
    say(`nothing to remove: there is no ${home.directory}. GANTRY_HOME names another one.`)
    return
  }
  const dockerHost = readState(home)?.dockerHost
  const isOurs = existsSync(join(home.engine, 'engine.json'))
  if (dockerHost !== undefined && !isOurs) await removeOurContainers(home, dockerHost)
  const count = await removeEngine(home.engine)
  if (count !== undefined) say(`removed the Docker Engine in ${home.engine} with its images and ${counted(count)}`)
  removeTaskCgroups(home)
  // Piece by piece: a home that an operator chose may hold what is not ours.
  for (const path of [home.controller, home.agent, home.log]) removeTree(path)
  for (const path of [home.curlConfig, home.state]) rmSync(path, { force: true })
  try {
    rmdirSync(home.directory)
  } catch {
    // Something else is in it, or it was never made.
  }
  say(`removed ${home.directory}: state, keys and logs. Debian packages that were installed stay.`)
}

function counted(containers: number): string {
  return containers === 1 ? '1 container' : `${containers} containers`
}

function removeTree(path: string): void {
  rmSync(path, { recursive: true, force: true })
}

async function main(): Promise<number> {
  const [option, ...more] = process.argv.slice(2)
  if ((option !== undefined && option !== '--all') || more.length > 0) {
    throw new ScriptError(`unknown option ${[option, ...more].join(' ')}. Known: npm run stop, npm run stop -- --all`)
  }
  const home = readHome()
  await stopPrograms(home)
  if (option === '--all') await removeAll(home)
  return 0
}

await runScript(main)
