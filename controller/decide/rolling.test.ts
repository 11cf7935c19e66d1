/** The arithmetic of rolling deployments: every size from 1 to 9 with all percentages, and single steps by their reasons. */
import { test } from 'tap'
import { type PhaseCounts, rollingBounds, type RollingInput, rollingStep, totalOf } from './rolling.ts'

const none: PhaseCounts = {
  starting: 0,
  healthy: 0,
  unhealthy: 0,
  leaving: 0,
  leavingUnready: 0,
  stopping: 0,
  lost: 0,
}

function input(over: Partial<RollingInput> = {}): RollingInput {
  return {
    desired: 4,
    minimumHealthyPercent: 100,
    maximumPercent: 200,
    primary: none,
    old: none,
    lostHeld: 0,
    mayStart: true,
    ...over,
  }
}

function failed(over: Partial<RollingInput>): Partial<RollingInput> {
  return { hasFailed: true, mayStart: false, ...over }
}

interface Rollout {
  readonly steps: number
  readonly end: 'done' | 'stuck' | 'endless'
  readonly broken: string | undefined
}

/** A whole rollout over counts alone: after each step all that stops has stopped and all that starts is healthy. */
function rollOut(desired: number, minimumHealthyPercent: number, maximumPercent: number): Rollout {
  const { lower, upper } = rollingBounds(desired, minimumHealthyPercent, maximumPercent)
  let primary: PhaseCounts = none
  let old: PhaseCounts = { ...none, healthy: desired }
  for (let steps = 0; steps <= 2 * desired + 2; steps += 1) {
    if (primary.healthy === desired && old.healthy === 0) return { steps, end: 'done', broken: undefined }
    const step = rollingStep(input({ desired, minimumHealthyPercent, maximumPercent, primary, old }))
    if (step.isStuck) return { steps, end: 'stuck', broken: undefined }
    const healthy = primary.healthy + old.healthy - step.stopOld - step.stopSurplusHealthy
    const stops = step.stopOld + step.stopSurplusHealthy
    if (stops > 0 && healthy < lower) return { steps, end: 'endless', broken: `${healthy} healthy of ${lower}` }
    const total = totalOf(primary) + totalOf(old) + step.start
    if (step.start > 0 && total > upper) return { steps, end: 'endless', broken: `${total} in all of ${upper}` }
    old = { ...old, healthy: old.healthy - step.stopOld }
    primary = { ...primary, healthy: primary.healthy - step.stopSurplusHealthy + step.start }
  }
  return { steps: Number.POSITIVE_INFINITY, end: 'endless', broken: undefined }
}

await test('every size from 1 to 9 and all percentages: bounds are kept, and it ends unless they allow nothing', async (t) => {
  const faults: string[] = []
  let stuck = 0
  let done = 0
  for (let desired = 1; desired <= 9; desired += 1) {
    for (let minimum = 0; minimum <= 100; minimum += 1) {
      for (let maximum = 100; maximum <= 200; maximum += 1) {
        const { end, broken } = rollOut(desired, minimum, maximum)
        const { lower, upper } = rollingBounds(desired, minimum, maximum)
        const allowsNothing = lower === desired && upper === desired
        if (broken !== undefined || end !== (allowsNothing ? 'stuck' : 'done')) {
          faults.push(`${desired} ${minimum}/${maximum}: ${end} ${broken ?? ''}`)
        }
        if (end === 'stuck') stuck += 1
        if (end === 'done') done += 1
      }
    }
  }
  t.same(faults.slice(0, 10), [])
  t.equal(done + stuck, 9 * 101 * 101)
  t.ok(stuck > 0 && stuck < done, 'both ends were met')
})

await test('percentages round up at the bottom and down at the top', async (t) => {
  t.same(rollingBounds(3, 50, 150), { lower: 2, upper: 4 })
  t.same(rollingBounds(1, 1, 199), { lower: 1, upper: 1 })
  t.same(rollingBounds(0, 100, 200), { lower: 0, upper: 0 })
})

