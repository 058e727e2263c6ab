/**
 * A real seccomp filter (seccomp(2)), put on all threads of this process: chosen calls answer an errno. It cannot be
 * taken off again.
 */
import { constants as os } from 'node:os';
import koffi from 'koffi';

interface Forbidden {
  /** The call's number, by architecture. */
  readonly x64: number;
  readonly arm64: number;
  /** Forbidden only where this argument (from 0) is `equal`, or has all the bits of `bits` and none of those of `not`. */
  readonly when?: readonly {
    readonly argument: number;
    readonly equal?: number;
    readonly bits?: number;
    readonly not?: number;
  }[];
}

const F_SETLEASE = 1024;
const FICLONE = 0x40049409;
const PROT_EXEC = 4;
const MAP_ANONYMOUS = 0x20;

/** Sources: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
export const FORBIDDABLE: Readonly<Record<string, Forbidden>> = {
  sendfile: { x64: 40, arm64: 71 },
  splice: { x64: 275, arm64: 76 },
  tee: { x64: 276, arm64: 77 },
  vmsplice: { x64: 278, arm64: 75 },
  copy_file_range: { x64: 326, arm64: 285 },
  openat2: { x64: 437, arm64: 437 },
  preadv2: { x64: 327, arm64: 286 },
  statx: { x64: 332, arm64: 291 },
  fadvise64: { x64: 221, arm64: 223 },
  fallocate: { x64: 285, arm64: 47 },
  cachestat: { x64: 451, arm64: 451 },
  memfd_create: { x64: 319, arm64: 279 },
  process_vm_readv: { x64: 310, arm64: 270 },
  io_uring_setup: { x64: 425, arm64: 425 },
  io_uring_enter: { x64: 426, arm64: 426 },
  pipe2: { x64: 293, arm64: 59 },
  'fcntl(F_SETLEASE)': { x64: 72, arm64: 25, when: [{ argument: 1, equal: F_SETLEASE }] },
  'ioctl(FICLONE)': { x64: 16, arm64: 29, when: [{ argument: 1, equal: FICLONE }] },
  // Not the anonymous ones: V8 needs them for what it compiles.
  'mmap(PROT_EXEC)': {
    x64: 9,
    arm64: 222,
    when: [
      { argument: 2, bits: PROT_EXEC },
      { argument: 3, not: MAP_ANONYMOUS },
    ],
  },
};

// include/uapi/linux/{bpf_common,filter,seccomp,audit,prctl}.h
const LOAD_WORD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_SET = 0x45;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const ERRNO = 0x00050000;
const NUMBER = 0;
const ARCHITECTURE = 4;
const ARGUMENTS = 16;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
const MACHINES: Readonly<Record<string, { readonly audit: number; readonly seccomp: number }>> = {
  x64: { audit: 0xc000003e, seccomp: 317 },
  arm64: { audit: 0xc00000b7, seccomp: 277 },
};

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

/** For one call: falls through to the next if it is another, or its arguments are others. */
function rule({ when = [], ...numbers }: Forbidden, errno: number): Instruction[] {
  const body: Instruction[] = [];
  const conditions = when.map(({ argument, equal, bits, not }): readonly [Instruction, Instruction] => [
    [LOAD_WORD, 0, 0, ARGUMENTS + 8 * argument], // the low half: both architectures are little-endian
    equal !== undefined
      ? [JUMP_EQUAL, 0, 1, equal]
      : bits !== undefined
        ? [JUMP_SET, 0, 1, bits]
        : [JUMP_SET, 1, 0, not ?? 0],
  ]);
  // Each condition that does not hold jumps to the end of the rule.
  const length = conditions.length * 2 + 1;
  conditions.forEach(([load, [code, yes, no, k]], index) => {
    const toEnd = length - 2 * (index + 1);
    body.push(load, [code, yes * toEnd, no * toEnd, k]);
  });
  body.push([RETURN, 0, 0, ERRNO | errno]);
  const number = numbers[process.arch as 'x64' | 'arm64'];
  return [[LOAD_WORD, 0, 0, NUMBER], [JUMP_EQUAL, 0, body.length, number], ...body];
}

/** Why there can be no filter here, or undefined. */
export function sandboxRefusal(): string | undefined {
  if (process.platform !== 'linux') return 'seccomp exists on Linux only';
  if (MACHINES[process.arch] === undefined) return `no numbers are known for ${process.arch}`;
  return undefined;
}

/**
 * From now on `calls`, names of {@link FORBIDDABLE}, answer `code`, in every thread of this process and those to come.
 * @throws {Error} where the system allows no filter.
 */
export function forbid(calls: readonly string[], code: 'EPERM' | 'ENOSYS'): void {
  const machine = MACHINES[process.arch];
  if (machine === undefined) throw new Error(`no numbers are known for ${process.arch}`);
  const errno = (os.errno as Readonly<Record<string, number>>)[code] as number;
  const program: Instruction[] = [
    [LOAD_WORD, 0, 0, ARCHITECTURE],
    [JUMP_EQUAL, 1, 0, machine.audit],
    [RETURN, 0, 0, ALLOW],
    ...calls.flatMap((name) => rule(FORBIDDABLE[name] as Forbidden, errno)),
    [RETURN, 0, 0, ALLOW],
  ];
  const bytes = Buffer.alloc(8 * program.length);
  program.forEach(([opcode, yes, no, k], index) => {
    bytes.writeUInt16LE(opcode, 8 * index);
    bytes.writeUInt8(yes, 8 * index + 2);
    bytes.writeUInt8(no, 8 * index + 3);
    bytes.writeUInt32LE(k >>> 0, 8 * index + 4);
  });
  // struct sock_fprog: the length, padding, the address
  const fprog = Buffer.alloc(16);
  fprog.writeUInt16LE(program.length, 0);
  fprog.writeBigUInt64LE(BigInt(koffi.address(bytes)), 8);
  const library = koffi.load(null);
  const prctl = library.func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
  const seccomp = library.func('intptr_t syscall(long number, ulong operation, ulong flags, void *args)');
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw new Error('PR_SET_NO_NEW_PRIVS was refused');
  const result = seccomp(machine.seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, fprog) as number;
  if (result !== 0) throw new Error(`the filter was refused (${result}, errno ${koffi.errno()})`);
}
