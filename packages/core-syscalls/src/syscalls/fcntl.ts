/** fcntl(2). */
import { bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

let native: NativeFunction<[number, number, Pointer]> | undefined;

/**
 * `int fcntl(int fd, int op, ... arg)`: an operation on a descriptor.
 * @param operation one of F_*.
 * @param argument an integer, or memory for the operations that take a struct.
 * @returns what the operation returns, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/fcntl.2.html
 */
export function fcntl(fd: number, operation: number, argument: Pointer = 0): number {
  native ??= bind('int fcntl(int fd, int op, void *arg)');
  return kernelResult(native(fd, operation, argument));
}
