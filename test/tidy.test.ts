/** The house rules as a test. It reads every file, says how many, and shows by samples that each rule can fail. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { test } from 'tap'
import { type Source, readSource } from './support/source.ts'
import { findCycles, findDeadFiles, longestFileLines, longestFunctionLines, rules } from './support/tidy-rules.ts'

const root = dirname(import.meta.dirname)
const notOurs = new Set(['node_modules', '.git', '.gantry', '.tap', 'data'])

/** Every file of the repository, relative to its root; what git ignores by name is left out. */
function listFiles(directory = ''): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(directory, entry.name)
    if (notOurs.has(entry.name) || entry.name.endsWith('.log')) return []
    return entry.isDirectory() ? listFiles(path) : [path]
  })
}

const files = listFiles()
const sources = files
  .filter((path) => path.endsWith('.ts'))
  .map((path) => readSource(path, readFileSync(join(root, path), 'utf8')))
const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
const scriptFiles = Object.values(packageJson.scripts).flatMap((command) => /scripts\/[\w-]+\.ts/.exec(command) ?? [])

await test('all rooms were read', async (t) => {
  const least = { proto: 20, controller: 50, agent: 35, scripts: 12, test: 12 }
  for (const [room, count] of Object.entries(least)) {
    const read = sources.filter(({ path }) => path.startsWith(`${room}/`)).length
    t.ok(read >= count, `${room}/ has ${read} files, at least ${count}`)
  }
  const functions = sources.reduce((sum, source) => sum + source.functions.length, 0)
  const imports = sources.reduce((sum, source) => sum + source.imports.length, 0)
  t.ok(functions > sources.length, `${functions} functions were measured`)
  t.ok(imports > sources.length, `${imports} imports were followed`)
  t.ok(scriptFiles.length >= 4, `${scriptFiles.length} scripts are named in package.json`)
})

for (const [name, rule] of Object.entries(rules)) {
  await test(`rule ${name}`, async (t) => t.same(sources.flatMap(rule), []))
}

await test('no import cycles, no dead files', async (t) => {
  t.same(findCycles(sources), [])
  t.same(findDeadFiles(sources, scriptFiles), [])
})

/** The text of a document's headings as the anchors that a link may name. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  )
}

/** Links that lead nowhere, and `npm run` commands that package.json doesn't have. */
function findBrokenReferences(path: string, markdown: string): readonly string[] {
  const links = [...markdown.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
  const broken = links
    .filter((link) => !/^(https?|mailto):/.test(link))
    .filter((link) => {
      const [file = '', anchor] = link.split('#')
      const target = file === '' ? path : posix.join(posix.dirname(path), file)
      if (!existsSync(join(root, target))) return true
      const text = file === '' ? markdown : anchor === undefined ? '' : readFileSync(join(root, target), 'utf8')
      return anchor !== undefined && !anchorsOf(text).includes(anchor)
    })
  const commands = [...markdown.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name = '']) => name)
  const unknown = commands.filter((name) => packageJson.scripts[name] === undefined).map((name) => `npm run ${name}`)
  return [...broken, ...unknown].map((what) => `${path} names ${what}, which is not there`)
}

await test('documents lead somewhere', async (t) => {
  const documents = files.filter((path) => path.endsWith('.md'))
  t.ok(documents.length >= 8, `${documents.length} documents were read`)
  const findings = documents.flatMap((path) => findBrokenReferences(path, readFileSync(join(root, path), 'utf8')))
  t.same(findings, [])
  t.same(findBrokenReferences('README.md', '[a](docs/nowhere.md) [b](#no-such) `npm run fly` [c](LICENSE)'), [
    'README.md names docs/nowhere.md, which is not there',
    'README.md names #no-such, which is not there',
    'README.md names npm run fly, which is not there',
  ])
})

