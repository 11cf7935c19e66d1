/** A virtual machine under QEMU, on an overlay of the guest image, so that each run begins with the same disk. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, openSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runCommand } from '../../scripts/run-command.ts'
import type { GuestImage } from './guest-image.ts'

export interface Machine {
  /** Where a port of the guest is on this machine. */
  readonly ports: Readonly<Record<'ssh' | 'controller' | 'plain', number>>
  /** Milliseconds from power on until ssh answers. */
  readonly bootMs: number
  /** Runs a shell script in the guest as root; what it prints on both streams, and its exit code. */
  run(script: string): Promise<{ readonly code: number; readonly output: string }>
  /** As `run`, and throws an Error with the output where the exit code is not 0. */
  ok(script: string): Promise<string>
  /** `systemctl reboot`; resolves with the milliseconds until ssh answers again. */
  reboot(): Promise<number>
  /** Pulls the plug. */
  end(): Promise<void>
}

export interface MachineOptions {
  readonly image: GuestImage
  /** Holds the overlay, the serial log and the ssh connection's socket; short, for a socket's path has 107 bytes. */
  readonly directory: string
  /** A tar that the guest reads from its second disk, /dev/vdb. */
  readonly tar: string
}

const memoryMiB = 2048
const cpus = 2
/** Without KVM a boot takes half a minute on an idle machine, and five with all services on one that others keep busy. */
const bootTimeoutMs = 900_000

export async function startMachine({ image, directory, tar }: MachineOptions): Promise<Machine> {
  const disk = join(directory, 'disk.qcow2')
  const made = await runCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image.disk, '-F', 'raw', disk])
  if (made.code !== 0) throw new Error(`no disk could be made: ${made.output}`)
  const ports = { ssh: await freePort(), controller: await freePort(), plain: await freePort() }
  const console = openSync(join(directory, 'serial.log'), 'a')
  const startedAt = Date.now()
  const child = spawn('nice', ['-n', '15', 'qemu-system-x86_64', ...qemuArguments(image, { disk, tar, ports })], {
    stdio: ['ignore', console, console],
  })
  const connect = sshArguments(image, directory, ports.ssh)
  const run: Machine['run'] = async (script) => {
    const { code, output } = await runCommand('ssh', [...connect, 'root@127.0.0.1', script])
    return { code, output }
  }
  const ok: Machine['ok'] = async (script) => {
    const { code, output } = await run(script)
    if (code !== 0) throw new Error(`in the guest, \`${script}\` failed (exit ${code}):\n${output.slice(-4000)}`)
    return output.trim()
  }
  const close = () => runCommand('ssh', [...connect, '-O', 'exit', 'root@127.0.0.1'])
  try {
    await untilUp(child, run, '')
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return {
    ports,
    bootMs: Date.now() - startedAt,
    run,
    ok,
    async reboot() {
      const before = await ok('cat /proc/sys/kernel/random/boot_id')
      const rebootAt = Date.now()
      await run('systemctl reboot')
      await close()
      await untilUp(child, run, before)
      return Date.now() - rebootAt
    },
    async end() {
      await close()
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await new Promise((done) => child.once('exit', done))
    },
  }
}

interface Wiring {
  readonly disk: string
  readonly tar: string
  readonly ports: Machine['ports']
}

/** `plain` is the controller's port without TLS, where a version from before TLS let others come. */
function forwards({ ssh, controller, plain }: Machine['ports']): string {
  const pairs = [
    [ssh, 22],
    [controller, 51443],
    [plain, 51700],
  ]
  return pairs.map(([host, guest]) => `hostfwd=tcp:127.0.0.1:${host}-:${guest}`).join(',')
}

/** The guest reaches nobody (restrict=on): what installs there installs without a network. */
function qemuArguments(image: GuestImage, { disk, tar, ports }: Wiring): readonly string[] {
  const accelerate = existsSync('/dev/kvm') && process.env['GANTRY_VM_KVM'] === '1'
  return [
    accelerate ? ['-accel', 'kvm', '-cpu', 'host'] : ['-accel', 'tcg,thread=multi,tb-size=512', '-cpu', 'max'],
    ['-smp', String(cpus), '-m', String(memoryMiB), '-nographic', '-nodefaults', '-no-user-config'],
    ['-serial', 'stdio', '-kernel', image.kernel, '-initrd', image.initrd],
    ['-append', 'root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off apparmor=0 quiet systemd.show_status=1'],
    ['-drive', `file=${disk},if=virtio,cache=unsafe`, '-drive', `file=${tar},if=virtio,format=raw,readonly=on`],
    ['-netdev', `user,id=n,restrict=on,${forwards(ports)}`],
    ['-device', 'virtio-net-pci,netdev=n', '-device', 'virtio-rng-pci'],
  ].flat()
}

/** One connection for all commands: the key exchange takes a second in an emulated machine. */
function sshArguments(image: GuestImage, directory: string, port: number): readonly string[] {
  const options = {
    StrictHostKeyChecking: 'no',
    UserKnownHostsFile: '/dev/null',
    ConnectTimeout: '20',
    ServerAliveInterval: '15',
    ControlMaster: 'auto',
    ControlPath: join(directory, 'ssh'),
    ControlPersist: '600',
  }
  const given = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  return ['-q', '-i', image.key, '-p', String(port), ...given]
}

/** Also until another boot than this one. */
async function untilUp(child: ChildProcess, run: Machine['run'], otherThan: string): Promise<void> {
  const giveUpAt = Date.now() + bootTimeoutMs
  while (Date.now() < giveUpAt) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error('the virtual machine ended: its serial log says more')
    }
    const { code, output } = await run('cat /proc/sys/kernel/random/boot_id && systemctl is-system-running --wait')
    const boot = output.split('\n')[0] ?? ''
    if (code !== 255 && /^[0-9a-f-]{36}$/.test(boot) && boot !== otherThan) return
    await sleep(1_000)
  }
  throw new Error(`the guest did not boot within ${bootTimeoutMs / 1000} s: its serial log says more`)
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (typeof address !== 'object' || address === null) throw new Error('no free port')
  return address.port
}
