/** From Docker's log stream to numbered batches: framing, positions, several lines to an event, bounds, gaps. */
import { Readable } from 'node:stream'
import { test } from 'tap'
import * as fc from 'fast-check'
import { readLogBatch, readLogEvents } from '../proto/logs.ts'
import type { LogPosition } from '../proto/logs.ts'
import { fakeTime } from '../test/support/fake-time.ts'
import { EventAssembler, logStreamName, PositionFinder, positionOf } from './decide/log-lines.ts'
import type { LogMessage } from './decide/log-lines.ts'
import { EngineError } from './engine.ts'
import type { EngineStreams, LogsWanted } from './engine-streams.ts'
import { readLogMessages } from './log-messages.ts'
import { startLogLink } from './log-link.ts'
import { LogStream } from './log-stream.ts'
import { startsOf } from './logs.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {}, fatal() {}, child: () => quiet } as never

function timeOf(index: number): string {
  return `2026-01-31T12:${String(Math.floor(index / 60) % 60).padStart(2, '0')}:${String(index % 60).padStart(2, '0')}.000000001Z`
}

const ignore = (): void => undefined

function frame(text: string, source = 1): Buffer {
  const payload = Buffer.from(text)
  const head = Buffer.alloc(8)
  head.writeUInt8(source)
  head.writeUInt32BE(payload.length, 4)
  return Buffer.concat([head, payload])
}

const message = (index: number, text: string, over: Partial<LogMessage> = {}): LogMessage => ({
  time: timeOf(index),
  text,
  isWhole: true,
  source: 1,
  ...over,
})

await test('options that nobody judged take no agent down', (t) => {
  const warned: object[] = []
  const log = { warn: (facts: object) => void warned.push(facts) } as never
  t.ok(startsOf({ 'awslogs-multiline-pattern': '^INFO' }, log)?.('INFO one'))
  for (const pattern of ['(', '(a+)+b']) t.equal(startsOf({ 'awslogs-multiline-pattern': pattern }, log), undefined)
  t.equal(warned.length, 2)
  t.end()
})

await test('messages are read however the stream is cut', (t) => {
  const texts = ['one', '', 'zwei ü', 'a\tb', 'last']
  const framed = Buffer.concat(texts.map((text, index) => frame(`${timeOf(index)} ${text}\n`, 1 + (index % 2))))
  const plain = Buffer.from(texts.map((text, index) => `${timeOf(index)} ${text}\r\n`).join(''))
  fc.assert(
    fc.property(fc.array(fc.nat(framed.length)), fc.boolean(), (cuts, tty) => {
      const bytes = tty ? plain : framed
      const reader = readLogMessages(tty)
      const places = [0, ...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length]
      const read = places.slice(1).flatMap((end, index) => reader.read(bytes.subarray(places[index], end)))
      t.same(
        read.map(({ text }) => text),
        texts,
      )
    }),
    { numRuns: 50 },
  )
  const part = 'p'.repeat(16 * 1024)
  const long = readLogMessages(true).read(Buffer.from(`${timeOf(0)} ${part}${timeOf(0)} rest\r\n`))
  t.match(long, [
    { text: part, isWhole: false },
    { text: 'rest', isWhole: true },
  ])
  t.end()
})

await test('parts are joined; what the other source says between them comes after, and is stored with it', (t) => {
  const assembler = new EventAssembler(undefined)
  t.same(assembler.take(message(0, 'be', { isWhole: false }), 0), [])
  t.match(assembler.take(message(1, 'gun'), 0), [{ text: 'begun', last: { text: 'gun' } }])
  assembler.take(message(2, 'half', { isWhole: false }), 0)
  t.same(assembler.take(message(3, 'err', { source: 2 }), 0), [])
  t.same(assembler.take(message(4, 'long', { source: 2, isWhole: false }), 0), [])
  const joined = assembler.take(message(5, ' and whole'), 0)
  t.match(joined, [
    { text: 'half and whole', isJoined: true, last: { text: ' and whole' } },
    { text: 'err', isJoined: true, last: { text: ' and whole' } },
    { text: 'long', last: { text: ' and whole' } },
  ])
  t.equal(joined.at(-1)?.isJoined, undefined)
  assembler.take(message(6, 'open', { isWhole: false }), 0)
  assembler.take(message(7, 'err', { source: 2 }), 0)
  t.match(assembler.flush(), [
    { text: 'open', isJoined: true },
    { text: 'err', last: { text: 'err' } },
  ])
  const several = new EventAssembler((line) => line.startsWith('>'))
  several.take(message(0, '>half', { isWhole: false }), 0)
  t.match(several.take(message(1, '>err', { source: 2 }), 0), [{ text: '>half' }])
  t.end()
})

