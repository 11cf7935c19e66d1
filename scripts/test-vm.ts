/**
 * `npm run test:vm`: Gantry installed, upgraded, rebooted and removed on a whole Debian 12 with systemd, cgroup v2 and
 * Docker's systemd driver, in a virtual machine. Opt-in: it takes a quarter of an hour where there is no KVM.
 *
 * The guest is kept in GANTRY_VM_CACHE (~/.cache/gantry/vm); figures and logs of a run go to its directory `last`.
 * GANTRY_VM_KVM=1 uses KVM where /dev/kvm works.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { installPackages, virtualMachinePackages } from './packages.ts'
import { endProcess, processesUsing } from './processes.ts'
import { ScriptError, runScript, say, seconds } from './report.ts'
import { runTestFiles } from './run-tests.ts'

/** On a machine that is busy with other things an emulated one takes a multiple of its quarter of an hour. */
const fileTimeoutSeconds = 7200

let isInterrupted = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    isInterrupted = true
  })
}

async function main(): Promise<number> {
  if (process.arch !== 'x64') throw new ScriptError('the virtual machine is an x86_64: run this on one.')
  const startedAt = Date.now()
  await installPackages(virtualMachinePackages)
  const cache = resolve(process.env['GANTRY_VM_CACHE'] ?? join(homedir(), '.cache', 'gantry', 'vm'))
  const report = join(cache, 'last')
  rmSync(report, { recursive: true, force: true })
  mkdirSync(report, { recursive: true })
  const directory = mkdtempSync(join(tmpdir(), 'gantry-vm-'))
  try {
    const { passed, failed } = await runTestFiles({
      files: ['test/vm/install.test.ts'],
      env: { TMPDIR: directory, GANTRY_VM_CACHE: cache },
      fileTimeoutSeconds,
      jobs: 1,
      isInterrupted: () => isInterrupted,
    })
    say(`took ${seconds(startedAt)}; figures and logs are in ${report}`)
    process.stdout.write(`${passed} passed, ${failed} failed\n`)
    return failed === 0 && passed > 0 ? 0 : 1
  } finally {
    // A test that was killed leaves its machine running.
    for (const pid of processesUsing(directory)) await endProcess(pid, 2_000)
    rmSync(directory, { recursive: true, force: true })
  }
}

await runScript(main)
