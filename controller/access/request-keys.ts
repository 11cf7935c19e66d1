/**
 * The condition keys of a request: those that every request has, and those that the row of its operation gives. A key is
 * looked up by its name in lower case, and worked out only then.
 *
 * Source: AWS IAM User Guide, "AWS global condition context keys", "Where you can use policy variables".
 */
import type { AccessCheck, ConditionKeys, Place, RequestFacts, TagMap } from './authorization.ts'
import type { KeyReader } from './policy-template.ts'
import type { Principal } from './principal.ts'

export interface KeyScope {
  readonly principal: Principal
  /** A session's role, a user itself. */
  readonly principalArn: string
  readonly facts: RequestFacts
  readonly place: Place
}

export function keyReader(scope: KeyScope, check: AccessCheck): KeyReader {
  let own: ReadonlyMap<string, string | readonly string[] | undefined> | undefined
  let resourceTags: { readonly tags: TagMap | undefined } | undefined
  return (key) => {
    const slash = key.indexOf('/')
    if (slash > 0) {
      const [name, tagKey] = [key.slice(0, slash), key.slice(slash + 1)]
      if (name === 'aws:principaltag') return tagOf(scope.principal.tags, tagKey)
      if (name.endsWith(':resourcetag') && check.resourceTags !== undefined) {
        resourceTags ??= { tags: check.resourceTags() }
        return isOwnTagKey(name, check.action) ? tagOf(resourceTags.tags, tagKey) : undefined
      }
    }
    own ??= lowered(check.keys)
    return own.has(key) ? own.get(key) : globalKey(key, scope, check)
  }
}

/** `ecs:ResourceTag/` is there for ECS's actions, `aws:ResourceTag/` for all. */
function isOwnTagKey(name: string, action: string): boolean {
  return name === 'aws:resourcetag' || action.toLowerCase().startsWith(name.slice(0, name.indexOf(':') + 1))
}

/** `aws:RequestTag/*` and `aws:TagKeys` of the tags that a request brings; none where it brings none. */
export function requestTagKeys(tags: TagMap | undefined): ConditionKeys {
  // A tag without a key is refused by whoever is to keep it.
  const entries = Object.entries(tags ?? {}).filter(([key]) => key !== '')
  if (entries.length === 0) return {}
  return {
    ...Object.fromEntries(entries.map(([key, value]) => [`aws:RequestTag/${key}`, value])),
    'aws:TagKeys': entries.map(([key]) => key),
  }
}

function globalKey(key: string, scope: KeyScope, check: AccessCheck): string | undefined {
  const { principal, principalArn, facts, place } = scope
  switch (key) {
    case 'aws:currenttime':
      return isoText(facts.now)
    case 'aws:epochtime':
      return String(Math.floor(facts.now / 1000))
    case 'aws:principalaccount':
      return place.account
    case 'aws:principalarn':
      return principalArn
    case 'aws:principalisawsservice':
    case 'aws:viaawsservice':
      return 'false'
    case 'aws:principaltype':
      return principal.kind === 'user' ? 'User' : principal.kind === 'root' ? 'Account' : 'AssumedRole'
    case 'aws:requestedregion':
      return place.region
    case 'aws:resourceaccount':
      return check.resource === '*' ? undefined : check.resource.split(':')[4] || undefined
    case 'aws:securetransport':
      return String(facts.isSecure)
    case 'aws:sourceidentity':
      return principal.sourceIdentity
    case 'aws:sourceip':
      return facts.sourceAddress
    case 'aws:tokenissuetime':
      return principal.tokenIssuedAt === undefined ? undefined : isoText(principal.tokenIssuedAt)
    case 'aws:userid':
      return principal.userId
    case 'aws:username':
      return principal.kind === 'user' ? principal.userName : undefined
    default:
      return undefined
  }
}

function isoText(at: number): string {
  return new Date(at).toISOString()
}

function lowered(keys: ConditionKeys = {}): ReadonlyMap<string, string | readonly string[] | undefined> {
  const all = new Map<string, string | readonly string[] | undefined>()
  for (const [key, value] of Object.entries(keys)) {
    const known = all.get(key.toLowerCase())
    const isSecond = known !== undefined && value !== undefined
    all.set(key.toLowerCase(), isSecond ? [known, value].flat() : value)
  }
  return all
}

/**
 * In a policy the key of a tag is read without regard to case, as AWS does; the value with it. Where tags differ in the case
 * of their keys alone, all of their values count: nobody shall pass for one by bringing the other as well.
 */
function tagOf(tags: TagMap = {}, loweredKey: string): string | readonly string[] | undefined {
  const values = Object.entries(tags).flatMap(([key, value]) => (key.toLowerCase() === loweredKey ? [value] : []))
  return values.length > 1 ? values : values[0]
}
