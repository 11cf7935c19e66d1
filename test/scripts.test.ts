/** What the scripts work out for themselves: counts of TAP, an engine's network, mounts and restarts, and records. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { freeSubnet } from '../scripts/engine-network.ts'
import { mountPoints, removeEngine, socketOf } from '../scripts/engine.ts'
import { keepEngine } from '../scripts/keep-engine.ts'
import { processesUsing } from '../scripts/processes.ts'
import { readRecord, writeRecord } from '../scripts/record.ts'
import { endOfLog } from '../scripts/supervise.ts'
import { type TestFileResult, countTap } from '../scripts/tap-count.ts'

function countsOf(stream: string): TestFileResult[] {
  const results: TestFileResult[] = []
  const counter = countTap((result) => results.push(result))
  for (const line of stream.split('\n')) counter.take(line)
  return results
}

/** The kernel's /proc/net/route: addresses as little-endian hexadecimal. */
const table = (...routes: [to: string, mask: string][]) =>
  ['Iface\tDestination', ...routes.map(([to, mask]) => `eth0\t${to}\t0\t3\t0\t0\t0\t${mask}\t0`)].join('\n')

await test('leaf assertions count once, at every depth, and their subtests do not', async (t) => {
  const [result, ...more] = countsOf(`TAP version 14
# Subtest: a.test.ts
    # Subtest: outer
        ok 1 - one
        not ok 2 - two
          ---
          found: |
        ok 99 - quoted in a diagnostic
          ...
        # Subtest: inner
            ok 1 - three
            1..1
        ok 3 - inner # time=1.9ms
        1..3
    not ok 1 - outer # time=31.2ms
    ok 2 - four
    ok 3 - five # SKIP no binary here
    1..3
not ok 1 - a.test.ts # time=41.9ms`)
  t.same(more, [])
  t.match(result, { file: 'a.test.ts', passed: 3, failed: 1, time: '41.9ms', skipped: ['five'] })
})

await test('a file that crashed, or that holds no test, is one failure', async (t) => {
  const crashed = countsOf('# Subtest: c.test.ts\n    1..0 # no tests found\nnot ok 2 - c.test.ts # time=482ms')
  t.match(crashed, [{ file: 'c.test.ts', passed: 0, failed: 1 }])
  const empty = countsOf('# Subtest: d.test.ts\n    1..0 # no tests found\nok 3 - d.test.ts # SKIP no tests found')
  t.match(empty, [{ file: 'd.test.ts', passed: 0, failed: 1 }])
  const lateCrash = countsOf('# Subtest: e.test.ts\n    ok 1 - fine\n    1..1\nnot ok 1 - e.test.ts # time=2s')
  t.match(lateCrash, [{ file: 'e.test.ts', passed: 1, failed: 1 }], 'all assertions passed, and then it died')
})

await test('a subtest that failed without a failed assertion counts, and so does the next file, from zero', async (t) => {
  const results = countsOf(`# Subtest: a.test.ts
    # Subtest: timed out
        ok 1 - one
        1..1
    not ok 1 - timed out # time=120s
    1..1
not ok 1 - a.test.ts # time=120s
# Subtest: b.test.ts
    ok 1 - one
    ok 2 - two
    1..2
ok 2 - b.test.ts # time=3ms`)
  t.match(results, [
    { file: 'a.test.ts', passed: 1, failed: 1 },
    { file: 'b.test.ts', passed: 2, failed: 0 },
  ])
})

await test('an engine of ours gets a network that no route of the host touches', async (t) => {
  t.equal(freeSubnet(table(['00000000', '00000000'])), '172.17.0.1/16', 'a default route takes nothing')
  t.equal(freeSubnet(table(['000011AC', '0000FFFF'])), '172.18.0.1/16', '172.17.0.0/16 is taken')
  t.equal(
    freeSubnet(table(['000011AC', '0000FFFF'], ['050012AC', '00FFFFFF'])),
    '172.19.0.1/16',
    'a /24 inside takes it',
  )
  t.throws(() => freeSubnet(table(['000010AC', '0000F0FF'])), /ip route/, '172.16.0.0/12 takes them all')
})

await test('mount points are read as the kernel escapes them', async (t) => {
  const mounts = 'proc /proc proc rw 0 0\noverlay /srv/my\\040home/a\\134b overlay rw 0 0\n'
  t.same(mountPoints(mounts), ['/proc', '/srv/my home/a\\b', ''])
})

