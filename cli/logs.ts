/** `gantry logs`: prints what a container wrote. */
import type { Command } from './arguments.ts'
import { readSince } from './arguments.ts'
import { CommandError } from './controller.ts'
import type { Controller } from './controller.ts'

interface Event {
  readonly time: string
  readonly text: string
}

/** Writes and waits until it is taken, so that a slow terminal slows the reading. */
export type Write = (text: string) => Promise<void>

export async function showLogs(
  command: Command,
  controller: Pick<Controller, 'get' | 'open'>,
  write: Write,
  note: Write,
): Promise<void> {
  const { container, tail, since, follow, json, timestamps } = command
  const query = new URLSearchParams({
    ...(container !== undefined && { container }),
    ...(tail !== undefined && { tail: String(tail) }),
    ...(since !== undefined && { since: String(readSince(since, Date.now())) }),
    ...(follow && { follow: 'true' }),
  })
  const path = `/v1/tasks/${encodeURIComponent(command.task)}/logs?${query.toString()}`
  const lineOf = (event: Event): string => {
    if (json) return `${JSON.stringify(event)}\n`
    return `${timestamps ? `${event.time} ` : ''}${event.text}\n`
  }
  if (!follow) {
    const answer = (await controller.get(path)) as { readonly events: readonly Event[]; readonly note?: string }
    await write(answer.events.map(lineOf).join(''))
    if (answer.note !== undefined) await note(`${answer.note}\n`)
    return
  }
  for await (const line of linesOf(await controller.open(path))) {
    const event = JSON.parse(line) as Event & { readonly note?: string }
    if (event.note === undefined) await write(lineOf(event))
    else await note(`${event.note}\n`)
  }
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for await (const chunk of body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line !== '') yield line
    }
  } catch (error) {
    throw new CommandError('The connection to the controller was lost. Run it again to go on.', { cause: error })
  }
}
