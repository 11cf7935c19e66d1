/** Compiled policies by their text, so that a call costs no parsing: a document that was put is asked for again and again. */
import type { Policy, PolicyKind } from './policy.ts'
import { readPolicy } from './policy-document.ts'
import { globOf } from './glob.ts'
import { parseTemplate } from './policy-template.ts'

export interface PolicyCache {
  compile(document: string, kind: PolicyKind): Policy
}

/** Documents are of 6 KB at most on average; beyond this many, those that were compiled first are compiled anew. */
const documentsMax = 2048

/**
 * Documents are checked when they are put. One that can't be read all the same, as a later version of Gantry may write it,
 * denies everything: its holder is locked out rather than let in.
 */
export function createPolicyCache(): PolicyCache {
  const byKind = {
    identity: new Map<string, Policy>(),
    trust: new Map<string, Policy>(),
    resource: new Map<string, Policy>(),
  }
  return {
    compile(document, kind) {
      const kept = byKind[kind]
      const known = kept.get(document)
      if (known !== undefined) return known
      const read = readPolicy(document, kind)
      const policy = 'problem' in read ? denyAll(kind) : read
      const [oldest] = kept.keys()
      if (kept.size >= documentsMax && oldest !== undefined) kept.delete(oldest)
      kept.set(document, policy)
      return policy
    },
  }
}

function denyAll(kind: PolicyKind): Policy {
  const everything = parseTemplate('*', false)
  return {
    kind,
    statements: [
      {
        sid: undefined,
        isDeny: true,
        actions: { isNot: false, patterns: [globOf('*')] },
        resources: 'problem' in everything ? undefined : { isNot: false, patterns: [everything] },
        principals: undefined,
        conditions: [],
      },
    ],
  }
}