/** Names that a document gives in code type and that no code has any more: files by their path, and variables. */
function findStaleNames(path: string, markdown: string, code: string): readonly string[] {
  const names = [...markdown.matchAll(/`([^`\n]+)`/g)].map(([, name = '']) => name)
  const paths = names.filter((name) => /^(agent|controller|proto|scripts|test|docs)\/[\w./-]+$/.test(name))
  // `controller/lock` and the like are below the home of npm start.
  const stale = paths.filter(
    (name) => /\.(ts|json|md)$/.test(name) && !homeFiles.has(name) && !existsSync(join(root, name)),
  )
  const variables = (markdown.match(/\b(GANTRY|ECS)_[A-Z][A-Z_]*[A-Z]\b/g) ?? []).filter((name) => !code.includes(name))
  return [...stale, ...variables].map((what) => `${path} names ${what}, which no code has`)
}

const homeFiles: ReadonlySet<string> = new Set(['agent/identity.json'])

await test('documents name what the code has', async (t) => {
  const code = files
    .filter((path) => /^(agent|controller|scripts|test)\/.*\.ts$/.test(path))
    .map((path) => readFileSync(join(root, path), 'utf8'))
    .join('\n')
  const documents = files.filter((path) => path.endsWith('.md'))
  const findings = documents.flatMap((path) => findStaleNames(path, readFileSync(join(root, path), 'utf8'), code))
  t.same(findings, [])
  t.same(
    findStaleNames('a.md', '`controller/gone.ts`, `controller/turn.ts`, GANTRY_GONE and GANTRY_HOME', 'GANTRY_HOME'),
    ['a.md names controller/gone.ts, which no code has', 'a.md names GANTRY_GONE, which no code has'],
  )
})

/** What looks like an access key of AWS's, written in pieces so that this file doesn't hold one. */
const keyPrefix = ['AK', 'IA'].join('')
const accessKey = new RegExp(`${keyPrefix}[A-Z0-9]{16}`)

await test('nothing that looks like a key is in the repository', async (t) => {
  const texts = files.filter((path) => !/\.(png|svg|ico)$/.test(path))
  t.same(
    texts.filter((path) => accessKey.test(readFileSync(join(root, path), 'utf8'))),
    [],
  )
  t.match(`${keyPrefix}${'A1'.repeat(8)}`, accessKey)
})

/** In pieces, for the rule reads this file too. */
const unfinished = ['TO', 'DO'].join('')

const sample = (path: string, text: string): Source => readSource(path, text)

/** Each rule with what it must refuse and what it must let pass. */
const samples: Readonly<Record<keyof typeof rules, { bad: readonly Source[]; good: readonly Source[] }>> = {
  roomsKeepApart: {
    bad: [
      sample('agent/a.ts', "import { b } from '../controller/b.ts'"),
      sample('controller/a.ts', "import type { B } from '../agent/b.ts'"),
      sample('proto/a.ts', "import { createHash } from 'node:crypto'"),
      sample('proto/codec/a.ts', "import { b } from '../../controller/state/b.ts'"),
      sample('controller/a.ts', "import { aTask } from '../test/support/builders.ts'"),
      sample('controller/a.test.ts', "import { b } from '../agent/b.ts'"),
    ],
    good: [
      sample('agent/a.ts', "import { b } from '../proto/b.ts'"),
      sample('proto/hash.ts', "import { createHash } from 'node:crypto'"),
      sample(
        'test/engine/a.test.ts',
        "import { b } from '../../agent/b.ts'\nimport { c } from '../../controller/c.ts'",
      ),
      sample('controller/a.test.ts', "import { aTask } from '../test/support/builders.ts'"),
    ],
  },
  pureRoomsImportPureRooms: {
    bad: [
      sample('controller/decide/a.ts', "import { readFileSync } from 'node:fs'"),
      sample('controller/ecs/a.ts', "import { startTurn } from '../turn.ts'"),
      sample('controller/state/a.ts', "import { open } from './sqlite.ts'"),
      sample('agent/decide/a.ts', "import pino from 'pino'"),
    ],
    good: [
      sample('controller/ecs/a.ts', "import { type B, b } from '../decide/b.ts'\nimport { c } from '../../proto/c.ts'"),
      sample('controller/decide/a.ts', "import type { Handler } from '../turn.ts'"),
      sample('controller/decide/a.test.ts', "import { test } from 'tap'"),
    ],
  },
  oneDoorPerDependency: {
    bad: [
      sample('agent/perform.ts', "import Docker from 'dockerode'"),
      sample('controller/turn.ts', "import { DatabaseSync } from 'node:sqlite'"),
      sample('controller/turn.ts', "import lodash from 'lodash'"),
      sample('controller/turn.ts', "const ws = await import('ws')"),
    ],
    good: [
      sample('agent/docker.ts', "import Docker from 'dockerode'"),
      sample('agent/docker-errors.ts', "import type Docker from 'dockerode'"),
      sample('controller/turn.ts', "const text = \"import x from 'lodash'\" // import y from 'ws'"),
    ],
  },
  importsCarryExtensions: {
    bad: [sample('agent/a.ts', "import { b } from './b'"), sample('agent/a.ts', "import { b } from './b.js'")],
    good: [sample('agent/a.ts', "import { b } from './b.ts'\nimport c from './c.json' with { type: 'json' }")],
  },
  noBarrels: {
    bad: [
      sample('agent/a.ts', "export * from './b.ts'"),
      sample('agent/a.ts', "// All in one place\nexport { b } from './b.ts'\nexport type { C } from './c.ts'"),
    ],
    good: [sample('agent/a.ts', "export type { B } from './b.ts'\nexport const a = 1")],
  },
  noDefaultExports: {
    bad: [sample('agent/a.ts', 'export default 1'), sample('agent/a.ts', 'const a = 1\nexport { a as default }')],
    good: [sample('agent/a.ts', "// export default\nexport const text = 'export default'")],
  },
  pureRoomsDecideOnly: {
    bad: [
      'Date.now()',
      'new Date()',
      'new Date',
      'Date()',
      'date.getHours()',
      'Temporal.Now.instant()',
      'performance.now()',
      'Math.random()',
      'crypto.randomUUID()',
      'setTimeout(f, 1)',
      'queueMicrotask(f)',
      'Promise.resolve(1)',
      'await f()',
      'async () => 1',
      "a.localeCompare('b')",
      'process.pid',
      "console.log('x')",
      // A template's hole is code.
      '`now ${Date.now()}`',
      '`a ${`b ${Math.random()}`} c`',
      'a / b / Math.random()',
    ].map((text) => sample('controller/decide/a.ts', `export const a = ${text}`)),
    good: [
      'new Date(now)',
      "'Date.now() and await'",
      '1 // Date.now() is for others',
      '/* async */ 1',
      '/Date.now()/.test(text)',
      '`Date.now() ${now} await`',
      'world.clock.now()',
      "'it\\'s' + \"await\"",
    ].map((text) => sample('agent/decide/a.ts', `export const a = ${text}`)),
  },
  environmentIsMains: {
    bad: [sample('agent/log.ts', "process.env['X']"), sample('controller/turn.ts', 'process.exit(1)')],
    good: [sample('agent/main.ts', 'process.exit(1)'), sample('agent/log.ts', 'process.stdout.write(line)')],
  },
  sizesAreBounded: {
    bad: [
      sample('agent/a.ts', 'const a = 1\n'.repeat(longestFileLines + 1)),
      sample(
        'agent/a.ts',
        `function a(b: { c: string }): Promise<{ d: 1 }> {\n${'f()\n'.repeat(longestFunctionLines)}}`,
      ),
      sample('agent/a.ts', `const a = {\n  async b(c) {\n${'f()\n'.repeat(longestFunctionLines)}}\n}`),
      sample('agent/a.ts', `const a = (b: string) => {\n${'f()\n'.repeat(longestFunctionLines)}}`),
    ],
    good: [
      sample('agent/a.ts', `const a = {\n${"b: '{',\n".repeat(longestFunctionLines)}}`),
      sample('agent/a.ts', `if (a) {\n${'f()\n'.repeat(longestFunctionLines)}}`),
    ],
  },
  namesSayWhat: {
    bad: [sample('agent/utils.ts', ''), sample('agent/task-helpers.ts', ''), sample('agent/taskManager.ts', '')],
    good: [sample('agent/task.test.ts', ''), sample('controller/sigv4.ts', '')],
  },
  nothingIsPutOff: {
    bad: [sample('agent/a.ts', `// ${unfinished}: later`), sample('agent/a.ts', `/* ${unfinished} */`)],
    good: [sample('agent/a.ts', `const text = '${unfinished}'`)],
  },
}

