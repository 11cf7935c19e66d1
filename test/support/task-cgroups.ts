/**
 * The cgroups that agents keep around tasks, on the kernel that all engines of a machine share. An agent removes them with
 * its tasks; one that a test killed does not, and its test takes them back.
 */
import { readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { labels } from '../../agent/engine.ts'
import { askEngine } from './engine.ts'

const root = '/sys/fs/cgroup'

/** Ids of the tasks that have containers on this engine, with this label where one is given (`name=value`). */
export async function taskIdsOn(host: string, label: string = labels.taskArn): Promise<readonly string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
  const { text } = await askEngine('GET', `/containers/json?all=1&filters=${filters}`, undefined, host)
  const listed = JSON.parse(text) as readonly { readonly Labels: Readonly<Record<string, string>> }[]
  const arns = listed.map(({ Labels }) => Labels[labels.taskArn] ?? '')
  return [...new Set(arns.map((arn) => arn.slice(arn.lastIndexOf('/') + 1)))].filter((id) => /^[0-9a-f]{32}$/.test(id))
}

/** To be called when their containers are gone: a cgroup that still holds any stays. */
export function removeTaskCgroups(taskIds: readonly string[]): void {
  // In version 1 each tree has its own; in version 2 there is one.
  const parents = ['.', ...entriesOf(root)].map((tree) => join(root, tree, 'ecs'))
  for (const parent of parents) {
    for (const id of taskIds) removeEmpty(join(parent, id))
  }
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Not there in this tree, or in use.
  }
}

function entriesOf(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
