/** Which shared file systems this host's kernel can mount, as attributes: tasks with others are not placed here. */
import { readFile } from 'node:fs/promises'
import { release } from 'node:os'

const kinds = { nfs: ['nfs', 'nfs4', 'nfsv4'], cifs: ['cifs', 'smb3'] } as const

export async function fileSystemAttributes(): Promise<readonly string[]> {
  const lists = ['modules.dep', 'modules.builtin'].map((name) => `/lib/modules/${release()}/${name}`)
  // A service may be kept from the modules, and a container has none; what the machine's first process sees is there then.
  const paths = [...lists, ...lists.map((path) => `/proc/1/root${path}`)]
  const [known, ...modules] = await Promise.all(
    ['/proc/filesystems', ...paths].map(async (path) => readFile(path, 'utf8').catch(() => '')),
  )
  return [
    'ecs.capability.efs',
    'ecs.capability.efsAuth',
    'gantry.capability.file-system',
    ...mountableKinds(known ?? '', modules.join('\n')).map((kind) => `gantry.capability.file-system.${kind}`),
  ]
}

/** By what the kernel has now (`/proc/filesystems`), and by the modules that it would load at the first mount. */
export function mountableKinds(known: string, modules: string): readonly (keyof typeof kinds)[] {
  const names = new Set(known.split('\n').map((line) => line.split('\t').at(-1)))
  return (['nfs', 'cifs'] as const).filter(
    (kind) =>
      kinds[kind].some((name) => names.has(name)) || new RegExp(`^\\S*/${kind}\\.ko[.\\w]*(?::|$)`, 'm').test(modules),
  )
}
