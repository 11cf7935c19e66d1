/** The real source of ids and randomness for an agent's decisions. */
import { randomBytes, randomUUID } from 'node:crypto'
import type { World } from '../proto/world.ts'

/** Region and account are the controller's own, and stand in the ARN that it gave. */
export function worldOf(containerInstanceArn: string): World {
  const [, , , region = '', account = ''] = containerInstanceArn.split(':')
  return {
    region,
    account,
    random: Math.random,
    hex: (digits: number) =>
      randomBytes(Math.ceil(digits / 2))
        .toString('hex')
        .slice(0, digits),
    uuid: (): string => randomUUID(),
  }
}
