/** Which version of Docker's API is spoken. */
import { EngineError } from './engine.ts'

/** The engines that this agent was written against: 20.10 is the oldest, and newer ones still speak 1.44. */
const apiVersionMin = '1.41'
const apiVersionMax = '1.44'

/** The newest version that both sides speak. */
export function agreedApiVersion(newest: string, oldest: string | undefined): string {
  if (minorOf(newest) < minorOf(apiVersionMin)) {
    throw new EngineError(
      'refused',
      `The Docker Engine speaks API ${newest}; Gantry needs ${apiVersionMin} or later (Docker 20.10). Upgrade Docker.`,
    )
  }
  if (oldest !== undefined && minorOf(oldest) > minorOf(apiVersionMax)) {
    throw new EngineError(
      'refused',
      `The Docker Engine speaks no API older than ${oldest}; this agent knows ${apiVersionMax} at most. ` +
        'Upgrade Gantry, or set DOCKER_MIN_API_VERSION for dockerd.',
    )
  }
  return minorOf(newest) < minorOf(apiVersionMax) ? newest : apiVersionMax
}

function minorOf(version: string): number {
  return Number(version.split('.')[1] ?? 0)
}
