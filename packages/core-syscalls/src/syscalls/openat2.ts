/** openat2(2), since Linux 5.6. */
import { abi } from '../abi.js';
import { asyncResult, bind, kernelResult, type NativeFunction } from '../libc.js';

// struct open_how: u64 flags, u64 mode, u64 resolve (include/uapi/linux/openat2.h)
const HOW_SIZE = 24;
const how = new Uint32Array(HOW_SIZE / 4);
const prototype = 'intptr_t syscall(long number, long dirfd, const char *path, void *how, size_t size)';
let native: NativeFunction<[number, number, string, Uint32Array, number]> | undefined;

function fill(target: Uint32Array, flags: number, mode: number, resolve: number): Uint32Array {
  target[0] = flags;
  target[2] = mode;
  target[4] = resolve;
  return target;
}

/**
 * `long openat2(int dirfd, const char *path, struct open_how *how, size_t size)`: opens a file, confined as `resolve` says.
 *
 * With RESOLVE_CACHED (since Linux 5.12) it looks the path up without touching a disk, or answers EAGAIN; what the
 * filesystem does in its own open may still wait (kernel-rules: open-may-wait).
 * @param flags O_* flags; the kernel refuses unknown ones.
 * @param mode permissions of a file it creates, else 0.
 * @param resolve RESOLVE_* flags.
 * @returns a descriptor or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/openat2.2.html
 */
export function openat2(dirfd: number, path: string, flags: number, mode: number, resolve: number): number {
  native ??= bind(prototype);
  return kernelResult(native(abi.numbers.openat2, dirfd, path, fill(how, flags, mode, resolve), HOW_SIZE));
}

/**
 * {@link openat2} on libuv's thread pool: for what may wait for a disk or a server. `dirfd` stays open until the callback.
 */
export function openat2Async(
  dirfd: number,
  path: string,
  flags: number,
  mode: number,
  resolve: number,
  callback: (result: number) => void,
): void {
  native ??= bind(prototype);
  const own = fill(new Uint32Array(HOW_SIZE / 4), flags, mode, resolve);
  native.async(abi.numbers.openat2, dirfd, path, own, HOW_SIZE, asyncResult(callback));
}
