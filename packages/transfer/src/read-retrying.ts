/**
 * fs.read, made again after EINTR: libuv repeats every call that a signal interrupts, except read and close
 * (src/unix/fs.c; kernel-rules: eintr).
 */
import { read } from 'node:fs';

/** As of fs.read: an error, or how many bytes were read; 0 at the end of the file. */
export type ReadCallback = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/**
 * Reads up to `length` bytes into the start of `buffer` on libuv's thread pool.
 * @param position in bytes; null reads at the file's own position, and moves it.
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
