import t from 'tap'
import { readInput } from '../../proto/codec/json.ts'
import type { Tag } from '../../proto/model/types.ts'
import {
  aCall,
  aCluster,
  anInstance,
  aState,
  aTask,
  aTaskDefinition,
  aTaskSet,
  aWorld,
  inTransaction,
} from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { createState, type State } from '../state/state.ts'
import { tagHandlers } from './tag-resource.ts'

const cluster = aCluster()
const instance = anInstance()
const definition = aTaskDefinition()
const taskSet = aTaskSet()
const running = aTask({ lastStatus: 'RUNNING', tags: [{ key: 'aws:ecs:clusterName', value: 'default' }] })

function tag(state: State, resourceArn: string, tags: readonly Tag[]): void {
  const input = readInput('TagResource', { resourceArn, tags })
  inTransaction(state, (tx) => tagHandlers.TagResource.handle(tx, input, aCall(), aWorld()))
}

function untag(state: State, resourceArn: string, tagKeys: readonly string[]): void {
  const input = readInput('UntagResource', { resourceArn, tagKeys })
  inTransaction(state, (tx) => tagHandlers.UntagResource.handle(tx, input, aCall(), aWorld()))
}

function list(state: State, resourceArn: string): readonly Tag[] {
  const input = readInput('ListTagsForResource', { resourceArn })
  return tagHandlers.ListTagsForResource.handle(state, input, aCall(), aWorld()).tags ?? []
}

await t.test('each kind of resource is tagged, and untagged', async (test) => {
  const state = aState({
    cluster: [cluster],
    instance: [instance],
    taskDefinition: [definition],
    task: [running],
    taskSet: [taskSet],
  })
  const kinds: readonly [string, readonly Tag[]][] = [
    [cluster.clusterArn, []],
    [instance.containerInstanceArn, []],
    [definition.taskDefinitionArn, []],
    [running.taskArn, running.tags],
    [taskSet.taskSetArn, []],
  ]
  for (const [resource, before] of kinds) {
    tag(state, resource, [{ key: 'team', value: 'a' }, { key: 'bare' }])
    tag(state, resource, [
      { key: 'team', value: 'b' },
      { key: 'late', value: '' },
    ])
    const expected = [...before, { key: 'team', value: 'b' }, { key: 'bare', value: '' }, { key: 'late', value: '' }]
    test.same(list(state, resource), expected, `${resource}: a key that is there gets the new value, the others stay`)
    untag(state, resource, ['bare', 'late', 'never there'])
    test.same(list(state, resource), [...before, { key: 'team', value: 'b' }], resource)
  }
  untag(state, instance.containerInstanceArn, ['late'])
  tag(state, instance.containerInstanceArn, [{ key: 'team', value: 'b' }])
  test.equal(state.get('instance', instance.instanceId)?.version, 4, "an instance's version counts its changes")
})

await t.test('fifty tags, those of AWS not counted; a refused call leaves none', async (test) => {
  const state = aState({ task: [running] })
  tag(state, running.taskArn, numbered(0, 50))
  test.equal(list(state, running.taskArn).length, 51)
  test.match(
    refusal(() => tag(state, running.taskArn, numbered(49, 2))),
    /^InvalidParameterException: A resource can have at most 50 tags, and with these it would have 51/,
  )
  tag(state, running.taskArn, numbered(0, 50))
  test.equal(list(state, running.taskArn).length, 51, 'a repeat changes nothing')
})

