/**
 * Durability under fire: `kill -9` of the real controller at random moments of concurrent calls, and of the real agent at
 * its steps on a real engine; after each restart all that was promised is looked for.
 *
 *   npm run under-fire                          1,000 kills, a twentieth of them with the real agent
 *   npm run under-fire -- --kills 100 --seed 7  fewer, and from a seed of one's own
 *   npm run under-fire -- --json                the figures as JSON, alone on stdout
 *
 * Everything happens in a network namespace of its own. The seed repeats the calls, the kills and their delays; the
 * timing of the machine itself is no part of it.
 */
import { parseArgs } from 'node:util'
import { agentUnderFire } from '../test/lab/agent-fire.ts'
import { controllerUnderFire } from '../test/lab/controller-fire.ts'
import { enterOwnNetwork } from '../test/lab/own-network.ts'
import { seededRandom } from '../test/lab/seeded-random.ts'
import { enginePackages, engineTestPackages, installPackages } from './packages.ts'
import { ScriptError, runScript, say, seconds } from './report.ts'

const killsBetweenWords = 25
const agentShare = 0.05
const agentKillsMin = 5

interface Wish {
  readonly kills: number
  readonly seed: number
  readonly json: boolean
}

function readWish(): Wish {
  const { values } = parseArgs({
    options: { kills: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean' } },
  })
  const kills = Number(values.kills ?? 1000)
  const seed = Number(values.seed ?? Date.now() % 2 ** 31)
  if (!Number.isInteger(kills) || kills < 2 * agentKillsMin || kills > 1_000_000) {
    throw new ScriptError(`--kills takes a whole number from ${2 * agentKillsMin} to 1000000.`)
  }
  if (!Number.isInteger(seed) || seed < 0) throw new ScriptError('--seed takes a whole number from 0.')
  return { kills, seed, json: values.json === true }
}

let isInterrupted = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    isInterrupted = true
  })
}

function stopIfAsked(): void {
  if (isInterrupted) throw new ScriptError('interrupted')
}

async function main(): Promise<number> {
  const wish = readWish()
  // Before the network is left behind: packages come by it.
  await installPackages([...enginePackages, ...engineTestPackages])
  const network = enterOwnNetwork()
  const startedAt = Date.now()
  const tell = (message: string): void => {
    if (!wish.json) say(message)
  }
  const agentKills = Math.max(agentKillsMin, Math.round(wish.kills * agentShare))
  const controllerKills = wish.kills - agentKills
  const repeat = `npm run under-fire -- --kills ${wish.kills} --seed ${wish.seed}`
  tell(`${wish.kills} kills from seed ${wish.seed}: ${controllerKills} of the controller, ${agentKills} with the agent`)
  try {
    const controller = await controllerUnderFire({
      kills: controllerKills,
      random: seededRandom(wish.seed),
      onKill(kill, { answered, unansweredDone, unansweredUndone, checks }) {
        stopIfAsked()
        if (kill % killsBetweenWords !== 0) return
        const unanswered = `${unansweredDone} unanswered and done, ${unansweredUndone} unanswered and not done`
        tell(`${kill} kills: ${answered} calls answered, ${unanswered}; ${checks} checks (${seconds(startedAt)})`)
      },
    })
    tell(`the controller: ${JSON.stringify(controller)}`)
    const agent = await agentUnderFire({
      kills: agentKills,
      random: seededRandom(wish.seed + 1),
      network,
      onKill(kill) {
        stopIfAsked()
        if (kill % killsBetweenWords === 0) tell(`${kill} kills with the agent (${seconds(startedAt)})`)
      },
    })
    tell(`with the agent: ${JSON.stringify(agent)}`)
    const figures = { seed: wish.seed, kills: wish.kills, seconds: (Date.now() - startedAt) / 1000, controller, agent }
    if (wish.json) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`)
    tell(`nothing was lost, halved or started twice; took ${seconds(startedAt)}`)
    return 0
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    throw new ScriptError(`${what}\nTo repeat it: ${repeat}`)
  }
}

await runScript(main)
