/** The house rules, each a function from what was read to its findings: sentences that name the file and the rule. */
import { posix } from 'node:path'
import type { Import, Source } from './source.ts'

export type Rule = (source: Source) => readonly string[]

/** Rooms whose code is a function of its arguments alone; agent/engine.ts is what its decisions know of Docker. */
export function isPure(path: string): boolean {
  if (path.endsWith('.test.ts')) return false
  if (/^controller\/state\/(sqlite|store|history)[^/]*\.ts$/.test(path)) return false
  return (
    path === 'agent/engine.ts' ||
    /^(proto|controller\/(access|decide|ecs|iam|secretsmanager|ssm|state|sts)|agent\/decide)\//.test(path)
  )
}

const isTest = (path: string) => path.endsWith('.test.ts') || path.startsWith('test/')
const isProgram = (path: string) => /^(proto|agent|controller)\//.test(path) && !isTest(path)

/** Where a relative import leads; undefined for a package or a part of Node. */
export function resolveImport(path: string, from: string): string | undefined {
  return from.startsWith('.') ? posix.join(posix.dirname(path), from) : undefined
}

/** The package of a specifier: `@aws-sdk/client-ecs` of `@aws-sdk/client-ecs/schemas`. */
function packageOf(from: string): string {
  return from.split('/', from.startsWith('@') ? 2 : 1).join('/')
}

function findingsOfImports(source: Source, judge: (entry: Import) => string | undefined): readonly string[] {
  return source.imports.flatMap((entry) => {
    const finding = judge(entry)
    return finding === undefined ? [] : [`${source.path} imports ${entry.from}: ${finding}`]
  })
}

