/**
 * The program of a pause container: a static ELF file for each architecture, put together here from its instructions, so
 * that no compiler and no registry is needed. It holds the namespaces that a task's containers share, and does three
 * things: it sleeps, it ends on SIGTERM or SIGINT, and as process 1 of a shared PID namespace it reaps the orphans.
 *
 * The signals are blocked and waited for instead of handled: the kernel drops a signal for process 1 that has no handler,
 * but never one that is blocked; and a blocked one needs no code to return from it.
 *
 * Sources: System V ABI (ELF-64 object file format); Linux arch/x86/entry/syscalls/syscall_64.tbl and
 * include/uapi/asm-generic/unistd.h (system calls); kernel/signal.c, sig_ignored (blocked signals of process 1).
 */

export type PauseArchitecture = 'x86_64' | 'arm64'

/** One instruction as an assembler would show it, with its bytes; `to` is the label that it reaches relative to itself. */
interface Instruction {
  readonly label?: string
  readonly asm: string
  readonly bytes: readonly number[]
  readonly to?: string
  /** Puts the distance in, counted from the instruction's first byte. */
  readonly reach?: (bytes: readonly number[], distance: number) => readonly number[]
}

/** Bits of SIGINT (2), SIGTERM (15) and SIGCHLD (17); signal n is bit n - 1. */
const awaitedSignals = 0x14002
/** WNOHANG, and __WALL: children of every kind. */
const waitOptions = 0x40000001
const loadAddress = 0x400000
const elfHeaderBytes = 64
const programHeaderBytes = 56
const programHeaders = 2
const codeOffset = elfHeaderBytes + programHeaders * programHeaderBytes

/** The whole file. The same bytes each time. */
export function pauseProgram(architecture: PauseArchitecture): Buffer {
  const code = assemble(architecture === 'x86_64' ? x86Instructions : armInstructions)
  return Buffer.concat([elfHeader(architecture), ...programHeadersFor(codeOffset + code.length), code])
}

// rax is the call's number and its answer; rdi, rsi, rdx, r10 are its arguments; the kernel keeps all but rcx and r11.
const x86Instructions: readonly Instruction[] = [
  { asm: 'mov eax, 14          ; rt_sigprocmask(', bytes: [0xb8, 14, 0, 0, 0] },
  { asm: 'xor edi, edi         ;   SIG_BLOCK,', bytes: [0x31, 0xff] },
  { asm: 'lea rsi, [rip+set]   ;   &set,', bytes: [0x48, 0x8d, 0x35, 0, 0, 0, 0], to: 'set', reach: x86Reach4 },
  { asm: 'xor edx, edx         ;   NULL,', bytes: [0x31, 0xd2] },
  { asm: 'mov r10d, 8          ;   8)', bytes: [0x41, 0xba, 8, 0, 0, 0] },
  { asm: 'syscall', bytes: [0x0f, 0x05] },
  { label: 'wait', asm: 'mov eax, 128         ; rt_sigtimedwait(', bytes: [0xb8, 128, 0, 0, 0] },
  { asm: 'lea rdi, [rip+set]   ;   &set,', bytes: [0x48, 0x8d, 0x3d, 0, 0, 0, 0], to: 'set', reach: x86Reach4 },
  { asm: 'xor esi, esi         ;   NULL,', bytes: [0x31, 0xf6] },
  { asm: 'xor edx, edx         ;   NULL: for ever,', bytes: [0x31, 0xd2] },
  { asm: 'mov r10d, 8          ;   8)', bytes: [0x41, 0xba, 8, 0, 0, 0] },
  { asm: 'syscall', bytes: [0x0f, 0x05] },
  { asm: 'cmp eax, 15          ; SIGTERM', bytes: [0x83, 0xf8, 15] },
  { asm: 'je exit', bytes: [0x74, 0], to: 'exit', reach: x86Reach1 },
  { asm: 'cmp eax, 2           ; SIGINT', bytes: [0x83, 0xf8, 2] },
  { asm: 'je exit', bytes: [0x74, 0], to: 'exit', reach: x86Reach1 },
  { label: 'reap', asm: 'mov eax, 61          ; wait4(', bytes: [0xb8, 61, 0, 0, 0] },
  { asm: 'mov rdi, -1          ;   any child,', bytes: [0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff, 0xff] },
  { asm: 'xor esi, esi         ;   NULL,', bytes: [0x31, 0xf6] },
  { asm: 'mov edx, options     ;   WNOHANG | __WALL,', bytes: [0xba, ...littleEndian(waitOptions, 4)] },
  { asm: 'xor r10d, r10d       ;   NULL)', bytes: [0x45, 0x31, 0xd2] },
  { asm: 'syscall', bytes: [0x0f, 0x05] },
  { asm: 'test eax, eax', bytes: [0x85, 0xc0] },
  { asm: 'jg reap              ; there may be more', bytes: [0x7f, 0], to: 'reap', reach: x86Reach1 },
  { asm: 'jmp wait', bytes: [0xeb, 0], to: 'wait', reach: x86Reach1 },
  { label: 'exit', asm: 'mov eax, 231         ; exit_group(', bytes: [0xb8, 231, 0, 0, 0] },
  { asm: 'xor edi, edi         ;   0)', bytes: [0x31, 0xff] },
  { asm: 'syscall', bytes: [0x0f, 0x05] },
  { label: 'set', asm: '.quad signals', bytes: littleEndian(awaitedSignals, 8) },
]

