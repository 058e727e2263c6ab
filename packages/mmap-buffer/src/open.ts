/** From a path to a mapping, or to a copy where there can be none. */
import { fstatSync, open, openSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { constants, feature, SyscallError } from '@zerocopy/core-syscalls';
import { acquireLease } from '@zerocopy/lease-guard';
import { closeQuietly, readRetrying } from '@zerocopy/transfer';
import type { MapPlan } from './map-options.js';
import { endLease, type HeldLease, Mapping } from './mapping.js';
import { outOfRange } from './options.js';
import { bufferTooLarge, MAX_VIEW } from './view.js';

const { EACCES, EISDIR, ENODEV, ENOSYS, EPERM } = constants;
const CANNOT_MAP: readonly number[] = [ENODEV, EACCES, EPERM, ENOSYS];
const openAsync = promisify(open);
const CHUNK_MIN = 4096;

export interface Copied {
  readonly bytes: Buffer;
  /** Why it is one. */
  readonly reason: string;
}

const nameOf = (path: string | Buffer | URL): string => (path instanceof URL ? fileURLToPath(path) : String(path));
const flagsOf = (plan: MapPlan): 'r' | 'r+' => (plan.access === 'write' ? 'r+' : 'r');

class UnavailableError extends Error {
  readonly code = 'ERR_ZEROCOPY_UNAVAILABLE';
}

/** Why this mapping would not be safe, or is not possible; undefined if it is. */
function refusal({ guard }: MapPlan, lease: HeldLease | undefined): string | undefined {
  const mmap = feature('mmap');
  if (!mmap.available) return mmap.reason;
  const trap = feature('sigbusTrap');
  if (guard === 'none' || trap.available || lease !== undefined) return undefined;
  return `nothing would keep the process alive if the file were cut short: ${trap.reason}`;
}

/** The range in bytes. @throws {RangeError} if the file does not hold it (rule 32). */
function rangeOf({ offset, length }: MapPlan, size: number): { offset: number; length: number } {
  if (offset > size) throw outOfRange('offset', `at most the file's size, ${size}`, offset);
  if (length !== undefined && length > size - offset) {
    throw outOfRange('length', `at most what the file holds from the offset on, ${size - offset}`, length);
  }
  return { offset, length: length ?? size - offset };
}

/** Takes over `fd` if it returns a Mapping; otherwise it says why there has to be a copy. */
function mapOpen(plan: MapPlan, fd: number, lease: HeldLease | undefined): Mapping | string {
  const path = nameOf(plan.path);
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw new SyscallError(stat.isDirectory() ? EISDIR : ENODEV, 'mmap', { path });
  const refused = refusal(plan, lease);
  if (refused !== undefined) return refused;
  // Under /proc a file has no size until it is read (rule 8).
  if (stat.size === 0 && plan.access !== 'write') return 'the file says that it is empty, so it was read';
  const trap = plan.guard !== 'lease' && plan.guard !== 'none' && feature('sigbusTrap').available;
  try {
    return new Mapping({
      fd,
      path,
      shared: plan.access === 'write',
      ...rangeOf(plan, stat.size),
      hugePages: plan.hugePages,
      trap,
      lease,
      // With the trap in place the mapping goes on following the file.
      snapshotLimit: trap ? 0 : Number.POSITIVE_INFINITY,
    });
  } catch (error) {
    // Not every filesystem maps its files: sysfs, some FUSE; and not every sandbox lets it.
    if (!(error instanceof SyscallError) || !CANNOT_MAP.includes(-error.errno)) throw error;
    return `its filesystem, or a sandbox, does not let it be mapped (${error.code})`;
  }
}

const readAsync = (fd: number, buffer: Buffer, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    readRetrying(fd, buffer, buffer.length, position, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });

/** As {@link readRetrying}, at once. */
function readUninterrupted(fd: number, buffer: Buffer, position: number): number {
  for (;;) {
    try {
      return readSync(fd, buffer, 0, buffer.length, position);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINTR') throw error;
    }
  }
}

interface Read {
  readonly buffer: Buffer;
  readonly position: number;
}

/** Reads the range, or what there is of it: a file that cannot be mapped may not know its size. */
function* copying(plan: MapPlan, fd: number, reason: string): Generator<Read, Copied, number> {
  if (plan.access === 'write') {
    throw new UnavailableError(`'${nameOf(plan.path)}' cannot be mapped for writing: ${reason}`);
  }
  const { size } = fstatSync(fd);
  const expected = plan.length ?? Math.max(0, size - plan.offset);
  if (expected > MAX_VIEW) throw bufferTooLarge(expected);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const left = plan.length === undefined ? Math.max(expected - bytes, CHUNK_MIN) : expected - bytes;
    if (left === 0) break;
    const buffer = Buffer.allocUnsafeSlow(left);
    const read = yield { buffer, position: plan.offset + bytes };
    if (read === 0) break;
    chunks.push(buffer.subarray(0, read));
    bytes += read;
  }
  rangeOf(plan, bytes > 0 ? plan.offset + bytes : Math.min(size, plan.offset));
  return { bytes: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks), reason };
}

/**
 * A lease on an open file of its own: a mapping keeps the file it was made from open, and with it any lease on that, even
 * when the thread that would have answered is gone.
 */
async function takeLease(fd: number): Promise<HeldLease> {
  const own = openSync(`/proc/self/fd/${fd}`, 'r');
  try {
    return { lease: await acquireLease(own, 'read'), fd: own };
  } catch (error) {
    closeQuietly(own);
    throw error;
  }
}

/** The lease of a mapping that is to have one, or undefined where it may do without. */
async function leaseFor({ guard, access }: MapPlan, fd: number): Promise<HeldLease | undefined> {
  if (guard === 'lease') return takeLease(fd);
  const possible = feature('lease').available && feature('mmap').available;
  if (guard !== 'both' || access !== 'read' || !possible) return undefined;
  try {
    return await takeLease(fd);
  } catch (error) {
    // Somebody writes to it, or it is another user's; or there is no /proc, or no thread to answer for a lease.
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (error instanceof SyscallError || syscall === 'open' || code?.startsWith('ERR_WORKER_')) return undefined;
    throw error;
  }
}

export async function openMapping(plan: MapPlan): Promise<Mapping | Copied> {
  const fd = await openAsync(plan.path, flagsOf(plan));
  let lease: HeldLease | undefined;
  let mapped: Mapping | string | undefined;
  try {
    lease = await leaseFor(plan, fd);
    mapped = mapOpen(plan, fd, lease);
    if (mapped instanceof Mapping) return mapped;
    const reads = copying(plan, fd, mapped);
    let step = reads.next(0);
    while (step.done !== true) {
      const { buffer, position } = step.value;
      step = reads.next(await readAsync(fd, buffer, position));
    }
    return step.value;
  } finally {
    if (!(mapped instanceof Mapping)) {
      if (lease !== undefined) endLease(lease);
      closeQuietly(fd);
    }
  }
}

/** Without a lease: the thread that answers for it takes time to start. */
export function openMappingSync(plan: MapPlan): Mapping | Copied {
  const fd = openSync(plan.path, flagsOf(plan));
  let mapped: Mapping | string | undefined;
  try {
    mapped = mapOpen(plan, fd, undefined);
    if (mapped instanceof Mapping) return mapped;
    const reads = copying(plan, fd, mapped);
    let step = reads.next(0);
    while (step.done !== true) {
      const { buffer, position } = step.value;
      step = reads.next(readUninterrupted(fd, buffer, position));
    }
    return step.value;
  } finally {
    if (!(mapped instanceof Mapping)) closeQuietly(fd);
  }
}