await test('what goes first, and what is waited for', async (t) => {
  const cases: readonly (readonly [string, Partial<RollingInput>, Partial<ReturnType<typeof rollingStep>>])[] = [
    [
      'a pause after failures starts nothing and makes no room',
      { old: { ...none, healthy: 4 }, mayStart: false, minimumHealthyPercent: 0, maximumPercent: 100 },
      { start: 0, stopOld: 0, isStuck: false },
    ],
    [
      'of a surplus those that are not healthy go first',
      { primary: { ...none, healthy: 4, starting: 2 } },
      { stopSurplusStarting: 2, stopSurplusHealthy: 0 },
    ],
    [
      'then healthy ones',
      { primary: { ...none, healthy: 5, starting: 2 } },
      { stopSurplusStarting: 2, stopSurplusHealthy: 1 },
    ],
    [
      'tasks that are being stopped still count under the maximum',
      { maximumPercent: 100, primary: { ...none, healthy: 2, stopping: 2 } },
      { start: 0, isStuck: false },
    ],
    ['lost ones do not', { maximumPercent: 100, primary: { ...none, healthy: 2, lost: 2 } }, { start: 2 }],
    [
      'lost ones that are held are not replaced',
      { primary: { ...none, healthy: 2, lost: 2 }, lostHeld: 2 },
      { start: 0, isStuck: false },
    ],
    [
      'an unhealthy task stays until its replacement is healthy',
      { primary: { ...none, healthy: 3, unhealthy: 1, starting: 1 } },
      { start: 0, stopUnhealthy: 0 },
    ],
    ['and goes then', { primary: { ...none, healthy: 4, unhealthy: 1 } }, { stopUnhealthy: 1 }],
    [
      'one unhealthy task goes first where there is no room',
      { maximumPercent: 100, primary: { ...none, healthy: 1, unhealthy: 3 } },
      { stopUnhealthy: 1 },
    ],
    [
      'or no instance has any',
      { primary: { ...none, unhealthy: 5 }, refused: 'forWantOfResources' },
      { stopUnhealthy: 1 },
    ],
    [
      'and the next once it was replaced',
      { maximumPercent: 100, primary: { ...none, healthy: 1, starting: 1, unhealthy: 2 } },
      { stopUnhealthy: 0 },
    ],
    [
      'leaving tasks go once there are enough others',
      { primary: { ...none, healthy: 4, leaving: 1 } },
      { stopLeaving: 1 },
    ],
    ['not before', { primary: { ...none, healthy: 3, leaving: 1 } }, { start: 1, stopLeaving: 0 }],
    [
      'leaving tasks go without a replacement where there is no place for one, and the minimum allows it',
      { minimumHealthyPercent: 50, primary: { ...none, leaving: 4 }, refused: 'otherwise' },
      { stopLeaving: 2 },
    ],
    [
      'tasks of old deployments stay then',
      { minimumHealthyPercent: 50, old: { ...none, healthy: 4 }, refused: 'otherwise' },
      { stopOld: 0 },
    ],
    [
      'old tasks make room on the instances where the minimum allows it',
      { minimumHealthyPercent: 50, old: { ...none, healthy: 4 }, refused: 'forWantOfResources' },
      { stopOld: 2 },
    ],
    [
      'unhealthy ones go at once where older ones are healthy in their stead',
      { old: { ...none, healthy: 4 }, primary: { ...none, unhealthy: 4 } },
      { stopUnhealthy: 4, stopOld: 0 },
    ],
    [
      'of a deployment that has failed, all that is not healthy goes while the minimum is healthy without it',
      failed({
        old: { ...none, healthy: 3 },
        primary: { ...none, starting: 2, unhealthy: 2 },
        minimumHealthyPercent: 75,
      }),
      { start: 0, stopSurplusStarting: 2, stopUnhealthy: 2, stopOld: 0 },
    ],
    [
      'it stays where fewer are healthy',
      failed({ old: { ...none, healthy: 3 }, primary: { ...none, starting: 1, unhealthy: 2 } }),
      { stopSurplusStarting: 0, stopUnhealthy: 0, stopOld: 0 },
    ],
    [
      'the last task that runs stays with any minimum',
      failed({ primary: { ...none, unhealthy: 1 }, minimumHealthyPercent: 0 }),
      { stopUnhealthy: 0 },
    ],
    [
      'of too many healthy ones its own go first',
      failed({ old: { ...none, healthy: 4 }, primary: { ...none, healthy: 2 } }),
      { stopSurplusHealthy: 2, stopOld: 0 },
    ],
    [
      'then the older ones, when fewer are desired',
      failed({ desired: 2, old: { ...none, healthy: 4 }, primary: { ...none, healthy: 1 } }),
      { stopSurplusHealthy: 1, stopOld: 2 },
    ],
    [
      'a drain goes on beside it as far as the minimum allows',
      failed({ old: { ...none, healthy: 2, leaving: 2 }, minimumHealthyPercent: 75 }),
      { stopLeaving: 1, stopOld: 0 },
    ],
    [
      'what is about to end counts as room',
      {
        minimumHealthyPercent: 0,
        old: { ...none, healthy: 2, stopping: 2 },
        primary: { ...none, healthy: 1, starting: 0 },
        refused: 'forWantOfResources',
      },
      { stopOld: 1 },
    ],
  ]
  for (const [name, over, expected] of cases) t.match(rollingStep(input(over)), expected, name)
})