/** proto/ stands alone; agent/ and controller/ never meet; programs don't import tests or scripts. */
export const roomsKeepApart: Rule = (source) =>
  findingsOfImports(source, ({ from, isTypeOnly }) => {
    const target = resolveImport(source.path, from)
    const room = source.path.split('/')[0] ?? ''
    if (isTest(source.path) && target?.startsWith('test/') === true) return undefined
    if (room === 'agent' && target?.startsWith('controller/') === true) return 'agent and controller share proto/ alone'
    if (room === 'controller' && target?.startsWith('agent/') === true) return 'agent and controller share proto/ alone'
    if (!isProgram(source.path)) return undefined
    if (target !== undefined && /^(test|scripts|bench)\//.test(target))
      return 'programs stand without tests and scripts'
    if (room !== 'proto') return undefined
    if (target !== undefined) return target.startsWith('proto/') ? undefined : 'proto/ imports only proto/'
    if (isTypeOnly || (from === 'node:crypto' && source.path === 'proto/hash.ts')) return undefined
    return 'proto/ imports only proto/, types, and node:crypto in hash.ts'
  })

/** Pure rooms import proto/, the state, each other; and types of their own program. */
export const pureRoomsImportPureRooms: Rule = (source) =>
  !isPure(source.path)
    ? []
    : findingsOfImports(source, ({ from, isTypeOnly }) => {
        const target = resolveImport(source.path, from)
        if (isTypeOnly && (target !== undefined || source.path.startsWith('proto/'))) return undefined
        if (from === 'node:crypto' && source.path === 'proto/hash.ts') return undefined
        if (target !== undefined && (isPure(target) || target.endsWith('.json'))) return undefined
        return 'a pure room imports only pure rooms'
      })

const doors: readonly { readonly what: string; readonly files: RegExp }[] = [
  { what: 'dockerode', files: /^agent\/docker\.ts$/ },
  { what: 'ws', files: /^(controller\/agents|agent\/link)\.ts$/ },
  { what: 'node:sqlite', files: /^(controller\/state\/sqlite[^/]*|agent\/journal)\.ts$/ },
  { what: 'systeminformation', files: /^agent\/host(-facts)?\.ts$/ },
  { what: 'node-cron', files: /^(agent|controller)\/housekeeping\.ts$/ },
  { what: 'fastify', files: /^controller\/api\/[^/]+\.ts$/ },
  { what: '@fastify/swagger', files: /^controller\/api\/[^/]+\.ts$/ },
  { what: '@peculiar/x509', files: /^controller\/certificates\.ts$/ },
  { what: 'reflect-metadata', files: /^controller\/certificates\.ts$/ },
  { what: '@aws-sdk/client-s3', files: /^controller\/object-store\.ts$/ },
  { what: 'pino', files: /^(agent|controller)\/log\.ts$/ },
]

/** One door per dependency, and no dependency without one. Types may be imported by a door's neighbours. */
export const oneDoorPerDependency: Rule = (source) =>
  !isProgram(source.path)
    ? []
    : findingsOfImports(source, ({ from, isTypeOnly }) => {
        if (from.startsWith('.') || isTypeOnly) return undefined
        const door = doors.find(({ what }) => what === packageOf(from) || what === from)
        if (door === undefined) return from.startsWith('node:') ? undefined : 'no door is named for this package'
        return door.files.test(source.path) ? undefined : `only ${door.files.source} may`
      })

/** Relative imports carry the extension that Node needs. */
export const importsCarryExtensions: Rule = (source) =>
  findingsOfImports(source, ({ from }) =>
    from.startsWith('.') && !/\.(ts|json)$/.test(from) ? 'relative imports end in .ts or .json' : undefined,
  )

/** A barrel passes on all of a file, or holds nothing of its own: whoever needs a name imports it where it is. */
export const noBarrels: Rule = (source) => {
  const own = source.code.replace(/^[ \t]*(import|export)\b[^'"`;=()]*?\bfrom\s*(['"]) *\2/gm, '')
  const isEmpty = source.imports.some(({ isReExport }) => isReExport) && own.trim() === ''
  return isEmpty || /\bexport\s*\*/.test(source.code) ? [`${source.path}: no barrels`] : []
}

export const noDefaultExports: Rule = (source) =>
  /\bexport\s+default\b|\bas\s+default\b/.test(source.code) ? [`${source.path}: no default exports`] : []

const banned: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  { pattern: /\bDate\s*\.\s*now\b/g, why: 'the time is an argument' },
  { pattern: /\bnew\s+Date\s*(\(\s*\)|(?!\s*\())/g, why: 'the time is an argument' },
  { pattern: /(?<!\bnew\s+)(?<![\w$.])Date\s*\(/g, why: 'the time is an argument' },
  { pattern: /\.\s*(get|set)(Hours|Minutes|Seconds|Date|Day|Month|FullYear|TimezoneOffset)\s*\(/g, why: 'local time' },
  { pattern: /\bTemporal\s*\.\s*Now\b/g, why: 'the time is an argument' },
  { pattern: /\bperformance\s*\.\s*now\b/g, why: 'the time is an argument' },
  { pattern: /\bMath\s*\.\s*random\b/g, why: 'randomness is an argument' },
  { pattern: /\bcrypto\s*\.\s*(random|getRandom)\w*/g, why: 'randomness is an argument' },
  { pattern: /\brandom(UUID|Bytes|Int)\b/g, why: 'randomness is an argument' },
  { pattern: /\b(set|clear)(Timeout|Interval|Immediate)\b/g, why: 'no timers' },
  { pattern: /\bqueueMicrotask\b|\bPromise\b\s*\./g, why: 'no microtasks' },
  { pattern: /\b(localeCompare|toLocale\w+)\b|\bIntl\s*\./g, why: 'an answer must not depend on the locale' },
  { pattern: /(?<![\w$.])process\s*\./g, why: 'the process is the shell’s' },
  { pattern: /(?<![\w$.])await\b|(?<![\w$.])async\b/g, why: 'a decision does not wait' },
  { pattern: /(?<![\w$.])console\s*\./g, why: 'pure code never logs' },
]

export const pureRoomsDecideOnly: Rule = (source) =>
  !isPure(source.path)
    ? []
    : banned.flatMap(({ pattern, why }) =>
        [...source.code.matchAll(pattern)].map((match) => {
          const line = source.code.slice(0, match.index).split('\n').length
          return `${source.path}:${line} has \`${match[0].trim()}\` in a pure room: ${why}`
        }),
      )

/** The environment and the exit belong to the mains: everything else is told. */
export const environmentIsMains: Rule = (source) =>
  isProgram(source.path) && !source.path.endsWith('/main.ts') && /\bprocess\s*\.\s*(env|exit)\b/.test(source.code)
    ? [`${source.path}: process.env and process.exit are for main.ts`]
    : []

export const longestFunctionLines = 70
export const longestFileLines = 450
export const longestTestLines = 900

export const sizesAreBounded: Rule = (source) => {
  const findings: string[] = []
  const lines = source.text.trimEnd().split('\n').length
  const most = isTest(source.path) ? longestTestLines : longestFileLines
  if (lines > most) findings.push(`${source.path} has ${lines} lines; at most ${most}`)
  if (isTest(source.path)) return findings
  for (const { firstLine, lines: length } of source.functions) {
    if (length > longestFunctionLines) {
      findings.push(`${source.path}:${firstLine} is a function of ${length} lines; at most ${longestFunctionLines}`)
    }
  }
  return findings
}

export const namesSayWhat: Rule = (source) => {
  const name = posix.basename(source.path).replace(/(\.test)?\.ts$/, '')
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) return [`${source.path}: file names are kebab-case`]
  return /(^|-)(utils?|helpers?|managers?|common|misc|stuff)(-|$)/.test(name)
    ? [`${source.path}: a name says what is inside`]
    : []
}

export const nothingIsPutOff: Rule = (source) =>
  /\b(TODO|FIXME|XXX|HACK)\b/.test(source.comments) ? [`${source.path} has a marker of unfinished work`] : []

export const rules: Readonly<Record<string, Rule>> = {
  roomsKeepApart,
  pureRoomsImportPureRooms,
  oneDoorPerDependency,
  importsCarryExtensions,
  noBarrels,
  noDefaultExports,
  pureRoomsDecideOnly,
  environmentIsMains,
  sizesAreBounded,
  namesSayWhat,
  nothingIsPutOff,
}

/** Cycles among value imports, each told once: types leave nothing at run time, and may point both ways. */
export function findCycles(sources: readonly Source[]): readonly string[] {
  const graph = new Map(sources.map((source) => [source.path, targetsOf(source)]))
  const state = new Map<string, 'open' | 'done'>()
  const cycles: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '))
      return
    }
    state.set(path, 'open')
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path])
    state.set(path, 'done')
  }
  for (const path of graph.keys()) visit(path, [])
  return cycles
}

