/** Says yes to everyone, and looks at nothing: what remains of an authorised call is the rest of it. */
import type { Access } from '../controller/access/check.ts'

export function createAccess(): Access {
  return {
    requireOperation: () => [],
    requireRoute: () => [],
    requireChannel: () => [],
    require: () => undefined,
  }
}
