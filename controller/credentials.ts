/**
 * The two access keys of a controller, each in a file that only its owner may read: the root key, which may do
 * everything, and the agent key, which may do what an agent needs. Made at the first start, or adopted where they lie.
 */
import { randomBytes } from 'node:crypto'
import { chmod, open, readFile, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'

export interface AccessKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface ControllerCredentials {
  readonly root: AccessKey
  readonly agent: AccessKey
}

/** A credentials file that can't be used; the message names it and how to mend it. */
export class CredentialsError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CredentialsError'
  }
}

/** Throws CredentialsError where a file is readable by others, or holds no key. */
export async function loadCredentials(dataDir: string): Promise<ControllerCredentials> {
  const root = await loadOrCreate(join(dataDir, 'root-credentials'))
  const agent = await loadOrCreate(join(dataDir, 'agent-credentials'))
  if (root.accessKeyId === agent.accessKeyId) {
    throw new CredentialsError(
      `root-credentials and agent-credentials in ${dataDir} hold the same access key id, so an agent could do ` +
        'everything. Delete one of the two files: the next start makes a new key in its place.',
    )
  }
  return { root, agent }
}

async function loadOrCreate(path: string): Promise<AccessKey> {
  const text = await readIfThere(path)
  if (text === undefined) return createFile(path)
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    const shown = (mode & 0o777).toString(8).padStart(4, '0')
    throw new CredentialsError(
      `${path} has mode ${shown}: others on this machine can read or change the key. ` +
        `Run: chmod 600 ${path} (and delete the file, so that a new key is made, if someone may have read it).`,
    )
  }
  return parseSharedCredentials(text, path)
}

/** Profile `[default]` of AWS's shared-credentials format. */
export function parseSharedCredentials(text: string, path: string): AccessKey {
  const members = new Map<string, string>()
  let inDefault = false
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*([^\]]+?)\s*\]\s*$/.exec(line)
    if (section !== null) inDefault = section[1] === 'default'
    const member = /^\s*([A-Za-z_]+)\s*=\s*(\S+)\s*$/.exec(line)
    if (inDefault && member !== null) members.set((member[1] ?? '').toLowerCase(), member[2] ?? '')
  }
  const accessKeyId = members.get('aws_access_key_id')
  const secretAccessKey = members.get('aws_secret_access_key')
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new CredentialsError(
      `${path} has no aws_access_key_id and aws_secret_access_key under [default]. ` +
        'Write both, or delete the file: the next start makes a new key in its place.',
    )
  }
  return { accessKeyId, secretAccessKey }
}

async function createFile(path: string): Promise<AccessKey> {
  const key = newAccessKey()
  const text = `[default]\naws_access_key_id = ${key.accessKeyId}\naws_secret_access_key = ${key.secretAccessKey}\n`
  // Written beside and renamed, so that a kill between the two leaves either no file or a whole one.
  const draft = `${path}.new`
  const file = await open(draft, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await chmod(draft, 0o600)
  await rename(draft, path)
  return key
}

/** Twenty characters and forty, as AWS's own keys, so that clients which look at the form are content. */
function newAccessKey(): AccessKey {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  const letters = Array.from(randomBytes(14), (byte) => alphabet[byte % alphabet.length])
  return { accessKeyId: `GANTRY${letters.join('')}`, secretAccessKey: randomBytes(30).toString('base64') }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new CredentialsError(`${path} can't be read: ${error instanceof Error ? error.message : String(error)}.`, {
      cause: error,
    })
  }
}
