/** From a path to a mapping, or to a copy where there can be none. */
import { fstat, fstatSync, open, openSync, readSync, type Stats, stat, statSync } from 'node:fs';
import { promisify } from 'node:util';
import { constants, SyscallError } from '@zerocopy/core-syscalls';
import { nameOfDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { acquireLease } from '@zerocopy/lease-guard';
import { closeUnwaited, outOfRange, readRetrying } from '@zerocopy/transfer';
import { saysUnmappable } from './cannot-map.js';
import { feature } from './feature.js';
import { isMappedAtOnce } from './file-status.js';
import type { MapPlan } from './map-options.js';
import { endLease, type HeldLease, Mapping } from './mapping.js';
import { bufferTooLarge, MAX_VIEW } from './view.js';

const { EISDIR, ENODEV } = constants;
const openAsync = promisify(open);
const statAsync = promisify(stat);
const fstatAsync = promisify(fstat);
const CHUNK_MIN = 4096;

/** A file that was read instead of mapped. */
export interface Copied {
  readonly bytes: Buffer;
  /** Why it is one. */
  readonly reason: string;
}

const flagsOf = (plan: MapPlan): 'r' | 'r+' => (plan.access === 'write' ? 'r+' : 'r');

/** A mapping for writing has no copy that could stand in for it. */
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

/** The range in bytes. @throws {RangeError} if the file does not hold it (kernel-rules: page-alignment). */
function rangeOf({ offset, length }: MapPlan, size: number): { offset: number; length: number } {
  if (offset > size) throw outOfRange("'offset'", `at most the file's size, ${size}`, offset);
  if (length !== undefined && length > size - offset) {
    throw outOfRange("'length'", `at most what the file holds from the offset on, ${size - offset}`, length);
  }
  return { offset, length: length ?? size - offset };
}

/** @throws {SyscallError} EISDIR, ENODEV. */
function assertRegular({ name }: MapPlan, stat: Stats): void {
  if (!stat.isFile()) throw new SyscallError(stat.isDirectory() ? EISDIR : ENODEV, 'mmap', { path: name });
}

/** The mapping, which is still to be made; or why there has to be a copy. */
function planMapping(plan: MapPlan, fd: number, stat: Stats, lease: HeldLease | undefined): Mapping | string {
  const refused = refusal(plan, lease);
  if (refused !== undefined) return refused;
  // Under /proc a file has no size until it is read (kernel-rules: st-size-lies).
  if (stat.size === 0 && plan.access !== 'write') return 'the file says that it is empty, so it was read';
  const trap = plan.guard !== 'lease' && plan.guard !== 'none' && feature('sigbusTrap').available;
  return new Mapping({
    fd,
    path: plan.name,
    shared: plan.access === 'write',
    ...rangeOf(plan, stat.size),
    hugePages: plan.hugePages,
    trap,
    lease,
    // With the trap in place the mapping goes on following the file.
    snapshotLimit: trap ? 0 : Number.POSITIVE_INFINITY,
  });
}

/** Why there has to be a copy. @throws `error` if it is not that. */
function refusedBy(error: unknown): string {
  if (!(error instanceof SyscallError) || !saysUnmappable(error.errno)) throw error;
  return `its filesystem, or a sandbox, does not let it be mapped (${error.code})`;
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
function* copying(plan: MapPlan, { size }: Stats, reason: string): Generator<Read, Copied, number> {
  if (plan.access === 'write') {
    throw new UnavailableError(`'${plan.name}' cannot be mapped for writing: ${reason}`);
  }
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
 * Another open file for the same: by its descriptor; where there is no /proc, or Node's permission model knows only the
 * path, by that, if it still leads to it.
 */
async function openAgain({ path }: MapPlan, fd: number, stat: Stats): Promise<number> {
  try {
    return await openAsync(nameOfDescriptor(fd), 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'ERR_ACCESS_DENIED') throw error;
    const own = await openAsync(path, 'r');
    const { dev, ino } = await fstatAsync(own);
    if (dev === stat.dev && ino === stat.ino) return own;
    closeUnwaited(own);
    throw error;
  }
}

/**
 * A lease on an open file of its own: a mapping keeps the file it was made from open, and with it any lease on that, even
 * when the thread that would have answered is gone.
 */
async function takeLease(plan: MapPlan, fd: number, stat: Stats): Promise<HeldLease> {
  const own = await openAgain(plan, fd, stat);
  try {
    return { lease: await acquireLease(own, 'read'), fd: own };
  } catch (error) {
    closeUnwaited(own);
    throw error;
  }
}

/** The lease of a mapping that is to have one, or undefined where it may do without. */
async function leaseFor(plan: MapPlan, fd: number, stat: Stats): Promise<HeldLease | undefined> {
  const { guard, access } = plan;
  if (guard === 'lease') return takeLease(plan, fd, stat);
  const possible = feature('lease').available && feature('mmap').available;
  if (guard !== 'both' || access !== 'read' || !possible) return undefined;
  try {
    return await takeLease(plan, fd, stat);
  } catch (error) {
    // Another process writes to it, or it is another user's; or there is no /proc, or no thread to answer for a lease.
    const { code, syscall } = error as NodeJS.ErrnoException;
    const refused = error instanceof SyscallError || syscall === 'open' || code === 'ERR_ACCESS_DENIED';
    if (refused || code?.startsWith('ERR_WORKER_')) return undefined;
    throw error;
  }
}

/**
 * The file of a path, mapped, or copied where it cannot be. What may wait for a disk or a server does so on the thread
 * pool: looking at the path, opening, mapping, closing (kernel-rules: open-may-wait).
 */
export async function openMapping(plan: MapPlan): Promise<Mapping | Copied> {
  // Looked at first: a FIFO would be waited for, and a device may do anything when it is opened (kernel-rules: fifo-open).
  const seen = await statAsync(plan.path).catch(() => undefined); // what there is to say, open says in Node's words
  if (seen !== undefined) assertRegular(plan, seen);
  const fd = await openAsync(plan.path, flagsOf(plan));
  let lease: HeldLease | undefined;
  let mapping: Mapping | undefined;
  try {
    const stat = isMappedAtOnce(fd) ? fstatSync(fd) : await fstatAsync(fd); // a turn of the pool costs more
    assertRegular(plan, stat);
    lease = await leaseFor(plan, fd, stat);
    const planned = planMapping(plan, fd, stat, lease);
    let reason = planned;
    if (planned instanceof Mapping) {
      try {
        await planned.mapOffThread();
        mapping = planned;
        return mapping;
      } catch (error) {
        reason = refusedBy(error);
      }
    }
    const reads = copying(plan, stat, reason as string);
    let step = reads.next(0);
    while (step.done !== true) {
      const { buffer, position } = step.value;
      step = reads.next(await readAsync(fd, buffer, position));
    }
    return step.value;
  } finally {
    if (mapping === undefined) {
      if (lease !== undefined) endLease(lease);
      closeUnwaited(fd);
    }
  }
}

/** {@link openMapping} at once, without a lease: the thread that answers for it takes time to start. */
export function openMappingSync(plan: MapPlan): Mapping | Copied {
  let seen: Stats | undefined;
  try {
    seen = statSync(plan.path);
  } catch {} // what there is to say, open says in Node's words
  if (seen !== undefined) assertRegular(plan, seen);
  const fd = openSync(plan.path, flagsOf(plan));
  let mapping: Mapping | undefined;
  try {
    const stat = fstatSync(fd);
    assertRegular(plan, stat);
    const planned = planMapping(plan, fd, stat, undefined);
    let reason = planned;
    if (planned instanceof Mapping) {
      try {
        planned.map();
        mapping = planned;
        return mapping;
      } catch (error) {
        reason = refusedBy(error);
      }
    }
    const reads = copying(plan, stat, reason as string);
    let step = reads.next(0);
    while (step.done !== true) {
      const { buffer, position } = step.value;
      step = reads.next(readUninterrupted(fd, buffer, position));
    }
    return step.value;
  } finally {
    if (mapping === undefined) closeUnwaited(fd);
  }
}
