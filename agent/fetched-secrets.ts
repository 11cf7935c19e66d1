/**
 * Fetches what a container needs before it is made, with the keys of its task's execution role, by the ordinary calls that
 * anybody would make: GetParameters, GetSecretValue, the controller's own for environment files. What was fetched is held
 * in memory until Docker has it.
 *
 * Source of the messages: AWS documentation, "Amazon ECS: resource initialization errors"; amazon-ecs-agent 1.105,
 * `agent/ssm`, `agent/asm`.
 */
import { mergedVariables, readEnvironmentFile } from './decide/environment-file.ts'
import { fetchedKey } from './decide/fetch-steps.ts'
import type { FetchedValues } from './decide/fetched-values.ts'
import {
  callKey,
  parameterFor,
  parametersCalls,
  registryLogin,
  secretCalls,
  secretReference,
  secretValue,
} from './decide/secret-references.ts'
import type { AnsweredParameter, SecretCall } from './decide/secret-references.ts'
import type { EngineSteps } from './decide/steps.ts'
import type { ControllerApi } from './controller-api.ts'
import { ApiCallError } from './ecs-api.ts'
import { EngineError } from './engine.ts'
import type { RoleCredentials, RoleKeys } from './role-credentials.ts'
import type { TurnLog } from './turn-options.ts'

type Request = EngineSteps['fetchForContainer']

export interface FetchedSecrets {
  /** Fails with an EngineError: `refused` is definite, `deadline` and `unreachable` may pass. */
  fetch(request: Request): Promise<void>
  valuesOf(taskArn: string, container: string): FetchedValues | undefined
  /** Docker has them. Until the container has started they are known by its id, to be kept out of what Docker says. */
  given(taskArn: string, container: string, dockerId: string): void
  givenTo(dockerId: string): FetchedValues | undefined
  started(dockerId: string): void
  /** The task has ended. */
  forgetTask(taskArn: string): void
  /** What is held, by `fetchedKey`; it changes as time goes on. */
  readonly held: ReadonlySet<string>
}

export interface FetchedSecretsOptions {
  readonly api: ControllerApi
  readonly roleCredentials: RoleCredentials
  readonly now: () => number
  readonly log: TurnLog
}

/** For where there is no controller to fetch from. */
export const noFetchedSecrets: FetchedSecrets = {
  fetch: async () => {
    throw new EngineError('refused', 'This agent fetches no secrets.')
  },
  valuesOf: () => undefined,
  given: () => undefined,
  givenTo: () => undefined,
  started: () => undefined,
  forgetTask: () => undefined,
  held: new Set(),
}

export function createFetchedSecrets(options: FetchedSecretsOptions): FetchedSecrets {
  /** By task, then by container. */
  const values = new Map<string, Map<string, FetchedValues>>()
  const held = new Set<string>()
  /** By Docker id. */
  const given = new Map<string, { readonly taskArn: string; readonly values: FetchedValues }>()
  /** On their way, with their tasks: what comes once its task has ended is let go. */
  const underway = new Map<object, string>()
  return {
    held,
    async fetch(request) {
      const { taskArn, container } = request
      let isWanted = true
      underway.set(request, taskArn)
      const fetched = await fetchAll(options, request).finally(() => (isWanted = underway.delete(request)))
      if (!isWanted) return
      values.set(taskArn, (values.get(taskArn) ?? new Map()).set(container, fetched))
      held.add(fetchedKey(taskArn, container))
    },
    valuesOf: (taskArn, container) => values.get(taskArn)?.get(container),
    given(taskArn, container, dockerId) {
      const had = values.get(taskArn)?.get(container)
      if (had !== undefined) given.set(dockerId, { taskArn, values: had })
      values.get(taskArn)?.delete(container)
      held.delete(fetchedKey(taskArn, container))
    },
    givenTo: (dockerId) => given.get(dockerId)?.values,
    started: (dockerId) => void given.delete(dockerId),
    forgetTask(taskArn) {
      for (const [request, of] of underway) if (of === taskArn) underway.delete(request)
      for (const container of values.get(taskArn)?.keys() ?? []) held.delete(fetchedKey(taskArn, container))
      values.delete(taskArn)
      for (const [dockerId, one] of given) if (one.taskArn === taskArn) given.delete(dockerId)
    },
  }
}

