/**
 * Reads policy documents. What is put has to be right to the last member: an operator, a key or a member that is not known
 * would be ignored where it is evaluated, so it is refused here, with the place where it stands.
 *
 * Source: AWS IAM User Guide, "IAM JSON policy element reference" and "Grammar of the IAM JSON policy language"; the
 * messages are those of IAM where it has one.
 */
import { ApiError } from '../../proto/errors.ts'
import { parseConditions } from './condition-document.ts'
import { isArnPattern } from './condition-operators.ts'
import { globOf } from './glob.ts'
import { findRepeatedMember } from './json-members.ts'
import type { Policy, PolicyKind, PrincipalPattern, Statement } from './policy.ts'
import { PolicyProblem, readMembers, readStrings } from './policy-members.ts'
import { parseTemplate, type Template, variablesOf } from './policy-template.ts'
import { isConditionKey } from './condition-keys.ts'

const versions: ReadonlySet<string> = new Set(['2012-10-17', '2008-10-17'])
const statementMembers: ReadonlySet<string> = new Set([
  'Sid',
  'Effect',
  'Principal',
  'NotPrincipal',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
])

/** Characters, as AWS counts them against its limits: white space is none. */
export function policySize(document: string): number {
  return document.replaceAll(/\s/g, '').length
}

/** Throws MalformedPolicyDocument with what is wrong and where. */
export function requirePolicy(document: string, kind: PolicyKind): Policy {
  const read = readPolicy(document, kind)
  if ('problem' in read) throw new ApiError('MalformedPolicyDocument', read.problem)
  return read
}

/** For services that refuse a wrong policy under a name of their own. */
export function readPolicy(document: string, kind: PolicyKind): Policy | { readonly problem: string } {
  try {
    return parsePolicy(document, kind)
  } catch (error) {
    if (error instanceof PolicyProblem) return { problem: error.message }
    throw error
  }
}

function parsePolicy(document: string, kind: PolicyKind): Policy {
  const members = readMembers(parseJson(document), 'the policy', new Set(['Version', 'Id', 'Statement']))
  const version = members['Version'] ?? '2008-10-17'
  if (typeof version !== 'string' || !versions.has(version)) {
    throw new PolicyProblem('The policy must contain a valid version string', 'Version (2012-10-17 or 2008-10-17)')
  }
  if (members['Id'] !== undefined && typeof members['Id'] !== 'string') throw new PolicyProblem('Id is a text', 'Id')
  const list = members['Statement']
  const given = Array.isArray(list) ? (list as readonly unknown[]) : list === undefined ? [] : [list]
  if (given.length === 0) throw new PolicyProblem('Syntax errors in policy: it has no statement', 'Statement')
  const hasVariables = version === '2012-10-17'
  const statements = given.map((statement, index) => {
    const place = Array.isArray(list) ? `Statement[${index}]` : 'Statement'
    return parseStatement(statement, { kind, place, hasVariables })
  })
  const sids = statements.flatMap(({ sid }) => (sid === undefined || sid === '' ? [] : [sid]))
  const repeated = sids.find((sid, index) => sids.indexOf(sid) < index)
  if (repeated !== undefined) {
    throw new PolicyProblem('Statement IDs (SID) in a single policy must be unique.', `Sid ${repeated}`)
  }
  return { kind, statements }
}

function parseJson(document: string): unknown {
  // IAM's pattern for documents: Latin-1 without control characters.
  const foreign = /[^\t\n\r\u0020-\u00ff]/u.exec(document)
  if (foreign !== null) {
    throw new PolicyProblem(
      'Syntax errors in policy: a character that policies may not have',
      `offset ${foreign.index}`,
    )
  }
  let value: unknown
  try {
    value = JSON.parse(document)
  } catch (error) {
    const why = error instanceof Error ? error.message : ''
    throw new PolicyProblem('This policy contains invalid Json', why)
  }
  const repeated = findRepeatedMember(document)
  if (repeated !== undefined) {
    throw new PolicyProblem('Syntax errors in policy: one object names a member twice', repeated)
  }
  return value
}

interface StatementPlace {
  readonly kind: PolicyKind
  readonly place: string
  readonly hasVariables: boolean
}

function parseStatement(given: unknown, at: StatementPlace): Statement {
  const members = readMembers(given, at.place, statementMembers)
  const { Sid: sid, Effect: effect } = members
  const sidForm = at.kind === 'identity' ? /^[0-9A-Za-z]*$/ : /^/
  if (sid !== undefined && (typeof sid !== 'string' || !sidForm.test(sid))) {
    throw new PolicyProblem(
      'Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*',
      `${at.place}.Sid`,
    )
  }
  if (effect !== 'Allow' && effect !== 'Deny') {
    const why = effect === undefined ? 'Missing required field Effect' : `Invalid effect: ${JSON.stringify(effect)}`
    throw new PolicyProblem(why, `${at.place}.Effect: Allow or Deny`)
  }
  const isDeny = effect === 'Deny'
  return {
    sid,
    isDeny,
    actions: parseActions(members, at),
    resources: parseResources(members, at),
    principals: parsePrincipals(members, at, isDeny),
    conditions: parseConditions(members['Condition'], at),
  }
}

