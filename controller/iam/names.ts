/**
 * What IAM takes as names, paths, descriptions and sizes, refused in IAM's words.
 * Source: the IAM API reference (patterns and lengths of each parameter) and "IAM and AWS STS quotas".
 */
import { ApiError } from '../../proto/errors.ts'

const namePattern = /^[\w+=,.@-]+$/
const pathPattern = /^(\/|\/[\u0021-\u007E]+\/)$/
const pathLengthMax = 512
const descriptionPattern = /^[\t\n\r\u0020-\u007E\u00A1-\u00FF]*$/
const descriptionLengthMax = 1000

export const nameLengthMax = {
  userName: 64,
  roleName: 64,
  policyName: 128,
  instanceProfileName: 128,
} as const

/** Of one account. */
export const accountQuotas = {
  UsersQuota: 5000,
  RolesQuota: 1000,
  PoliciesQuota: 1500,
  InstanceProfilesQuota: 1000,
  AccessKeysPerUserQuota: 2,
  AttachedPoliciesPerUserQuota: 10,
  AttachedPoliciesPerRoleQuota: 10,
  VersionsPerPolicyQuota: 5,
  UserPolicySizeQuota: 2048,
  RolePolicySizeQuota: 10_240,
  PolicySizeQuota: 6144,
  AssumeRolePolicySizeQuota: 2048,
} as const

/** The paths of service-linked roles and of what AWS keeps for itself. */
const reservedPaths = /^\/aws-(?:service-role|reserved)\//

export function validationError(parameter: string, value: unknown, constraint: string): ApiError {
  const shown = value === undefined || value === null ? 'Value null' : 'Value'
  return new ApiError(
    'ValidationError',
    `1 validation error detected: ${shown} at '${parameter}' failed to satisfy constraint: ${constraint}`,
  )
}

export function noSuchEntity(message: string): ApiError {
  return new ApiError('NoSuchEntity', message)
}

export function quotaExceeded(quota: string, limit: number): ApiError {
  return new ApiError('LimitExceeded', `Cannot exceed quota for ${quota}: ${limit}`)
}

/** The text of a member that must be there. */
export function required(parameter: string, value: string | undefined): string {
  if (value === undefined) throw validationError(parameter, undefined, 'Member must not be null')
  return value
}

/** A name to be given: `parameter` says which, and so how long it may be. */
export function readName(parameter: keyof typeof nameLengthMax, value: string | undefined): string {
  const name = required(parameter, value)
  checkLength(parameter, name, 1, nameLengthMax[parameter])
  if (!namePattern.test(name)) throw patternError(parameter, '[\\w+=,.@-]+')
  return name
}

/** `/` where none is given. */
export function readPath(value: string | undefined): string {
  const path = value ?? '/'
  checkLength('path', path, 1, pathLengthMax)
  if (!pathPattern.test(path)) throw patternError('path', '(\\u002F)|(\\u002F[\\u0021-\\u007E]+\\u002F)')
  if (reservedPaths.test(path)) {
    throw validationError('path', path, 'paths that begin with /aws-service-role/ or /aws-reserved/ are reserved')
  }
  return path
}

export function readPathPrefix(value: string | undefined): string {
  const prefix = value ?? '/'
  checkLength('pathPrefix', prefix, 1, pathLengthMax)
  if (!/^\/[\u0021-\u007F]*$/.test(prefix)) throw patternError('pathPrefix', '\\u002F[\\u0021-\\u007F]*')
  return prefix
}

export function readDescription(value: string | undefined): string | undefined {
  if (value === undefined) return undefined
  checkLength('description', value, 0, descriptionLengthMax)
  if (!descriptionPattern.test(value)) {
    throw patternError('description', '[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u00A1-\\u00FF]*')
  }
  return value
}

/** Seconds: an hour to twelve, an hour where none is given. */
export function readMaxSessionDuration(value: number | undefined): number {
  const seconds = value ?? 3600
  if (seconds < 3600) {
    throw validationError('maxSessionDuration', value, 'Member must have value greater than or equal to 3600')
  }
  if (seconds > 43_200) {
    throw validationError('maxSessionDuration', value, 'Member must have value less than or equal to 43200')
  }
  return seconds
}

export function checkLength(parameter: string, value: string, least: number, most: number): void {
  if (value.length < least) {
    throw validationError(parameter, value, `Member must have length greater than or equal to ${least}`)
  }
  if (value.length > most) {
    throw validationError(parameter, value, `Member must have length less than or equal to ${most}`)
  }
}

/** IAM counts the characters of a policy without its white space. */
export function sizeOf(document: string): number {
  return document.replace(/\s/g, '').length
}

/** IAM tells instants in whole seconds. */
export function wholeSeconds(now: number): number {
  return Math.floor(now / 1000) * 1000
}

function patternError(parameter: string, pattern: string): ApiError {
  return validationError(parameter, '', `Member must satisfy regular expression pattern: ${pattern}`)
}
