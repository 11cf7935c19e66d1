/** The short form of `npm run under-fire`: what is answered outlives kill -9, and nothing is done by halves or twice. */
import { network } from './enter.ts'
import tap from 'tap'
import { agentUnderFire } from './agent-fire.ts'
import { controllerUnderFire } from './controller-fire.ts'
import { seededRandom } from './seeded-random.ts'

tap.setTimeout(300_000)

await tap.test('the controller, killed during concurrent calls', async (t) => {
  const result = await controllerUnderFire({ kills: 20, random: seededRandom(1) })
  t.equal(result.kills, 20)
  t.ok(result.answered > 20 && result.checks > 200, `${result.answered} answered calls, ${result.checks} checks`)
  t.ok(result.services > 2, `${result.services} services`)
  t.ok(result.unansweredDone + result.unansweredUndone > 0, 'kills came in the midst of calls')
})

await tap.test('the agent, killed at its steps', async (t) => {
  const result = await agentUnderFire({ kills: 6, random: seededRandom(2), network })
  t.equal(result.agentKills + result.controllerKills, 6)
  t.ok(result.agentKills > 0 && result.tasks > 0 && result.checks > 10, JSON.stringify(result))
  t.ok(result.starts > 0 && result.starts <= result.tasks, 'one that is stopped early may never start')
})
