/** pipe2(2). */
import { bind, kernelResult, type NativeFunction } from '../libc.js';

let native: NativeFunction<[Int32Array, number]> | undefined;

/**
 * `int pipe2(int pipefd[2], int flags)`: makes a pipe.
 * @param fds receives the read end at 0 and the write end at 1.
 * @param flags O_CLOEXEC, O_NONBLOCK.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/pipe.2.html
 */
export function pipe2(fds: Int32Array, flags: number): number {
  native ??= bind('int pipe2(void *fds, int flags)');
  return kernelResult(native(fds, flags));
}
