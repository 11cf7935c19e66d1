/** Every dependency has its row in docs/dependencies.md, with the number of packages that it brings, and no surprise. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'

const root = dirname()
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

interface LockedPackage {
  readonly version?: string
  readonly license?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly dev?: boolean
  readonly hasInstallScript?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly allowScripts: Readonly<Record<string, boolean>>
}

const manifest = JSON.parse(read('package.json')) as Manifest
const { packages } = JSON.parse(read('package-lock.json')) as { packages: Readonly<Record<string, LockedPackage>> }
const installed = Object.entries(packages).filter(([path]) => path !== '')

function dirname(): string {
  return join(import.meta.dirname, '..')
}

/** Where Node would find `name` from the package at `from`. */
function resolve(from: string, name: string): string | undefined {
  for (let at = from; ; ) {
    const candidate = at === '' ? `node_modules/${name}` : `${at}/node_modules/${name}`
    if (packages[candidate] !== undefined) return candidate
    if (at === '') return undefined
    const parent = at.lastIndexOf('/node_modules/')
    at = parent === -1 ? '' : at.slice(0, parent)
  }
}

/** The package itself and all that it needs. */
function closureOf(name: string): ReadonlySet<string> {
  const seen = new Set<string>()
  const open = [`node_modules/${name}`]
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    const { dependencies, optionalDependencies } = packages[path] ?? {}
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const found = resolve(path, needed)
      if (found !== undefined) open.push(found)
    }
  }
  return seen
}

/** The rows of docs/dependencies.md: name -> packages. */
const rows = new Map(
  [...read('docs/dependencies.md').matchAll(/^\| `([^`]+)` \| (\d+) \|/gm)].map(([, name = '', count]) => [
    name,
    Number(count),
  ]),
)

await test('each dependency has a row with its true number of packages', async (t) => {
  const names = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies })
  t.ok(names.length >= 20, `${names.length} dependencies`)
  t.same([...rows.keys()].toSorted(), names.toSorted())
  for (const name of names) t.equal(rows.get(name), closureOf(name).size, name)
})

await test('the totals are true', async (t) => {
  const running = installed.filter(([, { dev }]) => dev !== true).length
  t.match(read('docs/dependencies.md'), `**${running} packages** at run time`)
  t.match(read('docs/dependencies.md'), `**${installed.length - running} more** for development`)
})

await test('versions are exact, and every package is pinned by its hash', async (t) => {
  const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
  t.same(
    versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version)),
    [],
  )
  const unpinned = installed.filter(([, { resolved, integrity }]) => resolved !== undefined && integrity === undefined)
  t.same(unpinned, [])
})

await test('no licence that Apache-2.0 software could not be given with', async (t) => {
  const fine =
    /^\(?(MIT|ISC|0BSD|BSD-[23]-Clause|Apache-2\.0|BlueOak-1\.0\.0|Python-2\.0|Unlicense|CC0-1\.0|CC-BY-[34]\.0|MIT-0|WTFPL)\b/
  // These say it in an old form, which the lock file leaves out: MIT.
  const oldForm = new Set(['node_modules/buildcheck', 'node_modules/cpu-features', 'node_modules/ssh2'])
  const others = installed.filter(
    ([path, { license, dev }]) => dev !== true && !oldForm.has(path) && !fine.test(license ?? ''),
  )
  t.same(
    others.map(([path, { license }]) => `${path}: ${license ?? 'none'}`),
    [],
  )
})

await test('only what is named runs a script when it is installed', async (t) => {
  t.same(manifest.allowScripts, { node: true })
  const withScripts = installed.filter(([, { hasInstallScript }]) => hasInstallScript === true)
  const named = withScripts.map(([path]) => path.replace(/.*node_modules\//, ''))
  const text = read('docs/dependencies.md')
  for (const name of new Set(named)) t.match(text, `\`${name}\``, `${name} has a script, and the document says so`)
})
