/**
 * ECS's rules on what a task needs before it can start and is fetched by its execution role: secrets, environment files,
 * the login of a private registry; and on how roles are named. Each refusal is a ClientException.
 * Source: the ECS API reference (Secret, EnvironmentFile, RepositoryCredentials), the developer guide ("Pass sensitive
 * data", "Pass environment variables"), and the service's answers as they stand in reports.
 */
import { clientError } from '../../proto/errors.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'

const environmentFilesMax = 10
/** The longest ARN that S3 has: a bucket of 63 characters and a key of 1024. */
const fileArnLengthMax = 1200

export function checkFetched(container: ContainerDefinition): void {
  const names = new Set((container.environment ?? []).map(({ name = '' }) => name))
  checkSecrets(container, container.secrets, 'secrets', names)
  checkLogSecrets(container)
  const problem = environmentFilesProblem(container.environmentFiles)
  if (problem !== undefined) throw invalid(container, 'environmentFiles', problem)
  checkRepositoryCredentials(container)
}

/** Whose rights fetch: without a role there is nobody to ask. */
export function checkRoles(definition: TaskDefinition, containers: readonly ContainerDefinition[]): void {
  for (const role of [definition.taskRoleArn, definition.executionRoleArn]) {
    if (role !== undefined && !isRole(role)) throw clientError(`Role is not valid: '${role.slice(0, 255)}'.`)
  }
  if (definition.executionRoleArn !== undefined) return
  for (const { secrets, logConfiguration, repositoryCredentials, environmentFiles } of containers) {
    if ((secrets ?? []).length > 0 || (logConfiguration?.secretOptions ?? []).length > 0) {
      throw clientError(
        "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
      )
    }
    if (repositoryCredentials !== undefined) {
      throw clientError(
        'Private repository authentication requires that the task definition specify a value for executionRoleArn.',
      )
    }
    if ((environmentFiles ?? []).length > 0) {
      throw clientError(
        "When you are specifying container environment files, you must also specify a value for 'executionRoleArn'.",
      )
    }
  }
}

/** A role's ARN, or its bare name. */
export function isRole(text: string): boolean {
  return /^arn:aws[a-z-]*:iam::\d{12}:role\/\S+$/.test(text) || /^[\w+=,.@-]{1,64}$/.test(text)
}

/** What is wrong with a list of environment files, in a task definition or an override; undefined where nothing is. */
export function environmentFilesProblem(files: ContainerDefinition['environmentFiles']): string | undefined {
  if ((files ?? []).length > environmentFilesMax) return `It takes at most ${environmentFilesMax} files.`
  for (const { value = '', type } of files ?? []) {
    if (type !== 's3') return `The type of a file is s3, and is '${type ?? ''}'.`
    // A store that resolves such a path would answer another object than the one that a policy was asked about.
    if (value.startsWith('arn:') && /[/](?:\.{0,2})[/]|[/]\.{1,2}$/.test(value.slice(value.indexOf('/')))) {
      return `The name of an S3 object has no empty parts here, and none that is '.' or '..': '${value.slice(0, 255)}'.`
    }
    const isObject = /^arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\/\P{Cc}*\.env$/u.test(value)
    if (!isObject || value.length > fileArnLengthMax) {
      return (
        "Each value is the ARN of an S3 object whose name ends in '.env', such as arn:aws:s3:::bucket/web.env, and one " +
        `is '${value.slice(0, 255)}'.`
      )
    }
  }
  return undefined
}

function invalid(container: ContainerDefinition, member: string, rule: string): Error {
  return clientError(`Invalid '${member}' setting for container '${container.name ?? ''}'. ${rule}`)
}

/** Secrets become variables of the same environment, so no name can stand for both. */
function checkSecrets(
  container: ContainerDefinition,
  secrets: ContainerDefinition['secrets'],
  member: string,
  names: Set<string>,
): void {
  for (const { name, valueFrom } of secrets ?? []) {
    if (name === undefined || name === '') throw invalid(container, member, 'A name should not be null or empty.')
    if (/[=\0]/.test(name)) {
      throw invalid(container, member, `The name '${name}' holds a character that no variable can have.`)
    }
    if (valueFrom === undefined || valueFrom === '') {
      throw invalid(container, member, `The valueFrom of '${name}' should not be null or empty.`)
    }
    const problem = valueFromProblem(valueFrom)
    if (problem !== undefined) throw invalid(container, member, `The valueFrom of '${name}' ${problem}`)
    if (names.has(name)) {
      throw clientError(
        'The secret name must be unique and not shared with any new or existing environment variables set on the ' +
          `container, such as '${name}'.`,
      )
    }
    names.add(name)
  }
}

/** Options of a log driver from secrets: one that stands in `options` as well would have two values. */
function checkLogSecrets(container: ContainerDefinition): void {
  const { options, secretOptions } = container.logConfiguration ?? {}
  checkSecrets(container, secretOptions, 'logConfiguration.secretOptions', new Set())
  const both = (secretOptions ?? []).find(({ name = '' }) => name in (options ?? {}))
  if (both === undefined) return
  throw invalid(
    container,
    'logConfiguration.secretOptions',
    `Option '${both.name ?? ''}' is given in options as well. Leave one of them out.`,
  )
}

const secretPattern = /^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]+((?::[^:]*){3})?$/
const parameterPattern = /^arn:aws[a-z-]*:ssm:[a-z0-9-]+:\d{12}:parameter\/[\w./-]+$/
const parameterNamePattern = /^[\w./-]{1,1011}$/

/**
 * `name`, `arn:aws:ssm:...:parameter/name`, or `arn:aws:secretsmanager:...:secret:name-AbCdEf`, the last alone or with
 * `:json-key:version-stage:version-id` behind it, each of which may be empty.
 */
function valueFromProblem(valueFrom: string): string | undefined {
  const shown = `'${valueFrom.slice(0, 255)}'`
  if (/^arn:[^:]*:secretsmanager:/.test(valueFrom)) {
    const parts = secretPattern.exec(valueFrom)
    if (parts === null) {
      return (
        `is not the ARN of a secret: ${shown}. It is arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, alone or with ` +
        ':JSON-KEY:VERSION-STAGE:VERSION-ID behind it (all three colons, each part may be empty).'
      )
    }
    const [, , stage, versionId] = parts[1]?.split(':') ?? []
    if (stage && versionId) {
      return `names a version stage and a version id: ${shown}. Secrets Manager takes one of them.`
    }
    return undefined
  }
  if (valueFrom.startsWith('arn:')) {
    return parameterPattern.test(valueFrom)
      ? undefined
      : `is neither a secret of Secrets Manager nor a parameter of Parameter Store: ${shown}.`
  }
  return parameterNamePattern.test(valueFrom)
    ? undefined
    : `is no name of a parameter: ${shown}. It takes letters, digits and _ . - /, or a whole ARN.`
}

function checkRepositoryCredentials({ name = '', repositoryCredentials }: ContainerDefinition): void {
  if (repositoryCredentials === undefined) return
  const { credentialsParameter = '' } = repositoryCredentials
  const isSecret = /^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]+$/.test(credentialsParameter)
  if (isSecret || /^[\w/+=.@-]{1,255}$/.test(credentialsParameter)) return
  throw clientError(
    `The repository credentials parameter specified for container '${name}' is invalid. Parameter names can include up ` +
      'to 255 (uppercase and lowercase), numbers, hyphens, and underscores are allowed. Spaces are not allowed.',
  )
}
