/**
 * fs.read, made again after EINTR: libuv repeats every call that a signal interrupts, except read and close
 * (src/unix/fs.c; kernel-rules: eintr).
 */
import { read } from 'node:fs';
import { SyscallError } from '@zerocopy/core-syscalls';
import { filesystemOf, isLocalFilesystem } from '@zerocopy/core-syscalls/descriptors';
import { runOffThread } from './off-thread.js';

/** As of fs.read: an error, or how many bytes were read; 0 at the end of the file. */
export type ReadCallback = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/**
 * Reads up to `length` bytes into the start of `buffer` on libuv's thread pool: of a file, never on all of its threads
 * (off-thread.ts), since the server that it is on may be gone.
 * @param position in bytes; null reads at the descriptor's own position, and moves it.
 */
export function readRetrying(
  fd: number,
  buffer: NodeJS.ArrayBufferView,
  length: number,
  position: number | null,
  callback: ReadCallback,
): void {
  if (position === null) return readByNode(fd, buffer, length, position, callback);
  let failure: NodeJS.ErrnoException | null = null;
  runOffThread(
    (done) =>
      readByNode(fd, buffer, length, position, (error, bytes) => {
        failure = error;
        done(error === null ? bytes : 0);
      }),
    (bytes) => callback(failure ?? (bytes < 0 ? new SyscallError(bytes, 'read') : null), Math.max(0, bytes)),
    isLocalFilesystem(filesystemOf(fd)) ? 'disk' : 'server',
  );
}

function readByNode(...[fd, buffer, length, position, callback]: Parameters<typeof readRetrying>): void {
  read(fd, buffer, 0, length, position, (error, bytes) => {
    if (error?.code === 'EINTR') readByNode(fd, buffer, length, position, callback);
    else callback(error, bytes);
  });
}
