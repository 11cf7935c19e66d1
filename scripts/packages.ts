/**
 * Installs Debian packages for the scripts. packages.json is the one place that names them: bootstrap.mjs reads it too,
 * for what the pinned Node itself needs.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import reasons from './packages.json' with { type: 'json' }
import { ScriptError, lastLines, say, seconds } from './report.ts'
import { type CommandResult, runCommand } from './run-command.ts'

interface DebianPackage {
  readonly name: string
  readonly why: string
  /** By the program and not by the package, so that what another source installed counts too. */
  readonly isPresent: () => boolean
}

const docker = describe('docker.io', has('dockerd'))
const iptables = describe('iptables', has('iptables'))
const iproute = describe('iproute2', has('ip'))
const busybox = describe('busybox-static', () => staticBusybox() !== undefined)
const awsCli = describe('awscli', has('aws'))
const registry = describe('docker-registry', has('docker-registry'))
const sshfs = describe('sshfs', has('sshfs'))
const sftpServer = describe('openssh-sftp-server', () => existsSync('/usr/lib/openssh/sftp-server'))

const virtualMachine = [
  describe('qemu-system-x86', has('qemu-system-x86_64')),
  describe('qemu-utils', has('qemu-img')),
  describe('debootstrap', has('debootstrap')),
  describe('openssh-client', has('ssh-keygen')),
  describe('e2fsprogs', has('mkfs.ext4')),
]

export const enginePackages: readonly DebianPackage[] = [docker, iptables, iproute]
export const samplePackages: readonly DebianPackage[] = [busybox]
export const apiTestPackages: readonly DebianPackage[] = [awsCli]
export const engineTestPackages: readonly DebianPackage[] = [busybox, registry, iproute, sshfs, sftpServer]
export const virtualMachinePackages: readonly DebianPackage[] = virtualMachine

/** The full path of a program, also in the system directories that a user's PATH may lack. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path))
}

function describe(name: keyof typeof reasons, isPresent: () => boolean): DebianPackage {
  return { name, why: reasons[name], isPresent }
}

function has(program: string): () => boolean {
  return () => findProgram(program) !== undefined
}

/** A busybox that runs in an empty root: one without an ELF interpreter, i.e. not linked against a libc of the host. */
export function staticBusybox(): string | undefined {
  return ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path) && !hasElfInterpreter(path))
}

function hasElfInterpreter(path: string): boolean {
  const interpreterType = 3
  const head = Buffer.alloc(4096)
  const file = openSync(path, 'r')
  readSync(file, head, 0, head.length, 0)
  closeSync(file)
  const offset = Number(head.readBigUInt64LE(32))
  const size = head.readUInt16LE(54)
  const count = head.readUInt16LE(56)
  for (let index = 0; index < count; index += 1) {
    const at = offset + index * size
    if (at + 4 <= head.length && head.readUInt32LE(at) === interpreterType) return true
  }
  return false
}

/**
 * Installs what is missing and says what and why. Throws ScriptError where apt is missing or fails. A package's service
 * is not started: the scripts start the engine themselves, in a directory of their own.
 */
export async function installPackages(wanted: readonly DebianPackage[]): Promise<void> {
  const missing = wanted.filter((entry) => !entry.isPresent())
  if (missing.length === 0) return
  const names = missing.map((entry) => entry.name)
  for (const entry of missing) say(`needs ${entry.name}: ${entry.why}`)
  if (findProgram('apt-get') === undefined) {
    throw new ScriptError(
      `this machine has no apt-get. Install by hand what Debian calls ${names.join(', ')}, then retry.`,
    )
  }
  const startedAt = Date.now()
  say(`installing ${names.join(', ')} from Debian ...`)
  await withoutServiceStarts(async () => {
    if (hasPackageLists() && (await apt(installArguments(names))).code === 0) return
    // Lists that are older than the archive name files that are gone: one fresh look, then it has truly failed.
    const startedAgainAt = Date.now()
    const update = await apt(['update'])
    const install = await apt(installArguments(names))
    if (install.code !== 0) throw aptError(names, update.output, install, startedAgainAt)
  })
  const still = wanted.filter((entry) => !entry.isPresent()).map((entry) => entry.name)
  if (still.length > 0) throw new ScriptError(`apt-get installed ${still.join(', ')}, but the programs can't be found.`)
  say(`  installed in ${seconds(startedAt)}`)
}

function installArguments(names: readonly string[]): string[] {
  return ['install', '-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120', ...names]
}

function hasPackageLists(): boolean {
  const directory = '/var/lib/apt/lists'
  return existsSync(directory) && readdirSync(directory).some((name) => name.includes('_Packages'))
}

function apt(args: readonly string[]): Promise<CommandResult> {
  return runCommand('apt-get', ['-q', ...args], { env: { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' } })
}

/** An update that reaches no mirror only warns, and the install then says that there is no such package. */
function aptError(names: readonly string[], update: string, install: CommandResult, startedAt: number): ScriptError {
  const complaints = update.split('\n').filter((line) => /^(Err|[EW]):|^ {2}(Temporary|Could not)/.test(line))
  const words = `${complaints.slice(0, 5).join('\n')}\n${install.output}`
  return new ScriptError(
    `apt-get install ${names.join(' ')} failed with exit code ${install.code} after ${seconds(startedAt)}:\n` +
      `${lastLines(words, 15)}\n` +
      'gantry: are the Debian mirrors of /etc/apt within reach? Mend that, or install the packages by hand, then retry.',
  )
}

/**
 * Debian starts a package's service as it installs it, asking /usr/sbin/policy-rc.d first. Ours says no for as long as
 * the installation runs; one that the machine has already is left alone.
 */
async function withoutServiceStarts(work: () => Promise<void>): Promise<void> {
  const policy = '/usr/sbin/policy-rc.d'
  const text = '#!/bin/sh\n# Put here by Gantry while it installs packages.\nexit 101\n'
  const isOurs = !existsSync(policy) || readFileSync(policy, 'utf8') === text
  if (isOurs) writeFileSync(policy, text, { mode: 0o755 })
  try {
    await work()
  } finally {
    if (isOurs) rmSync(policy, { force: true })
  }
}
