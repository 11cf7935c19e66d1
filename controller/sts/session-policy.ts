/** Policies that a session brings with it: it may do what its role and these allow. */
import { ApiError } from '../../proto/errors.ts'
import type { InputOf } from '../../proto/model/types.ts'
import { policySize, requirePolicy } from '../access/policy-document.ts'
import type { SessionFacts } from '../access/session-token.ts'
import { noSuchEntity } from '../iam/names.ts'
import { findPolicy } from '../iam/policy-lookup.ts'
import type { Reader } from '../state/transaction.ts'

/** Characters of a policy, without white space, and how many managed ones a session takes. */
const policySizeMax = 2048
const managedMax = 10
/**
 * Bytes that all of a session's policies and tags may come to. AWS packs them; Gantry seals them as they are, and a token
 * has to fit into the headers of a request.
 */
const packedMax = 8192

type PolicyInput = Pick<InputOf<'sts', 'AssumeRole'>, 'Policy' | 'PolicyArns'>

/** Managed policies are taken as they are now: a later version of one doesn't change the session. */
export function readSessionPolicy(reader: Reader, input: PolicyInput): Pick<SessionFacts, 'sessionPolicy'> {
  const { Policy, PolicyArns = [] } = input
  if (PolicyArns.length > managedMax) {
    throw new ApiError('LimitExceeded', `A session takes at most ${managedMax} managed policies.`)
  }
  const documents = PolicyArns.map(({ arn = '' }) => managedDocument(reader, arn))
  if (Policy !== undefined) {
    requirePolicy(Policy, 'identity')
    if (policySize(Policy) > policySizeMax) {
      throw new ApiError('PackedPolicyTooLarge', `The session policy has more than ${policySizeMax} characters.`)
    }
    documents.push(Policy)
  }
  const [only] = documents
  if (only === undefined) return {}
  return { sessionPolicy: documents.length === 1 ? JSON.stringify(JSON.parse(only)) : merged(documents) }
}

/**
 * How much of what a session may bring is used, in percent; absent where it brings nothing. Throws PackedPolicyTooLarge
 * beyond a hundred.
 */
export function packedSize({ sessionPolicy, tags }: Partial<SessionFacts>): { PackedPolicySize?: number } {
  if (sessionPolicy === undefined && tags === undefined) return {}
  const bytes = new TextEncoder().encode(JSON.stringify({ sessionPolicy, tags })).length
  const PackedPolicySize = Math.ceil((100 * bytes) / packedMax)
  if (PackedPolicySize <= 100) return { PackedPolicySize }
  throw new ApiError(
    'PackedPolicyTooLarge',
    `Packed size of session tags consumes ${PackedPolicySize}% of allotted space: its policies and tags together.`,
  )
}

function managedDocument(reader: Reader, arn: string): string {
  const row = findPolicy(reader, arn)
  const document = row?.versions.find(({ VersionId }) => VersionId === row.DefaultVersionId)?.Document
  if (document === undefined) throw noSuchEntity(`Policy ${arn.slice(0, 256)} does not exist or is not attachable.`)
  return document
}

interface ParsedDocument {
  readonly Version?: string
  readonly Statement: object | readonly object[]
}

/** What any of them allows and none denies is what one document with all their statements says. */
function merged(documents: readonly string[]): string {
  const parsed = documents.map((document) => JSON.parse(document) as ParsedDocument)
  if (parsed.some(({ Version }) => Version !== '2012-10-17')) {
    throw new ApiError('MalformedPolicyDocument', 'Policies that share a session have the Version 2012-10-17, each.')
  }
  const Statement = parsed
    .flatMap((document) => document.Statement)
    .map((statement) => Object.fromEntries(Object.entries(statement).filter(([name]) => name !== 'Sid')))
  return JSON.stringify({ Version: '2012-10-17', Statement })
}