await test('several lines are one event until the next begins, or it is overdue', (t) => {
  const assembler = new EventAssembler((line) => line.startsWith('>'))
  t.same(assembler.take(message(0, '>one'), 0), [])
  t.same(assembler.take(message(1, ' more'), 1), [])
  t.match(assembler.take(message(2, '>two'), 2), [
    { text: '>one\n more', time: Date.parse(timeOf(0)), last: { text: ' more' } },
  ])
  t.same(assembler.overdue(5001), [])
  t.match(assembler.overdue(5002), [{ text: '>two' }])
  const many = Array.from({ length: 20 }, (_, index) => assembler.take(message(index, 'x'.repeat(10_000)), 0)).flat()
  t.ok(many.length >= 2 && many.every(({ text }) => text.length <= 90_000), 'an event without end is cut')
  t.end()
})

await test('a position is found among messages of the same time, and its loss is noticed', (t) => {
  const all = [message(0, 'a'), message(5, 'b'), message(5, 'c'), message(5, 'd'), message(6, 'e')]
  const finder = new PositionFinder(positionOf(message(5, 'c')))
  const after = all.flatMap((one) => finder.take(one).messages.map(({ text }) => text))
  t.same(after, ['d', 'e'])
  const lost = new PositionFinder(positionOf(message(5, 'gone')))
  t.same(lost.take(message(6, 'x')), { messages: [], lost: false })
  t.match(lost.take(message(9, 'y')), { messages: [{ text: 'x' }, { text: 'y' }], lost: true })
  t.equal(logStreamName('p', { container: 'app', taskId: 't1', dockerId: 'abc' }), 'p/app/t1')
  t.equal(logStreamName(undefined, { container: 'app', taskId: 't1', dockerId: 'abc' }), 'abc')
  t.end()
})

/** A Docker of one container that has ended, with these messages. */
function engineOf(messages: readonly LogMessage[]): Pick<EngineStreams, 'openLogs'> & { readonly asked: LogsWanted[] } {
  const asked: LogsWanted[] = []
  return {
    asked,
    async openLogs(_id, wanted) {
      asked.push(wanted)
      const kept = wanted.tail === undefined ? messages : messages.slice(-wanted.tail)
      const since = kept.filter(({ time }) => wanted.since === undefined || Date.parse(time) >= wanted.since)
      return {
        stream: Readable.from(since.map(({ time, text }) => frame(`${time} ${text}\n`))),
        tty: false,
        running: false,
      }
    },
  }
}