// x8 is the call's number, x0 its answer; x0 to x3 are its arguments. Each instruction is one word of 32 bits.
const armInstructions: readonly Instruction[] = [
  { asm: 'mov x0, #0           // rt_sigprocmask(SIG_BLOCK,', bytes: armMove(0, 0) },
  { asm: 'adr x1, set          //   &set,', bytes: armWord(0x10000001), to: 'set', reach: armReachAdr },
  { asm: 'mov x2, #0           //   NULL,', bytes: armMove(2, 0) },
  { asm: 'mov x3, #8           //   8)', bytes: armMove(3, 8) },
  { asm: 'mov x8, #135', bytes: armMove(8, 135) },
  { asm: 'svc #0', bytes: armWord(0xd4000001) },
  {
    label: 'wait',
    asm: 'adr x0, set          // rt_sigtimedwait(&set,',
    bytes: armWord(0x10000000),
    to: 'set',
    reach: armReachAdr,
  },
  { asm: 'mov x1, #0           //   NULL,', bytes: armMove(1, 0) },
  { asm: 'mov x2, #0           //   NULL: for ever,', bytes: armMove(2, 0) },
  { asm: 'mov x3, #8           //   8)', bytes: armMove(3, 8) },
  { asm: 'mov x8, #137', bytes: armMove(8, 137) },
  { asm: 'svc #0', bytes: armWord(0xd4000001) },
  { asm: 'cmp x0, #15          // SIGTERM', bytes: armCompare(15) },
  { asm: 'b.eq exit', bytes: armWord(0x54000000), to: 'exit', reach: armReachBranch },
  { asm: 'cmp x0, #2           // SIGINT', bytes: armCompare(2) },
  { asm: 'b.eq exit', bytes: armWord(0x54000000), to: 'exit', reach: armReachBranch },
  { label: 'reap', asm: 'mov x0, #-1          // wait4(any child,', bytes: armWord(0x92800000) },
  { asm: 'mov x1, #0           //   NULL,', bytes: armMove(1, 0) },
  { asm: 'mov x2, #low         //   WNOHANG |', bytes: armMove(2, waitOptions & 0xffff) },
  { asm: 'movk x2, #high, lsl 16 // __WALL,', bytes: armWord(0xf2a00002 + (waitOptions >>> 16) * 0x20) },
  { asm: 'mov x3, #0           //   NULL)', bytes: armMove(3, 0) },
  { asm: 'mov x8, #260', bytes: armMove(8, 260) },
  { asm: 'svc #0', bytes: armWord(0xd4000001) },
  { asm: 'cmp x0, #0', bytes: armCompare(0) },
  { asm: 'b.gt reap            // there may be more', bytes: armWord(0x5400000c), to: 'reap', reach: armReachBranch },
  { asm: 'b.al wait', bytes: armWord(0x5400000e), to: 'wait', reach: armReachBranch },
  { label: 'exit', asm: 'mov x0, #0           // exit_group(0)', bytes: armMove(0, 0) },
  { asm: 'mov x8, #94', bytes: armMove(8, 94) },
  { asm: 'svc #0', bytes: armWord(0xd4000001) },
  { label: 'set', asm: '.quad signals', bytes: littleEndian(awaitedSignals, 8) },
]

