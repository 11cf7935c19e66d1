/** The ECS operations on tasks: RunTask, StartTask, StopTask, DescribeTasks, ListTasks. */
import { describeTasks } from './describe-task.ts'
import { type Handlers, read, write } from './handler.ts'
import { listTasks } from './list-tasks.ts'
import { runTask } from './run-task.ts'
import { startTask } from './start-task.ts'
import { stopTask } from './stop-task.ts'

export { describeTask } from './describe-task.ts'

export const taskHandlers = {
  RunTask: write<'RunTask'>((tx, input, call, world) => runTask(tx, input, call, world)),
  StartTask: write<'StartTask'>((tx, input, call, world) => startTask(tx, input, call, world)),
  StopTask: write<'StopTask'>((tx, input, call) => stopTask(tx, input, call.now)),
  DescribeTasks: read<'DescribeTasks'>((reader, input, _call, world) => describeTasks(reader, input, world)),
  ListTasks: read<'ListTasks'>((reader, input) => listTasks(reader, input)),
} satisfies Handlers
