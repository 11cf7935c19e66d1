/** The keys that the agent signs with: from its configuration, or from a shared-credentials file. */
import { readFile, stat } from 'node:fs/promises'
import type { Credentials } from '../proto/sigv4.ts'
import type { AgentConfig } from './config.ts'

export type CredentialsSource = () => Promise<Credentials>

/** The file is read anew for each use, so that keys can be replaced under a running agent. */
export function credentialsSource(
  config: Pick<AgentConfig, 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'credentialsFile'>,
): CredentialsSource {
  const { accessKeyId, secretAccessKey, sessionToken, credentialsFile } = config
  return async () => {
    if (accessKeyId !== undefined && secretAccessKey !== undefined)
      return { accessKeyId, secretAccessKey, sessionToken }
    if (credentialsFile !== undefined) return credentialsInFile(credentialsFile)
    throw new Error(
      'The agent has no keys to sign with: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together. Set both or neither; ' +
        'without, the host joins its controller with a line that `npx gantry join-token` prints there.',
    )
  }
}

async function credentialsInFile(path: string): Promise<Credentials> {
  const { mode } = await stat(path).catch((error: unknown) => {
    throw new Error(`The credentials file ${path} can't be read. Copy it from the controller's data directory.`, {
      cause: error,
    })
  })
  if ((mode & 0o077) !== 0) {
    throw new Error(`The credentials file ${path} is open to others than its owner. Run: chmod 600 ${path}`)
  }
  const credentials = defaultProfile(await readFile(path, 'utf8'))
  if (credentials === undefined) {
    throw new Error(
      `The credentials file ${path} has no aws_access_key_id and aws_secret_access_key under [default]. ` +
        "Copy it from the controller's data directory.",
    )
  }
  return credentials
}

/** The keys of profile `[default]`. Source: AWS documentation, "Configuration and credential file settings". */
export function defaultProfile(text: string): Credentials | undefined {
  const values = new Map<string, string>()
  let profile = ''
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line)
    if (section !== null) profile = section[1] ?? ''
    const setting = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line)
    if (setting !== null && profile === 'default') values.set(setting[1] ?? '', setting[2] ?? '')
  }
  const accessKeyId = values.get('aws_access_key_id')
  const secretAccessKey = values.get('aws_secret_access_key')
  if (!accessKeyId || !secretAccessKey) return undefined
  return { accessKeyId, secretAccessKey, sessionToken: values.get('aws_session_token') }
}
