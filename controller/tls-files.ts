/** Files of keys and certificates: written whole or not at all, and read only where nobody else could have read the keys. */
import { open, readFile, rename, stat } from 'node:fs/promises'
import { messageOf, TlsError } from './tls-certificate.ts'

/** Of keys; others on the machine may do nothing with them. */
const privateMode = 0o600
/** Of the authority's certificate, which everybody may have. */
const publicMode = 0o644

/** What others must not be able to do: nothing for our own keys. */
const forbiddenModes = {
  own: 0o077,
  // An operator's key is often readable by a group of its own, as Debian's ssl-cert is.
  given: 0o037,
} as const

/** Undefined where there is no such file. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new TlsError(`${path} can't be read: ${messageOf(error)}.`, { cause: error })
  }
}

export async function readThere(path: string, variable: string): Promise<string> {
  const text = await readIfThere(path)
  if (text === undefined) throw new TlsError(`${path}, which ${variable} names, does not exist.`)
  return text
}

/** Throws TlsError for a file with a key that others may read or change. */
export async function requirePrivate(path: string, whose: keyof typeof forbiddenModes): Promise<void> {
  const { mode } = await stat(path)
  if ((mode & forbiddenModes[whose]) === 0) return
  const shown = (mode & 0o777).toString(8).padStart(4, '0')
  const remedy =
    whose === 'own'
      ? 'delete the file, so that a new key is made, if someone may have read it'
      : 'take a new key if someone may have read it'
  throw new TlsError(
    `${path} has mode ${shown}: others on this machine can read or change the key. Run: chmod 600 ${path} (and ${remedy}).`,
  )
}

export async function writePrivate(path: string, text: string): Promise<void> {
  await writeWhole(path, text, privateMode)
}

export async function writePublic(path: string, text: string): Promise<void> {
  await writeWhole(path, text, publicMode)
}

/** Written beside and renamed, so that a kill between the two leaves either no file or a whole one. */
async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const draft = `${path}.new`
  const file = await open(draft, 'w', mode)
  try {
    await file.chmod(mode)
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
}
