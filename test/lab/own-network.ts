/**
 * The lab's outer network namespace: the test itself lives in it, on the bridge that joins the lab's machines. So plain
 * `fetch` and the AWS SDK reach every address of the lab, and nothing of the machine's own network is ever touched.
 */
import { execFileSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { findProgram } from '../../scripts/packages.ts'

const outsideVariable = 'GANTRY_LAB_OUTSIDE'

/** `net:[4026531840]`: which network namespace this process is in. */
function networkNamespace(): string {
  return readlinkSync('/proc/self/ns/net')
}

/**
 * Starts this very program anew, under its own pid, in a fresh network namespace, unless that has happened. To be called
 * before anything else is done. The namespace is gone with the last process in it, whatever that process's end was.
 * Gives the namespace's name.
 */
export function enterOwnNetwork(): string {
  const outside = process.env[outsideVariable]
  if (outside !== undefined && outside !== networkNamespace()) {
    ip('link', 'set', 'lo', 'up')
    return networkNamespace()
  }
  if (process.getuid?.() !== 0) throw new Error('The lab makes network namespaces and Docker Engines: run it as root.')
  const unshare = findProgram('unshare')
  if (unshare === undefined || process.execve === undefined) throw new Error('The lab needs util-linux and Linux.')
  const environment = { ...process.env, [outsideVariable]: networkNamespace() }
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  return process.execve(unshare, [unshare, '--net', '--', ...program], environment)
}

/** Runs a system command of iproute2 in the lab's outer namespace, and in no other. */
export function ip(...args: readonly string[]): void {
  const outside = process.env[outsideVariable]
  if (outside === undefined || outside === networkNamespace()) {
    throw new Error('`ip` was to run outside of the lab: call enterOwnNetwork first.')
  }
  execFileSync(findProgram('ip') ?? 'ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