async function fetchAll(options: FetchedSecretsOptions, request: Request): Promise<FetchedValues> {
  const { secrets, environmentFiles, registrySecret } = request
  const keys = keysFor(options, request)
  const [parameters, secretTexts, files, login] = await Promise.all([
    fetchParameters(options, keys, request),
    fetchSecrets(options, keys, request),
    Promise.all(environmentFiles.map(async (arn) => fetchFile(options, keys, request, arn))),
    registrySecret === undefined ? undefined : fetchLogin(options, keys, registrySecret),
  ])
  const environment = new Map<string, string>()
  const logOptions = new Map<string, string>()
  for (const secret of secrets) {
    const value = valueFor(secret, parameters, secretTexts)
    if (value.includes('\0')) {
      // A runtime that refuses it says all of it.
      throw refusal(`the value of ${secret.name} (${secret.valueFrom}) holds a NUL character, which no variable can`)
    }
    const target = secret.target === 'LOG_DRIVER' ? logOptions : environment
    target.set(secret.name, value)
  }
  return { environment, logOptions, fileVariables: mergedVariables(files), registryLogin: login }
}

function keysFor({ roleCredentials, now }: FetchedSecretsOptions, { role }: Request): RoleKeys {
  if (role === undefined) {
    throw refusal(
      'unable to find execution role credentials. Name an executionRoleArn in the task definition, of a role that may ' +
        'read what the task needs',
    )
  }
  const keys = roleCredentials.keysOf(role.credentialsId, now())
  // They ended, or went, since it was decided: they are waited for, as before.
  if (keys === undefined) {
    throw new EngineError('unreachable', `There are no keys of the execution role ${role.roleArn} (any more).`)
  }
  return keys
}

async function fetchParameters(
  { api }: FetchedSecretsOptions,
  keys: RoleKeys,
  { secrets, container }: Request,
): Promise<readonly AnsweredParameter[]> {
  const found = await Promise.all(
    parametersCalls(secrets).map(async ({ names }) => {
      const input = { Names: names, WithDecryption: true }
      const { Parameters: all = [], InvalidParameters: invalid = [] } = (await api
        .call('ssm', 'GetParameters', input, keys.reveal())
        .catch((error: unknown) => {
          const doing = `unable to retrieve secrets from ssm: failed to get ${names.join(', ')}`
          throw explained(error, doing, names.join(', '), keys)
        })) as { Parameters?: readonly Record<string, string>[]; InvalidParameters?: readonly string[] }
      if (invalid.length > 0) {
        const asked = secrets.filter(({ valueFrom }) => invalid.includes(valueFrom)).map(({ name }) => name)
        throw refusal(
          `unable to retrieve secrets from ssm: invalid parameters: ${invalid.join(', ')}. Put them with PutParameter, or ` +
            `correct valueFrom of ${asked.join(', ')} in container ${container}`,
        )
      }
      return all.map(({ Name: name = '', ARN: arn = '', Selector: selector = '', Value: value = '' }) => {
        return { name, arn, selector, value }
      })
    }),
  )
  return found.flat()
}

async function fetchSecrets(
  options: FetchedSecretsOptions,
  keys: RoleKeys,
  { secrets }: Request,
): Promise<ReadonlyMap<string, string>> {
  const found = await Promise.all(
    secretCalls(secrets).map(async (call) => [callKey(call), await fetchSecret(options, keys, call)] as const),
  )
  return new Map(found)
}

async function fetchSecret({ api }: FetchedSecretsOptions, keys: RoleKeys, call: SecretCall): Promise<string> {
  const { secretId, versionId, versionStage } = call
  const input = {
    SecretId: secretId,
    ...(versionId !== undefined && { VersionId: versionId }),
    ...(versionStage !== undefined && { VersionStage: versionStage }),
  }
  const answer = await api.call('secretsmanager', 'GetSecretValue', input, keys.reveal()).catch((error: unknown) => {
    const what = `unable to retrieve secret from asm: failed to fetch secret ${secretId} from secrets manager`
    throw explained(error, what, secretId, keys)
  })
  const text = answer['SecretString']
  if (typeof text === 'string') return text
  throw refusal(
    `unable to retrieve secret from asm: secret ${secretId} holds bytes and no text. Put it as SecretString`,
  )
}

