/**
 * fs.read, again after EINTR: libuv repeats every call that a signal interrupts but this one and close
 * (src/unix/fs.c; kernel-rules: eintr).
 */
import { read } from 'node:fs';

export type ReadCallback = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/**
 * Reads up to `length` bytes into the start of `buffer` on libuv's thread pool.
 * @param position in bytes; null: the descriptor's own.
 */
export function readRetrying(
  fd: number,
  buffer: NodeJS.ArrayBufferView,
  length: number,
  position: number | null,
  callback: ReadCallback,
): void {
  read(fd, buffer, 0, length, position, (error, bytes) => {
    if (error?.code === 'EINTR') readRetrying(fd, buffer, length, position, callback);
    else callback(error, bytes);
  });
}
