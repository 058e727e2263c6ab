/**
 * Everything that differs by architecture, and only that: system-call numbers and open flags
 * (kernel-rules: abi-differs). Struct layouts that are the same on both supported architectures live next to the call
 * that uses them.
 *
 * Sources: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h,
 * arch/arm64/include/uapi/asm/fcntl.h, include/uapi/asm-generic/fcntl.h (Linux 6.18).
 */
export interface Abi {
  /** Numbers for calls that some libc has no wrapper for, or one that does more; made through syscall(2). */
  readonly numbers: {
    readonly gettid: number;
    readonly tgkill: number;
    readonly memfdCreate: number;
    readonly processVmReadv: number;
    readonly statx: number;
    readonly preadv2: number;
    readonly pwritev2: number;
    readonly copyFileRange: number;
    readonly ioUringSetup: number;
    readonly ioUringEnter: number;
    readonly ioUringRegister: number;
    readonly openat2: number;
    readonly cachestat: number;
    readonly statmount: number;
    readonly mknodat: number;
    readonly mprotect: number;
  };
  readonly O_DIRECT: number;
  readonly O_DIRECTORY: number;
  readonly O_NOFOLLOW: number;
}

const x64: Abi = {
  numbers: {
    gettid: 186,
    tgkill: 234,
    memfdCreate: 319,
    processVmReadv: 310,
    statx: 332,
    preadv2: 327,
    pwritev2: 328,
    copyFileRange: 326,
    ioUringSetup: 425,
    ioUringEnter: 426,
    ioUringRegister: 427,
    openat2: 437,
    cachestat: 451,
    statmount: 457,
    mknodat: 259,
    mprotect: 10,
  },
  O_DIRECT: 0o40000,
  O_DIRECTORY: 0o200000,
  O_NOFOLLOW: 0o400000,
};

const arm64: Abi = {
  numbers: {
    gettid: 178,
    tgkill: 131,
    memfdCreate: 279,
    processVmReadv: 270,
    statx: 291,
    preadv2: 286,
    pwritev2: 287,
    copyFileRange: 285,
    ioUringSetup: 425,
    ioUringEnter: 426,
    ioUringRegister: 427,
    openat2: 437,
    cachestat: 451,
    statmount: 457,
    mknodat: 33,
    mprotect: 226,
  },
  O_DIRECT: 0o200000,
  O_DIRECTORY: 0o40000,
  O_NOFOLLOW: 0o100000,
};

const table: Readonly<Record<string, Abi>> = { x64, arm64 };

/** The table of the running architecture, or undefined where there is none. */
export const supportedAbi: Abi | undefined = table[process.arch];

/** The table of the running architecture; x64's numbers stand in elsewhere and are never used (see libc.ts). */
export const abi: Abi = supportedAbi ?? x64;
