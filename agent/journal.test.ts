import { statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'tap'
import { aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { admitTask } from './decide/admission.ts'
import type { JournalChanges } from './decide/journal-records.ts'
import { JournalError, openJournal } from './journal.ts'

const nothing: JournalChanges = {
  payloads: [],
  facts: [],
  forgottenTaskArns: [],
  outbox: [],
  deliveredSequences: [],
  seqNum: undefined,
}

function changeOf(messageId: string) {
  return { messageId, task: taskArnOf(1), status: 'RUNNING', containers: [] } as const
}

await test('what was committed is there again, and nothing else', (t) => {
  const directory = t.testdir({})
  const first = aPayloadTask()
  const second = aPayloadTask({ arn: taskArnOf(2) })
  const facts = [admitTask(first, undefined, 2), admitTask(second, undefined, 1)]
  const journal = openJournal(directory)
  t.same(journal.load(), { tasks: [], outbox: [], seqNum: -1 })
  journal.commit({ ...nothing, payloads: [first, second], facts, seqNum: 7 })
  const outbox = [2, 1].map((sequence) => ({ sequence, change: changeOf(`m${sequence}`) }))
  journal.commit({ ...nothing, outbox })
  journal.close()

  const again = openJournal(directory)
  const contents = again.load()
  t.same(
    contents.tasks.map(({ payload }) => payload.arn),
    [second.arn, first.arn],
    'in the order in which they were accepted',
  )
  t.same(contents.tasks[1], JSON.parse(JSON.stringify({ payload: first, facts: facts[0] })))
  t.same(contents.outbox, [...outbox].reverse())
  t.equal(contents.seqNum, 7)
  again.commit({ ...nothing, isAlone: true })
  t.equal(again.load().isAlone, true)
  again.commit({ ...nothing, isAlone: false })
  t.equal(again.load().isAlone, undefined)

  again.commit({ ...nothing, forgottenTaskArns: [second.arn], deliveredSequences: [1] })
  t.match(again.load(), { tasks: [{ payload: { arn: first.arn } }], outbox: [{ sequence: 2 }] })
  t.equal(again.load().tasks.length, 1)
  again.close()
  t.equal(statSync(join(directory, 'journal.db')).mode & 0o777, 0o600)
  t.end()
})

await test('a commit is all or nothing', (t) => {
  const journal = openJournal(t.testdir({}))
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  const outbox = [
    { sequence: 1, change: changeOf('m1') },
    { sequence: 2, change: circular as unknown as ReturnType<typeof changeOf> },
  ]
  t.throws(() => journal.commit({ ...nothing, payloads: [aPayloadTask()], outbox }), JournalError)
  t.same(journal.load(), { tasks: [], outbox: [], seqNum: -1 })
  journal.commit({ ...nothing, seqNum: 3 })
  t.equal(journal.load().seqNum, 3, 'and the next one is none the worse for it')
  journal.close()
  t.end()
})

await test('a journal of a later version, or one that is no journal, is refused with what to do', (t) => {
  const directory = t.testdir({
    broken: { 'journal.db': 'this is no database, and long enough to look like a header' },
  })
  openJournal(directory).close()
  const database = new DatabaseSync(join(directory, 'journal.db'))
  database.exec('pragma user_version = 99')
  database.close()
  t.throws(() => openJournal(directory), { kind: 'newer', message: /schema version 99/ })
  t.throws(() => openJournal(join(directory, 'broken')), { kind: 'broken', message: /move it away/ })
  t.end()
})

await test('a full disk is told by its name, and the journal works again when there is room', (t) => {
  const directory = t.testdir({})
  openJournal(directory).close()
  const journal = openJournal(directory, { pagesMax: 12 })
  const large = aPayloadTask({ family: 'x'.repeat(100_000) })
  t.throws(() => journal.commit({ ...nothing, payloads: [large] }), { kind: 'full', message: /make room/ })
  t.same(journal.load().tasks, [])
  journal.commit({ ...nothing, seqNum: 4 })
  t.equal(journal.load().seqNum, 4)
  journal.close()
  t.end()
})
