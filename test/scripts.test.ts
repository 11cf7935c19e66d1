/** The scripts' own arithmetic: what a TAP stream counts for, and which network an engine of ours gets. */
import { test } from 'tap'
import { freeSubnet } from '../scripts/engine-network.ts'
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
