/** What a `valueFrom` names: a parameter of Parameter Store, by name or ARN, or a secret of Secrets Manager, by ARN. */

export interface SecretSource {
  readonly provider: 'ssm' | 'asm'
  /** The ARN's own; of a bare name that of the cluster. */
  readonly region: string
}

export function secretSource(valueFrom: string, region: string): SecretSource {
  const [, service, ofArn] = /^arn:[^:]*:([^:]*):([^:]*):/.exec(valueFrom) ?? []
  return { provider: service === 'secretsmanager' ? 'asm' : 'ssm', region: ofArn || region }
}

/**
 * The name of a parameter that is named by its ARN; any other text as it is. The official agent looks for a parameter's
 * value under what it was told, and Parameter Store answers names.
 */
export function parameterName(valueFrom: string): string {
  const name = /^arn:[^:]*:ssm:[^:]*:[^:]*:parameter\/(.+)$/.exec(valueFrom)?.[1]
  if (name === undefined) return valueFrom
  return name.includes('/') ? `/${name}` : name
}