function valueFor(
  secret: Request['secrets'][number],
  parameters: readonly AnsweredParameter[],
  secretTexts: ReadonlyMap<string, string>,
): string {
  const { provider, valueFrom, region, name } = secret
  if (provider === 'ssm') {
    const value = parameterFor(parameters, valueFrom)
    if (value !== undefined) return value
    throw refusal(`unable to retrieve secrets from ssm: invalid parameters: ${valueFrom} (for ${name})`)
  }
  const text = secretTexts.get(callKey({ region, ...secretReference(valueFrom).call })) ?? ''
  const read = secretValue(text, secret)
  if ('value' in read) return read.value
  throw refusal(`unable to retrieve secret from asm: ${read.problem}. Correct valueFrom, or the secret`)
}

async function fetchLogin(options: FetchedSecretsOptions, keys: RoleKeys, valueFrom: string) {
  const { call } = secretReference(valueFrom)
  const text = await fetchSecret(options, keys, { region: '', ...call })
  const login = registryLogin(text, call.secretId)
  if ('problem' in login) throw refusal(`unable to get registry auth from asm: ${login.problem}`)
  return login
}

async function fetchFile(
  { api, log }: FetchedSecretsOptions,
  keys: RoleKeys,
  { container, taskArn }: Request,
  arn: string,
): Promise<ReadonlyMap<string, string>> {
  const content = await api.environmentFile(arn, keys.reveal()).catch((error: unknown) => {
    throw explained(error, `failed to download env file ${arn}`, undefined, keys)
  })
  const read = readEnvironmentFile(content, arn)
  if ('problem' in read) {
    throw new EngineError('refused', `ResourceInitializationError: failed to read env files: ${read.problem}.`)
  }
  if (read.withoutEffect.length > 0) {
    const lines = read.withoutEffect.slice(0, 20).join(', ')
    log.warn({ task: taskArn, container, file: arn }, `Lines ${lines} are not NAME=VALUE and have no effect.`)
  }
  return read.variables
}

const secretsPrefix =
  'ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: '

function refusal(why: string): EngineError {
  return new EngineError('refused', `${secretsPrefix}${why}.`)
}

/**
 * What may pass is told as such: no answer, a controller that can't now, too many calls. `secret` is what was asked for;
 * absent for a file, of which the controller says itself what to do.
 */
function explained(error: unknown, doing: string, secret: string | undefined, keys: RoleKeys): unknown {
  if (!(error instanceof ApiCallError)) return error
  const { code, status = 0, message } = error
  const said = `${secret === undefined ? 'ResourceInitializationError: ' : secretsPrefix}${doing}: ${message}`
  if (code === undefined) return new EngineError('unreachable', said, { cause: error })
  const isClock = /Signature (?:expired|not yet current)/.test(message)
  // Keys that ended early, as with a role that was made anew or whose sessions were revoked: others are on their way.
  const isOfKeys = /ExpiredToken|UnrecognizedClient|InvalidClientToken/.test(code)
  const isPassing =
    status >= 500 || status === 429 || isClock || isOfKeys || /Throttl|TooManyRequests|InternalS/.test(code)
  if (isPassing) return new EngineError('deadline', said, { cause: error })
  return new EngineError('refused', `${ended(said)}${remedyFor(error, secret, keys)}`, { cause: error })
}

function remedyFor({ code = '', message }: ApiCallError, secret: string | undefined, { roleArn }: RoleKeys): string {
  if (/AccessDenied/.test(code)) return ` Allow it in a policy of the execution role ${roleArn}.`
  if (secret === undefined) return ''
  if (message.includes('marked for deletion')) return ' Restore it (RestoreSecret), or correct the task definition.'
  if (!code.includes('ResourceNotFound')) return ''
  // The secret is there, and the version or the stage that valueFrom names is not.
  if (message.includes('secret value for')) return " Correct the version's stage or id in valueFrom."
  return ` Make ${secret}, or correct the task definition.`
}

function ended(text: string): string {
  return /[.!?]$/.test(text.trimEnd()) ? text.trimEnd() : `${text.trimEnd()}.`
}
