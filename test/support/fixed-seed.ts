/**
 * Loaded by `npm test` before each test file: properties are tried with the same values in each run, so that a commit passes
 * or fails whenever it is looked at. A file that is run by itself takes other values each time.
 */
import { readFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

const seed = 20_261_122
const [, file] = process.argv

// Most files try no properties, and need not wait for what does.
if (isMainThread && file !== undefined && readFileSync(file, 'utf8').includes("from 'fast-check'")) {
  const { configureGlobal } = await import('fast-check')
  configureGlobal({ seed })
}
