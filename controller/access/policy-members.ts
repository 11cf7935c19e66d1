/** Members of a policy document, as JSON has them. */

/** What is wrong with a document, and where. Thrown while one is read, and answered as its service words it. */
export class PolicyProblem extends Error {
  constructor(what: string, place: string) {
    super(`${shorten(what.endsWith('.') ? what.slice(0, -1) : what)} (${shorten(place)}).`)
    this.name = 'PolicyProblem'
  }
}

/** Names and values of a document may be as long as a request. */
const toldCharactersMax = 2000

function shorten(text: string): string {
  return text.length > toldCharactersMax ? `${text.slice(0, toldCharactersMax)}...` : text
}

/** The members of an object that may have no others than `known`. */
export function readMembers(
  value: unknown,
  place: string,
  known: ReadonlySet<string>,
): Readonly<Record<string, unknown>> {
  const members = readObject(value, place)
  const unknown = Object.keys(members).find((name) => !known.has(name))
  if (unknown !== undefined) {
    const message = `Syntax errors in policy: ${JSON.stringify(unknown)} is not a member of ${place}`
    throw new PolicyProblem(message, `it may have ${[...known].join(', ')}`)
  }
  return members
}

export function readObject(value: unknown, place: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new PolicyProblem(`Syntax errors in policy: ${place} is a JSON object`, place)
  }
  return value as Readonly<Record<string, unknown>>
}

/** One text or a list of texts. */
export function readStrings(value: unknown, place: string): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  return list.map((text) => {
    if (typeof text !== 'string') {
      throw new PolicyProblem(`Syntax errors in policy: ${place} is a text or a list of texts`, place)
    }
    return text
  })
}
