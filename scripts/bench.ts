/**
 * `npm run bench -- NAME [--json] [--rounds N]`: measures what Gantry claims, beside the raw baseline and in the same
 * run, and prints a table.
 */
import { parseArgs } from 'node:util'
import { benchApi } from '../bench/api.ts'
import { benchMemory } from '../bench/memory.ts'
import type { BenchOptions } from '../bench/options.ts'
import { type Place, withPlace } from '../bench/place.ts'
import { type BenchResult, writeJson, writeTable } from '../bench/result.ts'
import { benchScheduler } from '../bench/scheduler.ts'
import { benchStartLatency } from '../bench/start-latency.ts'
import { benchStore } from '../bench/store.ts'
import { ScriptError, keepStandardOutputForResults, runScript, say } from './report.ts'

const benches: Readonly<Record<string, (place: Place, options: BenchOptions) => Promise<BenchResult>>> = {
  'start-latency': benchStartLatency,
  api: benchApi,
  store: benchStore,
  memory: benchMemory,
  scheduler: benchScheduler,
}

const usage = `npm run bench -- NAME [--json] [--rounds N]; NAME is one of ${Object.keys(benches).join(', ')}.`
const roundsMost = 50

async function main(): Promise<number> {
  const { name, json, rounds } = readArguments()
  const bench = benches[name]
  if (bench === undefined) throw new ScriptError(`there is no bench ${JSON.stringify(name)}. ${usage}`)
  keepStandardOutputForResults()
  const result = await withPlace(async (place) => bench(place, { rounds, progress: say }))
  process.stdout.write(`${json ? writeJson(result) : writeTable(result)}\n`)
  return 0
}

function readArguments(): { readonly name: string; readonly json: boolean; readonly rounds: number } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '3' } },
    })
    const rounds = Number(values.rounds)
    const [name] = positionals
    if (name === undefined || positionals.length > 1) throw new Error('name one bench')
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > roundsMost) {
      throw new Error(`--rounds takes a whole number from 1 to ${roundsMost}`)
    }
    return { name, json: values.json, rounds }
  } catch (error) {
    throw new ScriptError(`${(error as Error).message}. ${usage}`)
  }
}

await runScript(main)
