import { ApiError } from '../../proto/errors.ts'

/** The refusal's code and message, as `Code: message`. */
export function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof ApiError) return `${error.code}: ${error.message}`
    throw error
  }
  return 'accepted'
}
