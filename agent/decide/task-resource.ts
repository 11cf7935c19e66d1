/** What a task needs beside its containers: a volume, a cgroup, a network. */
import type { PayloadContainer } from '../../proto/acs.ts'
import type { Step } from './steps.ts'
import type { HostView, TaskView } from './view.ts'

/** Each keeps its own facts on the task's, so that a restarted agent knows how far it came. */
export interface TaskResource {
  readonly name: string
  /** What is to be done for it before containers start; empty where it is ready, or where the task needs none. */
  prepare(view: TaskView, now: number, host: HostView): readonly Step[]
  /** What a container waits for as far as this resource goes, as `waits for ...`; undefined where it need not wait. */
  holds(view: TaskView, container: PayloadContainer, host: HostView, now: number): string | undefined
  /** What gives it back once the containers are removed; empty where nothing of it is left. */
  release(view: TaskView, now: number): readonly Step[]
}
