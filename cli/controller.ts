/** Where the controller is, and how to sign for it: as the aws CLI finds both, or in the directory of `npm start`. */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { setDefaultCACertificates } from 'node:tls'
import { signRequest } from '../proto/sigv4.ts'
import type { Credentials } from '../proto/sigv4.ts'

/** Something that the person at the terminal has to know; no bug. */
export class CommandError extends Error {}

export interface Controller {
  readonly endpoint: string
  /** The parsed JSON of a good answer. Throws CommandError with the controller's own words for any other. */
  call(operation: string, input: object): Promise<unknown>
  get(path: string): Promise<unknown>
  /** A call of the operators' API. The parsed JSON of a good answer, undefined where it has none. */
  send(method: 'POST' | 'DELETE', path: string, body?: object): Promise<unknown>
  /** The body of a good answer, as it comes. */
  open(path: string): Promise<ReadableStream<Uint8Array>>
}

export interface Given {
  readonly endpointUrl: string | undefined
  readonly region: string | undefined
  readonly profile: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

const endpointDefault = 'http://127.0.0.1:51700'
const regionDefault = 'us-east-1'

/** Throws CommandError where no keys are found. */
export function openController(given: Given, env: Environment): Controller {
  const endpoint = (
    given.endpointUrl ??
    (env['AWS_ENDPOINT_URL_ECS'] || env['AWS_ENDPOINT_URL'] || endpointDefault)
  ).replace(/\/+$/, '')
  if (!URL.canParse(endpoint)) throw new CommandError(`${endpoint} is no URL: give one such as ${endpointDefault}.`)
  trustBundle(env['AWS_CA_BUNDLE'])
  const region = given.region ?? (env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || regionDefault)
  const credentials = findCredentials(given, env)
  const send = async (method: string, path: string, body?: string, extra: Record<string, string> = {}) => {
    const url = `${endpoint}${path}`
    const now = Date.now()
    const signed = { method, url, headers: extra, credentials, region, service: 'ecs', now }
    const headers = signRequest({ ...signed, ...(body !== undefined && { body }) })
    const answer = await fetch(url, { method, headers, ...(body !== undefined && { body }) }).catch(
      (error: unknown) => {
        throw new CommandError(`The controller at ${endpoint} can't be reached: ${causeOf(error)}. Is it running?`)
      },
    )
    if (!answer.ok) throw new CommandError(refusalOf(answer.status, await answer.text()))
    return answer
  }
  return {
    endpoint,
    async call(operation, input) {
      const answer = await send('POST', '/', JSON.stringify(input), {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': `AmazonEC2ContainerServiceV20141113.${operation}`,
      })
      return answer.json()
    },
    get: async (path) => (await send('GET', path)).json(),
    async send(method, path, body) {
      const text = await (await send(method, path, body && JSON.stringify(body))).text()
      return text === '' ? undefined : JSON.parse(text)
    },
    async open(path) {
      const { body } = await send('GET', path)
      if (body === null) throw new CommandError('The controller answered without a body.')
      return body
    },
  }
}

/** As for the aws CLI: the authorities of this file are trusted, which for the controller's own is its `ca.pem`. */
function trustBundle(path: string | undefined): void {
  if (path === undefined || path === '') return
  try {
    setDefaultCACertificates([readFileSync(path, 'utf8')])
  } catch (error) {
    throw new CommandError(`The authorities of AWS_CA_BUNDLE, ${path}, can't be read: ${causeOf(error)}`)
  }
}

function refusalOf(status: number, body: string): string {
  try {
    const { message, code, __type } = JSON.parse(body) as { message?: string; code?: string; __type?: string }
    if (message !== undefined) return `${code ?? __type ?? status}: ${message}`
  } catch {
    // Not the controller's own answer, such as a proxy's page.
  }
  return `The answer was ${status}: ${body.slice(0, 300)}`
}

function findCredentials({ profile }: Given, env: Environment): Credentials {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env
  if (profile === undefined && accessKeyId && secretAccessKey) {
    return { accessKeyId, secretAccessKey, sessionToken: env['AWS_SESSION_TOKEN'] || undefined }
  }
  const named = env['AWS_SHARED_CREDENTIALS_FILE']
  const started = [env['GANTRY_HOME'], join(process.cwd(), '.gantry'), join(import.meta.dirname, '..', '.gantry')]
    .filter((directory): directory is string => directory !== undefined && directory !== '')
    .map((directory) => join(resolve(directory), 'controller', 'root-credentials'))
  const wanted = profile ?? (env['AWS_PROFILE'] || 'default')
  const files = [...(named ? [named] : profile === undefined ? started : []), join(homedir(), '.aws', 'credentials')]
  for (const file of files) {
    const found = existsSync(file) ? profileIn(readFileSync(file, 'utf8'), wanted) : undefined
    if (found !== undefined) return found
  }
  throw new CommandError(
    `No keys were found for the profile ${wanted}. Set AWS_SHARED_CREDENTIALS_FILE to the controller's root-credentials ` +
      'file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run this where npm start was run.',
  )
}

/** Source: AWS documentation, "Configuration and credential file settings". */
function profileIn(text: string, wanted: string): Credentials | undefined {
  const values = new Map<string, string>()
  let profile = ''
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line)
    if (section !== null) profile = section[1] ?? ''
    const setting = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line)
    if (setting !== null && profile === wanted) values.set(setting[1] ?? '', setting[2] ?? '')
  }
  const accessKeyId = values.get('aws_access_key_id')
  const secretAccessKey = values.get('aws_secret_access_key')
  if (!accessKeyId || !secretAccessKey) return undefined
  return { accessKeyId, secretAccessKey, sessionToken: values.get('aws_session_token') }
}

function causeOf(error: unknown): string {
  const { cause } = error as { cause?: unknown }
  const told = cause instanceof Error ? cause : error
  return told instanceof Error ? told.message || told.name : String(told)
}
