/**
 * A Debian 12 of its own for `npm run test:vm`: made once by debootstrap, and kept in a cache. It has systemd, cgroup
 * v2, Docker with the systemd driver, a kernel NFS server, and no Node: Gantry brings its own.
 */
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { createHash } from 'node:crypto'
import { ScriptError, say, seconds } from '../../scripts/report.ts'
import { runCommand } from '../../scripts/run-command.ts'

export interface GuestImage {
  readonly disk: string
  readonly kernel: string
  readonly initrd: string
  /** The private key that root's ssh takes. */
  readonly key: string
}

const mirror = 'http://deb.debian.org/debian'
const basePackages = [
  'ca-certificates',
  'systemd',
  'systemd-sysv',
  'dbus',
  'udev',
  'iproute2',
  'kmod',
  'openssh-server',
]
const packages = [
  'linux-image-cloud-amd64',
  'docker.io',
  'iptables',
  'nfs-kernel-server',
  'nfs-common',
  'busybox-static',
]
/** Files of the guest that are not a package's. The kernel calls the only interface eth0 (net.ifnames=0). */
const files: Readonly<Record<string, string>> = {
  '/etc/hostname': 'gantry-vm\n',
  '/etc/hosts': '127.0.0.1 localhost gantry-vm\n',
  '/etc/fstab': '/dev/vda / ext4 defaults 0 1\n',
  '/etc/systemd/network/10-eth0.network': '[Match]\nName=eth0\n[Network]\nDHCP=yes\n',
  '/etc/systemd/journald.conf.d/persistent.conf': '[Journal]\nStorage=persistent\n',
}
const diskBytes = '8G'
const recipe = createHash('sha256')
  .update(JSON.stringify([mirror, basePackages, packages, files, diskBytes]))
  .digest('hex')

/** Made where the cache has none, or one of another recipe; takes about a minute then. */
export async function ensureGuestImage(cache: string): Promise<GuestImage> {
  const directory = join(cache, 'debian-12')
  const image = {
    disk: join(directory, 'disk.raw'),
    kernel: join(directory, 'vmlinuz'),
    initrd: join(directory, 'initrd'),
    key: join(directory, 'key'),
  }
  const stamp = join(directory, 'recipe')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === recipe) return image
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const startedAt = Date.now()
  say(`making a Debian 12 guest in ${directory} ...`)
  const root = join(directory, 'root')
  await bootstrap(root)
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', image.key])
  await configure(root, readFileSync(`${image.key}.pub`, 'utf8'))
  copyFileSync(only(`${root}/boot/vmlinuz-*`), image.kernel)
  copyFileSync(only(`${root}/boot/initrd.img-*`), image.initrd)
  await run('truncate', ['-s', diskBytes, `${image.disk}.part`])
  await run('mkfs.ext4', ['-q', '-d', root, '-L', 'gantry', `${image.disk}.part`])
  renameSync(`${image.disk}.part`, image.disk)
  rmSync(root, { recursive: true, force: true })
  writeFileSync(stamp, recipe)
  say(`  made in ${seconds(startedAt)}`)
  return image
}

/** The kernel's packages want /proc while they are installed; no service may start here. */
async function bootstrap(root: string): Promise<void> {
  await run('debootstrap', ['--variant=minbase', `--include=${basePackages.join(',')}`, 'bookworm', root, mirror])
  const policy = join(root, 'usr/sbin/policy-rc.d')
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  await run('mount', ['-t', 'proc', 'proc', join(root, 'proc')])
  try {
    const install = ['apt-get', '-q', 'install', '-y', '--no-install-recommends', ...packages]
    await run('chroot', [root, 'env', 'DEBIAN_FRONTEND=noninteractive', ...install])
  } finally {
    await run('umount', [join(root, 'proc')])
  }
  rmSync(policy)
}

async function configure(root: string, publicKey: string): Promise<void> {
  const all = { ...files, '/root/.ssh/authorized_keys': publicKey }
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true, mode: path.startsWith('/root') ? 0o700 : 0o755 })
    writeFileSync(join(root, path), text)
  }
  appendFileSync(join(root, 'etc/ssh/sshd_config'), '\nUseDNS no\n')
  await run('chroot', [root, 'systemctl', 'enable', '--quiet', 'systemd-networkd', 'ssh', 'docker'])
  await run('chroot', [root, 'systemctl', 'disable', '--quiet', 'nfs-server'])
  for (const place of ['var/cache/apt', 'var/lib/apt/lists'])
    rmSync(join(root, place), { recursive: true, force: true })
}

function only(pattern: string): string {
  const [found] = globSync(pattern)
  if (found === undefined) throw new ScriptError(`the guest has no ${pattern}`)
  return found
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const { code, output } = await runCommand(command, args)
  if (code === 0) return
  throw new ScriptError(`${command} ${args.slice(0, 3).join(' ')} ... failed (exit ${code}):\n${output.slice(-2000)}`)
}
