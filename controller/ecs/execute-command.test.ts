/** ExecuteCommand: who may run what where, and how a refusal reads. */
import { test } from 'tap'
import { commandLine, commandWords } from '../../proto/streams.ts'
import {
  aCall,
  aCluster,
  aContainer,
  anInstance,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  inTransaction,
} from '../../test/support/builders.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { describeTasks } from './describe-task.ts'
import { executeCommandHandlers, planCommand } from './execute-command.ts'
import { runTask } from './run-task.ts'

const able = [{ name: 'gantry.protocol', value: '1' }, { name: 'ecs.capability.execute-command' }]
const capable = anInstance({ attributes: able })

function stateOf(task: Partial<TaskRow> = {}, instance: InstanceRow = capable) {
  const container = aContainer({ name: 'app', lastStatus: 'RUNNING', startedAt: 5 })
  const row = aTask({
    enableExecuteCommand: true,
    lastStatus: 'RUNNING',
    instanceId: instance.instanceId,
    containers: [container],
    ...task,
  })
  return { row, state: aState({ cluster: [aCluster()], instance: [instance], task: [row] }) }
}

const input = { command: '/bin/sh', interactive: true }

await test('a session is planned for the container, and answered with where to connect', (t) => {
  const { row, state } = stateOf()
  const call = aCall({ origin: 'http://lab.example:51700' })
  const plan = planCommand(state, { ...input, task: row.taskId, command: `sh -c "echo 'a b' \\$x" ''` }, call)
  t.match(plan, { container: 'app', instanceId: capable.instanceId, taskArn: row.taskArn })
  t.same(plan.command, ['sh', '-c', "echo 'a b' $x", ''])
  const answer = executeCommandHandlers.ExecuteCommand.answer(plan, { sessionId: 's-1', tokenValue: 'secret' }, call)
  t.match(answer, {
    containerName: 'app',
    interactive: true,
    session: { sessionId: 's-1', tokenValue: 'secret', streamUrl: 'ws://lab.example:51700/v1/data-channels/s-1' },
  })
  t.end()
})

await test('each refusal is in the words of ECS and says what is in the way', (t) => {
  const two = [aContainer({ name: 'app', lastStatus: 'RUNNING' }), aContainer({ name: 'side', lastStatus: 'PENDING' })]
  const cases: readonly [Partial<TaskRow>, object, RegExp, InstanceRow?][] = [
    [
      { enableExecuteCommand: false },
      {},
      /^InvalidParameterException: .*execute command was not enabled when the task/,
    ],
    [{ lastStatus: 'STOPPED' }, {}, /^InvalidParameterException: The task is stopped/],
    [{ desiredStatus: 'STOPPED' }, {}, /^InvalidParameterException: The task is stopped or stopping/],
    [{}, { interactive: false }, /^InvalidParameterException: Interactive is the only mode/],
    [{}, { command: ' ' }, /^InvalidParameterException: command can not be blank/],
    [{}, { command: 'x'.repeat(16_385) }, /^InvalidParameterException: command can have at most 16384 characters/],
    [{}, { command: "sh -c 'x" }, /^InvalidParameterException: command has a quote that is not closed/],
    [{}, { task: 'missing' }, /^InvalidParameterException: The task "missing" was not found/],
    [{}, { container: 'nope' }, /^InvalidParameterException: The task has no container "nope"; it has app/],
    [{ containers: two }, {}, /^InvalidParameterException: The task has 2 containers: name one .*app, side/],
    [{ containers: two }, { container: 'side' }, /^TargetNotConnectedException: .*side is PENDING/],
    [{}, {}, /^TargetNotConnectedException: .*not Gantry's own/, anInstance({ attributes: [] })],
    [{}, {}, /^TargetNotConnectedException: .*upgrade it/, anInstance({ attributes: able.slice(0, 1) })],
    [{}, {}, /^TargetNotConnectedException: .*not connected/, anInstance({ attributes: able, agentConnected: false })],
  ]
  for (const [task, over, expected, instance] of cases) {
    const { row, state } = stateOf(task, instance)
    let said = 'nothing'
    try {
      planCommand(state, { ...input, task: row.taskId, ...over }, aCall())
    } catch (error) {
      said = String(error)
    }
    t.match(said, expected)
  }
  t.end()
})

await test('a task that allows it goes to agents that can, and shows its managed agent', (t) => {
  const definition = aTaskDefinition()
  const stateWith = (attributes: InstanceRow['attributes']) =>
    aState({ cluster: [aCluster()], instance: [anInstance({ attributes })], taskDefinition: [definition] })
  const asked = { taskDefinition: `${definition.family}:${definition.revision}`, enableExecuteCommand: true }
  const runIn = (state: ReturnType<typeof stateWith>, wanted: Parameters<typeof runTask>[1]) =>
    inTransaction(state, (tx) => runTask(tx, wanted, aCall(), aWorld()))
  const run = (attributes: InstanceRow['attributes']) => runIn(stateWith(attributes), asked)
  t.match(run([]).failures, [{ detail: /lacks attribute ecs.capability.execute-command/ }])
  const without = stateWith([])
  t.match(runIn(without, { ...asked, enableExecuteCommand: false }).failures, [])
  t.match(runIn(without, asked).failures, [{ reason: 'ATTRIBUTE' }], 'also behind a like one that does not')
  t.match(run(able).tasks, [
    {
      enableExecuteCommand: true,
      containers: [{ managedAgents: [{ name: 'ExecuteCommandAgent', lastStatus: 'PENDING' }] }],
    },
  ])
  const { row, state } = stateOf()
  t.match(describeTasks(state, { tasks: [row.taskId] }, aWorld()).tasks, [
    { containers: [{ managedAgents: [{ name: 'ExecuteCommandAgent', lastStatus: 'RUNNING', lastStartedAt: 5 }] }] },
  ])
  t.end()
})

await test('a command line is words, and words are a command line', (t) => {
  for (const words of [
    ['ls', '-la', '/tmp'],
    ['sh', '-c', 'echo "$HOME" | cat'],
    ["it's", '', 'a\nb', '\\', '"'],
  ]) {
    t.same(commandWords(commandLine(words)), words)
  }
  t.equal(commandWords('sh -c "x'), undefined)
  t.same(commandWords('  a\\ b   "c\\"d" '), ['a b', 'c"d'])
  t.end()
})
