/** The table of docs/security.md: no threat without a mechanism, and none without a test that is there. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'tap'

const root = dirname(import.meta.dirname)
const document = readFileSync(join(root, 'docs/security.md'), 'utf8')

interface Row {
  readonly threat: string
  readonly mechanism: string
  readonly file: string
  readonly title: string
}

/** What stands in the table of threats; a cell that can't be read has an empty file. */
function rowsOf(markdown: string): readonly Row[] {
  const [, table = ''] = /^\| threat \| mechanism \| test \|\n\|[-|]+\|\n((?:\|.*\n)+)/m.exec(markdown) ?? []
  return table
    .trim()
    .split('\n')
    .map((line) => {
      const [, threat = '', mechanism = '', proof = ''] = line.split(/(?<!\\)\|/).map((cell) => cell.trim())
      const [, file = '', title = ''] = /^`([^`]+)`: "(.+)"$/.exec(proof) ?? []
      return { threat, mechanism, file, title }
    })
}

/** Titles of a file's tests, groups within them included. */
function titlesIn(source: string): ReadonlySet<string> {
  const found = source.matchAll(/\btest\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)\s*,/g)
  return new Set([...found].map(([, one, two, three]) => (one ?? two ?? three ?? '').replaceAll(/\\(.)/g, '$1')))
}

/** Why the row proves nothing; undefined where it does. */
function problemOf({ threat, mechanism, file, title }: Row): string | undefined {
  const named = threat.slice(0, 60)
  if (threat === '' || mechanism === '') return `${named}: a row has a threat and a mechanism`
  if (file === '' || title === '') return `${named}: the last cell is \`file\`: "title of a test"`
  if (!file.endsWith('.test.ts') || !existsSync(join(root, file))) return `${named}: there is no ${file}`
  if (titlesIn(readFileSync(join(root, file), 'utf8')).has(title)) return undefined
  return `${named}: ${file} has no test with the title ${title}`
}

/** What issue 6 names, each a word or two that a row must have. */
const hostileCases: readonly (readonly [string, RegExp])[] = [
  ['replayed requests', /replayed/],
  ['altered requests', /altered/],
  ['stale signatures', /stale signature/],
  ['reuse of a token', /join token is used twice/],
  ['expiry of a token', /token that is over/],
  ['a token of another cluster', /another cluster/],
  ['a stolen agent key', /key is stolen and used from elsewhere/],
  ['reports on others’ tasks', /reports on others/],
  ['another’s metadata', /another's metadata/],
  ['another’s credentials', /credentials URL is stolen/],
  ['the agent’s own keys', /agent's own keys/],
  ['path traversal', /path traversal/],
  ['oversized and nested input', /too large, too deep/],
  ['slow clients', /slow headers/],
  ['half-open TLS', /half of a TLS handshake/],
  ['sockets that never read', /never reads/],
  ['XML bombs', /XML bombs/],
  ['bad logins', /thousand bad logins/],
  ['PassRole', /right to pass it/],
  ['trust', /without its trust/],
  ['session policies', /session policy widens/],
  ['sessions of stopped tasks', /task that stopped/],
  ['recreated roles', /deleted and made anew/],
  ['revoked sessions', /revoked session/],
  ['versions of policies', /policy's version/],
  ['hosts that call other APIs', /host calls IAM/],
  ['the local key from elsewhere', /first start's host key/],
  ['the confused deputy', /confused deputy/],
  ['secrets at rest', /secrets at rest/],
  ['secrets in answers', /Describe answers/],
  ['downgrade', /downgrade to plain HTTP/],
  ['another CA', /certificate of another CA/],
  ['smuggling', /smuggling/],
  ['claims of proxies', /X-Forwarded-For/],
]

await test('each threat has a mechanism, and a test that is there', async (t) => {
  const rows = rowsOf(document)
  t.ok(rows.length >= 45, `${rows.length} rows`)
  t.same(
    rows.flatMap((row) => problemOf(row) ?? []),
    [],
  )
  const threats = rows.map(({ threat }) => threat)
  t.equal(new Set(threats).size, threats.length, 'each threat stands there once')
})

await test('each hostile case that was asked for has a row', async (t) => {
  const threats = rowsOf(document).map(({ threat }) => threat)
  t.same(
    hostileCases.flatMap(([name, words]) => (threats.some((threat) => words.test(threat)) ? [] : name)),
    [],
  )
})

await test('a row without a test fails', async (t) => {
  const head = '| threat | mechanism | test |\n|---|---|---|\n'
  const problem = (row: string): string => rowsOf(`${head}${row}\n`).map(problemOf).join()
  const own = '`test/security.test.ts`: "a row without a test fails"'
  t.equal(problem(`| a | b | ${own} |`), '')
  t.match(problem(`| a |  | ${own} |`), /a threat and a mechanism/)
  t.match(problem('| a | b | by care |'), /the last cell/)
  t.match(problem('| a | b | `test/nowhere.test.ts`: "x" |'), /there is no test\/nowhere/)
  t.match(problem('| a | b | `docs/security.md`: "x" |'), /there is no docs/)
  t.match(problem('| a | b | `test/security.test.ts`: "a row without a test" |'), /no test with the title/)
})