for (const [name, rule] of Object.entries(rules)) {
  await test(`rule ${name} can fail, and passes what it should`, async (t) => {
    const { bad, good } = samples[name] ?? { bad: [], good: [] }
    t.ok(bad.length > 0 && good.length > 0, 'the rule has samples of both kinds')
    for (const source of bad) t.not(rule(source).length, 0, `refuses ${source.path}: ${source.text.slice(0, 60)}`)
    for (const source of good) t.same(rule(source), [], `lets pass ${source.path}: ${source.text.slice(0, 60)}`)
  })
}

await test('cycles and dead files are found where there are some', async (t) => {
  const cycle = [
    sample('agent/main.ts', "import { b } from './b.ts'"),
    sample('agent/b.ts', "import { c } from './c.ts'\nimport type { D } from './d.ts'"),
    sample('agent/c.ts', "import { b } from './b.ts'"),
    sample('agent/d.ts', "import { b } from './b.ts'"),
  ]
  t.same(findCycles(cycle), ['agent/b.ts -> agent/c.ts -> agent/b.ts'])
  t.same(findDeadFiles(cycle, []), [])
  const dead = [
    ...cycle,
    sample('agent/e.ts', ''),
    sample('agent/e.test.ts', "import { e } from './e.ts'"),
    sample('agent/worker.ts', ''),
    sample('agent/b.ts', "new URL('./worker.ts', import.meta.url)"),
    sample('test/support/f.ts', ''),
    sample('scripts/g.ts', ''),
    sample('scripts/h.ts', ''),
  ]
  t.same(findDeadFiles(dead, ['scripts/g.ts']), [
    'agent/c.ts is reached from no program or script',
    'agent/d.ts is reached from no program or script',
    'agent/e.ts is reached from no program or script',
    'test/support/f.ts is reached from no program, script or test',
    'scripts/h.ts is reached from no program, script or test',
  ])
})
