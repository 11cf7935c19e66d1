/**
 * Which container instance this directory belongs to. It is a file apart from the journal, so that an agent whose
 * journal is lost is still the same instance, and adopts the containers that carry its ARN.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeDurably } from './durable-file.ts'

export interface Identity {
  /** As ECS_CLUSTER named it: name or ARN. */
  readonly cluster: string
  /** Undefined until the first registration was answered. */
  readonly containerInstanceArn?: string | undefined
  /** Kept from before the first call, so that a registration whose answer was lost is not made twice. */
  readonly clientToken: string
}

const fileName = 'identity.json'

/** undefined where the directory has none yet; an Error where the file says something else than an identity. */
export function readIdentity(directory: string): Identity | undefined {
  const path = join(directory, fileName)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const identity = parsed(text)
  if (identity === undefined) {
    throw new Error(
      `${path} is damaged, so this agent does not know which container instance it is. Restore it from a backup, or ` +
        'remove it: the host then registers as a new instance, and the old one should be deregistered.',
    )
  }
  return identity
}

/** Durable when it returns, and never half-written. */
export function writeIdentity(directory: string, identity: Identity): void {
  writeDurably(join(directory, fileName), `${JSON.stringify(identity, undefined, 2)}\n`)
}

function parsed(text: string): Identity | undefined {
  try {
    const { cluster, containerInstanceArn, clientToken } = JSON.parse(text) as Record<string, unknown>
    if (typeof cluster !== 'string' || typeof clientToken !== 'string') return undefined
    if (containerInstanceArn === undefined) return { cluster, clientToken }
    return typeof containerInstanceArn === 'string' ? { cluster, containerInstanceArn, clientToken } : undefined
  } catch {
    return undefined
  }
}
