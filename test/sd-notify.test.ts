/** What systemd hears from agent and controller: over a real datagram socket, with a clock that the test turns. */
import { dlopen } from 'node:ffi'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { openSdNotify as openOfAgent } from '../agent/sd-notify.ts'
import type { SdNotify } from '../agent/sd-notify.ts'
import { openSdNotify as openOfController } from '../controller/sd-notify.ts'

type Environment = Readonly<Record<string, string | undefined>>
type After = (delayMs: number, callback: () => void) => () => void

const programs = {
  agent: (env: Environment, after: After) => openOfAgent({ env, timers: { after }, pid: 42 }),
  controller: (env: Environment, after: After) => openOfController({ env, after, pid: 42 }),
}

/** A socket like systemd's own; `heard` gives the messages that have come since the last look. */
function listen(path: string): { readonly heard: () => string[] } {
  const { functions: libc } = dlopen(null, {
    socket: { return: 'int32', arguments: ['int32', 'int32', 'int32'] },
    bind: { return: 'int32', arguments: ['int32', 'buffer', 'uint32'] },
    recv: { return: 'int64', arguments: ['int32', 'buffer', 'uint64', 'int32'] },
  })
  const datagram = 2
  const dontWait = 0x40
  const descriptor = libc.socket(1, datagram, 0)
  const address = Buffer.from(`\u0001\0${path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`}`)
  if (libc.bind(descriptor, address, address.length) !== 0) throw new Error(`no socket could be bound at ${path}`)
  return {
    heard() {
      const messages: string[] = []
      for (;;) {
        const text = Buffer.alloc(4096)
        const length = Number(libc.recv(descriptor, text, 4096n, dontWait))
        if (length < 0) return messages
        messages.push(text.toString('utf8', 0, length))
      }
    },
  }
}

function handClock(): { after: After; readonly waits: number[]; next(): void } {
  const waiting: (() => void)[] = []
  const waits: number[] = []
  return {
    waits,
    after(delayMs, callback) {
      waits.push(delayMs)
      waiting.push(callback)
      return () => undefined
    },
    next: () => waiting.shift()?.(),
  }
}

for (const [name, open] of Object.entries(programs)) {
  await test(`${name}: a loop that turns is alive, one that stands still is not`, async (t) => {
    // A socket's path has 107 bytes at most, so it can't be in the test's own directory.
    const directory = mkdtempSync(join(tmpdir(), 'sd-'))
    t.teardown(() => rmSync(directory, { recursive: true }))
    const socket = join(directory, 's')
    const systemd = listen(socket)
    const clock = handClock()
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '60000000', WATCHDOG_PID: '42' }
    const notify: SdNotify = await open(env, clock.after)
    let passes = 7
    let status = 'registers'
    notify.watch(
      () => passes,
      () => status,
    )
    t.same(systemd.heard(), ['WATCHDOG=1\nSTATUS=registers'])
    t.same(clock.waits, [20_000], 'a third of the patience')

    clock.next()
    t.same(systemd.heard(), [], 'the loop has not turned')
    passes = 8
    clock.next()
    t.same(systemd.heard(), ['WATCHDOG=1'])

    status = 'connected'
    notify.ready()
    notify.ready()
    t.same(systemd.heard(), ['READY=1\nSTATUS=connected'], 'once, and with what it is at')

    notify.stopping(90_000)
    const [last = ''] = systemd.heard()
    t.match(last, /^STOPPING=1\nSTATUS=ends; .*\nEXTEND_TIMEOUT_USEC=90000000$/)
    passes = 9
    clock.next()
    t.same(systemd.heard(), [], 'what ends shows no life any more')
  })

  await test(`${name}: an abstract socket, another process's watchdog, and none at all`, async (t) => {
    const abstract = `@gantry-test-${process.pid}-${name}`
    const systemd = listen(abstract)
    const clock = handClock()
    const others = { NOTIFY_SOCKET: abstract, WATCHDOG_USEC: '60000000', WATCHDOG_PID: '41' }
    const notify = await open(others, clock.after)
    notify.watch(
      () => 1,
      () => 'serves',
    )
    t.same(systemd.heard(), ['STATUS=serves'], 'no sign of life, for nobody waits for ours')
    t.same(clock.waits, [20_000])

    const silent = await open({}, clock.after)
    silent.watch(
      () => 1,
      () => 'serves',
    )
    silent.ready()
    silent.stopping()
    t.same(systemd.heard(), [])
    t.same(clock.waits, [20_000], 'without systemd there is nothing to do')
  })
}
