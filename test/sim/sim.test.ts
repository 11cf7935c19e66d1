/** A fixed set of seeds; thousands more are a command (`npm run sim`). docs/simulation.md says what is in one. */
import tap, { test } from 'tap'
import { simulate } from './simulation.ts'
import type { SimulationResult } from './simulation.ts'

// A fixed amount of work, which takes a busy machine many times as long.
tap.setTimeout(1_200_000)

/** The last one for an official agent that tells of containers alone, which happens in few. */
const seeds = [...Array.from({ length: 36 }, (_, index) => index + 1), 66]

/** Faults that the set as a whole must have injected: each way in which something can go wrong. */
const expectedFaults = [
  'callLost',
  'answerLost',
  'callRepeated',
  'frameRepeated',
  'frameDelayed',
  'cutUp',
  'cutDown',
  'cutBoth',
  'networkSplit',
  'connectionBroken',
  'connectionHalfOpen',
  'controllerKilled',
  'controllerEnded',
  'controllerKilledAtCommit',
  'controllerKilledAtSend',
  'agentKilled',
  'agentKilledAtStep',
  'agentKilledAtCommit',
  'agentUpgraded',
  'powerCut',
  'engineSlow',
  'engineFails',
  'engineHangs',
  'engineRestarted',
  'eventLost',
  'containerDies',
  'containerRemoved',
  'containerHangs',
  'diskSlow',
  'commitFails',
  'commitUnknown',
  'controllerDiskFull',
  'journalFails',
  'hostDiskFull',
  'journalLost',
  'clockJumps',
  'portTaken',
  'fetchDelayed',
  'fetchCut',
  'controllerKilledAtFetch',
  'secretLost',
  'rightWithdrawn',
  'fileStoreAway',
]

/** Calls that must have been answered in the set as a whole. */
const expectedWork = [
  'RunTask',
  'StartTask',
  'StopTask',
  'RegisterTaskDefinition',
  'DeregisterTaskDefinition',
  'DeleteTaskDefinitions',
  'UpdateContainerInstancesState',
  'CreateService',
  'UpdateService',
  'DeleteService',
  'DescribeServices',
  'ListServices',
  'ListServiceDeployments',
  'DescribeServiceDeployments',
  'DescribeServiceRevisions',
  'StopServiceDeployment',
  'UpdateTaskProtection',
  'GetTaskProtection',
  'CreateTaskSet',
  'UpdateTaskSet',
  'UpdateServicePrimaryTaskSet',
  'DeleteTaskSet',
  'DescribeTaskSets',
  'setLostAfter',
  'resumeReplacement',
  'setDefaultSubnet',
  'a task with an address',
  'DeregisterContainerInstance',
  'PutAttributes',
  'DeleteAttributes',
  'TagResource',
  'UntagResource',
  'DescribeTasks',
  'RegisterContainerInstance of an official agent',
  'SubmitTaskStateChange of an official agent',
  'SubmitContainerStateChange of an official agent',
  'SubmitAttachmentStateChanges of an official agent',
  'PublishMetricsRequest',
  'PublishHealthRequest',
  'PublishInstanceStatusRequest',
  'a container is started again in place',
  'a container starts with its secrets',
  'a task ends for want of a secret',
  'keys of a role had ended before others came',
  'ssm:GetParameters by a task is answered',
  'ssm:GetParameters by a task is refused',
  'secretsmanager:GetSecretValue by a task is answered',
  'secretsmanager:GetSecretValue by a task is refused',
  's3:GetObject by a task is answered',
  's3:GetObject by a task is refused',
]

function told(result: SimulationResult): string {
  const lines = [...result.history(60), ...result.violations, `repeat with: npm run sim -- --seed ${result.seed}`]
  return lines.join('\n')
}

await test('clusters that are shaken settle, and no invariant is ever broken', async (t) => {
  const faults = new Map<string, number>()
  const work = new Map<string, number>()
  for (const seed of seeds) {
    const result = await simulate({ seed })
    if (result.violations.length > 0) t.comment(told(result))
    t.same(result.violations, [], `seed ${seed}`)
    t.ok(result.hosts >= 3 && result.simulatedMs >= 600_000, `seed ${seed} has its hosts and minutes`)
    for (const [name, times] of result.faults) faults.set(name, (faults.get(name) ?? 0) + times)
    for (const [name, times] of result.work) work.set(name, (work.get(name) ?? 0) + times)
  }
  for (const name of expectedFaults) t.ok((faults.get(name) ?? 0) > 0, `${name} was injected ${faults.get(name)} times`)
  for (const name of expectedWork) t.ok((work.get(name) ?? 0) > 0, `${name} was answered ${work.get(name)} times`)
})

await test('one seed is one history', async (t) => {
  const one = await simulate({ seed: 4711 })
  const again = await simulate({ seed: 4711 })
  const other = await simulate({ seed: 4712 })
  t.equal(again.hash, one.hash)
  t.equal(again.events, one.events)
  t.not(other.hash, one.hash)
})

const bugs = {
  forgetfulDisk: /./,
  secretsForgotten: /^nothingRunsWithoutItsSecrets: /,
  secretsTold: /^secretsStayWhereTheyBelong: /,
} as const

for (const bug of ['forgetfulDisk', 'secretsForgotten', 'secretsTold'] as const) {
  await test(`a bug is found: ${bug}`, async (t) => {
    const found = new Set<string>()
    for (const seed of [1, 2, 3]) {
      const result = await simulate({ seed, bug })
      const { violations } = result
      for (const violation of violations) found.add(violation)
      if (violations.length > 0) t.ok(result.history(20).length > 0, `seed ${seed} tells its end`)
    }
    const all = [...found]
    t.ok(
      all.some((violation) => bugs[bug].test(violation)),
      all.slice(0, 3).join('; '),
    )
  })
}
