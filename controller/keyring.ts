/**
 * The keys under which secrets are sealed: AES-256-GCM, in a file of their own that only its owner may read, or handed
 * in by systemd. The first key seals; all of them open, so that a key can be replaced without losing what is sealed.
 *
 * Sealed text: `v1.KEYID.BASE64URL(nonce 12 | ciphertext | tag 16)`. Source: NIST SP 800-38D; a random nonce of 96 bits
 * is good for 2^32 seals under one key.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, open, readFile, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CredentialsError } from './credentials.ts'
import { SealedTextError, type Vault } from './state/vault.ts'

const cipher = 'aes-256-gcm'
const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16
/** The name of the credential where systemd hands it in (LoadCredential=, LoadCredentialEncrypted=). */
const credentialName = 'gantry-secret-key'

export interface Keyring extends Vault {
  /** Of the key that seals. */
  readonly keyId: string
  /** Of all keys, the sealing one first. */
  readonly keyIds: readonly string[]
}

interface Key {
  readonly id: string
  readonly bytes: Buffer
}

/**
 * Reads the keys, or makes the first one where there is no file yet. `credentialsDirectory` is systemd's
 * `$CREDENTIALS_DIRECTORY`; `isFirst` is false where rows are sealed already, and so a file that is not there was lost.
 * Throws CredentialsError then, and where the file is open to others or holds no key.
 */
export async function openKeyring(
  path: string,
  credentialsDirectory: string | undefined,
  isFirst = true,
): Promise<Keyring> {
  const handedIn = credentialsDirectory === undefined ? undefined : join(credentialsDirectory, credentialName)
  if (handedIn !== undefined && existsSync(handedIn))
    return keyringOf(readKeys(await readFile(handedIn, 'utf8'), handedIn))
  if (!existsSync(path)) {
    if (!isFirst) throw lost(path)
    await createKeyFile(path)
  }
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    const shown = (mode & 0o777).toString(8).padStart(4, '0')
    throw new CredentialsError(
      `${path} has mode ${shown}: others on this machine can read the key of all secrets. Run: chmod 600 ${path} ` +
        '(and put a new key first, then re-seal, if someone may have read it).',
    )
  }
  return keyringOf(readKeys(await readFile(path, 'utf8'), path))
}

/** A new key would open nothing of what is there, and the first that is sealed under it would make two keys to keep. */
function lost(path: string): CredentialsError {
  return new CredentialsError(
    `${path} is not there, and secrets and access keys in the database are sealed under its key. Put the file back from ` +
      'your backup, or have systemd hand it in (docs/secrets.md, "The key"). Containers go on meanwhile. To do without ' +
      `what is sealed, make a new key: (umask 077; openssl rand -hex 32 > ${path})`,
  )
}

/** One key a line, 64 hex digits; empty lines and lines that start with # are left out. */
function readKeys(text: string, path: string): readonly Key[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim())
  const keys = lines.filter((line) => line !== '' && !line.startsWith('#'))
  const wrong = keys.findIndex((line) => !/^[0-9a-f]{64}$/.test(line))
  if (wrong !== -1) throw new CredentialsError(`Key ${wrong + 1} in ${path} is not 64 lower-case hex digits.`)
  if (keys.length === 0) {
    throw new CredentialsError(
      `${path} holds no key, so no secret can be opened. Put the key back from your backup; without it what is sealed ` +
        'is lost.',
    )
  }
  return keys.map((line) => {
    const bytes = Buffer.from(line, 'hex')
    return { id: idOf(bytes), bytes }
  })
}

/** Says which key it is and nothing about it: the key has 256 random bits. */
function idOf(bytes: Buffer): string {
  return createHash('sha256').update('gantry key id').update(bytes).digest('hex').slice(0, 12)
}

async function createKeyFile(path: string): Promise<void> {
  const draft = `${path}.new`
  const file = await open(draft, 'w', 0o600)
  try {
    await file.writeFile(
      '# The key under which Gantry seals secrets. Keep a copy apart from the database: without it they are lost.\n' +
        `${randomBytes(keyBytes).toString('hex')}\n`,
    )
    await file.sync()
  } finally {
    await file.close()
  }
  await chmod(draft, 0o600)
  await rename(draft, path)
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function keyringOf(keys: readonly Key[]): Keyring {
  const [first] = keys
  if (first === undefined) throw new Error('Bug: a keyring has at least one key.')
  const byId = new Map(keys.map((key) => [key.id, key]))
  return {
    keyId: first.id,
    keyIds: keys.map(({ id }) => id),
    seal: (plaintext, context) => seal(first, plaintext, context),
    open(sealed, context) {
      const [version, keyId = '', ...rest] = sealed.split('.')
      const body = rest.join('.')
      const key = byId.get(keyId)
      if (version !== 'v1') throw new SealedTextError('What is sealed was sealed by another version of Gantry.')
      if (key === undefined) {
        throw new SealedTextError(`What is sealed needs the key ${keyId.slice(0, 12)}, which is not in the key file.`)
      }
      return unseal(key, body, context)
    },
  }
}

function seal(key: Key, plaintext: string, context: string): string {
  const nonce = randomBytes(nonceBytes)
  const encryption = createCipheriv(cipher, key.bytes, nonce, { authTagLength: tagBytes })
  encryption.setAAD(Buffer.from(context, 'utf8'))
  const sealed = Buffer.concat([
    nonce,
    encryption.update(plaintext, 'utf8'),
    encryption.final(),
    encryption.getAuthTag(),
  ])
  return `v1.${key.id}.${sealed.toString('base64url')}`
}

function unseal(key: Key, body: string, context: string): string {
  const bytes = Buffer.from(body, 'base64url')
  const broken = new SealedTextError(`Sealed text under the key ${key.id} was changed, or belongs to something else.`)
  // The decoder passes over what is no base64url: one sealed text would have as many forms as one likes.
  if (bytes.length < nonceBytes + tagBytes || bytes.toString('base64url') !== body) throw broken
  const decryption = createDecipheriv(cipher, key.bytes, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
  decryption.setAAD(Buffer.from(context, 'utf8'))
  decryption.setAuthTag(bytes.subarray(bytes.length - tagBytes))
  try {
    const middle = decryption.update(bytes.subarray(nonceBytes, bytes.length - tagBytes))
    return Buffer.concat([middle, decryption.final()]).toString('utf8')
  } catch {
    // What the cipher says tells nothing that helps; what it was given stays here.
    throw broken
  }
}
