/** Pages of a file taken out of the page cache. */
import type { FileHandle } from 'node:fs/promises';
import { check, constants, OwnedDescriptor, SyscallError } from '@zerocopy/core-syscalls';
import { descriptorOf, dropPages, invalidArgument, isFileHandle, validateCount, writeBack } from '@zerocopy/transfer';
import { accessOf } from './refusal.js';

const { EBADF, ESPIPE, O_RDONLY } = constants;

/**
 * Takes the pages of a range of an open file out of the page cache, whoever has brought them there. Dirty ones are written
 * to the disk before, if the file is open for writing. Pages that are mapped, or still being sent, stay. To leave alone what
 * others use is what `cache: 'drop'` of the streams and transfers is for.
 * @param file a descriptor or FileHandle. @param start the first byte. @param length in bytes; 0, the default: to the end.
 * @throws {SyscallError} EBADF; ESPIPE for what is not on a disk; EIO if the writing failed.
 * @see https://man7.org/linux/man-pages/man2/posix_fadvise.2.html, POSIX_FADV_DONTNEED
 */
export async function dontNeed(file: FileHandle | number, start = 0, length = 0): Promise<void> {
  if (typeof file !== 'number' && !isFileHandle(file)) {
    throw invalidArgument('file', 'a FileHandle or a descriptor', file);
  }
  validateCount(start, 'start');
  validateCount(length, 'length');
  const fd = descriptorOf(file);
  if (fd === null) throw new SyscallError(EBADF, 'posix_fadvise');
  const own = OwnedDescriptor.duplicate(fd); // the caller's may be closed meanwhile (kernel-rules: fd-reuse)
  try {
    if (accessOf(own.fd) !== O_RDONLY) {
      const written = await writeBack(own.fd, start, length);
      if (written !== -ESPIPE) check(written, 'sync_file_range');
    }
    check(await dropPages(own.fd, start, length), 'posix_fadvise');
  } finally {
    own.close();
  }
}
