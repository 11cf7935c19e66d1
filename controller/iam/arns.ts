/** ARNs of IAM: no region, and the path stands before the name. */
import type { Place } from '../../proto/arn.ts'

export function rootArn({ account }: Pick<Place, 'account'>): string {
  return `arn:aws:iam::${account}:root`
}

export function userArn(place: Pick<Place, 'account'>, path: string, userName: string): string {
  return iamArn(place, 'user', path, userName)
}

export function roleArn(place: Pick<Place, 'account'>, path: string, roleName: string): string {
  return iamArn(place, 'role', path, roleName)
}

export function policyArn(place: Pick<Place, 'account'>, path: string, policyName: string): string {
  return iamArn(place, 'policy', path, policyName)
}

export function instanceProfileArn(place: Pick<Place, 'account'>, path: string, name: string): string {
  return iamArn(place, 'instance-profile', path, name)
}

/** `arn:aws:sts::A:assumed-role/ROLE/SESSION`, without the role's path. */
export function assumedRoleArn({ account }: Pick<Place, 'account'>, roleName: string, sessionName: string): string {
  return `arn:aws:sts::${account}:assumed-role/${roleName}/${sessionName}`
}

/** The role's name in `arn:aws:iam::A:role/PATH/NAME`; undefined for another ARN or another account. */
export function roleNameInArn({ account }: Pick<Place, 'account'>, arn: string): string | undefined {
  const prefix = `arn:aws:iam::${account}:role/`
  return arn.startsWith(prefix) ? arn.slice(arn.lastIndexOf('/') + 1) : undefined
}

function iamArn({ account }: Pick<Place, 'account'>, kind: string, path: string, name: string): string {
  return `arn:aws:iam::${account}:${kind}${path}${name}`
}
