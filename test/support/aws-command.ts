/** Debian's `aws` command against a controller, with the credentials that the controller made. */
import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { RunningController } from './controller.ts'

const run = promisify(execFile)

/** Runs `aws` with these words. Resolves with its output as JSON; rejects where it fails, with what it said. */
export type AwsCommand = (...words: readonly string[]) => Promise<Readonly<Record<string, unknown>>>

export function awsCommand(
  controller: Pick<RunningController, 'endpoint' | 'dataDir'>,
  more: Readonly<Record<string, string>> = {},
): AwsCommand {
  const aws = findAws()
  return async (...words) => {
    const { stdout } = await run(aws, ['--endpoint-url', controller.endpoint, ...words], {
      env: {
        PATH: process.env['PATH'],
        HOME: controller.dataDir,
        AWS_SHARED_CREDENTIALS_FILE: join(controller.dataDir, 'root-credentials'),
        AWS_DEFAULT_REGION: 'us-east-1',
        AWS_PAGER: '',
        ...more,
      },
    })
    return stdout.trim() === '' ? {} : (JSON.parse(stdout) as Readonly<Record<string, unknown>>)
  }
}

/** Debian's own first; a shim of a Python version manager answers to the same name and may hold nothing. */
function findAws(): string {
  const directories = ['/usr/bin', ...(process.env['PATH'] ?? '').split(':').filter((each) => !each.includes('/shims'))]
  const found = directories.map((directory) => join(directory, 'aws')).find(isExecutable)
  if (found === undefined) throw new Error('there is no aws command: apt-get install -y --no-install-recommends awscli')
  return found
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
