/** Members that an operator's request may have: a misspelt one is refused, since what it was to say would be lost. */
import { invalidParameter } from '../../proto/errors.ts'

const strangersShown = 5

/** `what` begins the sentence: "A subnet". */
export function refuseUnknownMembers(what: string, input: object, members: readonly string[]): void {
  const strangers = Object.keys(input).filter((name) => !members.includes(name))
  if (strangers.length === 0) return
  const named = strangers.slice(0, strangersShown).map((name) => name.slice(0, 64))
  throw invalidParameter(`${what} has no member ${named.join(', ')}. It has ${members.join(', ')}.`)
}
