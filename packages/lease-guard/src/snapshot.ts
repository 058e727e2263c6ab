/** A mapping that no longer depends on its file: its bytes, copied into anonymous memory, in its place. */
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import type { Mapping } from './shared.js';

const { MAP_ANONYMOUS, MAP_PRIVATE, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE } = constants;

const span = (address: number, length: number): BigUint64Array => BigUint64Array.of(BigInt(address), BigInt(length));

/**
 * Replaces the mapping by a copy of what it shows. Whoever reads it meanwhile sees the same bytes before and after.
 * @throws {SyscallError} ENOMEM; then the mapping is what it was.
 */
export function detachMapping({ address, length }: Mapping): void {
  const copy = check(syscalls.mmap(null, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 'mmap');
  // By the kernel, which answers EFAULT beyond the end of the file where a load would raise SIGBUS; a page at a time
  // then, so that what can be read is read. The rest stays zero, as in the last page of any mapping.
  const whole = syscalls.processVmReadv(process.pid, span(copy, length), span(address, length));
  if (whole < length) {
    const page = syscalls.getpagesize();
    for (let at = Math.max(0, whole); at < length; at += page) {
      syscalls.processVmReadv(process.pid, span(copy + at, page), span(address + at, page));
    }
  }
  const moved = syscalls.mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, address);
  if (moved < 0) {
    syscalls.munmap(copy, length);
    check(moved, 'mremap');
  }
}
