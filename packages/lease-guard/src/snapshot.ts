/** A mapping that no longer depends on its file: its bytes, copied into anonymous memory, in its place. */
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import type { MappedRange } from './shared.js';

const { EFAULT, MAP_ANONYMOUS, MAP_PRIVATE, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE } = constants;

const span = (address: number, length: number): BigUint64Array => BigUint64Array.of(BigInt(address), BigInt(length));

/**
 * Replaces the mapping by a copy of what it shows. A thread that reads it meanwhile sees the same bytes before and after.
 * @throws {SyscallError} ENOMEM, or if the bytes cannot be copied (a sandbox); then the mapping is what it was.
 */
export function detachMapping({ address, length }: MappedRange): void {
  const copy = check(syscalls.mmap(null, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 'mmap');
  try {
    copyMapped(address, copy, length);
    check(syscalls.mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, address), 'mremap');
  } catch (error) {
    syscalls.munmap(copy, length);
    throw error;
  }
}

/**
 * By the kernel, which answers EFAULT beyond the end of the file where a load would raise SIGBUS, or less than was asked
 * for. What cannot be read stays zero, as in the last page of any mapping.
 */
function copyMapped(from: number, to: number, length: number): void {
  const page = syscalls.getpagesize();
  let size = length;
  for (let at = 0; at < length; ) {
    const asked = Math.min(size, length - at);
    const result = uninterrupted(() =>
      syscalls.processVmReadv(process.pid, span(to + at, asked), span(from + at, asked)),
    );
    if (result > 0) at += result;
    else if (result !== 0 && result !== -EFAULT) check(result, 'process_vm_readv');
    else if (size > page) size = page;
    else at += page - (at % page);
  }
}
