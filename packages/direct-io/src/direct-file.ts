/** A file that is read and written past the page cache, at any offset and length. */
import { constants as buffers } from 'node:buffer';
import { close, fstat, ftruncate, open, type Stats, stat } from 'node:fs';
import { promisify } from 'node:util';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import {
  closeUnwaited,
  invalidArgument,
  pathText,
  runOffThread,
  transferError,
  validateCount,
} from '@zerocopy/transfer';
import { alignedBuffer, isAligned, poolFor } from './aligned-memory.js';
import type { Alignment } from './alignment.js';
import { DirectDescriptor } from './direct-descriptor.js';
import { type OpenDirectOptions, type OpenPlan, planOf } from './options.js';
import type { Done } from './requests.js';

const { EBADF, EINVAL, EISDIR, FALLOC_FL_KEEP_SIZE } = constants;
const closeAsync = promisify(close);
const openAsync = promisify(open);
const truncateAsync = promisify(ftruncate);
const statAsync = promisify(stat);
const fstatAsync = promisify(fstat);

/** The descriptors of files that were never closed. Module-level: it stays alive (kernel-rules: strong-finalizers). */
const forgotten = new FinalizationRegistry<{ readonly fd: number; readonly descriptor: DirectDescriptor }>((file) => {
  void file.descriptor.close();
  closeUnwaited(file.fd);
  process.emitWarning('A DirectFile was collected without having been closed; its descriptors are closed now');
});

/** Opens what holds bytes at positions; anything else is not even opened: a FIFO would wait, a device may do anything. */
function refuseOthers(stats: Stats, path: string): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  throw new SyscallError(stats.isDirectory() ? EISDIR : EINVAL, 'open', { path });
}

/**
 * An open file. {@link openDirect} makes one.
 *
 * Requests may be made while others are under way, and end in any order; those that overlap are for the caller to order, as
 * with node:fs. Where a file cannot be read or written directly, the same requests go through the page cache, and `method`
 * and `fallbackReason` say so.
 */
export class DirectFile {
  readonly #fd: number;
  readonly #descriptor: DirectDescriptor;
  readonly #plan: OpenPlan;
  #pending = 0;
  readonly #waiting: (() => void)[] = [];
  #closed: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  /** @internal */
  constructor(fd: number, descriptor: DirectDescriptor, plan: OpenPlan) {
    this.#fd = fd;
    this.#descriptor = descriptor;
    this.#plan = plan;
    forgotten.register(this, { fd, descriptor }, this);
  }

  /** 'direct', or 'copy' where requests go through the page cache. */
  get method(): 'direct' | 'copy' {
    return this.#descriptor.method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#descriptor.fallbackReason;
  }

  /**
   * How direct reads of up to 1 MiB are made: 'io_uring' where it is allowed, in the main thread; else 'threads', as all
   * other requests are.
   */
  get readsBy(): 'io_uring' | 'threads' {
    return this.#descriptor.readsBy;
  }

  /**
   * Requests whose position, length and memory are multiples of these cost no copy and read nothing besides. Others are
   * made all the same.
   */
  get alignment(): Alignment {
    return this.#descriptor.alignment;
  }