/** Ships all of it to a controller that keeps what it is sent; answers when everything is acknowledged. */
async function ship(
  engine: Pick<EngineStreams, 'openLogs'>,
  from: { readonly sequence: number; readonly position?: LogPosition },
): Promise<{ readonly lines: readonly string[]; readonly most: number; readonly position: LogPosition | undefined }> {
  const lines: string[] = []
  let [unacknowledged, most] = [0, 0]
  let position: LogPosition | undefined
  await new Promise<void>((resolve) => {
    const stream = new LogStream({
      stream: 1,
      dockerId: 'abc',
      starts: undefined,
      engine,
      now: () => Date.parse('2026-02-01T00:00:00Z'),
      timers: {
        after: (delayMs, callback) =>
          (
            (timer) => () =>
              clearTimeout(timer)
          )(setTimeout(callback, delayMs / 100)),
      },
      log: quiet,
      inFlight: { bytes: 0, waiting: new Set() },
      onDone: resolve,
      send(bytes) {
        const batch = readLogBatch(bytes)
        if (batch === undefined) throw new Error('no batch')
        const events = readLogEvents(new TextDecoder().decode(batch.body))
        if (batch.header.sequence !== from.sequence + lines.length || events.length !== batch.header.count) {
          throw new Error(`batch ${batch.header.sequence} of ${events.length} after ${lines.length} lines`)
        }
        lines.push(...events.map(({ text }) => text))
        position = batch.header.position
        unacknowledged += 1
        most = Math.max(most, unacknowledged)
        setTimeout(() => {
          unacknowledged -= 1
          stream.acknowledged(batch.header.sequence + batch.header.count)
        }, 1)
      },
    })
    stream.ready({ stream: 1, ...from })
  })
  return { lines, most, position }
}

await test('a log is shipped whole, within its window, and goes on from any position', async (t) => {
  const messages = Array.from({ length: 3500 }, (_, index) => message(index, `${index} ${'x'.repeat(200)}`))
  const whole = await ship(engineOf(messages), { sequence: 0 })
  t.equal(whole.lines.length, messages.length)
  t.ok(whole.most <= 4, `${whole.most} batches at most were not acknowledged`)
  for (const at of [0, 1700, 3400, 3499]) {
    const place = messages[at]
    if (place === undefined) throw new Error('no such message')
    const rest = await ship(engineOf([...messages, message(3550, 'new')]), {
      sequence: at + 1,
      position: positionOf(place),
    })
    t.same(rest.lines, [...messages.slice(at + 1).map(({ text }) => text), 'new'], `after ${at}`)
  }
})

await test('what Docker has dropped is told in its place', async (t) => {
  const messages = [message(100, 'x'), message(101, 'y')]
  const { lines } = await ship(engineOf(messages), { sequence: 7, position: positionOf(message(50, 'dropped')) })
  t.equal(lines.length, 3)
  t.match(
    lines[0],
    /^\[gantry\] Output between 2026-01-31T12:00:50\.000000001Z and 2026-01-31T12:01:40\.000000001Z is lost/,
  )
  t.same(lines.slice(1), ['x', 'y'])
})

await test('a log that Docker does not give is tried again, and one that is gone is not', async (t) => {
  const messages = [message(1, 'x'), message(2, 'y')]
  const engine = engineOf(messages)
  let failures = 2
  const failing: typeof engine = {
    ...engine,
    async openLogs(id, wanted) {
      failures -= 1
      if (failures >= 0) throw new EngineError('refused', 'Error grabbing logs: unexpected EOF')
      return engine.openLogs(id, wanted)
    },
  }
  t.same((await ship(failing, { sequence: 0 })).lines, ['x', 'y'])
  const gone = { openLogs: async () => Promise.reject(new EngineError('notFound', 'No such container: abc')) }
  t.same((await ship(gone, { sequence: 0 })).lines, [])
})

await test('a controller that is away for long is said now and then, not at each try', async (t) => {
  const time = fakeTime()
  const warned: string[] = []
  let tries = 0
  const link = startLogLink({
    async discover() {
      tries += 1
      throw new Error('nobody answers')
    },
    cluster: 'lab',
    containerInstanceArn: 'arn',
    region: 'us-east-1',
    credentials: async () => ({ accessKeyId: 'id', secretAccessKey: 'key' }),
    now: () => time.now(),
    random: () => 0.5,
    timers: time,
    log: { warn: (_facts: object, words: string) => warned.push(words), debug: ignore } as never,
    onOpen: ignore,
    onFrame: ignore,
    onClosed: ignore,
  })
  await time.pass(3_600_000)
  link.close()
  t.ok(tries > 100)
  t.ok(warned.length <= 7, `${warned.length} lines in an hour`)
})
