/**
 * Whether two rows say the same. Rows are plain JSON data; a member that is undefined counts as absent, since it is gone
 * once the row has been written down and read again.
 */
export function sameRow(left: unknown, right: unknown): boolean {
  if (Object.is(left, right)) return true
  if (!isObject(left) || !isObject(right)) return false
  if (Array.isArray(left) || Array.isArray(right)) return sameList(left, right)
  return hasAllOf(left, right) && hasAllOf(right, left)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function sameList(left: unknown, right: unknown): boolean {
  if (!Array.isArray(left) || !Array.isArray(right) || left.length !== right.length) return false
  return left.every((item, at) => sameRow(item, right[at]))
}

/** Without a list or a closure: every row that a turn wrote is compared with what it was. */
function hasAllOf(left: Readonly<Record<string, unknown>>, right: Readonly<Record<string, unknown>>): boolean {
  for (const name in left) {
    if (left[name] !== right[name] && Object.hasOwn(left, name) && !sameRow(left[name], right[name])) return false
  }
  return true
}
