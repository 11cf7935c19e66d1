/** One line from standard input that is not to be seen: a pipe as it is, a terminal without its echo. */
import type { ReadStream } from 'node:tty'

export type SecretSource = (NodeJS.ReadableStream & AsyncIterable<Buffer | string>) | ReadStream

const lineMax = 4096

/** Up to the first end of line, without it; empty where there is none. */
export async function readSecretLine(
  from: SecretSource,
  promptTo: NodeJS.WritableStream,
  prompt: string,
): Promise<string> {
  const terminal = isTerminal(from) ? from : undefined
  if (terminal !== undefined) promptTo.write(prompt)
  terminal?.setRawMode(true)
  try {
    let text = ''
    for await (const chunk of from) {
      text += chunk.toString()
      // Without the terminal's own handling Ctrl-C and Ctrl-D are bytes.
      if (terminal !== undefined && (text.includes('\u0003') || text.includes('\u0004'))) return ''
      if (/[\r\n]/.test(text) || text.length > lineMax) break
    }
    return text.split(/[\r\n]/)[0]?.slice(0, lineMax) ?? ''
  } finally {
    terminal?.setRawMode(false)
    if (terminal !== undefined) promptTo.write('\n')
  }
}

function isTerminal(from: SecretSource): from is ReadStream {
  return 'isTTY' in from && from.isTTY
}