  /**
   * Reads `length` bytes; fewer only if the file ends before.
   * @param position the first byte. @param length in bytes.
   * @returns a Buffer with memory of its own, which is aligned if `position` is.
   * @throws {TransferError} with the code of the system's error: EIO, EBADF if the file is closed or not open for reading.
   */
  read(position: number, length: number): Promise<Buffer> {
    return this.#request('read', (done: (error: unknown, bytes: number, result: Buffer) => void) => {
      validateCount(position, 'position');
      validateCount(length, 'length', 0, buffers.MAX_LENGTH);
      if (length === 0) return done(null, 0, Buffer.alloc(0));
      const { memory, readOffset } = this.alignment;
      const before = position % readOffset;
      const whole = Math.ceil((before + length) / readOffset) * readOffset;
      const buffer = alignedBuffer(whole, memory);
      this.#descriptor.read([buffer], position - before, whole, (error, bytes) => {
        const got = Math.min(length, Math.max(0, bytes - before));
        done(got < length ? error : null, got, buffer.subarray(before, before + got));
      });
    });
  }

  /**
   * Reads into memory of the caller, which must not be used until it has been done. It is read into directly where
   * position, length and address are aligned, and by way of an aligned buffer elsewhere.
   * @param position the first byte. @param target as many bytes as it has are read; fewer only if the file ends before.
   * @returns how many bytes have been read.
   * @throws {TransferError} as {@link read}.
   */
  readInto(position: number, target: NodeJS.ArrayBufferView): Promise<number> {
    return this.#request('read', (done: (error: unknown, bytes: number, result: number) => void) => {
      validateCount(position, 'position');
      if (!ArrayBuffer.isView(target)) throw invalidArgument('target', 'a Buffer, TypedArray or DataView', target);
      const bytes = Buffer.from(target.buffer, target.byteOffset, target.byteLength);
      if (bytes.length === 0) return done(null, 0, 0);
      this.#readInto(bytes, position, 0, (error, read) => done(error, read, read));
    });
  }

  #readInto(target: Buffer, position: number, total: number, done: Done): void {
    const { memory, readOffset } = this.alignment;
    const at = position + total;
    const left = target.length - total;
    const before = at % readOffset;
    if (before === 0 && left % readOffset === 0 && isAligned(target, total, memory)) {
      const rest = total === 0 ? target : target.subarray(total);
      this.#descriptor.read([rest], at, left, (error, bytes) => done(error, total + bytes));
      return;
    }
    const pool = poolFor(before + left + readOffset);
    pool.take((buffer) => {
      const room = buffer.length - (buffer.length % readOffset);
      const whole = Math.min(Math.ceil((before + left) / readOffset) * readOffset, room);
      this.#descriptor.read([buffer], at - before, whole, (error, bytes) => {
        const got = Math.min(left, Math.max(0, bytes - before));
        buffer.copy(target, total, before, before + got);
        pool.give(buffer);
        const reached = total + got;
        if (reached >= target.length) done(null, reached);
        else if (error !== null || bytes < whole) done(error, reached);
        else {
          try {
            this.#readInto(target, position, reached, done);
          } catch (failure) {
            done(failure as Error, reached);
          }
        }
      });
    });
  }

  /**
   * Writes all of `data`. Whole pages go directly, from the caller's memory if it is aligned; what is left before and
   * behind them goes through the page cache, so that the file is exactly as long as it should be, and no byte beside the
   * data is touched.
   * @param position where the first byte goes. @param data must not be changed until it has been done.
   * @returns the bytes written: all of them.
   * @throws {TransferError} with the code of the system's error (ENOSPC, EIO, EBADF); `bytes` of the data, from their
   * start, are in the file.
   */
  write(position: number, data: NodeJS.ArrayBufferView): Promise<number> {
    return this.#request('write', (done: (error: unknown, bytes: number, result: number) => void) => {
      validateCount(position, 'position');
      if (!ArrayBuffer.isView(data)) {
        throw invalidArgument('data', 'a Buffer, TypedArray or DataView', data);
      }
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      this.#descriptor.write([bytes], position, (error, written) => done(error, written, written));
    });
  }

  /** Makes what has been written durable: fdatasync(2). Requests that are under way are not waited for. */
  datasync(): Promise<void> {
    return this.#request('fdatasync', (done: (error: unknown, bytes: number, result: undefined) => void) => {
      this.#descriptor.datasync((error) => done(error, 0, undefined));
    });
  }

  /**
   * Reserves the blocks for the first `length` bytes, so that no write of them fails with ENOSPC. The length of the file
   * stays.
   * @param length in bytes, more than 0.
   * @throws {TransferError} ENOSPC; EOPNOTSUPP where the filesystem cannot reserve.
   */
  allocate(length: number): Promise<void> {
    return this.#request('fallocate', (done: (error: unknown, bytes: number, result: undefined) => void) => {
      validateCount(length, 'length', 1);
      runOffThread(
        (settle) => syscalls.fallocateAsync(this.#fd, FALLOC_FL_KEEP_SIZE, 0, length, settle),
        (result) => done(result < 0 ? new SyscallError(result, 'fallocate') : null, 0, undefined),
      );
    });
  }

  /** Makes the file exactly `length` bytes long: cuts it, or lets it end with a hole. */
  truncate(length: number): Promise<void> {
    return this.#request('ftruncate', (done: (error: unknown, bytes: number, result: undefined) => void) => {
      validateCount(length, 'length');
      truncateAsync(this.#fd, length).then(
        () => done(null, 0, undefined),
        (error: unknown) => done(error, 0, undefined),
      );
    });
  }

  /**
   * Waits for the requests that have been made, makes them durable if `datasync` is 'end', and closes. Idempotent.
   * @throws Node's error of fdatasync or close: the file is closed all the same.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    if (this.#pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    forgotten.unregister(this);
    try {
      if (this.#plan.datasync === 'end') {
        await new Promise<void>((resolve, reject) =>
          this.#descriptor.datasync((error) => (error === null ? resolve() : reject(error))),
        );
      }
    } finally {
      await this.#descriptor.close();
      await closeAsync(this.#fd);
    }
  }

  /** Makes a request as soon as fewer than `queueDepth` are under way. */
  #request<Result>(
    syscall: string,
    make: (done: (error: unknown, bytes: number, result: Result) => void) => void,
  ): Promise<Result> {
    if (this.#closed !== undefined) return Promise.reject(transferError(new SyscallError(EBADF, syscall), 0));
    return new Promise((resolve, reject) => {
      const start = (): void => {
        try {
          make((error, bytes, result) => {
            this.#ended();
            if (error === null) resolve(result);
            else reject(transferError(error, bytes));
          });
        } catch (error) {
          this.#ended();
          reject(error);
        }
      };
      this.#pending++;
      if (this.#pending <= this.#plan.queueDepth) start();
      else this.#waiting.push(start);
    });
  }

  #ended(): void {
    this.#pending--;
    this.#waiting.shift()?.();
    if (this.#pending === 0) this.#onIdle?.();
  }
}

/**
 * Opens a regular file or a block device for direct I/O.
 * @param flags as of fs.open, as text or a number. With O_APPEND, writes go through the page cache, to the end of the file.
 * @throws Node's error of fs.open; {@link SyscallError} EISDIR, or EINVAL for a FIFO, a socket and a character device, none
 * of which is opened. TypeError, RangeError for invalid arguments.
 * @see https://man7.org/linux/man-pages/man2/open.2.html, O_DIRECT
 */
export async function openDirect(
  path: string | Buffer | URL,
  flags: string | number = 'r',
  options: OpenDirectOptions = {},
): Promise<DirectFile> {
  const plan = planOf(path, flags, options);
  const name = pathText(plan.path);
  const seen = await statAsync(plan.path).catch(() => undefined); // what is wrong with it, opening it says
  if (seen !== undefined) refuseOthers(seen, name);
  const fd = await openAsync(plan.path, plan.flags, plan.mode);
  try {
    if (seen === undefined) refuseOthers(await fstatAsync(fd), name);
    const descriptor = await DirectDescriptor.over(fd, { ring: true });
    return new DirectFile(fd, descriptor, plan);
  } catch (error) {
    closeUnwaited(fd);
    throw error;
  }
}