function targetsOf(source: Source): readonly string[] {
  return source.imports
    .filter((entry) => !entry.isTypeOnly)
    .flatMap((entry) => resolveImport(source.path, entry.from) ?? [])
}

/**
 * Files that nothing leads to. A program's file must be reached from a program or a script: code that only a test
 * imports is dead code with a test.
 */
export function findDeadFiles(sources: readonly Source[], scripts: readonly string[]): readonly string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]))
  const reach = (roots: readonly string[]): Set<string> => {
    const reached = new Set<string>()
    const visit = (path: string): void => {
      const source = byPath.get(path)
      if (source === undefined || reached.has(path)) return
      reached.add(path)
      for (const { from } of source.imports) visit(resolveImport(path, from) ?? '')
      // A file may also be named as a string: a worker, a child's program.
      for (const [, named = ''] of source.text.matchAll(/['"`](\.{0,2}\/?[\w./-]+\.ts)['"`]/g)) {
        visit(posix.join(posix.dirname(path), named))
        visit(named)
      }
    }
    roots.forEach(visit)
    return reached
  }
  const mains = sources.map(({ path }) => path).filter((path) => /^[^/]+\/main\.ts$/.test(path))
  const live = reach([...mains, ...scripts])
  const tested = reach(sources.map(({ path }) => path).filter((path) => path.endsWith('.test.ts')))
  return sources
    .map(({ path }) => path)
    .filter((path) => !live.has(path) && (isProgram(path) || !tested.has(path)))
    .map((path) => `${path} is reached from no ${isProgram(path) ? 'program or script' : 'program, script or test'}`)
}