await test('an engine that ends is started again, later each time that it fails, until nothing is kept', async (t) => {
  const pausesMs: number[] = []
  const starts: string[] = []
  // Running at the first look, ended at the next ones: the start fails twice, then holds.
  let isRunning = true
  await keepEngine({
    isRunning: () => isRunning,
    start: async () => {
      starts.push(`after ${pausesMs.length} pauses`)
      if (starts.length < 3) throw new Error('no room')
      isRunning = true
    },
    wait: async (ms) => {
      pausesMs.push(ms)
      if (pausesMs.length === 2) isRunning = false
      if (pausesMs.length === 6) throw new Error('the end')
    },
  })
  t.same(starts, ['after 2 pauses', 'after 3 pauses', 'after 4 pauses'])
  t.same(pausesMs, [2_000, 2_000, 4_000, 8_000, 2_000, 2_000], 'a start that holds begins the pauses anew')
})

await test('a record is read as it was written, by its owner alone; a broken one is as none', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-record-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'state.json')
  t.equal(readRecord(path), undefined)
  writeRecord(path, { pid: 7 })
  t.same(readRecord(path), { pid: 7 })
  t.equal(statSync(path).mode & 0o777, 0o600)
  writeFileSync(path, readFileSync(path, 'utf8').slice(0, 5))
  t.equal(readRecord(path), undefined, 'half of it, as after a power cut')
})

await test('a process is known by any variable that names a directory of ours', async (t) => {
  const directory = join(tmpdir(), `gantry-mark-${process.pid}`)
  const sleepers = [{ GANTRY_DATA_DIR: `${directory}/data` }, { TMPDIR: directory }, { TMPDIR: `${directory}-other` }]
  const children = sleepers.map((env) => spawn('/bin/sleep', ['60'], { env }))
  t.teardown(() => children.forEach((child) => child.kill('SIGKILL')))
  await Promise.all(children.map((child) => new Promise((resolve) => child.on('spawn', resolve))))
  const [first, second] = children.map((child) => child.pid)
  t.same(processesUsing(directory), [first, second])
})

await test("an engine that is removed takes its agent's networks along, whose bridges would outlive it", async (t) => {
  // A socket's path has at most 107 bytes.
  const directory = mkdtempSync(join(tmpdir(), 'gantry-remove-'))
  const asked: string[] = []
  const networks = [
    { Id: 'a1', Name: 'gantry-subnet-1', Labels: { 'gantry.subnet-id': 'subnet-1' } },
    { Id: 'b2', Name: 'gantry-task-endpoints', Labels: { 'gantry.purpose': 'task-endpoints' } },
    { Id: 'c3', Name: 'bridge', Labels: null },
  ]
  const answers: Readonly<Record<string, unknown>> = {
    '/version': { Version: '20.10.24', ApiVersion: '1.41' },
    '/containers/json?all=1': [{ Id: 'c', Names: [] }],
    '/networks': networks,
  }
  const engine = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    response.end(JSON.stringify(answers[request.url ?? ''] ?? {}))
  })
  await new Promise<void>((resolve) => engine.listen(socketOf(directory).slice('unix://'.length), resolve))
  t.teardown(() => {
    engine.close()
    rmSync(directory, { recursive: true, force: true })
  })
  t.equal(await removeEngine(directory), 1)
  const removed = asked.filter((line) => line.startsWith('DELETE'))
  t.same(removed, ['DELETE /containers/c?force=1&v=1', 'DELETE /networks/a1', 'DELETE /networks/b2'])
})

await test('the end of a log is what this start wrote, not what an earlier one met', async (t) => {
  const log = join(t.testdir(), 'controller.log')
  t.match(endOfLog(log, 0), /empty/)
  const former = JSON.stringify({ time: '2026-01-31T12:00:00.000Z', msg: 'the key is open to others' })
  const latest = JSON.stringify({ time: '2026-01-31T13:00:00.100Z', msg: 'the key is gone' })
  writeFileSync(log, `${former}\n`)
  const startedAt = Date.parse('2026-01-31T13:00:00.000Z')
  t.match(endOfLog(log, startedAt), /nothing since/)
  writeFileSync(log, `${former}\n${latest}\nsegmentation fault\n`)
  t.equal(endOfLog(log, startedAt).replaceAll(/^ +/gm, ''), 'the key is gone\nsegmentation fault')
})
