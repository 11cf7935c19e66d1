/** Tar archives (POSIX ustar) of a few files and directories, as Docker Engine takes them. */
const blockBytes = 512
/** What fits into the digits of an owner; larger ones are written as a binary number, as GNU tar does. */
const octalOwnerMost = 0o7777777
export const tarNameBytesMax = 100

export interface TarEntry {
  /** At most 100 bytes. */
  readonly path: string
  readonly mode: number
  /** Absent for a directory. */
  readonly content?: Buffer | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** Epoch seconds. */
  readonly modifiedAt?: number | undefined
}

/** Entries without an owner are root's, those without an instant of 1970: the same content is the same bytes. */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  const blocks = entries.flatMap((entry) => {
    const content = entry.content ?? Buffer.alloc(0)
    const padding = Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes)
    return [tarHeader(entry, content.length), content, padding]
  })
  return Buffer.concat([...blocks, Buffer.alloc(2 * blockBytes)])
}

function tarHeader({ path, mode, content, uid = 0, gid = 0, modifiedAt = 0 }: TarEntry, bytes: number): Buffer {
  if (Buffer.byteLength(path) > tarNameBytesMax) throw new Error(`${path} is too long for a tar header`)
  const header = Buffer.alloc(blockBytes)
  header.write(path, 0)
  header.write(octal(mode, 7), 100)
  writeOwner(header, uid, 108)
  writeOwner(header, gid, 116)
  header.write(octal(bytes, 11), 124)
  header.write(octal(modifiedAt, 11), 136)
  // The checksum counts itself as spaces.
  header.write(' '.repeat(8), 148)
  header.write(content === undefined ? '5' : '0', 156)
  header.write('ustar\u000000', 257)
  let sum = 0
  for (const byte of header) sum += byte
  header.write(`${octal(sum, 6)}\u0000 `, 148)
  return header
}

function writeOwner(header: Buffer, id: number, at: number): void {
  if (id <= octalOwnerMost) {
    header.write(octal(id, 7), at)
    return
  }
  header[at] = 0x80
  header.writeUInt32BE(id, at + 4)
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}
