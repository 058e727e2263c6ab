/** A mapping that no longer depends on its file: its bytes, copied into anonymous memory, in its place. */
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import type { Mapping } from './shared.js';

const { EFAULT, MAP_ANONYMOUS, MAP_PRIVATE, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE } = constants;

const span = (address: number, length: number): BigUint64Array => BigUint64Array.of(BigInt(address), BigInt(length));

/**
 * Replaces the mapping by a copy of what it shows. Whoever reads it meanwhile sees the same bytes before and after.
 * @throws {SyscallError} ENOMEM, or if the bytes cannot be copied (a sandbox); then the mapping is what it was.
 */
export function detachMapping({ address, length }: Mapping): void {
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
 * By the kernel, which answers EFAULT beyond the end of the file where a load would raise SIGBUS; a page at a time then,
 * so that what can be read is read. The rest stays zero, as in the last page of any mapping.
 */
function copyMapped(from: number, to: number, length: number): void {
  const read = (at: number, bytes: number): number => {
    const result = syscalls.processVmReadv(process.pid, span(to + at, bytes), span(from + at, bytes));
    return result === -EFAULT ? 0 : check(result, 'process_vm_readv');
  };
  const page = syscalls.getpagesize();
  const whole = read(0, length);
  for (let at = whole - (whole % page); at < length; at += page) read(at, page);
}
