/**
 * Tags of a task and of its container instance, as their endpoints `...WithTags` show them: asked of the controller, and
 * kept for a little while, since a program that polls would ask for each of its containers.
 */
import { ApiCallError } from './ecs-api.ts'
import type { CallApi } from './ecs-api.ts'

/** Shorter than the endpoint's own 5 s: what can't be had in that time is told as an error among the rest. */
const budgetMs = 4_000
const keptMs = 10_000
const keptMax = 500

export type TagsAnswer =
  | { readonly tags: Readonly<Record<string, string>> }
  | { readonly code: string; readonly message: string; readonly statusCode: number; readonly requestId: string }

export interface ResourceTags {
  tagsOf(resourceArn: string): Promise<TagsAnswer>
}

export function createResourceTags(callApi: CallApi, now: () => number): ResourceTags {
  const kept = new Map<string, { readonly at: number; readonly answer: Promise<TagsAnswer> }>()
  return {
    async tagsOf(resourceArn) {
      const known = kept.get(resourceArn)
      if (known !== undefined && now() - known.at < keptMs) return known.answer
      const answer = ask(callApi, resourceArn)
      kept.delete(resourceArn)
      kept.set(resourceArn, { at: now(), answer })
      const [oldest] = kept.keys()
      if (kept.size > keptMax && oldest !== undefined) kept.delete(oldest)
      // A failure is told to who asked, and asked anew for the next.
      if (!('tags' in (await answer)) && kept.get(resourceArn)?.answer === answer) kept.delete(resourceArn)
      return answer
    },
  }
}

async function ask(callApi: CallApi, resourceArn: string): Promise<TagsAnswer> {
  try {
    const answered = await callApi('ListTagsForResource', { resourceArn }, budgetMs)
    const tags = (answered['tags'] ?? []) as readonly { readonly key: string; readonly value?: string }[]
    return { tags: Object.fromEntries(tags.map(({ key, value = '' }) => [key, value])) }
  } catch (error) {
    if (!(error instanceof ApiCallError)) throw error
    const { code = 'RequestError', message, status = 503, requestId = '' } = error
    return { code, message, statusCode: status, requestId }
  }
}
