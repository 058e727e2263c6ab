/** dup3(2). */
import { bind, kernelResult, type NativeFunction } from '../libc.js';

let native: NativeFunction<[number, number, number]> | undefined;

/**
 * `int dup3(int oldfd, int newfd, int flags)`: `newfd` becomes a duplicate of `oldfd`; what it was is closed in the
 * same step.
 * @param flags O_CLOEXEC or 0.
 * @returns `newfd` or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/dup.2.html
 */
export function dup3(from: number, to: number, flags: number): number {
  native ??= bind('int dup3(int oldfd, int newfd, int flags)');
  return kernelResult(native(from, to, flags));
}
