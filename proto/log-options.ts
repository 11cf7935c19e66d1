/**
 * The options of the log driver `awslogs` as Gantry takes them: where an event starts, and which names are known. Both
 * sides read them: the controller refuses at registration what an agent could not do.
 *
 * Source: Docker, "Amazon CloudWatch Logs logging driver"; ECS API reference, LogConfiguration.
 */

import { patternCost } from './pattern-cost.ts'

type Options = Readonly<Record<string, string | undefined>>

/** Events are cut to this before a pattern looks at them, so that no pattern costs more than a bounded time. */
const matchedCharacters = 256
const patternCharactersMax = 512
/** Some 50 ms of one line, at worst: three repetitions without end behind ^, or two anywhere. */
const patternWaysMax = 2 ** 25
const patternSizeMax = 10_000

const known = new Set([
  'awslogs-group',
  'awslogs-region',
  'awslogs-stream-prefix',
  'awslogs-create-group',
  'awslogs-datetime-format',
  'awslogs-multiline-pattern',
  'mode',
  'max-buffer-size',
  'tag',
  'awslogs-stream',
  'awslogs-endpoint',
  'awslogs-force-flush-interval-seconds',
  'awslogs-max-buffered-events',
  'awslogs-format',
  'awslogs-credentials-endpoint',
])

/** Why these options can't be taken, naming the one and what to do; undefined where they can. */
export function awslogsProblem(options: Options): string | undefined {
  const stranger = Object.keys(options).find((name) => name.startsWith('awslogs-') && !known.has(name))
  if (stranger !== undefined) return `unknown log opt '${stranger}' for awslogs log driver`
  const format = options['awslogs-format']
  if (format !== undefined && format !== '') {
    return `awslogs-format '${format}' is not available: events are stored as the container wrote them. Leave it out.`
  }
  const pattern = options['awslogs-multiline-pattern']
  const datetime = options['awslogs-datetime-format']
  if (pattern !== undefined && datetime !== undefined) {
    return "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the same time"
  }
  if (datetime !== undefined && datetimePattern(datetime) === undefined) {
    return `awslogs-datetime-format '${datetime}' has a verb that strftime does not know, or none at all.`
  }
  return pattern === undefined ? undefined : patternProblem(pattern)
}

/** Says of a line whether a new event starts with it; undefined where each line is one. The options are without problem. */
export function eventStart(options: Options): ((line: string) => boolean) | undefined {
  const datetime = options['awslogs-datetime-format']
  const source =
    options['awslogs-multiline-pattern'] ?? (datetime === undefined ? undefined : datetimePattern(datetime))
  if (source === undefined) return undefined
  const pattern = new RegExp(source, 'u')
  return (line) => pattern.test(line.slice(0, matchedCharacters))
}

/** JavaScript's regular expressions backtrack: one that could take for ever is refused. */
function patternProblem(pattern: string): string | undefined {
  const name = `awslogs-multiline-pattern ${JSON.stringify(pattern.slice(0, 100))}`
  if (pattern === '' || pattern.length > patternCharactersMax) {
    return `${name} must have 1 to ${patternCharactersMax} characters.`
  }
  try {
    // Compiled to be judged.
    void new RegExp(pattern, 'u')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return `${name} is no regular expression: ${why}. Inline flags such as (?i) and POSIX classes are not taken.`
  }
  const { ways, size } = patternCost(pattern, matchedCharacters)
  if (size > patternSizeMax) return `${name} is too long with its repetitions written out: give smaller bounds.`
  if (ways <= patternWaysMax) return undefined
  return (
    `${name} can take too long on some lines: its repetitions of no fixed number multiply. Begin it with ^, use fewer of ` +
    '* and + and {1,20}, and none inside of a group that repeats.'
  )
}

/** Source: Docker, awslogs-datetime-format, its table of verbs. */
const verbs: Readonly<Record<string, string>> = {
  A: '(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day',
  a: '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)',
  B: '(?:January|February|March|April|May|June|July|August|September|October|November|December)',
  b: '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)',
  d: '(?:0[1-9]|[1,2][0-9]|3[0,1])',
  f: '[0-9]{1,9}',
  H: '(?:[0,1][0-9]|2[0-3])',
  I: '(?:0[0-9]|1[0-2])',
  j: '(?:0[0-9][1-9]|[1,2][0-9][0-9]|3[0-5][0-9]|36[0-6])',
  L: '\\.[0-9]{3}',
  M: '[0-5][0-9]',
  m: '(?:0[1-9]|1[0-2])',
  p: '[A,P]M',
  S: '[0-5][0-9]',
  U: '(?:[0-4][0-9]|5[0-3])',
  w: '[0-6]',
  Y: '[0-9]{4}',
  y: '[0-9]{2}',
  Z: '[A-Z]{1,4}T',
  z: '[+-][0-9]{4}',
  '%': '%',
}

function datetimePattern(format: string): string | undefined {
  if (format.length > patternCharactersMax) return undefined
  let pattern = ''
  let found = false
  for (let at = 0; at < format.length; at += 1) {
    const sign = format.charAt(at)
    if (sign !== '%') {
      pattern += sign.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&')
      continue
    }
    at += 1
    const verb = verbs[format.charAt(at)]
    if (verb === undefined) return undefined
    found = true
    pattern += verb
  }
  return found ? pattern : undefined
}
