/** Containers in which programs for Node run, with the SDKs of this repository: no image of the lab has them. */
import type { ContainerDefinition, Volume } from '@aws-sdk/client-ecs'
import { askEngine } from '../support/engine.ts'
import type { Host } from './host.ts'
import { repository } from './operator.ts'

const places = [
  { name: 'usr', path: '/usr', inside: '/usr' },
  { name: 'lib', path: '/usr/lib', inside: '/lib' },
  { name: 'lib64', path: '/usr/lib64', inside: '/lib64' },
  { name: 'repository', path: repository, inside: repository },
]

/** To be among the volumes of the task: this machine's own Node and libraries, and this repository. */
export const nodeVolumes: Volume[] = places.map(({ name, path }) => ({ name, host: { sourcePath: path } }))

/** A container that lives until it is stopped, and in which `runNode` runs programs. */
export const nodeContainer: ContainerDefinition = {
  name: 'app',
  memory: 256,
  command: ['sh', '-c', 'trap "exit 0" TERM; while true; do sleep 0.2; done'],
  mountPoints: places.map((one) => ({ sourceVolume: one.name, containerPath: one.inside, readOnly: true })),
}

/** The first lines of a program that uses `load` for packages of this repository, and `told` for what may be refused. */
const preamble = `
  import { createRequire } from 'node:module'
  const load = createRequire('${repository}/package.json')
  const told = async (call) => call.then((answer) => answer, ({ name, message }) => ({ name, message }))
  const answer = (value) => console.log('ANSWER' + JSON.stringify(value))
`

/** Runs a command in a container, and gives what it wrote. */
export async function inside(host: Host, dockerId: string, command: readonly string[]): Promise<string> {
  const made = await askEngine(
    'POST',
    `/containers/${dockerId}/exec`,
    { AttachStdout: true, AttachStderr: false, Tty: true, Cmd: command },
    host.engine.host,
  )
  const { Id } = JSON.parse(made.text) as { Id: string }
  const ran = await askEngine('POST', `/exec/${Id}/start`, { Detach: false, Tty: true }, host.engine.host)
  return ran.text.replaceAll(/\r+\n/g, '\n')
}

/** Runs a program in a container, with the container's environment, and gives what it called `answer` with. */
export async function runNode(
  host: Host,
  dockerId: string,
  program: string,
  ...given: readonly string[]
): Promise<unknown> {
  const command = [process.execPath, '--input-type=module', '-e', `${preamble}${program}`, ...given]
  const libraries = `LD_LIBRARY_PATH=${process.env['LD_LIBRARY_PATH'] ?? ''}`
  const text = await inside(host, dockerId, ['/usr/bin/env', libraries, ...command])
  const [, answer] = text.split('ANSWER')
  if (answer === undefined) throw new Error(`The program said no more than: ${text.slice(0, 4000)}`)
  return JSON.parse(answer)
}
