/**
 * A file of environment variables as ECS reads it: lines of NAME=VALUE in UTF-8, nothing quoted and nothing expanded,
 * lines that begin with `#` left out. A line without `=`, or with nothing on a side of it, has no effect, as with the
 * official agent. What can't be a variable at all is an error that names the file and the line and never shows either.
 *
 * Source: amazon-ecs-agent 1.105, `agent/taskresource/envFiles/envfile.go` (readEnvVarsFromFile: Go's line scanner, which
 * takes 64 KiB a line); AWS documentation, "Pass environment variables to an Amazon ECS container".
 */

export const environmentFileBytesMax = 1024 * 1024
const lineBytesMax = 64 * 1024

export type ReadEnvironmentFile =
  | {
      readonly variables: ReadonlyMap<string, string>
      /** Numbers of lines that say nothing that can be taken, for the log. */
      readonly withoutEffect: readonly number[]
    }
  | { readonly problem: string }

/** `name` is what the definition calls the file, for messages. */
export function readEnvironmentFile(content: Uint8Array, name: string): ReadEnvironmentFile {
  if (content.length > environmentFileBytesMax) {
    return {
      problem: `environment file ${name} has ${content.length} bytes; at most ${environmentFileBytesMax} are read`,
    }
  }
  const variables = new Map<string, string>()
  const withoutEffect: number[] = []
  for (const [index, bytes] of linesOf(content).entries()) {
    const number = index + 1
    const trouble = (what: string): ReadEnvironmentFile => ({
      problem: `environment file ${name}, line ${number}: ${what}`,
    })
    if (bytes.length > lineBytesMax) return trouble(`it is longer than ${lineBytesMax} bytes`)
    const line = textOf(bytes)
    if (line === undefined) return trouble('it is no UTF-8; save the file in that encoding')
    if (line.startsWith('#') || line.trim() === '') continue
    const equals = line.indexOf('=')
    if (equals <= 0 || equals === line.length - 1) {
      withoutEffect.push(number)
      continue
    }
    if (line.includes('\0')) return trouble('it holds a NUL character, which no variable can')
    variables.set(line.slice(0, equals), line.slice(equals + 1))
  }
  return { variables, withoutEffect }
}

/** Of several files the variable of the earlier one stands. */
export function mergedVariables(files: readonly ReadonlyMap<string, string>[]): ReadonlyMap<string, string> {
  return new Map(files.toReversed().flatMap((file) => [...file]))
}

/** Without their ends, `\n` or `\r\n`, and without a byte order mark. */
function linesOf(content: Uint8Array): readonly Uint8Array[] {
  const hasMark = content[0] === 0xef && content[1] === 0xbb && content[2] === 0xbf
  const lines: Uint8Array[] = []
  let start = hasMark ? 3 : 0
  while (start <= content.length) {
    const found = content.indexOf(0x0a, start)
    const end = found === -1 ? content.length : found
    lines.push(content.subarray(start, content[end - 1] === 0x0d && end > start ? end - 1 : end))
    start = end + 1
  }
  return lines
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
