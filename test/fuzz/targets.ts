/** Everything that is fuzzed. */
import { agentFrames, commandLines, logBatches, telemetryFrames } from './channel-targets.ts'
import {
  jsonBytes,
  jsonDocuments,
  jsonValues,
  queryBytes,
  queryForms,
  queryValues,
  xmlAnswers,
} from './codec-targets.ts'
import type { FuzzTarget } from './fuzz-target.ts'
import { httpRequests, rawBytes, socketFrames } from './live-targets.ts'
import { policies } from './policy-target.ts'
import { queryLanguage } from './query-language-target.ts'
import { brokenSignatures, presignedUrls, signatureHeaders } from './signature-targets.ts'
import { environmentFiles, logPatterns, names, restBodies, secretReferences } from './text-targets.ts'

export const targets: readonly FuzzTarget[] = [
  jsonValues,
  jsonBytes,
  jsonDocuments,
  queryValues,
  queryBytes,
  queryForms,
  xmlAnswers,
  signatureHeaders,
  presignedUrls,
  brokenSignatures,
  queryLanguage,
  agentFrames,
  telemetryFrames,
  logBatches,
  commandLines,
  policies,
  secretReferences,
  environmentFiles,
  names,
  logPatterns,
  restBodies,
  httpRequests,
  rawBytes,
  socketFrames,
]

/** Throws where there is none of that name. */
export function targetNamed(name: string): FuzzTarget {
  const found = targets.find((target) => target.name === name)
  if (found === undefined) {
    throw new Error(`There is no target ${name}. There are ${targets.map((target) => target.name).join(', ')}.`)
  }
  return found
}
