/** Thirty days without a controller; what happens in them is told in `alone-story.ts`. More seeds: `npm run sim -- --alone --seeds 20`. */
import tap, { test } from 'tap'
import { AloneStory } from './alone-story.ts'

// A fixed amount of work, which takes a busy machine several times as long.
tap.setTimeout(1_200_000)

/** What has to have happened, or the story would prove little. */
const expectedFaults = [
  'switchedOff',
  'reboot',
  'engineRestarted',
  'agentKilled',
  'agentKilledMeanwhile',
  'containerDies',
  'containerRemoved',
  'crashLoop',
  'diskFull',
  'credentialsExpired',
  'clockJumps',
  'containerHangs',
]
/** A host at rest looks at its engine once a minute; each of these is an event of several. */
const eventsPerDayMax = 30_000

await test('thirty days without a controller', async (t) => {
  const result = await new AloneStory(7).run()
  if (result.findings.length > 0) t.comment(result.history(60).join('\n'))
  t.same(result.findings, [], 'what is to run does, what has ended has, and nothing piles up')
  for (const name of expectedFaults)
    t.ok((result.faults.get(name) ?? 0) > 0, `${name}: ${result.faults.get(name)} times`)
  t.ok(result.checks > 500, `looked at ${result.checks} times`)
  t.ok(result.startsAlone > 300, `${result.startsAlone} containers were started again`)
  t.ok(
    result.eventsPerDay < eventsPerDayMax,
    `${Math.round(result.eventsPerDay)} events a day: nobody goes round in circles`,
  )
  t.ok(result.convergedMs <= 5000, `everything had settled ${result.convergedMs} ms after the controller was back`)
  t.ok(result.rejoinedMs <= 5000, `and one of each survived ${result.rejoinedMs} ms after a host that was cut off`)
})
