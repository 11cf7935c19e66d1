/** What a bench was run on: without it a figure says nothing. */
import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { askVersion } from '../scripts/engine-api.ts'

export interface Machine {
  readonly at: string
  readonly cores: number
  readonly model: string
  readonly memoryMiB: number
  readonly kernel: string
  /** Undefined where the bench uses no engine. */
  readonly docker: string | undefined
  readonly node: string
  /** With `+` where files were changed since. */
  readonly commit: string
  /** The one-minute load average before the bench began: more than 0.5 means that others were at work. */
  readonly loadBefore: number
}

export async function describeMachine(dockerHost: string | undefined): Promise<Machine> {
  const engine = dockerHost === undefined ? undefined : await askVersion(dockerHost)
  return {
    at: new Date(Date.now()).toISOString(),
    cores: cpus().length,
    model: cpus()[0]?.model ?? 'unknown',
    memoryMiB: Math.round(totalmem() / 1024 / 1024),
    kernel: release(),
    docker: engine === undefined ? undefined : `Docker Engine ${engine.version} (API ${engine.apiVersion})`,
    node: process.versions.node,
    commit: commit(),
    loadBefore: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  }
}

function git(...args: string[]): string {
  return execFileSync('git', ['-C', join(import.meta.dirname, '..'), ...args], { stdio: 'pipe' })
    .toString()
    .trim()
}

function commit(): string {
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') === '' ? '' : '+'}`
  } catch {
    return 'unknown (no git here)'
  }
}
