/**
 * On-demand channels: the controller asks over the control channel, the agent dials back a WebSocket that carries one
 * container's log or one command. The controller joins it to whoever asked and passes frames on unread.
 *
 * Data is binary frames, the first byte saying what (`streamKinds`); everything else is text frames `{type, message}`.
 * Flow is held by credit, end to end: a side sends at most `streamWindowBytes` of data that the other has not taken, so no
 * hop between them ever has to hold more.
 */

export const streamChannelPath = '/gantry/streams/ws'
/** Where a client of ExecuteCommand connects; the session's id follows. */
export const dataChannelPath = '/v1/data-channels/'

export const streamKinds = { stdin: 0, stdout: 1, stderr: 2, log: 3 } as const
/** Data that may be on its way in one direction, bytes, kind bytes not counted. */
export const streamWindowBytes = 256 * 1024
/** One data frame, at most. */
export const streamFrameBytes = 32 * 1024
/** A frame of any kind that is refused. */
export const streamFrameBytesMax = 256 * 1024

/** Controller -> agent, on the control channel: dial `streamChannelPath` with this id. */
export interface GantryStreamRequest {
  /** Single use; the controller forgets it after ten seconds. */
  readonly streamId: string
  readonly taskArn: string
  readonly container: string
  readonly logs?: LogsRequest | undefined
  readonly exec?: ExecRequest | undefined
}

export interface LogsRequest {
  /** Lines from the end; absent for all that Docker has. */
  readonly tail?: number | undefined
  /** Epoch milliseconds. */
  readonly since?: number | undefined
  readonly follow: boolean
}

export interface ExecRequest {
  readonly command: readonly string[]
  /** With a terminal, stdout and stderr are one. */
  readonly tty: boolean
  readonly columns?: number | undefined
  readonly rows?: number | undefined
}

// ---- text frames on a stream ---------------------------------------------------------------------------------------

/** The client's first message to a data channel. Absent members: no terminal. */
export interface OpenDataChannel {
  readonly tokenValue: string
  readonly tty?: boolean | undefined
  readonly columns?: number | undefined
  readonly rows?: number | undefined
}

export type StreamControl =
  /** Of the agent, first: the command runs, or the log is open. */
  | { readonly type: 'Started'; readonly message: object }
  /** So many more bytes of data were taken. */
  | { readonly type: 'Credit'; readonly message: { readonly bytes: number } }
  | { readonly type: 'Resize'; readonly message: { readonly columns: number; readonly rows: number } }
  | { readonly type: 'StdinEnd'; readonly message: object }
  /** The last message: the log is at its end, or the command ended. */
  | { readonly type: 'End'; readonly message: { readonly exitCode?: number | undefined } }
  /** The last message: what went wrong, as a sentence. */
  | { readonly type: 'Failure'; readonly message: { readonly reason: string } }

/** One data frame of this kind. */
export function writeStreamData(kind: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(bytes.length + 1)
  frame[0] = kind
  frame.set(bytes, 1)
  return frame
}

/** Cut to frames that both ends take. */
export function streamFrames(kind: number, bytes: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += streamFrameBytes) {
    frames.push(writeStreamData(kind, bytes.subarray(at, at + streamFrameBytes)))
  }
  return frames
}

/**
 * The words of a command line: split at blanks, with '...', "..." and backslashes as a POSIX shell reads them, and nothing
 * expanded. Undefined where a quote is not closed.
 */
export function commandWords(line: string): string[] | undefined {
  const words: string[] = []
  let word: string | undefined
  let quote = ''
  for (let at = 0; at < line.length; at += 1) {
    const sign = line.charAt(at)
    if (quote === "'") {
      if (sign === "'") quote = ''
      else word = (word ?? '') + sign
    } else if (sign === '\\' && (quote === '' || /["\\$`]/.test(line.charAt(at + 1)))) {
      at += 1
      word = (word ?? '') + line.charAt(at)
    } else if (quote === '"') {
      if (sign === '"') quote = ''
      else word = (word ?? '') + sign
    } else if (sign === "'" || sign === '"') {
      quote = sign
      word ??= ''
    } else if (/\s/.test(sign)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else word = (word ?? '') + sign
  }
  if (quote !== '') return undefined
  return word === undefined ? words : [...words, word]
}

/** The opposite: a line that `commandWords` reads as these words. */
export function commandLine(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
}
