/** The operators' command. It talks to the controller's API alone, and knows nothing of its files but the keys. */
import { readArguments, usage, UsageError } from './arguments.ts'
import type { Command } from './arguments.ts'
import { CommandError, openController } from './controller.ts'
import { runCommand } from './exec.ts'
import { runHosts } from './hosts.ts'
import { hostsUsage, isHostsCommand, readHostsArguments } from './hosts-arguments.ts'
import { showLogs } from './logs.ts'

const failed = 1
const wrongUsage = 2
/** As other tools that run commands elsewhere: none of the command's own. */
const notRun = 125

process.exitCode = await run(process.argv.slice(2))
// A pending read of the terminal would keep the process.
process.exit()

async function run(given: readonly string[]): Promise<number> {
  let command: Command | undefined
  // `gantry logs ... | head` ends the reader, and is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : failed))
  if (given[0] === undefined || given[0] === '--help' || given[0] === '-h' || given[0] === 'help') {
    process.stdout.write(`${usage}\n${hostsUsage}`)
    return given[0] === undefined ? wrongUsage : 0
  }
  if (asksForHelp(given)) {
    process.stdout.write(usageOf(given[0]))
    return 0
  }
  try {
    if (isHostsCommand(given[0])) {
      const asked = readHostsArguments(given)
      await runHosts(asked, openController(asked, process.env), writerOf(process.stdout))
      return 0
    }
    command = readArguments(given)
    const controller = openController(command, process.env)
    if (command.name === 'exec') return await runCommand(command, controller, process)
    await showLogs(command, controller, writerOf(process.stdout), writerOf(process.stderr))
    return 0
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof CommandError)) throw error
    process.stderr.write(
      error instanceof UsageError ? `gantry: ${error.message}\n${usageOf(given[0])}` : `gantry: ${error.message}\n`,
    )
    if (given[0] === 'exec') return notRun
    return error instanceof UsageError ? wrongUsage : failed
  }
}

/** What comes after `--` is the other command's. */
function asksForHelp(given: readonly string[]): boolean {
  const end = given.indexOf('--')
  const own = end < 0 ? given : given.slice(0, end)
  return own.includes('--help') || own.includes('-h')
}

function usageOf(name: string | undefined): string {
  if (isHostsCommand(name)) return hostsUsage
  return name === 'logs' || name === 'exec' ? usage : `${usage}\n${hostsUsage}`
}

function writerOf(stream: NodeJS.WriteStream): (text: string) => Promise<void> {
  return async (text) => {
    if (text !== '') await new Promise<void>((resolve) => stream.write(text, () => resolve()))
  }
}
