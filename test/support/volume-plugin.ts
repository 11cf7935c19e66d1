/**
 * A Docker volume plugin of a test's own: it speaks Docker's plugin API on a socket in the engine's plugin directory and
 * mounts a FUSE file system for each volume that is used.
 */
import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { type FileServer, type Mounted, mountFiles } from './file-server.ts'

interface PluginVolume {
  readonly options: Readonly<Record<string, string>>
  mounted: Mounted | undefined
  users: number
}

export interface VolumePlugin {
  readonly name: string
  readonly volumes: ReadonlyMap<string, PluginVolume>
  close(): Promise<void>
}

type Call = (request: { readonly Name: string; readonly Opts?: Readonly<Record<string, string>> }) => Promise<object>

/**
 * The option `below` of a volume is the directory of the server that it mounts. `places.sockets` is the plugin directory
 * of an engine of the test's own: any other would wait for this plugin for as long as it lives. It mounts in
 * `places.mounts`.
 */
export async function startVolumePlugin(
  name: string,
  places: { readonly sockets: string; readonly mounts: string },
  server: FileServer,
): Promise<VolumePlugin> {
  const volumes = new Map<string, PluginVolume>()
  // One call after the other: two mounts of a volume at once would be two file systems.
  let last: Promise<unknown> = Promise.resolve()
  const present = (volume: string): PluginVolume => {
    const found = volumes.get(volume)
    if (found === undefined) throw new Error(`no such volume: ${volume}`)
    return found
  }
  const shown = (volume: string) => ({ Name: volume, Mountpoint: present(volume).mounted?.path ?? '' })
  const calls: Readonly<Record<string, Call>> = {
    '/Plugin.Activate': async () => ({ Implements: ['VolumeDriver'] }),
    '/VolumeDriver.Capabilities': async () => ({ Capabilities: { Scope: 'local' } }),
    '/VolumeDriver.Create': async ({ Name, Opts }) => {
      if (!volumes.has(Name)) volumes.set(Name, { options: Opts ?? {}, mounted: undefined, users: 0 })
      return {}
    },
    '/VolumeDriver.Remove': async ({ Name }) => {
      volumes.delete(Name)
      return {}
    },
    '/VolumeDriver.Mount': async ({ Name }) => {
      const volume = present(Name)
      volume.mounted ??= await mountFiles(server, join(places.mounts, Name), volume.options['below'] ?? '')
      volume.users += 1
      return { Mountpoint: volume.mounted.path }
    },
    '/VolumeDriver.Unmount': async ({ Name }) => {
      const volume = present(Name)
      volume.users -= 1
      if (volume.users <= 0) {
        volume.mounted?.unmount()
        volume.mounted = undefined
      }
      return {}
    },
    '/VolumeDriver.Path': async ({ Name }) => ({ Mountpoint: shown(Name).Mountpoint }),
    '/VolumeDriver.Get': async ({ Name }) => ({ Volume: shown(Name) }),
    '/VolumeDriver.List': async () => ({ Volumes: [...volumes.keys()].map(shown) }),
  }
  const api = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const call = calls[request.url ?? ''] ?? (async () => ({ Err: `no such call: ${request.url}` }))
      const given = Buffer.concat(chunks).toString()
      last = last
        .then(async () => call(given === '' ? { Name: '' } : (JSON.parse(given) as Parameters<Call>[0])))
        .catch((error: unknown) => ({ Err: String(error) }))
        .then((answer) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer)))
        .catch(() => undefined)
    })
  })
  const socket = join(places.sockets, `${name}.sock`)
  rmSync(socket, { force: true })
  await new Promise<void>((resolve) => void api.listen(socket, resolve))
  return {
    name,
    volumes,
    async close() {
      for (const { mounted } of volumes.values()) mounted?.unmount()
      await new Promise((resolve) => {
        api.close(resolve)
        api.closeAllConnections()
      })
      rmSync(socket, { force: true })
    },
  }
}
