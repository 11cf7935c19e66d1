/** Runs one program to its end and gives its output: for the short system commands of the scripts (ip, iptables, tar). */
import { spawn } from 'node:child_process'

export interface CommandResult {
  readonly code: number
  readonly stdout: Buffer
  /** Both streams in the order of arrival, for messages. */
  readonly output: string
}

/** A program that can't be started gives code 127, as a shell does. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string | undefined>; onOutput?: (text: string) => void } = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const env = options.env === undefined ? process.env : { ...process.env, ...options.env }
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const chunks: Buffer[] = []
    let output = ''
    const take = (chunk: Buffer) => {
      output += chunk.toString()
      options.onOutput?.(chunk.toString())
    }
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      take(chunk)
    })
    child.stderr.on('data', take)
    child.on('error', (error) => resolve({ code: 127, stdout: Buffer.concat(chunks), output: error.message }))
    child.on('close', (code) => resolve({ code: code ?? 128, stdout: Buffer.concat(chunks), output }))
  })
}