function assemble(instructions: readonly Instruction[]): Buffer {
  const labels = new Map<string, number>()
  let offset = 0
  for (const { label, bytes } of instructions) {
    if (label !== undefined) labels.set(label, offset)
    offset += bytes.length
  }
  let at = 0
  const placed = instructions.map(({ asm, bytes, to, reach }) => {
    const from = at
    at += bytes.length
    if (to === undefined || reach === undefined) return Buffer.from(bytes)
    const target = labels.get(to)
    if (target === undefined) throw new Error(`No label "${to}" for "${asm}".`)
    return Buffer.from(reach(bytes, target - from))
  })
  return Buffer.concat(placed)
}

/** A distance of 4 bytes, counted from the end of the instruction that it ends. */
function x86Reach4(bytes: readonly number[], distance: number): readonly number[] {
  return [...bytes.slice(0, -4), ...littleEndian((distance - bytes.length) >>> 0, 4)]
}

function x86Reach1(bytes: readonly number[], distance: number): readonly number[] {
  const reach = distance - bytes.length
  if (reach < -128 || reach > 127) throw new Error(`A short jump reaches no ${reach} bytes.`)
  return [...bytes.slice(0, -1), reach & 0xff]
}

/** `b.cond`: words in bits 5 to 23. */
function armReachBranch(bytes: readonly number[], distance: number): readonly number[] {
  return armWord((Buffer.from(bytes).readUInt32LE() | (((distance / 4) & 0x7ffff) << 5)) >>> 0)
}

/** `adr`: bytes, the low two bits in bits 29 and 30, the others in bits 5 to 23. */
function armReachAdr(bytes: readonly number[], distance: number): readonly number[] {
  const word = Buffer.from(bytes).readUInt32LE()
  return armWord((word | ((distance & 3) << 29) | (((distance >> 2) & 0x7ffff) << 5)) >>> 0)
}

/** `movz xN, #value`; the value stands in bits 5 to 20. */
function armMove(register: number, value: number): readonly number[] {
  return armWord(0xd2800000 + value * 0x20 + register)
}

/** `cmp x0, #value`, which is `subs xzr, x0, #value`. */
function armCompare(value: number): readonly number[] {
  return armWord(0xf100001f + value * 0x400)
}

function armWord(word: number): readonly number[] {
  return littleEndian(word, 4)
}

function littleEndian(value: number, bytes: 4 | 8): readonly number[] {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUInt32LE(value)
  return [...buffer]
}

function elfHeader(architecture: PauseArchitecture): Buffer {
  const header = Buffer.alloc(elfHeaderBytes)
  // 64 bits, little endian, version 1, System V.
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0])
  header.writeUInt16LE(2, 16) // e_type: ET_EXEC
  header.writeUInt16LE(architecture === 'x86_64' ? 62 : 183, 18) // e_machine: EM_X86_64, EM_AARCH64
  header.writeUInt32LE(1, 20) // e_version
  header.writeBigUInt64LE(BigInt(loadAddress + codeOffset), 24) // e_entry
  header.writeBigUInt64LE(BigInt(elfHeaderBytes), 32) // e_phoff
  header.writeUInt16LE(elfHeaderBytes, 52) // e_ehsize
  header.writeUInt16LE(programHeaderBytes, 54) // e_phentsize
  header.writeUInt16LE(programHeaders, 56) // e_phnum
  return header
}

/** The file is mapped as it is, to be read and executed; and the stack is not to be executed. */
function programHeadersFor(fileBytes: number): readonly Buffer[] {
  const load = Buffer.alloc(programHeaderBytes)
  load.writeUInt32LE(1) // p_type: PT_LOAD
  load.writeUInt32LE(5, 4) // p_flags: read, execute
  load.writeBigUInt64LE(BigInt(loadAddress), 16) // p_vaddr
  load.writeBigUInt64LE(BigInt(loadAddress), 24) // p_paddr
  load.writeBigUInt64LE(BigInt(fileBytes), 32) // p_filesz
  load.writeBigUInt64LE(BigInt(fileBytes), 40) // p_memsz
  // The largest page that arm64 kernels use.
  load.writeBigUInt64LE(0x10000n, 48) // p_align
  const stack = Buffer.alloc(programHeaderBytes)
  stack.writeUInt32LE(0x6474e551) // p_type: PT_GNU_STACK
  stack.writeUInt32LE(6, 4) // p_flags: read, write
  stack.writeBigUInt64LE(16n, 48) // p_align
  return [load, stack]
}
