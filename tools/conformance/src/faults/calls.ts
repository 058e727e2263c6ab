/** The system calls that can be made to fail: how a bound C function is recognised, and where its count is. */
import { arch } from 'node:process';

/** Of those made through syscall(2). Sources: see core-syscalls' abi.ts, of which this is the test's own copy. */
const NUMBERS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  x64: {
    186: 'gettid',
    234: 'tgkill',
    310: 'process_vm_readv',
    319: 'memfd_create',
    326: 'copy_file_range',
    327: 'preadv2',
    328: 'pwritev2',
    332: 'statx',
    425: 'io_uring_setup',
    426: 'io_uring_enter',
    427: 'io_uring_register',
    437: 'openat2',
    451: 'cachestat',
  },
  arm64: {
    131: 'tgkill',
    178: 'gettid',
    270: 'process_vm_readv',
    279: 'memfd_create',
    285: 'copy_file_range',
    286: 'preadv2',
    287: 'pwritev2',
    291: 'statx',
    425: 'io_uring_setup',
    426: 'io_uring_enter',
    427: 'io_uring_register',
    437: 'openat2',
    451: 'cachestat',
  },
};

/** Which argument is the count of bytes that may come back short; arguments of syscall(2) include its number. */
const COUNT_ARGUMENT: Readonly<Record<string, number>> = {
  sendfile: 3,
  splice: 4,
  tee: 2,
  read: 2,
  write: 2,
  pread: 2,
  pwrite: 2,
  recv: 2,
  send: 2,
  copy_file_range: 5,
};

/** Calls that free something even where they fail (close(2)): they are made, and then say that they failed. */
export const MADE_ANYWAY: ReadonlySet<string> = new Set(['close', 'munmap', 'rm']);

/** The name of the call a prototype stands for; of a call through syscall(2) by its first argument. */
export function callName(prototype: string, firstArgument: unknown): string {
  const name = /(\w+)\(/.exec(prototype)?.[1] ?? prototype;
  return name === 'syscall' ? (NUMBERS[arch]?.[Number(firstArgument)] ?? `syscall ${firstArgument}`) : name;
}

export const countArgument = (name: string): number | undefined => COUNT_ARGUMENT[name];