await t.test('what can not be tagged says why', async (test) => {
  const closed = aCluster({ clusterName: 'closed', status: 'INACTIVE' })
  const gone = anInstance({ status: 'INACTIVE' })
  const stopped = aTask({ lastStatus: 'STOPPED', desiredStatus: 'STOPPED' })
  const state = aState({ cluster: [cluster, closed], instance: [gone], task: [stopped, running] })
  const cases: readonly [string, RegExp][] = [
    [
      closed.clusterArn,
      /^InvalidParameterException: The specified cluster is inactive\. Specify an active cluster and/,
    ],
    [gone.containerInstanceArn, /^InvalidParameterException: The specified container instance is inactive\./],
    [
      stopped.taskArn,
      /^InvalidParameterException: The specified task is stopped\. Specify a running task and try again/,
    ],
    [
      arn('task-set/default/web/ecs-svc/1'),
      /^(?:ResourceNotFound|InvalidParameter)Exception: The specified task set could not/,
    ],
    [arn('cluster/nowhere'), /^ClusterNotFoundException: Cluster not found\.$/],
    [arn('task-definition/nobody:1'), /^ClientException: Unable to describe task definition\./],
    [arn('task-definition/web'), /^ClientException: Unable to describe task definition\. Tags belong to a revision/],
    [arn(`task/${running.taskId}`), /^InvalidParameterException: Long arn format must be used for tagging operations$/],
    [arn(`container-instance/${'1'.repeat(32)}`), /^InvalidParameterException: Long arn format must be used/],
    [arn('capacity-provider/x'), /^UnsupportedFeatureException: Resources of the kind 'capacity-provider' are not ava/],
    [running.taskArn.replace('us-east-1', 'eu-west-1'), /^InvalidParameterException: The ARN provided is invalid\./],
    [running.taskId, /^InvalidParameterException: The ARN provided is invalid\./],
  ]
  for (const [resource, expected] of cases) {
    test.match(
      refusal(() => tag(state, resource, [{ key: 'a', value: 'b' }])),
      expected,
    )
    test.match(
      refusal(() => untag(state, resource, ['a'])),
      expected,
    )
    test.match(
      refusal(() => list(state, resource)),
      expected,
    )
  }
  const unknown = arn(`task/default/${'9'.repeat(32)}`)
  test.match(
    refusal(() => tag(state, unknown, [])),
    /^ResourceNotFoundException: The specified task could not be found/,
  )
  test.match(
    refusal(() => untag(state, unknown, [])),
    /^ResourceNotFoundException: /,
  )
  test.match(
    refusal(() => list(state, unknown)),
    /^InvalidParameterException: The specified task could not be found/,
  )
  const elsewhere = running.taskArn.replace('task/default/', 'task/closed/')
  test.match(
    refusal(() => list(state, elsewhere)),
    /could not be found/,
    "another cluster's name in the ARN",
  )
})

await t.test('keys and values keep to the rules, and those of AWS stay', async (test) => {
  const state = aState({ task: [running] })
  const refuse = (tags: readonly Tag[]) => refusal(() => tag(state, running.taskArn, tags))
  test.match(refuse([{ key: 'aws:x', value: '' }]), /^InvalidParameterException: .*'aws:', which is reserved/)
  test.match(refuse([{ key: 'AWS:x', value: '' }]), /reserved/)
  test.match(refuse([{ key: '', value: '' }]), /should not be null or empty/)
  test.match(refuse([{ key: 'k'.repeat(129), value: '' }]), /at most 128/)
  test.match(refuse([{ key: 'k', value: 'v'.repeat(257) }]), /at most 256/)
  test.match(
    refuse([
      { key: 'k', value: '' },
      { key: 'k', value: '' },
    ]),
    /given twice/,
  )
  test.match(
    refusal(() => untag(state, running.taskArn, ['aws:ecs:clusterName'])),
    /^InvalidParameterException: Tag\.key 'aws:ecs:clusterName' starts with 'aws:', and can't be removed/,
  )
  test.same(list(state, running.taskArn), running.tags)
})

await t.test('a task that has left memory is as stopped as one that has not', async (test) => {
  const past = aTask({ lastStatus: 'STOPPED' })
  const state = createState({
    task: (taskId) => (taskId === past.taskId ? past : undefined),
    tasksOfCluster: () => [past],
    audited: () => ({ records: [] }),
  })
  test.match(
    refusal(() => list(state, past.taskArn)),
    /The specified task is stopped/,
  )
})

function numbered(from: number, count: number): readonly Tag[] {
  return Array.from({ length: count }, (_, at) => ({ key: `k${from + at}`, value: 'v' }))
}

function arn(resource: string): string {
  return `arn:aws:ecs:us-east-1:123456789012:${resource}`
}
