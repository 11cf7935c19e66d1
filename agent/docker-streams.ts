/** The engine's streams, as bytes come: multiplexed logs, and lines of JSON. */

/**
 * Lines of a container's output, oldest first. A container without a terminal has both its streams in frames of an
 * eight-byte header (stream, three zeros, length); one with a terminal sends plain bytes.
 *
 * Source: Docker Engine API, "Attach to a container", stream format.
 */
export function logLines(bytes: Buffer, tty: boolean): readonly string[] {
  if (tty) return linesOf(bytes)
  const lines: string[] = []
  // A long line comes in several frames, and the other stream may come between them.
  const begun = new Map<number, Buffer>()
  let at = 0
  while (at + 8 <= bytes.length) {
    const stream = bytes.readUInt8(at)
    const end = Math.min(at + 8 + bytes.readUInt32BE(at + 4), bytes.length)
    const text = Buffer.concat([begun.get(stream) ?? Buffer.alloc(0), bytes.subarray(at + 8, end)])
    const lastBreak = text.lastIndexOf(0x0a)
    begun.set(stream, text.subarray(lastBreak + 1))
    if (lastBreak >= 0) lines.push(...linesOf(text.subarray(0, lastBreak + 1)))
    at = end
  }
  for (const rest of begun.values()) lines.push(...linesOf(rest))
  return lines
}

function linesOf(bytes: Buffer): string[] {
  const lines = bytes.toString('utf8').split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/** Takes chunks as they come and calls back with each whole line that parses as a JSON object. */
export function jsonLines(
  onValue: (value: Readonly<Record<string, unknown>>) => void,
  lineBytesMax = 1024 * 1024,
): (chunk: Buffer) => void {
  let rest = ''
  return (chunk) => {
    rest += chunk.toString('utf8')
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    // A line without an end is not from a healthy engine; what it holds is a hint at most.
    if (rest.length > lineBytesMax) rest = ''
    for (const line of lines) {
      const value = parsed(line)
      if (value !== undefined) onValue(value)
    }
  }
}

function parsed(line: string): Readonly<Record<string, unknown>> | undefined {
  if (line.trim() === '') return undefined
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined
  } catch {
    return undefined
  }
}
