/**
 * `npm run bench -- NAME [--json] [--rounds N]`: measures what Gantry claims, beside the raw baseline and in the same
 * run, and prints a table.
 */
import { parseArgs } from 'node:util'
import { benchAgent } from '../bench/agent.ts'
import { benchApi } from '../bench/api.ts'
import { benchAuthorised } from '../bench/authorised.ts'
import { benchMemory } from '../bench/memory.ts'
import { type BenchOptions, type SchedulerOptions, schedulerParts } from '../bench/options.ts'
import { benchPeerSwarm } from '../bench/peer-swarm.ts'
import { type Place, withPlace } from '../bench/place.ts'
import { type BenchResult, writeJson, writeTable } from '../bench/result.ts'
import { benchScheduler } from '../bench/scheduler.ts'
import { benchSecrets } from '../bench/secrets.ts'
import { benchStartLatency } from '../bench/start-latency.ts'
import { benchStore } from '../bench/store.ts'
import { benchTlsStorm } from '../bench/tls-storm.ts'
import { ScriptError, keepStandardOutputForResults, runScript, say } from './report.ts'

const benches: Readonly<Record<string, (place: Place, options: BenchOptions) => Promise<BenchResult>>> = {
  'start-latency': benchStartLatency,
  agent: benchAgent,
  api: benchApi,
  store: benchStore,
  memory: benchMemory,
  scheduler: benchScheduler,
  'peer-swarm': benchPeerSwarm,
  'tls-storm': benchTlsStorm,
  secrets: benchSecrets,
  authorised: benchAuthorised,
}

const usage =
  `npm run bench -- NAME [--json] [--rounds N]; NAME is one of ${Object.keys(benches).join(', ')}. ` +
  `With scheduler also --part ${schedulerParts.join('|')}, --tasks, --instances, --services and --heap-mb, each a ` +
  "number, and --profile DIRECTORY for the controller's CPU profile."
const roundsMost = 50
const sizeMost = 1_000_000

async function main(): Promise<number> {
  const { name, json, rounds, scheduler } = readArguments()
  const bench = benches[name]
  if (bench === undefined) throw new ScriptError(`there is no bench ${JSON.stringify(name)}. ${usage}`)
  keepStandardOutputForResults()
  const result = await withPlace(async (place) => bench(place, { rounds, progress: say, scheduler }))
  process.stdout.write(`${json ? writeJson(result) : writeTable(result)}\n`)
  return 0
}

interface Arguments {
  readonly name: string
  readonly json: boolean
  readonly rounds: number
  readonly scheduler: SchedulerOptions
}

function readArguments(): Arguments {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        rounds: { type: 'string', default: '3' },
        part: { type: 'string' },
        tasks: { type: 'string' },
        instances: { type: 'string' },
        services: { type: 'string' },
        'heap-mb': { type: 'string' },
        profile: { type: 'string' },
      },
    })
    const [name] = positionals
    if (name === undefined || positionals.length > 1) throw new Error('name one bench')
    const rounds = readNumber('rounds', values.rounds, roundsMost) ?? 1
    const part = schedulerParts.find((known) => known === values.part)
    if (values.part !== undefined && part === undefined) throw new Error(`--part takes ${schedulerParts.join(', ')}`)
    const scheduler = {
      part,
      tasks: readNumber('tasks', values.tasks, sizeMost),
      instances: readNumber('instances', values.instances, sizeMost),
      services: readNumber('services', values.services, sizeMost),
      heapMb: readNumber('heap-mb', values['heap-mb'], sizeMost),
      profile: values.profile,
    }
    return { name, json: values.json, rounds, scheduler }
  } catch (error) {
    throw new ScriptError(`${(error as Error).message}. ${usage}`)
  }
}

function readNumber(name: string, text: string | undefined, most: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  throw new Error(`--${name} takes a whole number from 1 to ${most}`)
}

await runScript(main)
