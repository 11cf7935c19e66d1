/**
 * Names of parameters: which may be given, and how one is asked for: by name or ARN, with `:version` or `:label` behind.
 *
 * Source: AWS Systems Manager API reference, PutParameter and GetParameter; User Guide, "Requirements and constraints for
 * parameter names".
 */
import { ApiError } from '../../proto/errors.ts'
import type { Place } from '../../proto/arn.ts'
import { checkLength, validationError } from './constraints.ts'

const nameLengthMax = 2048
/** With the ARN's characters before the name. */
const arnLengthMax = 1011
const levelsMax = 15

export interface ParameterReference {
  /** The names that the text may mean, the likelier first: an ARN doesn't tell `url` from `/url`. */
  readonly names: readonly string[]
  /** A version's number or a label, without the colon. */
  readonly selector: string | undefined
}

/** `arn:aws:ssm:REGION:ACCOUNT:parameter/prod/url` for `/prod/url`, and for `url` alone `...:parameter/url`. */
export function parameterArn({ region, account }: Place, name: string): string {
  return `arn:aws:ssm:${region}:${account}:parameter${name.startsWith('/') ? '' : '/'}${name}`
}

/**
 * The name that a parameter is to have: spaces around it don't count. Throws ValidationException,
 * HierarchyLevelLimitExceededException or AccessDeniedException (`/aws/...`), in SSM's words.
 */
export function checkParameterName(given: string, place: Place): string {
  checkLength('name', given, { min: 1, max: nameLengthMax })
  const name = given.trim()
  refuseReserved(name)
  if (!/^[a-zA-Z0-9_.\-/]+$/.test(name)) {
    throw validationError(
      'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of ' +
        'sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following ' +
        '3 symbols .-_',
    )
  }
  if (name.includes('/') && !name.startsWith('/')) {
    throw validationError('Parameter name must be a fully qualified name: a name with a slash begins with one.')
  }
  if (name.endsWith('/')) throw validationError('Parameter name must not end with slash.')
  if (name.includes('//'))
    throw validationError('Parameter name must not have an empty sub-path: two slashes in a row.')
  if (parameterArn(place, name).length > arnLengthMax) {
    throw validationError(
      `Parameter name is too long: with the ARN's characters before it, it can have at most ${arnLengthMax} characters.`,
    )
  }
  if (name.split('/').length - 1 > levelsMax) {
    throw new ApiError(
      'HierarchyLevelLimitExceededException',
      `A hierarchy can have a maximum of ${levelsMax} levels. For more information, see Requirements and constraints for ` +
        'parameter names in the AWS Systems Manager User Guide.',
    )
  }
  return name
}

/** Undefined for what can be no parameter's name here: another region's ARN, two selectors. */
export function parseParameterReference(given: string, { region, account }: Place): ParameterReference | undefined {
  const text = given.trim()
  if (!text.startsWith('arn:')) {
    const [name = '', selector, ...rest] = text.split(':')
    return rest.length > 0 ? undefined : { names: [name], selector }
  }
  const prefix = `arn:aws:ssm:${region}:${account}:parameter/`
  if (!text.startsWith(prefix)) return undefined
  const [name = '', selector, ...rest] = text.slice(prefix.length).split(':')
  if (rest.length > 0) return undefined
  return { names: name.includes('/') ? [`/${name}`] : [name, `/${name}`], selector }
}

function refuseReserved(name: string): void {
  if (!/^\/?(?:aws|ssm)/i.test(name)) return
  const isPath = name.split('/').length > 2
  if (isPath && /^\/aws/i.test(name)) {
    throw new ApiError('AccessDeniedException', `No access to reserved parameter name: ${name}.`)
  }
  throw validationError(
    isPath
      ? 'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of ' +
          'sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following ' +
          '3 symbols .-_'
      : 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).',
  )
}
