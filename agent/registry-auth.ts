/** Which of the configured credentials belong to a registry. */
import type { RegistryAuth } from './engine.ts'

const dockerHubNames = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'])

/**
 * `registryHost` is the host, with its port, of an image's name; Docker Hub goes by several. Entries are written as
 * hosts or as URLs such as `https://index.docker.io/v1/`.
 */
export function registryAuthFor(auths: readonly RegistryAuth[], registryHost: string): RegistryAuth | undefined {
  return auths.find(({ serveraddress }) => canonical(hostOf(serveraddress)) === canonical(registryHost))
}

function hostOf(address: string): string {
  return address.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
}

function canonical(host: string): string {
  return dockerHubNames.has(host) || host === '' ? 'docker.io' : host.toLowerCase()
}
