/**
 * What a container's `secrets` and `secretOptions` ask for, as calls to Parameter Store and Secrets Manager, and how their
 * answers become values.
 *
 * Source: amazon-ecs-agent 1.105, `agent/taskresource/ssmsecret`, `agent/taskresource/asmsecret`, `agent/asm`; AWS
 * documentation, "Pass Secrets Manager secrets through Amazon ECS environment variables".
 */
import type { PayloadSecret } from '../../proto/acs.ts'

/** Source: AWS Systems Manager API, GetParameters. */
const namesMax = 10

/** One GetParameters. */
export interface ParametersCall {
  readonly region: string
  readonly names: readonly string[]
}

/** One GetSecretValue, which may serve several of the container's secrets. */
export interface SecretCall {
  readonly region: string
  readonly secretId: string
  readonly versionStage?: string | undefined
  readonly versionId?: string | undefined
}

export function parametersCalls(secrets: readonly PayloadSecret[]): readonly ParametersCall[] {
  const byRegion = new Map<string, Set<string>>()
  for (const { provider, region, valueFrom } of secrets) {
    if (provider === 'ssm') byRegion.set(region, (byRegion.get(region) ?? new Set()).add(valueFrom))
  }
  return [...byRegion].flatMap(([region, names]) => {
    const all = [...names]
    const batches = Array.from({ length: Math.ceil(all.length / namesMax) }, (_, batch) => batch * namesMax)
    return batches.map((start) => ({ region, names: all.slice(start, start + namesMax) }))
  })
}

export function secretCalls(secrets: readonly PayloadSecret[]): readonly SecretCall[] {
  const calls = secrets
    .filter(({ provider }) => provider === 'asm')
    .map((secret) => ({ region: secret.region, ...secretReference(secret.valueFrom).call }))
  return [...new Map(calls.map((call) => [callKey(call), call])).values()]
}

/** What a secret of Secrets Manager is known by among the answers. */
export function callKey({ region, secretId, versionStage = '', versionId = '' }: SecretCall): string {
  return [region, secretId, versionStage, versionId].join('\n')
}

/** `arn:aws:secretsmanager:region:account:secret:name:json-key:version-stage:version-id`, the last three where given. */
export function secretReference(valueFrom: string): {
  readonly call: Omit<SecretCall, 'region'>
  readonly jsonKey: string | undefined
} {
  if (!valueFrom.startsWith('arn:')) return { call: { secretId: valueFrom }, jsonKey: undefined }
  const parts = valueFrom.split(':')
  const [jsonKey = '', versionStage = '', versionId = ''] = parts.slice(7)
  return {
    call: {
      secretId: parts.slice(0, 7).join(':'),
      ...(versionStage !== '' && { versionStage }),
      ...(versionId !== '' && { versionId }),
    },
    jsonKey: jsonKey === '' ? undefined : jsonKey,
  }
}

export interface AnsweredParameter {
  /** Without the version or the label that was asked for. */
  readonly name: string
  readonly arn: string
  /** `:version` or `:label`; empty where neither was asked for. */
  readonly selector: string
  readonly value: string
}

/** The answer to what was asked for as `valueFrom`: a name or an ARN, either with a version or a label. */
export function parameterFor(answers: readonly AnsweredParameter[], valueFrom: string): string | undefined {
  return answers.find(({ name, arn, selector }) => [name, arn].some((one) => `${one}${selector}` === valueFrom))?.value
}

/** The value that one of the container's secrets is, or why it can't be had, without a word of the value. */
export function secretValue(
  text: string,
  { valueFrom, name }: Pick<PayloadSecret, 'valueFrom' | 'name'>,
): { readonly value: string } | { readonly problem: string } {
  const { jsonKey, call } = secretReference(valueFrom)
  if (jsonKey === undefined) return { value: text }
  const members = membersOf(text)
  if (members === undefined) {
    return { problem: `secret ${call.secretId} is no JSON object, and ${name} asks for its json key ${jsonKey}` }
  }
  const value = Object.hasOwn(members, jsonKey) ? members[jsonKey] : undefined
  if (value === undefined) {
    return {
      problem: `retrieved secret from Secrets Manager did not contain json key ${jsonKey} (secret ${call.secretId}, for ${name})`,
    }
  }
  return { value: typeof value === 'string' ? value : JSON.stringify(value) }
}

/** User and password for a registry, as `repositoryCredentials` has them. */
export function registryLogin(
  text: string,
  secretId: string,
): { readonly username: string; readonly password: string } | { readonly problem: string } {
  const { username, password } = membersOf(text) ?? {}
  const isWhole = typeof username === 'string' && typeof password === 'string' && username !== '' && password !== ''
  if (isWhole) return { username, password }
  return { problem: `secret ${secretId} is not of the form {"username": "...", "password": "..."}` }
}

interface ExactJson {
  parse(text: string, revive: (name: string, value: unknown, context: { readonly source?: string }) => unknown): unknown
  rawJSON(text: string): object
}

/** What the types of TypeScript do not say (yet) of it. */
const exactJson = JSON as unknown as ExactJson

/** A number stays as it is written: one of twenty digits would come out as another. */
function exactNumber(_name: string, value: unknown, { source }: { readonly source?: string }): unknown {
  return typeof value === 'number' && source !== undefined ? exactJson.rawJSON(source) : value
}

function membersOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = exactJson.parse(text, exactNumber)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Readonly<Record<string, unknown>>) : undefined
  } catch {
    return undefined
  }
}
