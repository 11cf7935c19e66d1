/** A part of a bench in a process of its own, and the messages with it. */
import { type ChildProcess, fork } from 'node:child_process'

export interface Child {
  readonly pid: number
  /** Its next message; rejects where it ends, or says that it failed. */
  next<T>(): Promise<T>
  ask<T>(message: object): Promise<T>
  end(): Promise<void>
}

/** `file` beside this one. */
export function startChild(
  file: string,
  args: readonly string[] = [],
  execArgv: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Child {
  const path = new URL(`./${file}`, import.meta.url).pathname
  const child: ChildProcess = fork(path, [...args], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [...execArgv],
    env: { ...process.env, ...env },
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const next = <T>(): Promise<T> =>
    new Promise((resolve, reject) => {
      const hear = (message: unknown): void => {
        child.off('exit', gone)
        if (typeof message === 'object' && message !== null && 'failure' in message) {
          reject(new Error(`${file} failed: ${String(message.failure)}`))
        } else resolve(message as T)
      }
      const gone = (code: number | null): void => {
        child.off('message', hear)
        reject(new Error(`${file} ended with ${code} before it answered`))
      }
      child.once('message', hear)
      child.once('exit', gone)
    })
  return {
    pid: child.pid ?? 0,
    next,
    async ask<T>(message: object) {
      const answer = next<T>()
      child.send(message)
      return answer
    },
    async end() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      await ended
    },
  }
}
