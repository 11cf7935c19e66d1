/**
 * Tells systemd how the controller is (sd_notify(3)): ready, alive, what it is at, ending. Node has no Unix datagram socket,
 * so the three calls that it takes are made through node:ffi, in this process: a child for each message would cost more,
 * and systemd would have to trust children as well. Without NOTIFY_SOCKET nothing is loaded, and nothing is sent.
 */
export interface SdNotify {
  /**
   * From now on sends a sign of life while `beat` answers another number than the last time, at a third of systemd's
   * patience, and what `status` says where it has changed. `beat` has the loop turn once more, so a loop that hangs is
   * noticed, not only a process that does.
   */
  watch(beat: () => number, status: () => string): void
  /** The start is over. Only the first call counts. */
  ready(): void
  /** The end has begun; it may take this many milliseconds, where that is longer than the unit's own limit. */
  stopping(extendMs?: number): void
}

export interface SdNotifyOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Calls back once, after that many milliseconds. */
  readonly after: (delayMs: number, callback: () => void) => unknown
  readonly pid: number
}

const silent: SdNotify = { ready: () => undefined, watch: () => undefined, stopping: () => undefined }
/** How often the status is looked at where systemd expects no signs of life. */
const statusMs = 20_000

/** Throws an Error, with what to do, where systemd waits for messages and this Node can't send any. */
export async function openSdNotify({ env, after, pid }: SdNotifyOptions): Promise<SdNotify> {
  const socket = env['NOTIFY_SOCKET']
  if (!socket) return silent
  const send = await openSender(socket)
  const patienceMs = watchdogPatienceMs(env, pid)
  const beatMs = Math.floor((patienceMs ?? statusMs * 3) / 3)
  const sent = { beat: Number.NaN, status: '', isReady: false, isStopping: false }
  let status = (): string => sent.status

  const tell = (lines: readonly string[]): void => {
    const text = status()
    const all = text === sent.status ? lines : [...lines, `STATUS=${text}`]
    sent.status = text
    if (all.length > 0) send(all)
  }
  const beatOnce = (beat: () => number): void => {
    if (sent.isStopping) return
    const now = beat()
    tell(now !== sent.beat && patienceMs !== undefined ? ['WATCHDOG=1'] : [])
    sent.beat = now
    after(beatMs, () => beatOnce(beat))
  }
  return {
    watch(beat, statusOf) {
      status = statusOf
      beatOnce(beat)
    },
    ready() {
      if (!sent.isReady) tell(['READY=1'])
      sent.isReady = true
    },
    stopping(extendMs = 0) {
      sent.isStopping = true
      const extend = extendMs > 0 ? [`EXTEND_TIMEOUT_USEC=${extendMs * 1000}`] : []
      send(['STOPPING=1', 'STATUS=ends; agents and containers go on', ...extend])
    },
  }
}

/** WATCHDOG_USEC, where it is meant for this process. */
function watchdogPatienceMs(env: SdNotifyOptions['env'], pid: number): number | undefined {
  const meantFor = env['WATCHDOG_PID']
  const patienceMs = Number(env['WATCHDOG_USEC']) / 1000
  return patienceMs > 0 && (!meantFor || meantFor === String(pid)) ? patienceMs : undefined
}

const unixDomain = 1
/** SOCK_DGRAM, SOCK_CLOEXEC and SOCK_NONBLOCK: a full queue of systemd's must not stop the controller. */
const datagram = 2 | 0o2000000 | 0o4000
const noSignal = 0x4000

async function openSender(path: string): Promise<(lines: readonly string[]) => void> {
  const { dlopen } = await import('node:ffi').catch((error: unknown) => {
    throw new Error(
      'systemd waits for messages (NOTIFY_SOCKET), and this Node has no node:ffi to send them. Run the controller with the ' +
        'Node that Gantry brings along, or set Type=exec and WatchdogSec=0 in its unit.',
      { cause: error },
    )
  })
  const { functions: libc } = dlopen(null, {
    socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
    sendto: { return: 'int64', arguments: ['int32', 'buffer', 'uint64', 'int32', 'buffer', 'uint32'] },
  })
  const descriptor = libc.socket(unixDomain, datagram, 0)
  const address = socketAddress(path)
  return (lines) => {
    const text = Buffer.from(lines.join('\n'))
    libc.sendto(descriptor, text, BigInt(text.length), noSignal, address, address.length)
  }
}

/** struct sockaddr_un: the family, then the path; a leading @ stands for the zero byte of an abstract address. */
function socketAddress(path: string): Buffer {
  const name = path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`
  return Buffer.concat([Buffer.from([unixDomain, 0]), Buffer.from(name)])
}
