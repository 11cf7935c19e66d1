/** What an operator types on the controller's machine. */
import { join, resolve } from 'node:path'
import type { LabController } from './controller.ts'

export const repository = resolve(import.meta.dirname, '../..')

/** The operators' command; gives what it wrote, and throws where it fails. */
export async function gantry(controller: LabController, ...words: readonly string[]): Promise<string> {
  const program = await controller.machine.run([process.execPath, join(repository, 'cli/main.ts'), ...words], {
    AWS_SHARED_CREDENTIALS_FILE: join(controller.dataDir, 'root-credentials'),
    AWS_ENDPOINT_URL: 'http://127.0.0.1:51700',
    AWS_DEFAULT_REGION: 'us-east-1',
  })
  const code = await program.ended
  if (code !== 0) throw new Error(`gantry ${words.join(' ')} ended with ${code}:\n${program.output()}`)
  return program.output()
}

/** The line that `gantry join-token` prints for a checkout, as it stands there. */
export async function printedJoinLine(controller: LabController, ...words: readonly string[]): Promise<string> {
  const printed = await gantry(controller, 'join-token', ...words)
  const line = printed.split('\n').find((one) => one.includes('npx gantry join https:'))
  if (line === undefined) throw new Error(`gantry join-token printed no line:\n${printed}`)
  return line.trim()
}
