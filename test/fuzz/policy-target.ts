/** Policies: any text is a policy or says what is wrong with it, and what a policy decides obeys the laws of evaluation. */
import * as fc from 'fast-check'
import { evaluate, type EvaluatedRequest } from '../../controller/access/evaluate.ts'
import { conditionKeys } from '../../controller/access/condition-keys.ts'
import { operatorNames } from '../../controller/access/condition-operators.ts'
import { readPolicy } from '../../controller/access/policy-document.ts'
import type { Policy } from '../../controller/access/policy.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { corrupted, hostileText, mutated } from './hostile.ts'
import { requireCleanPrototypes } from './refusals.ts'

const words = [
  '*',
  '?',
  'ecs:*',
  'ecs:RunTask',
  'arn:aws:ecs:*:*:task/*',
  '${aws:username}',
  '${aws:PrincipalTag/team}',
  '${*}',
]
const globs = [
  '*',
  'ecs:*',
  'ecs:Run?ask',
  '*a*a*a*a*a*b',
  '*************',
  'arn:aws:ecs:*:*:*',
  '${aws:PrincipalTag/a}*',
]

interface Request {
  readonly action: string
  readonly resource: string
  readonly keys: Readonly<Record<string, string | readonly string[]>>
}

interface Tried {
  readonly document: string
  readonly kind: Policy['kind']
  readonly request: Request
}

function oneOrMore(item: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof(item, fc.array(item, { maxLength: 3 }))
}

function documents(): fc.Arbitrary<string> {
  const text = fc.oneof(
    { arbitrary: fc.constantFrom(...words, ...globs), weight: 4 },
    { arbitrary: hostileText(words), weight: 1 },
  )
  const key = fc.constantFrom(...conditionKeys).map((name) => (name.endsWith('/') ? `${name}team` : name))
  const value = fc.oneof(
    fc.constantFrom(
      'true',
      'false',
      '1',
      '2026-11-21T12:00:00Z',
      '10.0.0.0/8',
      '::1/128',
      'YQ==',
      'arn:aws:iam::1:role/*',
    ),
    text,
  )
  const prefix = fc.constantFrom('', '', '', 'ForAllValues:', 'ForAnyValue:')
  const suffix = fc.constantFrom('', '', '', 'IfExists')
  const operator = fc.tuple(prefix, fc.constantFrom(...operatorNames), suffix).map((parts) => parts.join(''))
  const condition = fc.dictionary(operator, fc.dictionary(key, oneOrMore(value), { maxKeys: 2 }), { maxKeys: 2 })
  const principal = fc.oneof(
    fc.constant('*'),
    fc.dictionary(fc.constantFrom('AWS', 'Service', 'Federated'), oneOrMore(text), { maxKeys: 2 }),
  )
  const statement = fc.record(
    {
      Sid: fc.stringMatching(/^[A-Za-z0-9]{0,8}$/),
      Effect: fc.constantFrom('Allow', 'Deny'),
      Principal: principal,
      NotPrincipal: principal,
      Action: oneOrMore(text),
      NotAction: oneOrMore(text),
      Resource: oneOrMore(text),
      NotResource: oneOrMore(text),
      Condition: condition,
    },
    { requiredKeys: ['Effect'] },
  )
  // What most policies are, so that enough of them are evaluated.
  const right = fc.record(
    {
      Effect: fc.constantFrom('Allow', 'Deny'),
      Action: oneOrMore(fc.constantFrom(...globs.slice(0, 6))),
      Resource: oneOrMore(fc.constantFrom(...globs, ...words)),
      Condition: condition,
    },
    { requiredKeys: ['Effect', 'Action', 'Resource'] },
  )
  const all = fc.array(fc.oneof({ arbitrary: right, weight: 3 }, { arbitrary: statement, weight: 1 }), { maxLength: 4 })
  const whole = all.map((Statement) => ({ Version: '2012-10-17', Statement }))
  const hurt = fc.oneof({ arbitrary: whole, weight: 2 }, { arbitrary: corrupted(whole), weight: 1 })
  const asText = hurt.map((each) => JSON.stringify(each))
  return fc.oneof({ arbitrary: asText, weight: 3 }, { arbitrary: mutated(asText, words), weight: 1 })
}

function requests(): fc.Arbitrary<Request> {
  const text = fc.oneof(
    fc.constantFrom('ecs:runtask', 'a'.repeat(2000), 'arn:aws:ecs:us-east-1:1:task/a'),
    hostileText(),
  )
  const keys = fc.dictionary(
    fc.constantFrom(...conditionKeys).map((name) => (name.endsWith('/') ? `${name}team` : name).toLowerCase()),
    fc.oneof(text, fc.array(text, { maxLength: 3 })),
    { maxKeys: 4 },
  )
  return fc.record({ action: text, resource: text, keys })
}

function parsed(document: string, kind: Policy['kind']): Policy | undefined {
  const read = readPolicy(document, kind)
  requireCleanPrototypes()
  if (!('problem' in read)) return read
  if (read.problem.length > 100_000) throw new Error(`The problem is told in ${read.problem.length} characters.`)
  return undefined
}

const denyAll = parsed('{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}', 'identity')

export const policies = fuzzTarget<Tried>({
  name: 'policies',
  share: 12,
  values: () =>
    fc.record({
      document: documents(),
      kind: fc.constantFrom('identity', 'identity', 'trust', 'resource'),
      request: requests(),
    }),
  judge({ document, kind, request }) {
    const policy = parsed(document, kind)
    if (policy === undefined || denyAll === undefined) return
    const { action, resource, keys } = request
    const asked: EvaluatedRequest = {
      action,
      resource,
      read: (key) => (Object.hasOwn(keys, key) ? keys[key] : undefined),
    }
    const decide = (...identity: readonly Policy[]) => JSON.stringify(evaluate({ identity }, asked))
    const decision = decide(policy)
    const reversed = { ...policy, statements: policy.statements.toReversed() }
    if (decide(reversed) !== decision) throw new Error('The order of the statements decides.')
    if (decide(policy, policy) !== decision) throw new Error('It is another decision the second time.')
    const denied = '{"isAllowed":false,"isExplicit":true,"by":"identity"}'
    if (decide(policy, denyAll) !== denied) throw new Error('A deny of everything does not win.')
    if (!decide().startsWith('{"isAllowed":false,"isExplicit":false')) throw new Error('Nothing is allowed by nothing.')
    const bounded = evaluate({ identity: [policy], boundary: { ...policy, statements: [] } }, asked)
    if (bounded.isAllowed) throw new Error('An empty boundary allows.')
  },
})
