/** The io_uring family, and the eventfd(2) that it can tell of completions. The rings themselves are memory: see mmap. */
import { abi } from '../abi.js';
import { bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

/** Bytes of a struct io_uring_params. */
export const IO_URING_PARAMS_SIZE = 120;

let nativeSetup: NativeFunction<[number, number, Pointer]> | undefined;
let nativeEnter: NativeFunction<[number, number, number, number, number, Pointer, number]> | undefined;
let nativeRegister: NativeFunction<[number, number, number, Pointer, number]> | undefined;
let nativeEventfd: NativeFunction<[number, number]> | undefined;

/**
 * `int io_uring_setup(unsigned int entries, struct io_uring_params *p)`, since Linux 5.1: a pair of rings for requests.
 * @param parameters {@link IO_URING_PARAMS_SIZE} bytes, zeros; the kernel says there what it offers, and where in the
 * mapped memory the rings lie.
 * @returns a descriptor, which is closed by exec, or a negative errno: EPERM where /proc/sys/kernel/io_uring_disabled or a
 * sandbox forbids it; ENOMEM beyond RLIMIT_MEMLOCK before Linux 5.12.
 * @see https://man7.org/linux/man-pages/man2/io_uring_setup.2.html
 */
export function ioUringSetup(entries: number, parameters: Pointer): number {
  nativeSetup ??= bind('intptr_t syscall(long number, ulong entries, void *params)');
  return kernelResult(nativeSetup(abi.numbers.ioUringSetup, entries, parameters));
}

/**
 * `int io_uring_enter(unsigned int fd, unsigned int to_submit, unsigned int min_complete, unsigned int flags, sigset_t *sig)`,
 * since Linux 5.1: hands requests of the submission ring to the kernel.
 * @param minComplete with IORING_ENTER_GETEVENTS: how many completions are waited for.
 * @returns how many requests have been taken, or a negative errno: EAGAIN, EBUSY; EINTR while it waits.
 * @see https://man7.org/linux/man-pages/man2/io_uring_enter.2.html
 */
export function ioUringEnter(fd: number, toSubmit: number, minComplete: number, flags: number): number {
  nativeEnter ??= bind(
    'intptr_t syscall(long number, long fd, ulong to_submit, ulong min_complete, ulong flags, void *sig, size_t size)',
  );
  return kernelResult(nativeEnter(abi.numbers.ioUringEnter, fd, toSubmit, minComplete, flags, null, 0));
}

/**
 * `int io_uring_register(unsigned int fd, unsigned int opcode, void *arg, unsigned int nr_args)`, since Linux 5.1.
 * @param opcode one of IORING_REGISTER_*.
 * @returns 0 or what the opcode says, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/io_uring_register.2.html
 */
export function ioUringRegister(fd: number, opcode: number, argument: Pointer, count: number): number {
  nativeRegister ??= bind('intptr_t syscall(long number, long fd, ulong opcode, void *arg, ulong nr_args)');
  return kernelResult(nativeRegister(abi.numbers.ioUringRegister, fd, opcode, argument, count));
}

/**
 * `int eventfd(unsigned int initval, int flags)`: a counter that can be read once it is not 0, eight bytes at a time.
 * @param flags EFD_CLOEXEC and EFD_NONBLOCK, which are O_CLOEXEC and O_NONBLOCK.
 * @returns a descriptor or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/eventfd.2.html
 */
export function eventfd(initial: number, flags: number): number {
  nativeEventfd ??= bind('int eventfd(unsigned int initval, int flags)');
  return kernelResult(nativeEventfd(initial, flags));
}