function parseActions(
  members: Readonly<Record<string, unknown>>,
  { kind, place }: StatementPlace,
): Statement['actions'] {
  const { name, isNot, texts } = readEither(members, 'Action', 'NotAction', place)
  if (texts.length === 0) throw new PolicyProblem('Policy statement must contain actions.', `${place}.${name}`)
  for (const [index, action] of texts.entries()) {
    const where = `${place}.${name}: ${JSON.stringify(action)}, number ${index + 1}`
    if (action !== '*' && !/^[A-Za-z0-9-]{1,64}:[A-Za-z0-9*?_-]{1,128}$/.test(action)) {
      throw new PolicyProblem('Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.', where)
    }
    if (kind === 'trust' && !/^sts:/i.test(action)) {
      throw new PolicyProblem('AssumeRole policy may only specify STS AssumeRole actions.', where)
    }
  }
  return { isNot, patterns: texts.map((action) => globOf(action.toLowerCase())) }
}

function parseResources(members: Readonly<Record<string, unknown>>, at: StatementPlace): Statement['resources'] {
  const { name, isNot, texts } = readEither(members, 'Resource', 'NotResource', at.place)
  if (at.kind === 'trust') {
    if (members[name] !== undefined) throw new PolicyProblem(`Has prohibited field ${name}`, at.place)
    return undefined
  }
  if (texts.length === 0) throw new PolicyProblem('Policy statement must contain resources.', `${at.place}.${name}`)
  return { isNot, patterns: texts.map((text) => parseResource(text, `${at.place}.${name}`, at.hasVariables)) }
}

function parseResource(text: string, place: string, hasVariables: boolean): Template {
  if (!isArnPattern(text)) throw new PolicyProblem(`Resource ${text} must be in ARN format or "*".`, place)
  const service = text.split(':')[2]
  if (service !== undefined && /[*?]/.test(service) && text !== '*') {
    const isOpen = text.split(':').length === 3 && service === '*'
    if (!isOpen) throw new PolicyProblem(`Resource ${text} has a wildcard in place of its service.`, place)
  }
  const template = parseTemplate(text, hasVariables)
  if ('problem' in template) throw new PolicyProblem(`${template.problem}.`, place)
  requireKnownVariables(template, place)
  return template
}

/** Also for conditions. */
function requireKnownVariables(template: Template, place: string): void {
  const unknown = variablesOf(template).find((key) => !isConditionKey(key))
  if (unknown !== undefined) {
    throw new PolicyProblem(`The policy variable \${${unknown}} is not one that Gantry evaluates.`, place)
  }
}

function parsePrincipals(
  members: Readonly<Record<string, unknown>>,
  { kind, place }: StatementPlace,
  isDeny: boolean,
): Statement['principals'] {
  const isNot = members['NotPrincipal'] !== undefined
  const name = isNot ? 'NotPrincipal' : 'Principal'
  const given = members[name]
  if (kind === 'identity') {
    if (given !== undefined) throw new PolicyProblem('Policy document should not specify a principal.', place)
    return undefined
  }
  if (isNot && members['Principal'] !== undefined) throw new PolicyProblem('Principal and NotPrincipal', place)
  if (given === undefined) throw new PolicyProblem('Missing required field Principal', place)
  if (isNot && !isDeny) {
    throw new PolicyProblem('NotPrincipal with Allow would let in everyone but a few; it goes with Deny', place)
  }
  if (given === '*') return { isNot, patterns: [{ kind: 'everyone' }] }
  const byType = readMembers(given, `${place}.${name}`, new Set(['AWS', 'Service', 'Federated', 'CanonicalUser']))
  const patterns = Object.entries(byType).flatMap(([type, value]) =>
    readStrings(value, `${place}.${name}.${type}`).map((text) => parsePrincipal(type, text, `${place}.${name}`)),
  )
  if (patterns.length === 0) throw new PolicyProblem('Invalid principal in policy.', `${place}.${name}`)
  return { isNot, patterns }
}

function parsePrincipal(type: string, text: string, place: string): PrincipalPattern {
  if (type === 'Service' && /^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.amazonaws\.com$/.test(text)) {
    return { kind: 'service', service: text }
  }
  if (type === 'AWS') {
    if (text === '*') return { kind: 'everyone' }
    if (/^\d{12}$/.test(text)) return { kind: 'account', account: text }
    const root = /^arn:aws:iam::(\d{12}):root$/.exec(text)
    if (root !== null) return { kind: 'account', account: root[1] ?? '' }
    if (/^arn:aws:(?:iam::\d{12}:(?:user|role)|sts::\d{12}:(?:assumed-role\/[^/*?]+))\/[^*?]+$/.test(text)) {
      return { kind: 'arn', arn: text }
    }
  }
  const hint = type === 'AWS' || type === 'Service' ? '' : ` Gantry has users, roles and services, and no ${type} ones.`
  throw new PolicyProblem(`Invalid principal in policy: "${type}":"${text}".${hint}`, place)
}

function readEither(
  members: Readonly<Record<string, unknown>>,
  name: string,
  opposite: string,
  place: string,
): { readonly name: string; readonly isNot: boolean; readonly texts: readonly string[] } {
  const isNot = members[opposite] !== undefined
  if (isNot && members[name] !== undefined) {
    throw new PolicyProblem(`A statement has either ${name} or ${opposite}`, place)
  }
  const taken = isNot ? opposite : name
  const value = members[taken]
  return { name: taken, isNot, texts: value === undefined ? [] : readStrings(value, `${place}.${taken}`) }
}
