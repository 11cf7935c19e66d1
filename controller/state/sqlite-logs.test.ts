/** The store of shipped logs, on a file of its own: what it keeps, what it lets go, and what it does with a file that is none. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { writeLogEvent } from '../../proto/logs.ts'
import { openLogStore } from '../log-store.ts'
import { type LogBatch, type LogLimits, LogTables } from './sqlite-logs.ts'

const directory = mkdtempSync(join(tmpdir(), 'gantry-logs-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
let files = 0

const hourMs = 3600_000
const position = { time: '2026-01-31T12:00:00Z', hash: 'h' }

function opened(limits: Partial<LogLimits> = {}): LogTables {
  files += 1
  const path = join(directory, `${files}.db`)
  return new LogTables({ path, bytesMax: 1e9, streamBytesMax: 1e9, keepMs: 24 * hourMs, ...limits })
}

function streamOf(tables: LogTables, container: string): number {
  const key = { taskId: 'task', container, dockerId: container, logGroup: 'g', logStream: container }
  return tables.open({ key, now: 0 }).id
}

function aBatch(stream: number, sequence: number, body: string, count = 1): LogBatch {
  return { stream, sequence, count, firstTime: 1, lastTime: 1, position, body: Buffer.from(body) }
}

/** Shorter than what is compressed, so that its weight is known. */
const line = (number: number): string => writeLogEvent(1, `${number}`.padStart(200, '.'))
const lineBytes = line(0).length

await t.test('a stream that is full loses no more than it has to', (test) => {
  const tables = opened({ streamBytesMax: 10 * lineBytes })
  const [full, other] = [streamOf(tables, 'full'), streamOf(tables, 'other')]
  tables.append({ batches: [aBatch(other, 0, line(0))], now: 0 })
  for (let number = 0; number < 200; number += 1)
    tables.append({ batches: [aBatch(full, number, line(number))], now: 0 })
  test.match(tables.streams({ taskId: 'task' }), [
    { container: 'full', first: 190, next: 200 },
    { container: 'other', first: 0, next: 1 },
  ])
  test.equal(tables.size(), 11 * lineBytes)
  const { events } = tables.slice({ stream: full, from: 0, events: 100 })
  test.same(
    events.map(({ text }) => Number(text.replaceAll('.', ''))),
    Array.from({ length: 10 }, (_, index) => 190 + index),
  )
  tables.close()
  test.end()
})

await t.test('so does the store, and the oldest go first', (test) => {
  const tables = opened({ bytesMax: 10 * lineBytes })
  const [early, late] = [streamOf(tables, 'early'), streamOf(tables, 'late')]
  const batches = Array.from({ length: 8 }, (_, number) => aBatch(early, number, line(number)))
  tables.append({ batches, now: 0 })
  tables.append({ batches: batches.map((batch) => ({ ...batch, stream: late })), now: 0 })
  test.match(tables.streams({ taskId: 'task' }), [
    { first: 6, next: 8 },
    { first: 0, next: 8 },
  ])
  tables.close()
  test.end()
})

await t.test('what is too old goes, however much of it there is', (test) => {
  const tables = opened()
  const stream = streamOf(tables, 'app')
  const batches = Array.from({ length: 300 }, (_, number) => aBatch(stream, number, line(number)))
  tables.append({ batches, now: 0 })
  for (let number = 300; number < 310; number += 1) {
    tables.append({ batches: [aBatch(stream, number, line(number))], now: 25 * hourMs + number * 1000 })
  }
  test.match(tables.streams({ taskId: 'task' }), [{ first: 300, next: 310 }])
  tables.close()
  test.end()
})

await t.test('lines that can not be read, or have no time that is one, hide no others', (test) => {
  const tables = opened()
  const stream = streamOf(tables, 'app')
  const bad = [writeLogEvent(1e300, 'never'), 'no JSON', '[1]', writeLogEvent(2, 'good')].join('\n')
  tables.append({
    batches: [aBatch(stream, 0, 'no JSON'), aBatch(stream, 1, bad, 4), aBatch(stream, 5, line(5))],
    now: 0,
  })
  const { events, next } = tables.slice({ stream, from: 0, events: 100 })
  test.match(events, [{ text: 'good' }, { text: /5$/ }])
  test.equal(next, 6)
  tables.close()
  test.end()
})

await t.test('a file that is no store is moved aside; any other trouble is told', (test) => {
  const path = join(directory, 'garbage.db')
  writeFileSync(path, 'not a database, and long enough to be looked at'.repeat(100))
  const tables = opened({ path })
  test.equal(tables.movedTo, `${path}.unreadable`)
  test.ok(existsSync(`${path}.unreadable`))
  test.equal(streamOf(tables, 'app'), 1)
  tables.close()
  test.equal(opened({ path }).movedTo, undefined, 'the new one is read again')
  test.throws(() => opened({ path: join(directory, 'missing', 'logs.db') }), /unable to open/)
  test.end()
})

await t.test('its thread, and what that takes of memory, is there from the first request on', async (test) => {
  const own = mkdtempSync(join(tmpdir(), 'gantry-logs-'))
  test.teardown(() => rmSync(own, { recursive: true, force: true }))
  const limits = { bytesMax: 1e9, streamBytesMax: 1e9, keepMs: hourMs }
  const open = () => openLogStore(own, limits, { now: () => 0 }, undefined as never)
  const written = (): boolean => statSync(join(own, 'logs.db')).size > 0 || existsSync(join(own, 'logs.db-wal'))
  const unused = open()
  await unused.close()
  test.notOk(written(), 'nobody opened the file')
  await test.rejects(unused.ask('size', {}), { message: 'The log store is closed.' })
  test.notOk(written())
  const used = open()
  test.equal(await used.ask('size', {}), 0)
  test.ok(written())
  await used.close()
  await test.rejects(used.ask('size', {}), { message: 'The log store is closed.' })
})
