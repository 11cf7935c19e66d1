/** The pause image: what its bytes say of themselves, for both machines. */
import { test } from 'tap'
import { isPauseImage, pauseImage, pauseImageNames } from './pause-image.ts'
import { pauseProgram } from './pause-program.ts'

const machines = [
  { architecture: 'x86_64', machine: 62, docker: 'amd64' },
  { architecture: 'arm64', machine: 183, docker: 'arm64' },
] as const

for (const { architecture, machine, docker } of machines) {
  await test(`the program for ${architecture} is a static ELF file`, (t) => {
    const program = pauseProgram(architecture)
    t.same([...program.subarray(0, 7)], [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 'ELF, 64 bits, little endian')
    t.equal(program.readUInt16LE(16), 2, 'executable, to be loaded where it says')
    t.equal(program.readUInt16LE(18), machine)
    const headers = Number(program.readBigUInt64LE(32))
    t.same([program.readUInt16LE(54), program.readUInt16LE(56)], [56, 2], 'two program headers')
    const load = program.subarray(headers, headers + 56)
    t.same([load.readUInt32LE(0), load.readUInt32LE(4)], [1, 5], 'loaded, to be read and executed, never written')
    t.equal(load.readBigUInt64LE(32), BigInt(program.length), 'all of the file')
    const entry = program.readBigUInt64LE(24) - load.readBigUInt64LE(16)
    t.ok(entry >= BigInt(headers + 112) && entry < BigInt(program.length), 'it begins behind the headers')
    t.equal(program.subarray(headers + 56).readUInt32LE(0), 0x6474e551, 'its stack is not executable')
    t.equal(program.readBigUInt64LE(program.length - 8), 0x14002n, 'it waits for INT, TERM and CHLD')
    t.notOk(program.includes('ld-linux'), 'no loader, no library')
    t.end()
  })

  await test(`the image for ${architecture} is the same each time, and named by its content`, (t) => {
    const { name, tar } = pauseImage(architecture)
    t.match(name, /^gantry-pause:[0-9a-f]{12}$/)
    t.ok(isPauseImage(name) && isPauseImage(`docker.io/library/${name}`))
    t.ok(pauseImageNames().includes(name), 'and kept whatever is cleaned up')
    t.equal(tar.length % 512, 0)
    const files = filesIn(tar)
    const [manifest] = JSON.parse(files.get('manifest.json')?.toString() ?? '[]') as {
      Config: string
      RepoTags: string[]
      Layers: string[]
    }[]
    t.same(manifest?.RepoTags, [name])
    const config = JSON.parse(files.get(manifest?.Config ?? '')?.toString() ?? '{}') as Record<string, unknown>
    t.match(config, { architecture: docker, os: 'linux', config: { Entrypoint: ['/pause'], User: '65534:65534' } })
    const layer = filesIn(files.get(manifest?.Layers[0] ?? '') ?? Buffer.alloc(0))
    t.ok(layer.get('pause')?.equals(pauseProgram(architecture)), 'the layer has the program and nothing else')
    t.equal(layer.size, 1)
    t.end()
  })
}

await test('the two machines have images of different names', (t) => {
  t.equal(new Set(pauseImageNames()).size, 2)
  t.notOk(isPauseImage('gantry-pausebox:1'))
  t.end()
})

/** The plain files of a tar archive, by name; each header's checksum has to be right. */
function filesIn(tar: Buffer): ReadonlyMap<string, Buffer> {
  const files = new Map<string, Buffer>()
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const header = tar.subarray(at, at + 512)
    const name = header.subarray(0, 100).toString().replace(/\0.*$/, '')
    const bytes = Number.parseInt(header.subarray(124, 135).toString(), 8)
    const sum = Number.parseInt(header.subarray(148, 154).toString(), 8)
    const counted = header.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0)
    if (sum !== counted) throw new Error(`the checksum of ${name} is ${sum}, not ${counted}`)
    files.set(name, tar.subarray(at + 512, at + 512 + bytes))
    at += 512 + Math.ceil(bytes / 512) * 512
  }
  return files
}
