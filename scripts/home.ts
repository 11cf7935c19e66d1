/** Where `npm start` keeps what it makes, and on which addresses its programs answer. */
import { join, resolve } from 'node:path'
import { ConfigError, readConfig, settings } from '../controller/config.ts'
import { ScriptError } from './report.ts'

export const repository = resolve(import.meta.dirname, '..')

/** One directory holds it all, so that one deletion (with the engine stopped) removes it all. */
export interface Home {
  readonly directory: string
  readonly controller: string
  readonly agent: string
  readonly engine: string
  readonly log: string
  /** The curl configuration that signs an operator's calls: 0600, for it holds the root key. */
  readonly curlConfig: string
  /** What `stop` has to know of the last start: processes and engine. */
  readonly state: string
}

export function readHome(): Home {
  const directory = resolve(process.env['GANTRY_HOME'] || join(repository, '.gantry'))
  return {
    directory,
    controller: join(directory, 'controller'),
    agent: join(directory, 'agent'),
    engine: join(directory, 'engine'),
    log: join(directory, 'log'),
    curlConfig: join(directory, 'curl.conf'),
    state: join(directory, 'state.json'),
  }
}

export interface Addresses {
  readonly listenHost: string
  readonly port: number
  /** The controller as this machine reaches it. */
  readonly endpoint: string
  /** Where other hosts reach it, by TLS; undefined where that is switched off. */
  readonly tls: { readonly listenHost: string; readonly port: number } | undefined
  /** The CA that hosts pin: the controller's own, or the operator's. */
  readonly caFile: (home: Home) => string
  readonly region: string
  readonly introspectionPort: number
}

/** The controller's own table judges what is set. Throws ScriptError for what `npm start` can't work with. */
export function readAddresses(): Addresses {
  try {
    const { config } = readConfig(controllerEnvironment())
    const { host, port } = config.listen
    for (const [name, address] of Object.entries({
      GANTRY_LISTEN: config.listen,
      GANTRY_TLS_LISTEN: config.tlsListen,
    })) {
      if (address?.port === 0)
        throw new ScriptError(`${name} with port 0 would be a new address at each start: name a port.`)
    }
    const isAny = host === '0.0.0.0' || host === '::'
    const reach = isAny ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host
    const introspectionPort = readPort('GANTRY_INTROSPECTION_PORT', 51678)
    return {
      listenHost: host,
      port,
      endpoint: `http://${reach}:${port}`,
      tls: config.tlsListen && { listenHost: config.tlsListen.host, port: config.tlsListen.port },
      caFile: (home) => config.tlsCaFile ?? join(home.controller, 'tls', 'ca.pem'),
      region: config.region,
      introspectionPort,
    }
  } catch (error) {
    throw error instanceof ConfigError ? new ScriptError(error.message) : error
  }
}

function readPort(variable: string, fallback: number): number {
  const text = process.env[variable] || String(fallback)
  const port = Number(text)
  if (/^\d+$/.test(text) && port >= 1 && port <= 65_535) return port
  throw new ScriptError(`${variable}=${JSON.stringify(text)} can't be used: it takes a port from 1 to 65535.`)
}

/** The operator's settings for the controller: those of its table alone, since it warns of any other. */
export function controllerEnvironment(): Record<string, string | undefined> {
  const names = Object.values(settings).map((setting) => setting.variable)
  return Object.fromEntries(names.map((name) => [name, process.env[name]]))
}
