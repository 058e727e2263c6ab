/** Calls about this process: its own memory read safely, its threads, its signals. */
import { abi } from '../abi.js';
import { bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

/** Bytes of libc's struct sigaction, the same in glibc and musl on 64-bit: handler at 0, mask at 8, flags at 136. */
export const SIGACTION_SIZE = 152;
/** Where `sa_flags`, an int, stands in a struct sigaction, in bytes. */
export const SIGACTION_FLAGS_OFFSET = 136;
/** Bytes of libc's sigset_t. */
export const SIGSET_SIZE = 128;
/** Bytes of a siginfo_t: si_signo at 0, si_code at 8, and for F_SETSIG si_fd at 24. */
export const SIGINFO_SIZE = 128;

let nativeVmRead: NativeFunction<[number, number, Pointer, number, Pointer, number, number]> | undefined;
let nativeGettid: NativeFunction<[number]> | undefined;
let nativeSigaction: NativeFunction<[number, Pointer, Pointer]> | undefined;
let nativeSigmask: NativeFunction<[number, Pointer, Pointer]> | undefined;
let nativeSigwait: NativeFunction<[Pointer, Pointer, Pointer]> | undefined;
let nativeTgkill: NativeFunction<[number, number, number, number]> | undefined;

/**
 * `ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long liovcnt, const struct iovec *remote, unsigned long riovcnt, unsigned long flags)`
 *
 * Reads the memory of a process. Of this one it reads memory that may fault: EFAULT instead of a signal.
 * @param local, remote one struct iovec each.
 * @returns bytes read, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/process_vm_readv.2.html
 */
export function processVmReadv(pid: number, local: Pointer, remote: Pointer): number {
  nativeVmRead ??= bind(
    'intptr_t syscall(long number, long pid, void *local, ulong liovcnt, void *remote, ulong riovcnt, ulong flags)',
  );
  return kernelResult(nativeVmRead(abi.numbers.processVmReadv, pid, local, 1, remote, 1, 0));
}

/**
 * `pid_t gettid(void)`
 * @returns the id of the calling thread.
 * @see https://man7.org/linux/man-pages/man2/gettid.2.html
 */
export function gettid(): number {
  nativeGettid ??= bind('intptr_t syscall(long number)');
  return kernelResult(nativeGettid(abi.numbers.gettid));
}

/**
 * `int sigaction(int signum, const struct sigaction *act, struct sigaction *oldact)`: sets and gets a signal's handler.
 *
 * The handler has to be async-signal-safe machine code, and never a JavaScript callback.
 * @param action, oldAction {@link SIGACTION_SIZE} bytes each, or null.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/sigaction.2.html
 */
export function sigaction(signal: number, action: Pointer, oldAction: Pointer): number {
  nativeSigaction ??= bind('int sigaction(int signum, void *act, void *oldact)');
  return kernelResult(nativeSigaction(signal, action, oldAction));
}

/**
 * `int pthread_sigmask(int how, const sigset_t *set, sigset_t *oldset)`: changes which signals this thread blocks. What it
 * blocks is inherited by the child processes that it starts.
 * @param how SIG_BLOCK, SIG_UNBLOCK or SIG_SETMASK.
 * @param set, oldSet {@link SIGSET_SIZE} bytes each, or null.
 * @returns 0 or a negative errno (the C function returns it positive).
 * @see https://man7.org/linux/man-pages/man3/pthread_sigmask.3.html
 */
export function pthreadSigmask(how: number, set: Pointer, oldSet: Pointer): number {
  nativeSigmask ??= bind('int pthread_sigmask(int how, void *set, void *oldset)');
  const result = nativeSigmask(how, set, oldSet);
  return result < 0 ? kernelResult(result) : 0 - result;
}

/**
 * `int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)`: blocks this thread
 * until one of the signals of `set`, which have to be blocked, is pending.
 * @param info receives {@link SIGINFO_SIZE} bytes.
 * @param timeout two 64-bit integers: seconds and nanoseconds.
 * @returns the signal's number, or a negative errno: EAGAIN when the time is up; EINTR.
 * @see https://man7.org/linux/man-pages/man2/sigwaitinfo.2.html
 */
export function sigtimedwait(set: Pointer, info: Pointer, timeout: Pointer): number {
  nativeSigwait ??= bind('int sigtimedwait(void *set, void *info, void *timeout)');
  return kernelResult(nativeSigwait(set, info, timeout));
}

/**
 * `int tgkill(pid_t tgid, pid_t tid, int sig)`: sends a signal to one thread.
 * @param signal 0 only asks whether the thread exists.
 * @returns 0 or a negative errno: ESRCH if there is no such thread.
 * @see https://man7.org/linux/man-pages/man2/tgkill.2.html
 */
export function tgkill(processId: number, threadId: number, signal: number): number {
  nativeTgkill ??= bind('intptr_t syscall(long number, long tgid, long tid, long sig)');
  return kernelResult(nativeTgkill(abi.numbers.tgkill, processId, threadId, signal));
}
